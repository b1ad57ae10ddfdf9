"""Trivial models that stand beside every reported number, behind one interface.

>>> BASELINES["constant"]().name
'constant'
"""

from paratope.evaluation.baselines import lookup, regressions
from paratope.evaluation.baselines.lookup import Baseline, expected_values, training_values

__all__ = ["BASELINES", "Baseline", "expected_values", "training_values"]

BASELINES: dict[str, type[Baseline]] = {
    baseline.name: baseline
    for baseline in (
        lookup.Constant,
        lookup.AntigenMean,
        lookup.ComplexMean,
        lookup.NearestNeighbour,
        regressions.MutationCount,
        regressions.MutationType,
        regressions.LengthOnly,
        regressions.OneHotRidge,
        regressions.OneHotGP,
        regressions.BoostedKmers,
    )
}
