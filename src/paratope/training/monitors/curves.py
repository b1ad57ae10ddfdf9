"""What the course of a run says: overfitting, and a recall that swings."""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Epochs in a row that have to look overfitted.
OVERFITTED_EPOCHS = 3
# Rise of the validation loss, as a share of what the training rows' loss fell, that counts as one.
MIN_RISE = 0.1
# A recall (in percent) that swings by more than this from epoch to epoch makes a run unstable.
MAX_STABLE_RECALL_SD = 10.0
# For a warning while the run goes: over its latest epochs, a fall of so many points, and so many
# strong binders that one row cannot make it.
RECALL_WINDOW = 5
MAX_RECALL_FALL = 20.0
MIN_STRONG = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Overfitting:
    """How far the same loss of training and of validation rows has come apart.

    Attributes
    ----------
    gap : float
        Validation less training rows' loss at the latest epoch; NaN where one is unknown.
    warning : str
        In words, empty where all is well.
    """

    gap: float
    warning: str


def overfitting(train: Sequence[float], validation: Sequence[float]) -> Overfitting:
    """Whether training rows get better at the cost of validation rows.

    It is so if in each of the latest three epochs the validation loss was above its minimum by at
    least a tenth of what the training rows' loss has fallen since the first epoch, and the gap
    between the two was wider than at that minimum. The losses' zero and scale do not matter.

    Parameters
    ----------
    train, validation : sequence of float
        The same loss of a sample of training rows and of the validation rows, both without dropout,
        of every epoch from the first.

    Returns
    -------
    Overfitting

    Examples
    --------
    >>> overfitting([1.0, 0.8, 0.7, 0.6, 0.5], [1.0, 0.9, 0.85, 0.8, 0.8]).warning
    ''
    >>> overfitting([1.0, 0.7, 0.5, 0.4, 0.3], [1.0, 0.8, 0.9, 1.0, 1.1]).warning
    'overfitting: since epoch 2 the loss of validation rows rose from 0.8000 to 1.1000 while that of
    training rows fell from 0.7000 to 0.3000 (gap 0.1000, now 0.8000); the best epoch is kept: stop
    here, or raise network.dropout or training.weight_decay, or make the network smaller'
    """
    seen, unseen = np.asarray(train, dtype=float), np.asarray(validation, dtype=float)
    if not len(seen) or not np.isfinite(seen).all() or not np.isfinite(unseen).all():
        return Overfitting(float("nan"), "")
    gap = unseen - seen
    best = int(unseen.argmin())
    latest = slice(max(best + 1, len(seen) - OVERFITTED_EPOCHS), None)
    worse = unseen[latest] - unseen[best] > MIN_RISE * (seen[0] - seen[latest])
    wider = (gap[latest] > gap[best]) & (seen[latest] < seen[best])
    warning = ""
    if len(worse) == OVERFITTED_EPOCHS and bool((worse & wider).all()):
        warning = (
            f"overfitting: since epoch {best + 1} the loss of validation rows rose from "
            f"{unseen[best]:.4f} to {unseen[-1]:.4f} while that of training rows fell from "
            f"{seen[best]:.4f} to {seen[-1]:.4f} (gap {gap[best]:.4f}, now {gap[-1]:.4f}); the "
            "best epoch is kept: stop here, or raise network.dropout or training.weight_decay, or "
            "make the network smaller"
        )
    return Overfitting(float(gap[-1]), warning)


@dataclasses.dataclass(frozen=True, slots=True)
class RecallStability:
    """How much the recall of strong binders swings from epoch to epoch, in percent.

    Attributes
    ----------
    sd : float or None
        Population standard deviation over the epochs; None where no recall was measured.
    max_jump : float or None
        Largest change from one epoch to the next; None for fewer than two.
    status : str
        ``"stable"``, ``"unstable"`` (the standard deviation is above ten points) or ``"unknown"``.
    """

    sd: float | None
    max_jump: float | None
    status: str


def recall_stability(recalls: Sequence[float]) -> RecallStability:
    """Swing of the recall over a whole run; epochs without one (NaN) are left out.

    >>> recall_stability([100.0, 20.0])
    RecallStability(sd=40.0, max_jump=80.0, status='unstable')
    """
    known = _known(recalls)
    if not len(known):
        return RecallStability(None, None, "unknown")
    sd = float(np.std(known))
    jump = float(np.abs(np.diff(known)).max()) if len(known) > 1 else None
    return RecallStability(sd, jump, "unstable" if sd > MAX_STABLE_RECALL_SD else "stable")


def recall_warning(recalls: Sequence[float], strong: int) -> str:
    """Whether the recall swings in the latest five epochs, in words; empty where all is well.

    A recall that rises as the network learns is no swing: it has to fall by more than twenty
    points from one epoch to the next, with a standard deviation above ten. With fewer than ten
    strong binders a row or two could do that, and nothing is said.

    Parameters
    ----------
    recalls : sequence of float
        Recall of strong binders among the validation rows after every epoch, in percent.
    strong : int
        Validation rows that are strong binders.

    Examples
    --------
    >>> recall_warning([0.0, 40.0, 80.0, 85.0], strong=40)
    ''
    >>> recall_warning([100.0, 100.0, 14.0], strong=40)
    'recall of strong binders (pKd >= 9) is unstable: in the latest 3 epochs it swung between
    14.0 % and 100.0 % (standard deviation 40.5, largest fall 86.0 points); the predictions pass 9
    together: judge ranks instead, or lower training.learning_rate'
    """
    known = _known(recalls)[-RECALL_WINDOW:]
    if strong < MIN_STRONG or len(known) < 2:
        return ""
    fall, sd = float(-np.diff(known).min()), float(np.std(known))
    if fall <= MAX_RECALL_FALL or sd <= MAX_STABLE_RECALL_SD:
        return ""
    return (
        f"recall of strong binders (pKd >= 9) is unstable: in the latest {len(known)} epochs it "
        f"swung between {known.min():.1f} % and {known.max():.1f} % (standard deviation {sd:.1f}, "
        f"largest fall {fall:.1f} points); the predictions pass 9 together: judge ranks instead, "
        "or lower training.learning_rate"
    )


def _known(recalls: Sequence[float]) -> np.ndarray:
    values = np.asarray(recalls, dtype=float)
    return values[np.isfinite(values)]
