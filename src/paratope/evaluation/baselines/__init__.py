"""Trivial models that stand beside every reported number, behind one interface.

>>> BASELINES["constant"]().name
'constant'
"""

from paratope.evaluation.baselines.baseline import Baseline, expected_values, training_values
from paratope.evaluation.baselines.lookup import (
    AntigenMean,
    ComplexMean,
    Constant,
    NearestNeighbour,
)
from paratope.evaluation.baselines.regressions import (
    BoostedKmers,
    LengthOnly,
    MutationCount,
    MutationType,
    OneHotGP,
    OneHotRidge,
)

__all__ = ["BASELINES", "Baseline", "expected_values", "training_values"]

BASELINES: dict[str, type[Baseline]] = {
    baseline.name: baseline
    for baseline in (
        Constant,
        AntigenMean,
        ComplexMean,
        NearestNeighbour,
        MutationCount,
        MutationType,
        LengthOnly,
        OneHotRidge,
        OneHotGP,
        BoostedKmers,
    )
}
