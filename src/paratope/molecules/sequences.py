"""Antibodies, antigens and pairs, and the cleaning of the letters people paste."""

import dataclasses
import functools
import re

from paratope.core.errors import InputError

# Residues of each chain of a molecule, in order.
Chains = tuple[str, ...]
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
ALPHABET = AMINO_ACIDS + "X"
_REPLACED = {"U": "C", "B": "X", "Z": "X", "J": "X", "O": "X"}
_READABLE = frozenset(ALPHABET) | _REPLACED.keys()
_CHAIN_SEPARATORS = re.compile(r"[|:;,/+&]")
_GAPS = "-.~"
_THREE_LETTER = frozenset(
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()
)
MAX_RESIDUES = 100_000
# The shortest peptides that antibodies are crystallised or measured with have six residues; below
# thirty letters a name and a peptide look alike.
MIN_ANTIGEN_RESIDUES = 6
_MIN_SEQUENCE_RESIDUES = 30


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
    """An antigen by its chains' residues, in the order given; one text is one chain.

    >>> Antigen("MKVLA").chains
    ('MKVLA',)
    """

    chains: tuple[str, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.chains, str):
            object.__setattr__(self, "chains", (self.chains,))


# Placeholder for an unnamed antigen.
UNKNOWN_ANTIGEN = Antigen(("X",))

# Chains of an antibody, and of an antigen.
Residues = tuple[Chains, Chains]


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """An antibody and the antigen it is asked to bind."""

    antibody: Antibody
    antigen: Antigen

    @property
    def residues(self) -> Residues:
        """Chains of both: what makes two pairs the same whatever they are called."""
        return self.antibody.chains, self.antigen.chains


@functools.lru_cache(maxsize=256)  # rows of a table often share a chain
def clean_sequence(text: str, what: str = "sequence") -> tuple[str, tuple[str, ...]]:
    """Residues of one chain: upper case, no white space, gaps (``-.~``) or trailing stop ``*``.

    Returns letters of the 20 residues and X, and notes of what was changed (gaps within; U to C; B,
    Z, J, O to X). Raises `InputError`, where `what` is the chain's name, if nothing is left, a
    letter is no residue (its position is from 1 in the text without white space), or the text is
    DNA, RNA or three-letter code.

    >>> clean_sequence(" evql vesgg* ")
    ('EVQLVESGG', ())
    >>> clean_sequence("EV--QUZ")
    ('EVQCX', ('2 gaps removed', '1 U read as C', '1 of B/Z/J/O read as X'))
    """
    letters = "".join(text.split())
    residues = letters.rstrip("*" + _GAPS).lstrip(_GAPS)
    first = len(letters) - len(letters.lstrip(_GAPS)) + 1
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
    if residues.startswith(">"):
        raise InputError(f"{what}: this is FASTA with its header line; expected residues alone")
    present = set(residues)
    if present - _READABLE:
        for position, letter in enumerate(residues, start=first):
            if letter not in _GAPS and (letter.upper() not in _READABLE or not letter.isascii()):
                raise InputError(
                    f"{what}: {letter!r} at position {position} is not an amino acid; expected the "
                    f"letters {ALPHABET}"
                )
    notes = []
    if gaps := sum(residues.count(gap) for gap in _GAPS):
        notes.append(f"{gaps} gap{'s' * (gaps > 1)} removed")
        residues = re.sub(f"[{re.escape(_GAPS)}]", "", residues)
    codes = {residues[start : start + 3] for start in range(0, len(residues), 3)}
    if len(residues) > 3 and codes <= _THREE_LETTER:
        raise InputError(
            f"{what}: this is three-letter code ({text.strip()[:20]!r}); expected one letter a "
            "residue"
        )
    if not present & _REPLACED.keys():
        return residues, tuple(notes)
    if "U" in residues:
        notes.append(f"{residues.count('U')} U read as C")
    vague = sum(residues.count(letter) for letter in "BZJO")
    if vague:
        notes.append(f"{vague} of B/Z/J/O read as X")
    return "".join(_REPLACED.get(letter, letter) for letter in residues), tuple(notes)


def clean_antigen(text: str, name: str = "") -> tuple[Antigen, tuple[str, ...]]:
    """Antigen of one text; chains are separated by ``|`` or ``:``, or as `split_chains` says.

    Raises `InputError` as `clean_sequence`; whether it is a name is for `antigen_doubt` to say.

    >>> clean_antigen("MKV:GGS")[0].chains
    ('MKV', 'GGS')
    """
    parts, notes = split_chains(text)
    if not parts:
        raise InputError("antigen: empty")
    chains: list[str] = []
    for number, part in enumerate(parts, start=1):
        label = "antigen" if len(parts) == 1 else f"antigen chain {number}"
        residues, changed = clean_sequence(part, label)
        chains.append(residues)
        notes += [f"{label}: {note}" for note in changed]
    return Antigen(tuple(chains), name), tuple(notes)


@functools.lru_cache(maxsize=256)  # rows share their antigen
def antigen_doubt(text: str) -> str:
    """Why a text is a name, or too short, rather than an antigen's residues; empty if it is not.

    >>> antigen_doubt("Hen egg white lysozyme")
    "'Hen egg white lysozyme' reads like a name"
    >>> antigen_doubt("EGFR"), antigen_doubt("DSFKEELDKYFKNH")
    ("'EGFR' is too short for an antigen (at least 6 residues): a name, or a chain's letter?", '')
    >>> antigen_doubt("X")
    ''
    """
    parts, shown = split_chains(text)[0], repr(text.strip()[:40])
    words = [word for part in parts for word in re.split(r"\s+|(?<=\w)-(?=\w)", part.strip())]
    letters = "".join(words)
    if len(parts) > 1 and min(len(part.strip()) for part in parts) < 3 and len(letters) > 2:
        return f"{shown} holds a chain of one or two letters: a chain's name?"
    rare = sum(letters.upper().count(letter) for letter in _REPLACED)
    if set(letters) == {"X"}:  # imports write it for an antigen that their source only names
        return ""
    if len(letters) >= _MIN_SEQUENCE_RESIDUES:
        return f"{shown} reads like a name" if rare > 0.06 * len(letters) else ""
    blocks = {len(word) for word in words[:-1]} <= {10}  # spaces that only help the eye
    if rare or not letters.isupper() or not letters.isalpha() or (words != parts and not blocks):
        return f"{shown} reads like a name"
    if len(letters) > 7 and len(set(letters)) > 2 and not set(letters) - set("ACGTU"):
        return f"{shown} reads like DNA or RNA"
    if max(map(len, parts), default=0) < MIN_ANTIGEN_RESIDUES:
        least = f"at least {MIN_ANTIGEN_RESIDUES} residues"
        return f"{shown} is too short for an antigen ({least}): a name, or a chain's letter?"
    return ""


def split_chains(text: str) -> tuple[list[str], list[str]]:
    """The chains of a cell as text, and a note where lines or spaces tell them apart.

    They are separated by ``|``, ``:``, ``;``, ``,``, ``/``, ``+`` or ``&``. Lines or words of at
    least 30 letters are chains, too, unless they are one chain wrapped at an even width.
    """
    parts, notes = [], []
    for part in filter(str.strip, _CHAIN_SEPARATORS.split(text)):
        lines = part.split("\n") if "\n" in part.strip() else part.split()
        words = ["".join(line.split()) for line in lines if line.strip()]
        width, last = len(words[0]), len(words[-1])
        is_wrapped = {len(word) for word in words[:-1]} == {width} and last <= width
        is_wrapped &= width % 10 == 0
        if len(words) > 1 and not is_wrapped and min(map(len, words)) >= _MIN_SEQUENCE_RESIDUES:
            how = "lines" if "\n" in part.strip() else "words"
            notes.append(f"{len(words)} {how} read as {len(words)} chains")
            parts += words
        else:
            parts.append(part)
    return parts, notes


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
