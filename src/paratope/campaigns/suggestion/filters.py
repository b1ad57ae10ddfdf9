"""What may not be suggested: liabilities and residues nobody wants, strangers in a user's pool."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN
from paratope.campaigns.campaign_model.antigens import CampaignAntigens
from paratope.campaigns.suggestion.candidates import (
    MAX_PARENT_DISTANCE,
    Candidate,
    MeasuredVariants,
    allowed_positions,
    mutated_position,
    nearest_parent,
)
from paratope.core.errors import InputError, unknown_name
from paratope.data.tables import InputTable, TableRow, read_table, table_from_frame
from paratope.molecules.liabilities import (
    LIABILITIES,
    find_liabilities,
    new_liabilities,
    select_liabilities,
)
from paratope.molecules.mutations import Mutation, mutations_between
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair, Residues

DEFAULT_RESIDUES = "C"
PARENTAL = "parental"


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """What is left out."""

    # Keys of `paratope.molecules.liabilities.LIABILITIES`
    liabilities: tuple[str, ...] = select_liabilities()
    residues: str = DEFAULT_RESIDUES  # Residues that no mutation may bring
    parental: bool = False  # Whether a liability that the parent has counts, too

    def __str__(self) -> str:
        """In words: ``deamidation, residue C``."""
        parts = [*self.liabilities]
        if self.residues:
            parts.append(f"residue{'s' * (len(self.residues) > 1)} {', '.join(self.residues)}")
        if self.parental and self.liabilities:
            parts.append("the parent's own liabilities, too")
        return ", ".join(parts) or "nothing"


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """Candidates that a filter took."""

    reasons: dict[int, tuple[str, ...]]  # Index of the candidate, and all that spoke against it

    @property
    def counts(self) -> dict[str, int]:
        """How many candidates each reason took, most frequent first; one may have several."""
        return dict(Counter(why for whys in self.reasons.values() for why in whys).most_common())

    def __str__(self) -> str:
        """In words: ``2 candidates left out: 2 deamidation, 1 residue C``."""
        total = len(self.reasons)
        if not total:
            return "no candidate left out"
        parts = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.items())
        return f"{total:,} candidate{'s' * (total > 1)} left out: {parts}"


def parse_filters(allow: str = "", forbid: str = "", *, pool: bool = False) -> Filters:
    """Filters of what a user allows and forbids beside the default, separated by ``,``.

    By default nothing of a user's own `pool` is filtered.

    Names of `paratope.molecules.liabilities.LIABILITIES`, or ``all`` of them; single residues;
    ``parental`` for the liabilities that the parent has, which are allowed unless forbidden. Raises
    `InputError` if a name is none, or is both allowed and forbidden.

    >>> filters = parse_filters("deamidation,C", "W,weak-deamidation")
    >>> filters.residues, "deamidation" in filters.liabilities
    ('W', False)
    """
    allowed, forbidden = _names(allow), _names(forbid)
    if both := sorted(allowed & forbidden):
        raise InputError(f"{', '.join(both)}: both allowed and forbidden; give it once")
    default = () if pool else select_liabilities()
    liabilities = set(LIABILITIES) if "all" in forbidden else set(default)
    liabilities -= set(LIABILITIES) if "all" in allowed else allowed
    liabilities |= forbidden & LIABILITIES.keys()
    residues = (set("" if pool else DEFAULT_RESIDUES) | (forbidden & set(AMINO_ACIDS))) - allowed
    return Filters(
        tuple(name for name in LIABILITIES if name in liabilities),
        "".join(sorted(residues)),
        PARENTAL in forbidden,
    )


def _names(text: str) -> set[str]:
    names = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name = part.upper() if len(part) == 1 else part.lower()
        if name not in {*LIABILITIES, *AMINO_ACIDS, "all", PARENTAL}:
            raise InputError(
                unknown_name("liability or residue", part, [*LIABILITIES, "all", PARENTAL])
                + ", or one of the 20 residues"
            )
        names.add(name)
    return names


def leave_out(
    candidates: Sequence[Candidate], measured: MeasuredVariants, filters: Filters
) -> tuple[list[Candidate], LeftOut]:
    """The candidates that pass, in order, and why the others do not."""
    kept, reasons = [], {}
    for index, candidate in enumerate(candidates):
        brought = {residue for mutation in candidate.mutations for residue in mutation.after}
        against = [f"residue {residue}" for residue in sorted(brought & set(filters.residues))]
        if filters.liabilities:
            antibody = candidate.pair.antibody
            liabilities = (
                find_liabilities(antibody)
                if filters.parental
                else new_liabilities(measured.parents[candidate.parent].antibody, antibody)
            )
            against += [one.kind for one in liabilities if one.kind in filters.liabilities]
        if against:
            reasons[index] = tuple(dict.fromkeys(against))
        else:
            kept.append(candidate)
    return kept, LeftOut(reasons)


class Refused(NamedTuple):
    """A row of the pool that is no candidate: its id and why."""

    id: str
    reason: str


def read_pool(source: Any, antigen: Antigen) -> InputTable:
    """Rows of a user's own candidates; those that name no antigen are of the campaign's.

    `source` is a path (CSV, TSV, Parquet, XLSX or antibody FASTA), a DataFrame (polars or pandas)
    or a sequence of Pair or Antibody; raises `InputError` if it is no table of antibodies.
    """
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        return read_table(source, default_antigen=antigen)
    if isinstance(source, Sequence):
        rows = []
        for index, item in enumerate(source, start=1):
            antibody: Antibody = item.antibody if isinstance(item, Pair) else item
            named = isinstance(item, Pair) and item.antigen.chains != UNKNOWN_ANTIGEN.chains
            chains = "|".join(item.antigen.chains) if named else ""
            name = antibody.name or str(index)
            rows.append((name, antibody.heavy, antibody.light or "", chains))
        source = pl.DataFrame(rows, schema=["id", "heavy", "light", "antigen"], orient="row")
    return table_from_frame(source, source="pool", default_antigen=antigen)


def pool_candidates(
    rows: Sequence[TableRow],
    measured: MeasuredVariants,
    regions: str | None = None,
    max_mutations: int | None = None,
) -> tuple[list[Candidate], list[Refused]]:
    """Candidates of a pool's rows, and the rows that are none.

    A row is refused if it cannot be read, is of another antigen or another antibody, has been
    measured, repeats a row, or has mutations outside `regions` (see `allowed_positions`) or more
    than `max_mutations`.
    """
    positions = [
        None if regions is None else set(allowed_positions(parent.antibody, regions))
        for parent in measured.parents
    ]
    antigens = CampaignAntigens([measured.antigen])
    antigens.read([row.pair.antigen for row in rows if row.pair is not None])  # all at once
    candidates: list[Candidate] = []
    refused: list[Refused] = []
    first: dict[Residues, str] = {}
    for row in rows:
        if row.pair is None or row.error is not None:
            refused.append(Refused(row.id, row.error or "no pair in this row"))
            continue
        key = Pair(row.pair.antibody, measured.antigen).residues
        parent, _ = nearest_parent(measured.parents, row.pair.antibody)
        mutations: tuple[Mutation, ...] = ()
        reason = _stranger(row.pair, measured, antigens)
        if not reason and key in first:
            reason = f"the same sequences as {first[key]!r}"
        if not reason:
            mutations = mutations_between(measured.parents[parent].antibody, row.pair.antibody)
            allowed = positions[parent]
            outside = [
                mutation
                for mutation in mutations
                if allowed is not None and mutated_position(mutation) not in allowed
            ]
            if outside:
                reason = f"mutated outside {regions}: {outside[0]}"
            elif max_mutations is not None and len(mutations) > max_mutations:
                reason = f"{len(mutations)} mutations, more than {max_mutations}"
        if reason:
            refused.append(Refused(row.id, reason))
        else:
            first[key] = row.id
            candidates.append(Candidate(row.id, row.pair, parent, mutations, "pool", (), row.index))
    return candidates, refused


def _stranger(pair: Pair, measured: MeasuredVariants, antigens: CampaignAntigens) -> str:
    """Why a pair is none of this campaign's; empty if it is."""
    if antigens.read([pair.antigen])[0].antigen is None:
        name = f" ({pair.antigen.name})" if pair.antigen.name else ""
        expected = f" ({measured.antigen.name})" if measured.antigen.name else ""
        return f"another antigen{name} than the campaign's{expected}"
    if Pair(pair.antibody, measured.antigen).residues in measured.keys:
        return "already measured"
    if nearest_parent(measured.parents, pair.antibody)[1] is not None:
        return ""
    light = pair.antibody.light
    if all((parent.antibody.light is None) != (light is None) for parent in measured.parents):
        has, lack = ("no", "have one") if light is None else ("a", "have none")
        return f"{has} light chain, where the campaign's antibodies {lack}"
    return (
        f"another antibody: it differs from every parent in more than {MAX_PARENT_DISTANCE:.0%} "
        "of its residues"
    )


def construct_notes(candidates: Sequence[Candidate], measured: MeasuredVariants) -> tuple[str, ...]:
    """In what antigens of the pool differ from the campaign's, each with its number of rows."""
    readings = CampaignAntigens([measured.antigen]).read([one.pair.antigen for one in candidates])
    counts = Counter(reading.note for reading in readings if reading.note)
    return tuple(
        f"{count:,} row{'s' * (count > 1)} of the pool: {note}" for note, count in counts.items()
    )
