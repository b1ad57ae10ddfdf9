"""What the sequences are: antibodies or not, swapped or repeated chains, antigens and names."""

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from paratope.core.errors import InputError
from paratope.data.audit.report import Finding, named, percent, row_numbers
from paratope.data.audit.subject import Subject, domains_of
from paratope.molecules.sequences import clean_sequence

# numbering is fast, but a table may hold a million chains: so many different ones are looked at
MAX_NUMBERED = 5000
# an antigen's point mutants and constructs share a name; unrelated sequences should not
SAME_ANTIGEN_IDENTITY = 60.0


def check_readable(subject: Subject) -> Iterator[Finding]:
    """Cells of sequence columns that are no protein."""
    for role in ("heavy", "light", "antigen"):
        texts = subject.text(role)
        by_text: dict[str, str] = {}
        rows = []
        if role == "antigen" and not _holds_sequences(subject):
            continue
        for row, text in enumerate(texts):
            if text is None:
                continue
            if text not in by_text:
                by_text[text] = _problem(text)
            if by_text[text]:
                rows.append(row)
        if rows:
            yield Finding(
                "unreadable_sequence", "error", 0.99, subject.name, subject.roles[role],
                f"{len(rows)} cells are no protein sequence",
                "Correct them; predict and train would refuse these rows.",
                len(rows), row_numbers(rows),
                tuple(f"{subject.shown(r)}: {by_text[texts[r] or '']}" for r in rows[:3]),
            )  # fmt: skip


def _holds_sequences(subject: Subject) -> bool:
    """Whether the antigen column holds residues rather than names."""
    texts = [text for text in subject.text("antigen") if text]
    long = sum(len(text) >= 30 and " " not in text.strip() for text in texts)
    return bool(texts) and long > 0.5 * len(texts)


def _problem(text: str) -> str:
    try:
        for part in re.split(r"[|:]", text):
            if part.strip():
                clean_sequence(part)
    except InputError as problem:
        return str(problem)
    return ""


def check_antibodies(subject: Subject) -> Iterator[Finding]:
    """Chains that are no antibody domain, or not the one their column says."""
    heavy = _kinds(subject.heavy)
    light = _kinds(subject.light)
    if not heavy and not light:
        return
    found: dict[str, list[int]] = defaultdict(list)
    for row, (h, vl) in enumerate(zip(subject.heavy, subject.light, strict=True)):
        of_heavy = heavy.get(h or "") if h else None
        of_light = light.get(vl or "") if vl else None
        if h and vl and h == vl and "H" in (of_heavy or "") and "L" not in (of_heavy or ""):
            found["repeated_chain"].append(row)
        elif (
            of_heavy is not None and of_light is not None
            and "H" not in of_heavy and "L" in of_heavy and "H" in of_light
        ):  # fmt: skip
            found["swapped_chains"].append(row)
        elif of_heavy is not None and "H" not in of_heavy:
            found["non_antibody"].append(row)
        elif of_light is not None and "L" not in of_light:
            found["light_not_light"].append(row)
    total = sum(h is not None for h in subject.heavy)
    for code, rows in found.items():
        yield _chain_finding(subject, code, rows, total)


def _chain_finding(subject: Subject, code: str, rows: list[int], total: int) -> Finding:
    share = f"{len(rows)} of {total} rows ({percent(len(rows), total)})"
    said = {
        "non_antibody": (
            "error", f"in {share} the heavy chain holds no heavy-chain variable domain",
            "Leave these rows out of anything about antibodies: receptors, enzymes and fragments "
            "follow other rules.",
        ),
        "light_not_light": (
            "error", f"in {share} the light chain holds no light-chain variable domain",
            "Check which chain it is; leave it empty for single domains.",
        ),
        "swapped_chains": (
            "warning", f"in {share} heavy and light chains are swapped",
            "Swap them back. Prediction corrects this with a note; your own statistics would not.",
        ),
        "repeated_chain": (
            "warning", f"in {share} the same chain stands as heavy and as light",
            "Leave the light chain empty if these are single domains; otherwise find the real one.",
        ),
    }[code]  # fmt: skip
    severity, message, advice = said
    assert severity in ("error", "warning")
    return Finding(
        code, severity, 0.97, subject.name,
        subject.roles.get("light" if code == "light_not_light" else "heavy", ""), message, advice,
        len(rows), row_numbers(rows), tuple(subject.shown(row) for row in rows[:4]),
    )  # fmt: skip


def _kinds(chains: list[str | None]) -> dict[str, str]:
    """Of each different chain (up to a limit) its domains, such as ``"H"`` or ``"HL"``."""
    different = list(dict.fromkeys(chain for chain in chains if chain))
    if len(different) > MAX_NUMBERED:
        chosen = np.random.default_rng(0).choice(len(different), MAX_NUMBERED, replace=False)
        different = [different[k] for k in np.sort(chosen)]
    kinds = {}
    for chain in different:
        if not _problem(chain):
            kinds[chain] = "".join("H" if domain.is_heavy else "L" for domain in domains_of(chain))
    return kinds


def check_antigen_names(subject: Subject) -> Iterator[Finding]:
    """One antigen under two names, and one name for two antigens."""
    if _holds_sequences(subject):
        names, sequences = subject.text("antigen_name"), subject.antigen
        if any(names):
            yield from _names_against_sequences(subject, names, sequences)
        yield from _fragments(subject, sequences)
    else:
        names = subject.text("antigen_name")
        names = names if any(names) else subject.text("antigen")
    yield from _spellings(subject, names)


def _names_against_sequences(
    subject: Subject, names: list[str | None], sequences: list[str | None]
) -> Iterator[Finding]:
    by_sequence: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    by_name: dict[str, set[str]] = defaultdict(set)
    for row, (name, sequence) in enumerate(zip(names, sequences, strict=True)):
        if name and sequence:
            by_sequence[sequence][name].append(row)
            by_name[_spelling(name)].add(sequence)
    double = {s: n for s, n in by_sequence.items() if len({_spelling(x) for x in n}) > 1}
    if double:
        # the commonest name is taken for the right one
        rows = sorted(
            row
            for spelt in double.values()
            for name in sorted(spelt, key=lambda x: -len(spelt[x]))[1:]
            for row in spelt[name]
        )
        yield Finding(
            "antigen_two_names", "warning", 0.95, subject.name, subject.roles["antigen_name"],
            f"{_some(len(double), 'antigen')} with the same residues under two or more names",
            "Give each antigen one name: splits and per-antigen metrics by name would leak "
            "otherwise.",
            len(rows), row_numbers(rows),
            tuple(_with_counts(spelt) for spelt in list(double.values())[:3]),
        )  # fmt: skip
    strangers = {
        name: different for name, found in by_name.items() if (different := _unrelated(found))
    }
    if strangers:
        rows = [
            row for row, name in enumerate(names)
            if name and sequences[row] and sequences[row] in strangers.get(_spelling(name), ())
        ]  # fmt: skip
        yield Finding(
            "name_two_antigens", "warning", 0.9, subject.name, subject.roles["antigen_name"],
            f"{_some(len(strangers), 'name')} for sequences that have little in common",
            "Check that the right sequence stands beside the name; give different antigens "
            "different names.",
            len(rows), row_numbers(rows), tuple(strangers)[:4],
        )  # fmt: skip


def _unrelated(sequences: set[str]) -> set[str]:
    """Sequences unlike the first (longest) of their name."""
    from rapidfuzz import fuzz

    if len(sequences) < 2:
        return set()
    first = max(sorted(sequences), key=len)
    chains = first.split(":")
    return {
        sequence
        for sequence in sequences
        if sequence != first
        and max(fuzz.partial_ratio(part, chain) for part in sequence.split(":") for chain in chains)
        < SAME_ANTIGEN_IDENTITY
    }


def _fragments(subject: Subject, sequences: list[str | None]) -> Iterator[Finding]:
    """Antigens that are pieces of another one."""
    different = sorted({s for s in sequences if s}, key=len, reverse=True)
    if not 2 <= len(different) <= 3000:
        return
    pieces: dict[str, str] = {}
    everything = "\n".join(different)
    for sequence in different:
        # found within another one: it occurs more than once in the text of all
        if len(sequence) >= 30 and everything.count(sequence) > 1:
            whole = next(other for other in different if sequence in other and other != sequence)
            pieces[sequence] = whole
    if pieces:
        rows = [row for row, s in enumerate(sequences) if s in pieces]
        yield Finding(
            "antigen_fragment", "info", 0.9, subject.name, subject.roles["antigen"],
            f"{_some(len(pieces), 'antigen')} contained whole in another antigen of the table: "
            "constructs of the same protein",
            "Keep them on one side of a split; splitting by antigen cluster does so.",
            len(rows), row_numbers(rows),
            tuple(f"{len(p)} of {len(w)} residues" for p, w in list(pieces.items())[:3]),
        )  # fmt: skip


def _spellings(subject: Subject, names: list[str | None]) -> Iterator[Finding]:
    """Names that differ only in case, spaces or punctuation."""
    spelt: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, name in enumerate(names):
        if name:
            spelt[_spelling(name)][name].append(row)
    double = [found for found in spelt.values() if len(found) > 1]
    if double:
        rows = sorted(
            row
            for found in double
            for name in sorted(found, key=lambda x: -len(found[x]))[1:]
            for row in found[name]
        )
        column = subject.roles.get("antigen_name") or subject.roles.get("antigen", "")
        yield Finding(
            "antigen_spelling", "warning", 0.9, subject.name, column,
            f"{_some(len(double), 'antigen name')} spelt in more than one way",
            "Give each antigen one spelling: grouping by name takes them for different antigens.",
            len(rows), row_numbers(rows),
            tuple(_with_counts(found) for found in double[:3]),
        )  # fmt: skip


def _with_counts(spelt: dict[str, list[int]]) -> str:
    return named([f"{name!r} ({len(rows)} rows)" for name, rows in spelt.items()])


def _spelling(name: str) -> str:
    return re.sub(r"[^a-z0-9α-ω]", "", name.lower())


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
