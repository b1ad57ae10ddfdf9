"""Search: the settings of a recipe that rank best on grouped validation of the training rows.

`search` asks Optuna for trials inside a documented space around the recipe, judges each by
cross-validation inside the training rows, and gives the best as a recipe. The validation and test
rows of the run that follows take no part.
"""

from paratope.training.search.outcome import SearchResult, Trial
from paratope.training.search.space import SPACE, Choice, Range, search_space
from paratope.training.search.trials import FOLDS, search

__all__ = [
    "FOLDS",
    "SPACE",
    "Choice",
    "Range",
    "SearchResult",
    "Trial",
    "search",
    "search_space",
]
