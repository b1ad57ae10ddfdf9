"""AB-Bind's ddG values: kcal/mol, positive is weaker, and 8 means "does not bind"."""

import dataclasses
from collections.abc import Sequence

from paratope.core.censoring import Censoring
from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data.datasets.rows import SourceRow
from paratope.data.measurements import Measurement

FLAG_DDG_KCAL_MOL = 8.0


def delta_of(row: SourceRow, column: str) -> tuple[float, bool]:
    """ΔpKd of a row's ddG, and whether the ddG is the flag of a non-binder.

    All rows are converted at 298.15 K, so that ΔpKd stays in proportion to the published ddG.
    """
    ddg_kcal_mol = row.number(column)
    return ddg_kcal_mol_to_delta_pkd(ddg_kcal_mol), ddg_kcal_mol == FLAG_DDG_KCAL_MOL


def bound_flags(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Give every flagged row its bound: at most the weakest ΔpKd measured in its assay.

    A row whose assay has no measured ΔpKd keeps none.
    """
    weakest: dict[str, float] = {}
    for row in measurements:
        if row.delta_pkd is not None and row.censoring is Censoring.EXACT:
            weakest[row.assay] = min(row.delta_pkd, weakest.get(row.assay, row.delta_pkd))
    return [
        dataclasses.replace(row, delta_pkd=weakest.get(row.assay))
        if row.delta_pkd is None and row.censoring is Censoring.AT_MOST
        else row
        for row in measurements
    ]
