"""What a screen shows: hits as a table, the distribution of the scores."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from paratope.core.errors import InputError
from paratope.core.units import pkd_to_kd_nM
from paratope.molecules.liabilities import find_liabilities
from paratope.molecules.numbering import cdrs
from paratope.molecules.sequences import Antibody
from paratope.screening.run_folder import ScreenFolder
from paratope.screening.scoring import ScreenModel


def hits_frame(
    model: ScreenModel,
    names: Sequence[str],
    best: Mapping[str, pl.DataFrame],
    specificity: Mapping[tuple[int, str], float],
) -> pl.DataFrame:
    """Hits against each antigen, the strongest first: prediction, what else is known, chains."""
    unit, frames = model.label, []
    for name in names:
        part = best[name]
        rows = list(part.select("heavy", "light").iter_rows())
        columns = {
            "rank": pl.Series(range(1, part.height + 1), dtype=pl.Int64),
            "id": part["id"],
            "antigen": part["antigen"],
            unit: part["full"],
            f"{unit}_low": part["low"],
            f"{unit}_high": part["high"],
        }
        if unit == "pkd":
            strength = [pkd_to_kd_nM(value) for value in part["full"].to_list()]
            columns["kd_nM"] = pl.Series(strength, dtype=pl.Float64)
            columns["p_strong"] = part["p_strong"]
        columns |= {"domain": part["domain"], "note": part["note"], "fast": part["fast"]}
        for other in names if len(names) > 1 else ():
            values = [specificity.get((row, other)) for row in part["row"].to_list()]
            columns[f"{unit} {other}"] = pl.Series(values, dtype=pl.Float64)
        known = [described(heavy, light) for heavy, light in rows]
        columns["cdr_h3"] = pl.Series([loop for loop, _ in known], dtype=pl.String)
        columns["liabilities"] = pl.Series([text for _, text in known], dtype=pl.String)
        columns |= {"row": part["row"] + 1, "heavy": part["heavy"], "light": part["light"]}
        frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


@functools.lru_cache(maxsize=4096)
def described(heavy: str, light: str | None) -> tuple[str, str]:
    """CDR-H3 and liabilities; empty where the chains cannot be numbered."""
    antibody = Antibody(heavy, light)
    try:
        return cdrs(antibody)["H3"], "; ".join(map(str, find_liabilities(antibody)))
    except InputError:
        return "", ""


def histogram_frame(folder: ScreenFolder, names: Sequence[str], bins: int) -> pl.DataFrame:
    """How many antibodies have which score against each antigen, fast and full."""
    frames = []
    for name in names:
        lowest, highest = np.inf, -np.inf
        for counting in (False, True):
            edges = np.linspace(lowest, highest, bins + 1) if counting else np.zeros(0)
            counts = {stage: np.zeros(bins, int) for stage in ("fast", "full")}
            for _, part in folder.parts("antigen", "fast", "full"):
                mine = part.filter(pl.col("antigen") == name)
                for stage, total in counts.items():
                    values = mine[stage].drop_nulls().to_numpy()
                    if counting:
                        total += np.histogram(values, edges)[0]
                    elif len(values):
                        lowest = min(lowest, float(values.min()))
                        highest = max(highest, float(values.max()))
            if not counting and lowest > highest:
                break
            if counting:
                sides = {"low": edges[:-1], "high": edges[1:]}
                frames.append(pl.DataFrame({"antigen": [name] * bins, **sides, **counts}))
    empty = {"antigen": pl.String, "low": pl.Float64, "high": pl.Float64}
    empty |= {"fast": pl.Int64, "full": pl.Int64}
    return pl.concat(frames) if frames else pl.DataFrame(schema=empty)
