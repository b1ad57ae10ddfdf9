"""Training: a table of measurements and a recipe in, a trained network and its run folder out."""

from paratope.training.loop import FitResult, Scores, fit, score

__all__ = ["FitResult", "Scores", "fit", "score"]
