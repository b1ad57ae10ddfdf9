"""The next round as files: a table to fill in, a FASTA to order, the pool's refused rows."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN
from paratope.campaigns.suggestion.candidates import Candidate
from paratope.campaigns.suggestion.next_round import NextRound
from paratope.core.files import atomic_file
from paratope.data.tables import write_table
from paratope.molecules.mutations import format_mutations

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx")


def suggestion_frame(next_round: NextRound) -> pl.DataFrame:
    """The suggestions as a table, in order of choice.

    ``rank, id, heavy, light, antigen, parent_name, mutations, mutations_imgt``, the prediction with
    its interval (``predicted_pkd`` … or ``predicted_score`` …) and note, ``p_beats_best,
    p_beats_parent, reason, liabilities, mutation_count, distance``, then the pool's own columns.
    With a column of measured values added, it is a table that ``paratope adapt`` reads.
    """
    rows, label, measured = [], next_round.label, next_round.measured
    is_first = not measured.variants  # nothing was measured that could be beaten
    # a prefix, so that no reader takes predictions for measurements once the plate's are added
    predicted = [label, f"{label}_low", f"{label}_high", *["kd_nM"] * (label == "pkd")]
    for suggestion in next_round.suggestions:
        candidate, prediction = suggestion.candidate, suggestion.prediction
        antibody, antigen = candidate.pair.antibody, candidate.pair.antigen.chains
        parent = measured.parents[candidate.parent].antibody
        rows.append(
            {
                "rank": suggestion.rank,
                "id": candidate.name,
                "heavy": antibody.heavy,
                "light": antibody.light or "",
                "antigen": "" if antigen == UNKNOWN_ANTIGEN.chains else "|".join(antigen),
                "parent_name": measured.parent_name(candidate.parent),
                "mutations": format_mutations(candidate.mutations),
                "mutations_imgt": format_mutations(candidate.mutations, parent),
                **{f"predicted_{name}": getattr(prediction, name) for name in predicted},
                "predicted_note": prediction.note,
                **({} if is_first else {"p_beats_best": suggestion.p_beats_best}),
                "p_beats_parent": suggestion.p_beats_parent,
                "reason": suggestion.reason,
                "liabilities": "; ".join(map(str, suggestion.liabilities)),
                "mutation_count": len(candidate.mutations),
                "distance": suggestion.distance,
            }
        )
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if next_round.pool is None:
        return frame
    pool = next_round.pool.frame[[one.candidate.row for one in next_round.suggestions]]
    return frame.hstack(pool.select(name for name in pool.columns if name not in frame.columns))


def fasta_text(candidates: Sequence[Candidate]) -> str:
    """Both chains of each, as records ``id_H`` and ``id_L``; a single domain as ``id``.

    An id that was used before gets a number.
    """
    lines = []
    used: Counter[str] = Counter()
    for candidate in candidates:
        used[candidate.name] += 1
        again = f"-{used[candidate.name]}" * (used[candidate.name] > 1)
        name, antibody = candidate.name + again, candidate.pair.antibody
        if antibody.light is None:
            lines += [f">{name}", antibody.heavy]
        else:
            lines += [f">{name}_H", antibody.heavy, f">{name}_L", antibody.light]
    return "\n".join(lines) + "\n"


def fasta_path(table: str | os.PathLike[str]) -> Path:
    """The FASTA file beside a table.

    >>> fasta_path("plates/next.csv.gz").as_posix()
    'plates/next.fasta'
    """
    path = Path(table)
    name = path.name.removesuffix(".gz")
    stem = next((name.removesuffix(s) for s in TABLE_SUFFIXES if name.endswith(s)), name)
    return path.with_name(f"{stem}.fasta")


def write_next_round(next_round: NextRound, target: str | os.PathLike[str]) -> list[Path]:
    """Write the table, the FASTA beside it and, if there are any, the pool's refused rows.

    `target` is the table (``.csv``, ``.tsv``, ``.parquet`` or ``.xlsx``; ``"-"`` is CSV on stdout
    alone). Returns the files written; raises `OutputError` if one cannot be.
    """
    keep = set() if next_round.pool is None else set(next_round.pool.frame.columns)
    write_table(suggestion_frame(next_round), target, keep=keep)
    if str(target) == "-":
        return []
    fasta = fasta_path(target)
    written = [Path(target), fasta]
    with atomic_file(fasta) as file:
        file.write(fasta_text([one.candidate for one in next_round.suggestions]).encode())
    if next_round.refused:
        written.append(fasta.with_name(f"{fasta.stem}-refused.csv"))
        refused = pl.DataFrame(next_round.refused, schema=["id", "reason"], orient="row")
        write_table(refused, written[2])
    return written
