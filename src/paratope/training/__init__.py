"""Training: a table of measurements and a recipe in, a trained network and its run folder out."""

from paratope.training.learner import score
from paratope.training.loop import FitResult, Record, RunOptions, fit
from paratope.training.table import TrainedTable, train_table

__all__ = ["FitResult", "Record", "RunOptions", "TrainedTable", "fit", "score", "train_table"]
