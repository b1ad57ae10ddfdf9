"""FASTA files of antibodies or antigens."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from paratope.core.errors import InputError
from paratope.data.tables.sources import Source, open_source, source_name
from paratope.molecules.sequences import Antigen, clean_antigen

# "mab1_H" and "mab1_L", "mab1|heavy" and "mab1|light", "mab1 VH" and "mab1 VL"
_CHAIN_MARK = re.compile(
    r"^(?P<stem>.+?)[\s_|.:/-]+(?P<mark>heavy|light|vh|vl|vk|hc|lc|h|l|k)(?:[\s_-]*chain)?$",
    re.IGNORECASE,
)
_HEAVY_MARKS = {"heavy", "vh", "hc", "h"}


class FastaRecord(NamedTuple):
    """One record: the header without ``>``, the sequence as written without line ends, its line."""

    name: str
    sequence: str
    line: int


def read_fasta(source: Source) -> tuple[FastaRecord, ...]:
    r"""Records of a FASTA file.

    Parameters
    ----------
    source : path, ``"-"`` for stdin, or binary file object
        Plain or gzip-compressed.

    Returns
    -------
    tuple of FastaRecord

    Raises
    ------
    InputError
        If it cannot be read, holds no record, text before the first record, or an empty record.

    Examples
    --------
    >>> import io
    >>> read_fasta(io.BytesIO(b">lysozyme hen\nKVFGRC\nELAAAM\n"))
    (FastaRecord(name='lysozyme hen', sequence='KVFGRCELAAAM', line=1),)
    """
    with open_source(source) as opened:
        if opened.kind != "text":
            raise InputError(f"{opened.name}: expected a FASTA file, got {opened.kind}")
        with opened.text() as lines:
            return tuple(parse_fasta(lines, opened.name))


def parse_fasta(lines: Iterable[str], name: str) -> Iterator[FastaRecord]:
    """Records of the lines of a FASTA file called `name`; raises as `read_fasta`."""
    header: str | None = None
    start = 0
    parts: list[str] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith(">"):
            if header is not None:
                yield _record(header, parts, start, name)
            header, start, parts = text[1:].strip(), number, []
        elif text and not text.startswith(";"):
            if header is None:
                raise InputError(
                    f"{name}: line {number}: expected a FASTA record starting with '>', got "
                    f"{text[:30]!r}"
                )
            parts.append(text)
    if header is None:
        raise InputError(f"{name}: no FASTA record in it")
    yield _record(header, parts, start, name)


def _record(header: str, parts: list[str], line: int, name: str) -> FastaRecord:
    if not parts:
        raise InputError(f"{name}: line {line}: record {header!r} has no sequence")
    return FastaRecord(header, "".join(parts), line)


def read_antigens(source: Source) -> tuple[Antigen, ...]:
    r"""Antigens of a FASTA file; the chains of one antigen are separated by ``|`` or ``:``.

    Parameters
    ----------
    source : path, ``"-"`` for stdin, or binary file object

    Returns
    -------
    tuple of Antigen
        Named by the first word of the header, or by number where that is empty or taken.

    Raises
    ------
    InputError
        As `read_fasta`, or if a sequence is no protein; names the file and the record's line.

    Examples
    --------
    >>> import io
    >>> read_antigens(io.BytesIO(b">toxin two chains\nMKVLA:GGSAA\n"))
    (Antigen(chains=('MKVLA', 'GGSAA'), name='toxin'),)
    """
    label = source_name(source)
    antigens: list[Antigen] = []
    taken: set[str] = set()
    for number, record in enumerate(read_fasta(source), start=1):
        words = record.name.split()
        name = words[0] if words and words[0] not in taken else f"antigen{number}"
        taken.add(name)
        try:
            antigen, _ = clean_antigen(record.sequence, name)
        except InputError as error:
            raise InputError(f"{label}: line {record.line}: {name!r}: {error}") from None
        antigens.append(antigen)
    return tuple(antigens)


def pair_chains(
    records: Iterable[FastaRecord],
) -> Iterator[tuple[str, str, str | None, int]]:
    """Antibodies of FASTA records: (name, heavy, light, line).

    A record holds both chains (``H|L``), an scFv or a single domain; two records that follow each
    other and are called ``x_H`` and ``x_L`` (or heavy/light, VH/VL, HC/LC) are one antibody ``x``.

    >>> list(pair_chains([FastaRecord("x_H", "EVQL", 1), FastaRecord("x_L", "DIQM", 3)]))
    [('x', 'EVQL', 'DIQM', 1)]
    """
    held: FastaRecord | None = None
    for record in records:
        if held is None:
            held = record
            continue
        stem, held_is_heavy = _stem(held)
        other, is_heavy = _stem(record)
        if stem is not None and stem == other and held_is_heavy != is_heavy:
            heavy, light = (held, record) if held_is_heavy else (record, held)
            yield stem, heavy.sequence, light.sequence, held.line
            held = None
        else:
            yield held.name, held.sequence, None, held.line
            held = record
    if held is not None:
        yield held.name, held.sequence, None, held.line


def _stem(record: FastaRecord) -> tuple[str | None, bool]:
    match = _CHAIN_MARK.match(record.name)
    if match is None:
        return None, False
    return match["stem"].strip(), match["mark"].lower() in _HEAVY_MARKS


def is_fasta_path(path: str | Path) -> bool:
    """Whether a file's name says FASTA.

    >>> is_fasta_path("library.fasta.gz")
    True
    """
    return bool(re.search(r"\.(fasta|fa|faa|fas|fsa)(\.gz)?$", str(path), re.IGNORECASE))
