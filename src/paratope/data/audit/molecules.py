"""What the sequences are: antibodies or not, swapped or repeated chains, antigens and names."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from paratope.core.errors import InputError
from paratope.data.audit.table import AuditedTable, domains_of, sequence_problem
from paratope.data.findings import Finding, counted, named, percent
from paratope.data.tables import match_columns
from paratope.data.tables.molecules import MoleculeReader
from paratope.data.tables.variants import (
    MADE,
    MutationError,
    NumbersError,
    joined_mutations,
    mutation_columns,
)
from paratope.molecules.sequences import antigen_doubt, clean_antigen

# numbering is fast, but a table may hold a million chains: so many different ones are looked at
MAX_NUMBERED = 5000
MAX_ANTIGENS = 3000
MAX_READ = 10_000
# an antigen's point mutants and constructs share a name; unrelated sequences should not
SAME_ANTIGEN_IDENTITY = 60.0
MIN_FRAGMENT = 30

_CHAIN_FAULTS = {
    "non_antibody": "the heavy chain holds no heavy-chain variable domain",
    "light_not_light": "the light chain holds no light-chain variable domain",
    "swapped_chains": "heavy and light chains are swapped",
    "repeated_chain": "the same chain stands as heavy and as light",
}

_MUTATION_FAULTS = {
    "mutation_numbers": "with mutations whose numbers are not positions in the sequence",
    "mutation_not_made": "with mutations that are not in the sequences",
}


def check_readable(table: AuditedTable) -> Iterator[Finding]:
    """Cells of sequence columns that are no protein."""
    for role in ("heavy", "light", "antigen"):
        if role == "antigen" and not _holds_sequences(table):
            continue
        texts = table.text(role)
        problems = {text: sequence_problem(text) for text in set(texts) if text is not None}
        shown = {row: problems[text] for row, text in enumerate(texts) if text and problems[text]}
        message = f"{len(shown)} cells are no protein sequence"
        yield from table.about_rows(
            "unreadable_sequence", table.roles.get(role, ""), shown, message
        )


def check_antigen_cells(table: AuditedTable) -> Iterator[Finding]:
    """Antigens that are names, letters or an antibody's chain."""
    first = match_columns(table.frame.columns).get("antigen", "")
    column = table.roles.get("antigen", first)  # letters of chains give a column no role
    texts = table.frame[column].to_list() if column else []
    doubts = {text: antigen_doubt(text) for text in set(texts) if text is not None}
    names = {row: text for row, text in enumerate(texts) if text is not None and doubts[text]}
    message = f"{counted(len(names), 'cell')} with a name or letters where residues belong"
    yield from table.about_rows("antigen_is_name", column, names, message)
    if first != column and table.roles.get("antigen_name") == first:
        message = f"the column holds no residues; the antigen is read from {column!r}"
        yield table.finding("antigen_is_name", first, message, table.rows, severity="info")
    domains = _domains(table.antigen)
    rows = [row for row, text in enumerate(table.antigen) if domains.get(text or "")]
    message = f"in {counted(len(rows), 'row')} the antigen is an antibody domain"
    in_antibody = sum(table.antigen[row] in (table.heavy[row], table.light[row]) for row in rows)
    message += f", in {in_antibody} of the row's own antibody" * bool(in_antibody)
    yield from table.about_rows("antigen_is_antibody", column, rows, message)


def check_halves(table: AuditedTable) -> Iterator[Finding]:
    """Antibodies of which a region or the light chain is missing."""
    cut: dict[int, str] = {}
    unpaired = []
    limit = set(_domains(table.heavy)) | set(_domains(table.light))
    for row, chains in enumerate(zip(table.heavy, table.light, strict=True)):
        domains = [each for text in chains if text in limit for each in domains_of(text or "")]
        if missing := [name for domain in domains for name in domain.missing]:
            cut[row] = ", ".join(missing)
        if len(domains) == 1 and chains[1] is None and domains[0].is_conventional_vh:
            unpaired.append(row)
    column = table.roles.get("heavy", "")
    message = f"{counted(len(cut), 'row')} with a domain that lacks a region or most of it"
    yield from table.about_rows("cut_domain", column, cut, message)
    single = any(re.search("vhh|nanobod|single", text or "", re.I) for text in table.text("format"))
    if not single:
        message = f"{counted(len(unpaired), 'row')} with a conventional VH and no light chain"
        severity = "warning" if any(table.light) else "info"
        yield from table.about_rows("no_light_chain", column, unpaired, message, severity)


def check_spelt_cells(table: AuditedTable) -> Iterator[Finding]:
    """Cells of sequences that are read only after gaps are removed or chains told apart."""
    for role in ("heavy", "light", "antigen"):
        notes: dict[int, str] = {}
        for row, text in enumerate(table.text(role)):
            if text and not text.isalnum() and not sequence_problem(text):
                said = [note.removeprefix("antigen: ") for note in clean_antigen(text)[1]]
                notes |= {row: "; ".join(said)} if said else {}
        if role != "antigen" or _holds_sequences(table):
            message = f"{counted(len(notes), 'cell')} read with gaps removed or as several chains"
            yield from table.about_rows("gaps_or_lines", table.roles.get(role, ""), notes, message)


def _holds_sequences(table: AuditedTable) -> bool:
    """Whether the antigen column holds residues rather than names."""
    texts = [text for text in table.text("antigen") if text]
    return sum(len(text) >= 30 and " " not in text for text in texts) > 0.5 * len(texts)


def check_antibodies(table: AuditedTable) -> Iterator[Finding]:
    """Chains that are no antibody domain, or not the one their column says."""
    heavy_domains, light_domains = _domains(table.heavy), _domains(table.light)
    faulty: dict[str, list[int]] = defaultdict(list)
    for row, (heavy, light) in enumerate(zip(table.heavy, table.light, strict=True)):
        # None where a chain is missing, unreadable or beyond the limit
        in_heavy, in_light = heavy_domains.get(heavy or ""), light_domains.get(light or "")
        if heavy and heavy == light and in_heavy and "H" in in_heavy and "L" not in in_heavy:
            faulty["repeated_chain"].append(row)
        elif in_heavy is not None and "H" not in in_heavy:
            swapped = "L" in in_heavy and "H" in (in_light or "")
            faulty["swapped_chains" if swapped else "non_antibody"].append(row)
        elif in_light is not None and "L" not in in_light:
            faulty["light_not_light"].append(row)
    total = sum(heavy is not None for heavy in table.heavy)
    for code, rows in faulty.items():
        column = table.roles.get("light" if code == "light_not_light" else "heavy", "")
        share = f"{len(rows)} of {total} rows ({percent(len(rows), total)})"
        yield from table.about_rows(code, column, rows, f"in {share} {_CHAIN_FAULTS[code]}")


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


def check_spellings(table: AuditedTable) -> Iterator[Finding]:
    """Antigen names spelt in more than one way."""
    names = table.text("antigen_name")
    if not any(names) and not _holds_sequences(table):
        names = table.text("antigen")
    double = [rows for rows in _rows_by(_spellings(names), names).values() if len(rows) > 1]
    if double:
        column = table.roles.get("antigen_name") or table.roles.get("antigen", "")
        message = f"{counted(len(double), 'antigen name')} spelt in more than one way"
        yield table.finding("antigen_spelling", column, message, _rarer(double), _shown(double))


def check_antigen_names(table: AuditedTable) -> Iterator[Finding]:
    """One antigen under two names, and one name for two antigens."""
    from rapidfuzz import fuzz

    if not _holds_sequences(table):
        return
    names, column = table.text("antigen_name"), table.roles.get("antigen_name", "")
    by_sequence = _rows_by(table.antigen, names).values()
    double = [rows for rows in by_sequence if len(set(_spellings([*rows]))) > 1]
    if double:
        antigens = counted(len(double), "antigen")
        message = f"{antigens} with the same residues under two or more names"
        yield table.finding("antigen_two_names", column, message, _rarer(double), _shown(double))
    unrelated: dict[str, list[int]] = {}
    for spelling, by_antigen in _rows_by(_spellings(names), table.antigen).items():
        longest, *others = sorted(by_antigen, key=lambda sequence: (-len(sequence), sequence))
        for other in others:
            pairs = itertools.product(other.split(":"), longest.split(":"))
            if max(fuzz.partial_ratio(*pair) for pair in pairs) < SAME_ANTIGEN_IDENTITY:
                unrelated.setdefault(spelling, []).extend(by_antigen[other])
    if unrelated:
        rows = sorted(itertools.chain(*unrelated.values()))
        message = f"{counted(len(unrelated), 'name')} for sequences that have little in common"
        yield table.finding("name_two_antigens", column, message, rows, tuple(unrelated)[:4])


def _rows_by(
    keys: Sequence[str | None], names: Sequence[str | None]
) -> dict[str, dict[str, list[int]]]:
    """Key -> name -> rows, where a row has both."""
    rows: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (key, name) in enumerate(zip(keys, names, strict=True)):
        if key and name:
            rows[key][name].append(row)
    return rows


def _rarer(double: Sequence[Mapping[str, list[int]]]) -> list[int]:
    """Rows under all names but the commonest, which is taken for the right one."""
    rarer = [sorted(by_name.values(), key=len, reverse=True)[1:] for by_name in double]
    return sorted(row for others in rarer for rows in others for row in rows)


def _shown(double: Sequence[Mapping[str, list[int]]]) -> list[str]:
    return [
        named([f"{name!r} ({len(rows)} rows)" for name, rows in by_name.items()])
        for by_name in double[:3]
    ]


def _spellings(names: Sequence[str | None]) -> list[str | None]:
    """Names without case, spaces and punctuation."""
    return [name and re.sub(r"[^a-z0-9α-ω]", "", name.lower()) for name in names]


def check_mutations(table: AuditedTable) -> Iterator[Finding]:
    """Mutations that are not in the sequences beside them, or not in positions of their parent."""
    parts = mutation_columns(table.frame.columns, table.roles)
    roles = table.roles | ({"mutations": next(iter(parts.values()))} if parts else {})
    reader = MoleculeReader(roles, None, None)
    texts = {role: [text or "" for text in table.text(role)] for role in table.roles}
    if parts:
        texts["mutations"] = joined_mutations(parts, table.frame)
    rows = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    for row, cells in enumerate(rows, start=1):
        reader.remember(cells.get("id") or str(row), cells)
    faulty: dict[str, dict[int, str]] = {"mutation_numbers": {}, "mutation_not_made": {}}
    for row in [row for row, cells in enumerate(rows) if reader.mutations(cells)][:MAX_READ]:
        try:
            if MADE in reader.read(rows[row]).notes:
                faulty["mutation_not_made"][row] = MADE
        except MutationError as problem:
            code = "mutation_numbers" if isinstance(problem, NumbersError) else "mutation_not_made"
            faulty[code][row] = str(problem).partition(": ")[2]
        except InputError:
            pass  # said by the checks of sequences
    for code, examples in faulty.items():
        message = f"{counted(len(examples), 'row')} {_MUTATION_FAULTS[code]}"
        column = roles.get("mutations") or roles.get("id", "")
        yield from table.about_rows(code, column, examples, message)


def check_fragments(table: AuditedTable) -> Iterator[Finding]:
    """Antigens that are pieces of another one."""
    different = sorted({s for s in table.antigen if s}, key=len, reverse=True)
    if not (_holds_sequences(table) and 2 <= len(different) <= MAX_ANTIGENS):
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
