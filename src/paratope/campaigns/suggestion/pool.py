"""A user's own candidates: a table or FASTA, whose rows must belong to the campaign."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paratope.campaigns.campaign_model.antigens import CampaignAntigens
from paratope.campaigns.suggestion.candidates import Candidate
from paratope.campaigns.suggestion.knowledge import (
    MAX_PARENT_DISTANCE,
    Knowledge,
    Molecule,
    molecule,
    nearest_parent,
)
from paratope.campaigns.suggestion.places import allowed_places
from paratope.data.tables import InputTable, TableRow, read_table, table_from_frame
from paratope.molecules.mutations import mutations_between
from paratope.molecules.sequences import Antibody, Antigen, Pair


class Refused(NamedTuple):
    """A row of the pool that is no candidate: its id and why."""

    id: str
    reason: str


def read_pool(
    source: Any, antigen: Antigen, columns: Mapping[str, str] | None = None
) -> InputTable:
    """Rows of a pool; those that name no antigen are of the campaign's.

    Parameters
    ----------
    source : path, DataFrame (polars or pandas), or sequence of Pair
        CSV, TSV, Parquet, XLSX or antibody FASTA.
    antigen : Antigen
    columns : mapping of str to str, optional
        Canonical name to the table's column, where the name is not known.

    Raises
    ------
    InputError
        If it cannot be read as a table of antibodies.
    """
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        return read_table(source, columns=columns, default_antigen=antigen)
    if isinstance(source, Sequence):
        source = _frame(source)
    return table_from_frame(source, source="pool", columns=columns, default_antigen=antigen)


def pool_candidates(
    rows: Sequence[TableRow],
    knowledge: Knowledge,
    regions: str | None = None,
    max_mutations: int | None = None,
) -> tuple[list[Candidate], list[Refused]]:
    """Candidates of a pool's rows, and the rows that are none.

    A row is refused if it cannot be read, is of another antigen or another antibody, has been
    measured, repeats a row, or has mutations outside `regions` or more than `max_mutations`.

    Parameters
    ----------
    rows : sequence of TableRow
    knowledge : Knowledge
    regions : str, optional
        As `paratope.campaigns.suggestion.places.allowed_places`.
    max_mutations : int, optional
    """
    places = [
        None if regions is None else set(allowed_places(parent.antibody, regions))
        for parent in knowledge.parents
    ]
    antigens = CampaignAntigens([knowledge.antigen])
    antigens.read([row.pair.antigen for row in rows if row.pair is not None])  # all at once
    found: list[Candidate] = []
    refused: list[Refused] = []
    first: dict[Molecule, str] = {}
    for row in rows:
        if row.pair is None or row.error is not None:
            refused.append(Refused(row.id, row.error or "no pair in this row"))
            continue
        own = Pair(row.pair.antibody, knowledge.antigen)
        reason = _stranger(row.pair, knowledge, antigens) or _repeated(own, first)
        if reason:
            refused.append(Refused(row.id, reason))
            continue
        number, _ = nearest_parent(knowledge.parents, row.pair.antibody)
        mutations = mutations_between(knowledge.parents[number].antibody, row.pair.antibody)
        outside = [
            one
            for one in mutations
            if (allowed := places[number]) is not None
            and (one.chain, max(one.position, 1)) not in allowed
        ]
        if outside:
            refused.append(Refused(row.id, f"mutated outside {regions}: {outside[0]}"))
        elif max_mutations is not None and len(mutations) > max_mutations:
            reason = f"{len(mutations)} mutations, more than {max_mutations}"
            refused.append(Refused(row.id, reason))
        else:
            first[molecule(own)] = row.id
            found.append(Candidate(row.id, row.pair, number, mutations, "pool", (), row.index))
    return found, refused


def construct_notes(candidates: Sequence[Candidate], knowledge: Knowledge) -> tuple[str, ...]:
    """In what antigens of the pool differ from the campaign's, each with its number of rows."""
    readings = CampaignAntigens([knowledge.antigen]).read([one.pair.antigen for one in candidates])
    counts = Counter(reading.note for reading in readings if reading.note)
    return tuple(
        f"{count:,} row{'s' * (count > 1)} of the pool: {note}" for note, count in counts.items()
    )


def _stranger(pair: Pair, knowledge: Knowledge, antigens: CampaignAntigens) -> str:
    """Why a pair is none of this campaign's; empty if it is."""
    if antigens.read([pair.antigen])[0].antigen is None:
        name = f" ({pair.antigen.name})" if pair.antigen.name else ""
        expected = f" ({knowledge.antigen.name})" if knowledge.antigen.name else ""
        return f"another antigen{name} than the campaign's{expected}"
    if molecule(Pair(pair.antibody, knowledge.antigen)) in knowledge.measured:
        return "already measured"
    parents = [parent.antibody for parent in knowledge.parents]
    if nearest_parent(knowledge.parents, pair.antibody)[1] is not None:
        return ""
    if all((one.light is None) != (pair.antibody.light is None) for one in parents):
        has, lack = ("no", "have one") if pair.antibody.light is None else ("a", "have none")
        return f"{has} light chain, where the campaign's antibodies {lack}"
    return (
        f"another antibody: it differs from every parent in more than {MAX_PARENT_DISTANCE:.0%} "
        "of its residues"
    )


def _repeated(pair: Pair, first: Mapping[Molecule, str]) -> str:
    key = molecule(pair)
    return f"the same sequences as {first[key]!r}" if key in first else ""


def _frame(pairs: Sequence[Pair | Antibody]) -> Any:
    import polars as pl

    rows = []
    for number, one in enumerate(pairs, start=1):
        antibody = one.antibody if isinstance(one, Pair) else one
        antigen = "|".join(one.antigen.chains) if isinstance(one, Pair) else ""
        rows.append((antibody.name or str(number), antibody.heavy, antibody.light or "", antigen))
    return pl.DataFrame(rows, schema=["id", "heavy", "light", "antigen"], orient="row")
