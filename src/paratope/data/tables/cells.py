"""Cells that only their column explains: whole numbers written 1.0, the order of a date."""

import datetime
import re
from collections.abc import Container, Sequence

from paratope.core.number_text import is_not_measured

_DATES = (
    *("%m/%d/%y", "%m/%d/%Y", "%d/%m/%y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%y"),
    *("%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"),
)


def whole_number(text: str) -> str:
    """A whole number without its point, which gaps in a column give it; other text as it is.

    >>> whole_number("12.0"), whole_number("1.5")
    ('12', '1.5')
    """
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text.strip())


def id_among(name: str, known: Container[str], suffix: str = "") -> str:
    """An id, with a suffix, as it is written among those known, 1 and 1.0 being the same.

    >>> id_among("1.0", {"1", "2"}), id_among("1", {"1.0"}), id_among("wt", {"1"})
    ('1', '1.0', 'wt')
    """
    whole = whole_number(name)
    spellings = (f"{same}{suffix}" for same in (name, whole, f"{whole}.0"))
    return next((same for same in spellings if same in known), name + suffix)


def iso_dates(texts: Sequence[str]) -> tuple[list[str], str]:
    """A column's dates as 2024-05-31, in the one order that fits most; what to say of others.

    >>> iso_dates(["10/31/11", "02/01/12"])
    (['2011-10-31', '2012-02-01'], '')
    >>> iso_dates(["02/01/12"])[1]
    "'02/01/12' may be month or day first: not read; write dates such as 2024-05-31"
    """
    odd = {text for text in texts if not (is_not_measured(text) or _is_iso(text))}
    readings = [_read_dates(odd, form) for form in _DATES]
    most = max(map(len, readings))
    best = [reading for reading in readings if len(reading) == most]
    if not most:
        return list(texts), ""
    doubtful = [text for text in best[0] if any(best[0][text] != other.get(text) for other in best)]
    if doubtful:
        example = min(doubtful)
        hint = "may be month or day first: not read; write dates such as 2024-05-31"
        return ["" if text in odd else text for text in texts], f"{example!r} {hint}"
    return [best[0].get(text, text) for text in texts], ""


def _is_iso(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def _read_dates(texts: set[str], form: str) -> dict[str, str]:
    read = {}
    for text in texts:
        try:
            read[text] = datetime.datetime.strptime(text.strip(), form).date().isoformat()
        except ValueError:
            continue
    return read
