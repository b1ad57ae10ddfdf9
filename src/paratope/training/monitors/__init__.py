"""What watches a training run: faults are named in words, kept in the history, and may end the run.

Numbers that are not finite (`check_finite_output`, `GradientPeaks.add`) always end a run before the
step that would carry them into the weights. After an epoch, `Monitors` looks at the rest: collapsed
predictions, predictions outside any possible pKd, a recall that swings, overfitting, and parts of
the network that get no gradient.
"""

from paratope.training.monitors.curves import (
    Overfitting,
    RecallStability,
    overfitting,
    recall_stability,
    recall_warning,
)
from paratope.training.monitors.finite import check_finite_gradient, check_finite_output
from paratope.training.monitors.gradients import DeadGradients, GradientPeaks, dead_gradients
from paratope.training.monitors.predictions import Collapse, OutOfRange, collapse, out_of_range
from paratope.training.monitors.stopping import EarlyStopping
from paratope.training.monitors.watch import Answers, Monitors

__all__ = [
    "Answers",
    "Collapse",
    "DeadGradients",
    "EarlyStopping",
    "GradientPeaks",
    "Monitors",
    "OutOfRange",
    "Overfitting",
    "RecallStability",
    "check_finite_gradient",
    "check_finite_output",
    "collapse",
    "dead_gradients",
    "out_of_range",
    "overfitting",
    "recall_stability",
    "recall_warning",
]
