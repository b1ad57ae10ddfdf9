"""What the sequences are: antibodies or not, swapped or repeated chains, antigens and names."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from paratope.data.audit.table import AuditedTable, domains_of, sequence_problem
from paratope.data.findings import Finding, counted, named, percent

# numbering is fast, but a table may hold a million chains: so many different ones are looked at
MAX_NUMBERED = 5000
MAX_ANTIGENS = 3000
# an antigen's point mutants and constructs share a name; unrelated sequences should not
SAME_ANTIGEN_IDENTITY = 60.0
MIN_FRAGMENT = 30

_CHAIN_FAULTS = {
    "non_antibody": "the heavy chain holds no heavy-chain variable domain",
    "light_not_light": "the light chain holds no light-chain variable domain",
    "swapped_chains": "heavy and light chains are swapped",
    "repeated_chain": "the same chain stands as heavy and as light",
}


def check_readable(table: AuditedTable) -> Iterator[Finding]:
    """Cells of sequence columns that are no protein."""
    for role in ("heavy", "light", "antigen"):
        if role == "antigen" and not _holds_sequences(table):
            continue
        texts = table.text(role)
        problems = {text: sequence_problem(text) for text in set(texts) if text is not None}
        rows = [row for row, text in enumerate(texts) if text is not None and problems[text]]
        if rows:
            shown = {row: problems[texts[row] or ""] for row in rows}
            message = f"{len(rows)} cells are no protein sequence"
            column, examples = table.roles[role], table.shown(rows, shown)
            yield table.finding("unreadable_sequence", column, message, rows, examples)


def _holds_sequences(table: AuditedTable) -> bool:
    """Whether the antigen column holds residues rather than names."""
    texts = [text for text in table.text("antigen") if text]
    return sum(len(text) >= 30 and " " not in text for text in texts) > 0.5 * len(texts)


def check_antibodies(table: AuditedTable) -> Iterator[Finding]:
    """Chains that are no antibody domain, or not the one their column says."""
    heavy_domains, light_domains = _domains(table.heavy), _domains(table.light)
    if not heavy_domains and not light_domains:
        return
    found: dict[str, list[int]] = defaultdict(list)
    for row, (heavy, light) in enumerate(zip(table.heavy, table.light, strict=True)):
        # None where a chain is missing, unreadable or beyond the limit
        in_heavy, in_light = heavy_domains.get(heavy or ""), light_domains.get(light or "")
        no_heavy = in_heavy is not None and "H" not in in_heavy
        if heavy and heavy == light and in_heavy and "H" in in_heavy and "L" not in in_heavy:
            found["repeated_chain"].append(row)
        elif no_heavy and in_light and "L" in (in_heavy or "") and "H" in in_light:
            found["swapped_chains"].append(row)
        elif no_heavy:
            found["non_antibody"].append(row)
        elif in_light is not None and "L" not in in_light:
            found["light_not_light"].append(row)
    total = sum(heavy is not None for heavy in table.heavy)
    for code, rows in found.items():
        column = table.roles.get("light" if code == "light_not_light" else "heavy", "")
        share = f"{len(rows)} of {total} rows ({percent(len(rows), total)})"
        message = f"in {share} {_CHAIN_FAULTS[code]}"
        yield table.finding(code, column, message, rows, table.shown(rows))


def _domains(chains: Sequence[str | None]) -> dict[str, str]:
    """The domains of each different chain (up to a limit), such as ``"H"`` or ``"HL"``."""
    different = list(dict.fromkeys(chain for chain in chains if chain))
    if len(different) > MAX_NUMBERED:
        chosen = np.random.default_rng(0).choice(len(different), MAX_NUMBERED, replace=False)
        different = [different[index] for index in np.sort(chosen)]
    return {
        chain: "".join("H" if domain.is_heavy else "L" for domain in domains_of(chain))
        for chain in different
        if not sequence_problem(chain)
    }


def check_antigen_names(table: AuditedTable) -> Iterator[Finding]:
    """One antigen under two names, and one name for two antigens."""
    names = table.text("antigen_name")
    if _holds_sequences(table):
        yield from _names_against_sequences(table, names)
        yield from _fragments(table)
    elif not any(names):
        names = table.text("antigen")
    double = [found for found in _rows_by(_spellings(names), names).values() if len(found) > 1]
    if double:
        column = table.roles.get("antigen_name") or table.roles.get("antigen", "")
        message = f"{counted(len(double), 'antigen name')} spelt in more than one way"
        yield table.finding("antigen_spelling", column, message, _rarer(double), _shown(double))


def _names_against_sequences(table: AuditedTable, names: Sequence[str | None]) -> Iterator[Finding]:
    column = table.roles.get("antigen_name", "")
    by_sequence = _rows_by(table.antigen, names).values()
    double = [found for found in by_sequence if len(set(_spellings([*found]))) > 1]
    if double:
        antigens = counted(len(double), "antigen")
        message = f"{antigens} with the same residues under two or more names"
        yield table.finding("antigen_two_names", column, message, _rarer(double), _shown(double))
    unrelated: dict[str, list[int]] = {}
    for spelling, found in _rows_by(_spellings(names), table.antigen).items():
        rows = [row for sequence in _unrelated(found) for row in found[sequence]]
        if rows:
            unrelated[spelling] = rows
    if unrelated:
        rows = sorted(row for rows in unrelated.values() for row in rows)
        message = f"{counted(len(unrelated), 'name')} for sequences that have little in common"
        yield table.finding("name_two_antigens", column, message, rows, tuple(unrelated)[:4])


def _rows_by(
    keys: Sequence[str | None], names: Sequence[str | None]
) -> dict[str, dict[str, list[int]]]:
    """Key -> name -> rows, where a row has both."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (key, name) in enumerate(zip(keys, names, strict=True)):
        if key and name:
            found[key][name].append(row)
    return found


def _rarer(double: Sequence[Mapping[str, list[int]]]) -> list[int]:
    """Rows under all names but the commonest, which is taken for the right one."""
    rows = [sorted(found.values(), key=lambda rows: -len(rows))[1:] for found in double]
    return sorted(row for others in rows for other in others for row in other)


def _shown(double: Sequence[Mapping[str, list[int]]]) -> list[str]:
    return [
        named([f"{name!r} ({len(rows)} rows)" for name, rows in found.items()])
        for found in double[:3]
    ]


def _spellings(names: Sequence[str | None]) -> list[str | None]:
    """Names without case, spaces and punctuation."""
    return [name and re.sub(r"[^a-z0-9α-ω]", "", name.lower()) for name in names]


def _unrelated(sequences: Iterable[str]) -> list[str]:
    """Sequences unlike the longest."""
    from rapidfuzz import fuzz

    first, *others = sorted(sequences, key=lambda sequence: (-len(sequence), sequence))

    def likeness(sequence: str) -> float:
        pairs = itertools.product(sequence.split(":"), first.split(":"))
        return max(fuzz.partial_ratio(part, chain) for part, chain in pairs)

    return [other for other in others if likeness(other) < SAME_ANTIGEN_IDENTITY]


def _fragments(table: AuditedTable) -> Iterator[Finding]:
    """Antigens that are pieces of another one."""
    different = sorted({s for s in table.antigen if s}, key=len, reverse=True)
    if not 2 <= len(different) <= MAX_ANTIGENS:
        return
    everything = "\n".join(different)
    # found within another one: it occurs more than once in the text of all
    pieces = {
        sequence: next(other for other in different if sequence in other and other != sequence)
        for sequence in different
        if len(sequence) >= MIN_FRAGMENT and everything.count(sequence) > 1
    }
    if pieces:
        rows = [row for row, sequence in enumerate(table.antigen) if sequence in pieces]
        message = (
            f"{counted(len(pieces), 'antigen')} contained whole in another antigen of the table: "
            "constructs of the same protein"
        )
        examples = [f"{len(p)} of {len(w)} residues" for p, w in list(pieces.items())[:3]]
        yield table.finding("antigen_fragment", table.roles["antigen"], message, rows, examples)
