"""What an epoch's predictions look like: collapsed to a few values, outside any possible pKd."""

import dataclasses

import numpy as np

from paratope.core.units import PKD_MAX_OUTPUT, PKD_MIN_OUTPUT

# Predictions count as one value if they agree to this many decimals of a pKd.
_DECIMALS = 4
MAX_TIE_SHARE = 0.3
MIN_SPREAD_RATIO = 0.05
MIN_DISTINCT = 10
MAX_OUTSIDE_SHARE = 0.01
_ADVICE = "look at the losses of the first epochs, and try another training.learning_rate or loss"


@dataclasses.dataclass(frozen=True, slots=True)
class Collapse:
    """How varied a set of predictions is.

    Attributes
    ----------
    distinct : int
        Different values, to four decimals.
    tie_share : float
        Share of the rows that hold the commonest value, 0 to 1.
    spread_ratio : float
        Standard deviation of the predictions over that of the measured values; NaN if those are all
        equal.
    warning : str
        In words, empty where all is well.
    """

    distinct: int
    tie_share: float
    spread_ratio: float
    warning: str


def collapse(predicted: np.ndarray, measured: np.ndarray) -> Collapse:
    """Whether predictions of different pairs have become (nearly) one value.

    Parameters
    ----------
    predicted, measured : ndarray
        One value per pair, (n,); each pair once, since equal pairs rightly have equal predictions.

    Returns
    -------
    Collapse

    Examples
    --------
    >>> measured = np.linspace(5, 11, 50)
    >>> collapse(measured + 0.3, measured).warning
    ''
    >>> collapse(np.full(50, 9.0625), measured).warning
    'predictions have collapsed: 1 distinct value in 50 rows, 100 % of the rows at 9.062; look at
    the losses of the first epochs, and try another training.learning_rate or loss'
    """
    values, counts = np.unique(np.round(predicted, _DECIMALS), return_counts=True)
    count = len(predicted)
    if not count:
        return Collapse(0, 0.0, float("nan"), "")
    tie_share = float(counts.max()) / count
    spread = float(np.std(measured))
    ratio = float(np.std(predicted)) / spread if spread > 0 else float("nan")
    warning = ""
    if count >= MIN_DISTINCT:
        name = "value" if len(values) == 1 else "values"
        found = f"{len(values)} distinct {name} in {count} rows"
        if tie_share > MAX_TIE_SHARE or len(values) < min(MIN_DISTINCT, count / 2):
            commonest = values[counts.argmax()]
            warning = (
                f"predictions have collapsed: {found}, {100 * tie_share:.0f} % of the rows at "
                f"{commonest:.3f}; {_ADVICE}"
            )
        elif ratio < MIN_SPREAD_RATIO:
            warning = (
                f"predictions have collapsed: their spread is {100 * ratio:.1f} % of the measured "
                f"values' ({found}); {_ADVICE}"
            )
    return Collapse(len(values), tie_share, ratio, warning)


@dataclasses.dataclass(frozen=True, slots=True)
class OutOfRange:
    """How many predictions are no possible pKd.

    Attributes
    ----------
    share : float
        Of the predictions outside [4, 14], 0 to 1; NaN without any.
    warning : str
        In words, empty where all is well.
    """

    share: float
    warning: str


def out_of_range(predicted: np.ndarray, measured: np.ndarray) -> OutOfRange:
    """Whether predictions leave the range a pKd can have, 4 to 14.

    Parameters
    ----------
    predicted, measured : ndarray
        One value per row, (n,).

    Returns
    -------
    OutOfRange

    Examples
    --------
    >>> out_of_range(np.array([5.0, 9.0]), np.array([5.5, 8.5]))
    OutOfRange(share=0.0, warning='')
    >>> out_of_range(np.array([-2.0, 6.0, 9.0, 15.0]), np.array([-2.5, 6.0, 9.0, 9.5])).warning
    '50.0 % of the predictions lie outside pKd 4 to 14 (from -2.000 to 15.000; of the measured
    values 25.0 % do); set network.output=bounded, or check the labels with paratope data audit'
    """
    if not len(predicted):
        return OutOfRange(float("nan"), "")
    share = _outside(predicted)
    warning = ""
    if share > MAX_OUTSIDE_SHARE:
        warning = (
            f"{100 * share:.1f} % of the predictions lie outside pKd {PKD_MIN_OUTPUT:g} to "
            f"{PKD_MAX_OUTPUT:g} (from {predicted.min():.3f} to {predicted.max():.3f}; of the "
            f"measured values {100 * _outside(measured):.1f} % do); set network.output=bounded, "
            "or check the labels with paratope data audit"
        )
    return OutOfRange(share, warning)


def _outside(values: np.ndarray) -> float:
    return float(np.mean((values < PKD_MIN_OUTPUT) | (values > PKD_MAX_OUTPUT)))
