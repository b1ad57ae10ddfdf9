"""A table as the audit sees it: which columns hold values, in which unit, and which hold molecules.

Nothing is refused: columns are recognised by name where possible and by what they hold where not,
so that a table of predictions, of ΔΔG or of scores without any sequence can be audited as well.
"""

import dataclasses
import functools
import re

import numpy as np
import polars as pl

from paratope.core.errors import InputError
from paratope.data.audit.columns import ValueColumn, rank, same_order, value_columns
from paratope.data.tables import match_columns
from paratope.data.tables.formats import as_text
from paratope.molecules.numbering import Domain, find_domains
from paratope.molecules.sequences import clean_sequence

_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "#n/a", "-"})
_SEQUENCE = re.compile(r"[A-Za-z*:|\s-]{30,}")


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One table.

    Attributes
    ----------
    name : str
    frame : polars.DataFrame
        Every column as text, empty cells null.
    roles : dict of str to str
        Canonical name -> the table's column.
    values : tuple of ValueColumn
        Labels first.
    """

    name: str
    frame: pl.DataFrame
    roles: dict[str, str]
    values: tuple[ValueColumn, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.frame.height

    def text(self, role: str) -> list[str | None]:
        """Texts of a role's column; all None if the table lacks it."""
        if role not in self.roles:
            return [None] * self.rows
        return self.frame[self.roles[role]].to_list()

    @functools.cached_property
    def heavy(self) -> list[str | None]:
        """Heavy chains as residues."""
        return [_residues(text) for text in self.text("heavy")]

    @functools.cached_property
    def light(self) -> list[str | None]:
        """Light chains as residues."""
        return [_residues(text) for text in self.text("light")]

    @functools.cached_property
    def antigen(self) -> list[str | None]:
        """Antigens as residues, or by name where the column holds names."""
        texts = self.text("antigen")
        return [_residues(text) if text and _SEQUENCE.fullmatch(text) else text for text in texts]

    @functools.cached_property
    def antibody_codes(self) -> np.ndarray:
        """Same number for the same antibody, -1 where there is none; (rows,)."""
        return _codes(list(zip(self.heavy, self.light, strict=True)), needed=1)

    @functools.cached_property
    def antigen_codes(self) -> np.ndarray:
        """Same number for the same antigen, -1 where there is none; (rows,)."""
        keys = self.antigen
        if not any(keys):
            keys = self.text("antigen_name")
        return _codes([(key,) for key in keys], needed=1)

    @functools.cached_property
    def pair_codes(self) -> np.ndarray:
        """Same number for the same pair, -1 where there is no antibody; (rows,)."""
        both = list(zip(self.antibody_codes.tolist(), self.antigen_codes.tolist(), strict=True))
        codes = _codes([pair if pair[0] >= 0 else (None,) for pair in both], needed=1)
        return codes

    @functools.cached_property
    def assay_codes(self) -> np.ndarray:
        """Same number for the same assay, -1 where none is named; (rows,)."""
        return _codes([(text,) for text in self.text("assay")], needed=1)

    @property
    def labels(self) -> tuple[ValueColumn, ...]:
        """Columns that hold measured values."""
        return tuple(column for column in self.values if column.is_label)

    @functools.cached_property
    def independent(self) -> tuple[ValueColumn, ...]:
        """Columns of values without those that only repeat an earlier one in another unit."""
        kept: list[ValueColumn] = []
        for column in self.values:
            if not any(same_order(column, other) for other in kept):
                kept.append(column)
        return tuple(kept)

    @property
    def label(self) -> ValueColumn | None:
        """The column that holds the measured value, or the likeliest one."""
        labels = self.labels or self.values
        return labels[0] if labels else None

    def shown(self, row: int) -> str:
        """A row's number with its id."""
        name = self.text("id")[row]
        return f"row {row + 1}" + (f" ({name})" if name else "")


def read_subject(name: str, frame: pl.DataFrame) -> Subject:
    """A table of texts as the audit sees it."""
    texts = [
        pl.Series(column.name, as_text(column), pl.String)
        if column.dtype.is_nested() or column.dtype == pl.Object
        else column.cast(pl.String)
        for column in frame.iter_columns()
    ]
    frame = pl.DataFrame([column.str.strip_chars() for column in texts])
    frame = frame.with_columns(
        pl.when(pl.all().str.to_lowercase().is_in(list(_MISSING)))
        .then(None)
        .otherwise(pl.all())
        .name.keep()
    )
    roles = match_columns(frame.columns)
    roles = _roles_by_content(frame, roles)
    values = tuple(value_columns(frame, roles))
    order = sorted(range(len(values)), key=lambda k: rank(values[k], roles))
    return Subject(name, frame, roles, tuple(values[k] for k in order))


@functools.lru_cache(maxsize=65536)
def _residues(text: str | None) -> str | None:
    """Residues of a cell, chains joined; the text without spaces if it is no protein."""
    if text is None:
        return None
    parts = [part for part in re.split(r"[|:]", text) if part.strip()]
    try:
        return ":".join(clean_sequence(part)[0] for part in parts) or None
    except InputError:
        return "".join(text.split()).upper()


def _codes(keys: list[tuple[object, ...]], needed: int) -> np.ndarray:
    """Number of each distinct key in order of appearance; -1 if a needed part is missing."""
    seen: dict[tuple[object, ...], int] = {}
    codes = np.empty(len(keys), dtype=np.int64)
    for row, key in enumerate(keys):
        missing = any(part is None or part == -1 for part in key[:needed])
        codes[row] = -1 if missing else seen.setdefault(key, len(seen))
    return codes


def domains_of(residues: str) -> tuple[Domain, ...]:
    """Antibody domains of a cell's residues, chains joined by ``:`` taken one after the other."""
    found: list[Domain] = []
    for chain in residues.split(":"):
        if chain.isalpha():
            found += find_domains(chain)
    return tuple(found)


def _roles_by_content(frame: pl.DataFrame, roles: dict[str, str]) -> dict[str, str]:
    """Roles completed by what unnamed columns hold: heavy and light chains, antigens."""
    roles = {role: name for role, name in roles.items() if _plausible(role, frame[name])}
    taken = set(roles.values())
    for name in frame.columns:
        texts = frame[name].drop_nulls().unique(maintain_order=True).head(40).to_list()
        if name in taken or len(texts) == 0 or re.search(r"wt|wild|parent|cdr", name.lower()):
            continue
        if sum(
            _SEQUENCE.fullmatch(text) is not None and text.isupper() for text in texts
        ) < 0.8 * len(texts):
            continue
        found = [domains_of(residues) for text in texts if (residues := _residues(text))]
        with_domain = [domains for domains in found if domains]
        said = next((r for r in ("heavy", "light", "antigen") if r in name.lower()), None)
        if said is not None:
            role = said
        elif len(with_domain) >= 0.5 * len(found):
            heavy = sum(any(domain.is_heavy for domain in domains) for domains in with_domain)
            role = "heavy" if 2 * heavy >= len(with_domain) else "light"
        else:
            role = "antigen"
        mutant = "mut" in name.lower()
        if role not in roles or (mutant and "mut" not in roles[role].lower()):
            roles[role] = name
    return roles


def _plausible(role: str, column: pl.Series) -> bool:
    """Whether a column can hold what its name says, where that is a molecule."""
    if role not in ("heavy", "light", "antigen"):
        return True
    texts = column.drop_nulls().unique(maintain_order=True).head(200).to_list()
    if role == "antigen":  # sequences, or names
        fitting = sum(len(text) >= 3 and any(c.isalpha() for c in text) for text in texts)
    else:
        fitting = sum(len(text) >= 30 for text in texts)
    return fitting >= max(1, 0.5 * len(texts))
