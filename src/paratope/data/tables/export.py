"""Measurements as a table in the plain format, which `read_table` reads back."""

from collections import Counter
from collections.abc import Iterable

import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.units import STANDARD_TEMPERATURE_K, pkd_to_dg_kcal_mol
from paratope.data.measurements import Measurement
from paratope.molecules.sequences import Pair

_SIGNS = {Censoring.EXACT: "", Censoring.AT_MOST: "<", Censoring.AT_LEAST: ">"}
# written even if no measurement has them, so that every such table has the same first columns
_ALWAYS = ("id", "heavy", "light", "antigen", "antigen_name", "assay")


def frame_from_measurements(measurements: Iterable[Measurement]) -> pl.DataFrame:
    """Measurements as a table of texts, one row each, in order.

    Parameters
    ----------
    measurements : iterable of Measurement

    Returns
    -------
    polars.DataFrame
        ``id, heavy, light, antigen, antigen_name, assay``, the values (``pkd``, ``ddg_kcal_mol``,
        ``score``; ``<`` and ``>`` mark bounds, ``n.b.`` a non-binder without one), the parent's
        chains, the conditions, and where the row came from (``complex``, ``mutations``, ``date``,
        ``reference``, ``fold``, ``source``, ``source_row``, ``licence``). Columns that are empty
        throughout are left out. Numbers keep all their digits. Only the name of an antibody may
        change: ids are made unique.

    Examples
    --------
    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> pair = Pair(Antibody("EVQL", None, "a"), Antigen(("MKV", "GGS"), "target"))
    >>> row = Measurement(pair, 5.0, Censoring.AT_MOST, assay="SPR")
    >>> frame_from_measurements([row]).row(0)
    ('a', 'EVQL', None, 'MKV:GGS', 'target', 'SPR', '<5.0')
    """
    rows = [_row(measurement) for measurement in measurements]
    names = list(dict.fromkeys(name for row in rows for name in row))
    seen: Counter[str] = Counter()
    taken = {row["id"] for row in rows}
    for row in rows:
        name = row["id"] or "row"
        seen[name] += 1
        while seen[name] > 1 and f"{name}-{seen[name]}" in taken:
            seen[name] += 1
        row["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    frame = pl.DataFrame(
        {
            name: pl.Series(name, [row.get(name) or None for row in rows], pl.String)
            for name in names
        }
    )
    return frame.select(
        name for name in names if name in _ALWAYS or frame[name].null_count() < frame.height
    )


def _row(measurement: Measurement) -> dict[str, str]:
    origin, conditions = measurement.origin, measurement.conditions
    sign = _SIGNS[measurement.censoring]
    temperature = conditions.temperature_K
    return {
        "id": measurement.pair.antibody.name or origin.complex_id,
        **_chains(measurement.pair),
        "antigen_name": measurement.pair.antigen.name,
        "assay": measurement.assay,
        "pkd": _value(measurement, measurement.pkd, sign),
        "ddg_kcal_mol": _ddg(measurement.delta_pkd, measurement.censoring, temperature),
        "score": "" if measurement.score is None else f"{sign}{measurement.score!r}",
        **_parent(measurement),
        "format": conditions.format,
        "method": conditions.method,
        "temperature_K": "" if temperature is None else repr(temperature),
        "complex": origin.complex_id,
        "mutations": ",".join(origin.mutations),
        "date": origin.date,
        "reference": origin.reference,
        "fold": "" if origin.fold is None else str(origin.fold),
        "source": origin.source,
        "source_row": str(origin.row) if origin.row else "",
        "licence": origin.licence,
    }


def _chains(pair: Pair) -> dict[str, str]:
    return {
        "heavy": pair.antibody.heavy,
        "light": pair.antibody.light or "",
        "antigen": ":".join(pair.antigen.chains),
    }


def _value(measurement: Measurement, pkd: float | None, sign: str) -> str:
    if pkd is not None:
        return f"{sign}{float(pkd)!r}"
    unmeasured = measurement.delta_pkd is None and measurement.score is None
    return "n.b." if unmeasured else ""


def _ddg(delta_pkd: float | None, censoring: Censoring, temperature_K: float | None) -> str:
    """ΔΔG at the measurement's temperature; its bound is the other way round."""
    if delta_pkd is None:
        return ""
    sign = {"": "", "<": ">", ">": "<"}[_SIGNS[censoring]]
    ddg = pkd_to_dg_kcal_mol(delta_pkd, temperature_K or STANDARD_TEMPERATURE_K)
    return f"{sign}{ddg!r}"


def _parent(measurement: Measurement) -> dict[str, str]:
    if measurement.parent is None:
        return {"parent_heavy": "", "parent_light": "", "parent_antigen": ""}
    return {f"parent_{name}": text for name, text in _chains(measurement.parent).items()}
