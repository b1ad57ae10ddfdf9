"""Training: a table of measurements and a recipe in, a trained network and its run folder out."""

from paratope.training.fitting import fit
from paratope.training.results import FitResult, Record, Scores, score
from paratope.training.table import TrainedTable, train_table

__all__ = ["FitResult", "Record", "Scores", "TrainedTable", "fit", "score", "train_table"]
