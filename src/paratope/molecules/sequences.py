"""Antibodies, antigens and pairs, and the cleaning of the letters people paste."""

import dataclasses
import re

from paratope.core.errors import InputError

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
ALPHABET = AMINO_ACIDS + "X"
_REPLACED = {"U": "C", "B": "X", "Z": "X", "J": "X", "O": "X"}
_READABLE = frozenset(ALPHABET) | _REPLACED.keys()
_CHAIN_SEPARATORS = re.compile(r"[|:]")
MAX_RESIDUES = 100_000


@dataclasses.dataclass(frozen=True, slots=True)
class Antibody:
    """An antibody by its chains' residues."""

    heavy: str  # Heavy chain, or the single domain of a VHH
    light: str | None = None  # None for a VHH (nanobody)
    name: str = ""

    @property
    def chains(self) -> tuple[str, ...]:
        """The chains that are there, heavy first."""
        return (self.heavy,) if self.light is None else (self.heavy, self.light)


@dataclasses.dataclass(frozen=True, slots=True)
class Antigen:
    """An antigen by its chains' residues, in the order given."""

    chains: tuple[str, ...]
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """An antibody and the antigen it is asked to bind."""

    antibody: Antibody
    antigen: Antigen

    @property
    def residues(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Chains of both: what makes two pairs the same whatever they are called."""
        return self.antibody.chains, self.antigen.chains


def clean_sequence(text: str, what: str = "sequence") -> tuple[str, tuple[str, ...]]:
    """Residues of one chain: upper case, no white space, gaps at the ends or trailing stop ``*``.

    Returns letters of the 20 residues and X, and notes of what was changed (U to C; B, Z, J, O to
    X). Raises `InputError`, where `what` is the chain's name, if nothing is left, a letter is no
    residue (its position is from 1 in the text without white space), or the text is DNA or RNA.

    >>> clean_sequence(" evql vesgg* ")
    ('EVQLVESGG', ())
    >>> clean_sequence("EVQUZ")
    ('EVQCX', ('1 U read as C', '1 of B/Z/J/O read as X'))
    """
    letters = "".join(text.split())
    residues = letters.rstrip("*-").lstrip("-")
    first = len(letters) - len(letters.lstrip("-")) + 1
    if not residues:
        raise InputError(f"{what}: empty")
    if len(residues) > MAX_RESIDUES:
        raise InputError(f"{what}: {len(residues)} residues; at most {MAX_RESIDUES} are read")
    if residues.isascii():  # upper-casing turns some other letters into residues
        residues = residues.upper()
    if len(residues) >= 30 and not set(residues) - set("ACGTUN"):
        kind = "RNA" if "U" in residues and "T" not in residues else "DNA"
        raise InputError(
            f"{what}: this is {kind} ({len(residues)} bases), not protein; translate it first"
        )
    present = set(residues)
    if present - _READABLE:
        for position, letter in enumerate(residues, start=first):
            if letter.upper() not in _READABLE or not letter.isascii():
                raise InputError(
                    f"{what}: {letter!r} at position {position} is not an amino acid; expected the "
                    f"letters {ALPHABET}"
                )
    if not present & _REPLACED.keys():
        return residues, ()
    notes = []
    if "U" in residues:
        notes.append(f"{residues.count('U')} U read as C")
    vague = sum(residues.count(letter) for letter in "BZJO")
    if vague:
        notes.append(f"{vague} of B/Z/J/O read as X")
    return "".join(_REPLACED.get(letter, letter) for letter in residues), tuple(notes)


def clean_antigen(text: str, name: str = "") -> tuple[Antigen, tuple[str, ...]]:
    """Antigen of one text; chains are separated by ``|`` or ``:``.

    Raises `InputError` as `clean_sequence`.

    >>> clean_antigen("MKV:GGS")[0].chains
    ('MKV', 'GGS')
    """
    parts = [part for part in _CHAIN_SEPARATORS.split(text) if part.strip()]
    if not parts:
        raise InputError("antigen: empty")
    chains: list[str] = []
    notes: list[str] = []
    for number, part in enumerate(parts, start=1):
        label = "antigen" if len(parts) == 1 else f"antigen chain {number}"
        residues, changed = clean_sequence(part, label)
        chains.append(residues)
        notes += [f"{label}: {note}" for note in changed]
    return Antigen(tuple(chains), name), tuple(notes)


def clean_antibody(
    heavy: str, light: str | None = None, name: str = ""
) -> tuple[Antibody, tuple[str, ...]]:
    """Antibody of its chains as text; ``"H|L"`` in `heavy` alone gives both.

    An empty `light` means a single domain. Whether the chains are antibody domains, swapped, or an
    scFv is for `paratope.molecules.numbering` to say. Raises `InputError` as `clean_sequence`.

    >>> clean_antibody("EVQL|DIQM")[0]
    Antibody(heavy='EVQL', light='DIQM', name='')
    """
    light = light if light and light.strip() else None
    parts = [part for part in _CHAIN_SEPARATORS.split(heavy) if part.strip()]
    if len(parts) > 2:
        raise InputError(
            f"heavy chain: {len(parts)} chains where at most two (heavy|light) are expected"
        )
    if len(parts) == 2 and light is not None:
        raise InputError(
            "heavy chain: it holds two chains (heavy|light) and a light chain is given beside it; "
            "give the light chain once"
        )
    heavy, light = parts if len(parts) == 2 else (parts[0] if parts else heavy, light)
    heavy, notes = clean_sequence(heavy, "heavy chain")
    all_notes = [f"heavy chain: {note}" for note in notes]
    if light is not None:
        light, notes = clean_sequence(light, "light chain")
        all_notes += [f"light chain: {note}" for note in notes]
    return Antibody(heavy, light, name), tuple(all_notes)
