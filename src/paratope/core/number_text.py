"""Numbers as people type them, and their words for no binding and for nothing measured."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

# What word processors, PDFs and keyboards make of plain characters
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑‒﹣－", "-"),
        **dict.fromkeys("≈∼≃≅～", "~"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2008\u2009\u200a\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", None),
        **dict.fromkeys("⋅∙•✕✖⨯", "×"),
        **dict(zip("⩽≦⩾≧＜＞≪≫＝＋．，’", "≤≤≥≥<><>=+.,'", strict=True)),
    }
)
_RAISED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_WORDS = (
    (r"^(greater|more|higher|larger) than|^(above|over|at least)\b", ">"),
    (r"^(less|lower|smaller) than|^(below|under|at most|up to)\b", "<"),
    (r"^(ca|approx|approximately|about|circa)\b\.?", "~"),
)
UNIT_TEXT = (
    r"(?:[afpnumµμ]?M|[afpnuAFPNU]m|[AFPNU]M|[afpnumµμ]?mol(?:/|\s+|\s*[×·.]\s*)[lL](?:\^?-1)?"
    r"|(?:[mM]illi|[mM]icro|[nN]ano|[pP]ico|[fF]emto)?[mM]olar)"
)
_DIGITS = r"(?:\d+(?:\.\d*)?|\.\d+)"
_POWER = r"(?:\s*[eE]\s*[+-]?\d+|\s*[x×*·]\s*10\s*\^?\s*[+-]?\d+)"
_WITH_UNIT = rf"\s*(?:[(\[]\s*{UNIT_TEXT}\s*[)\]]|{UNIT_TEXT})?"
# in brackets behind a number: an uncertainty, an interval, a count of replicates
_REMARK = r"[(\[](?=[^)\]]*\d)(?:[\d\s.,;:%±+/=^×*eEx-]|\b(?:n|N|SD|SEM|SE|s\.d\.|CI|to)\b)+[)\]]"
_NUMBER = re.compile(
    rf"(?:[kK]_?[dD]\s*[=:]?\s*)?(?P<bound><=|>=|<|>|~|≤|≥|=)?\s*(?P<open>\()?\s*"
    rf"(?P<number>[+-]?{_DIGITS})(?:\(\d+\))?(?P<power>{_POWER})?(?P<unit>{_WITH_UNIT})"
    rf"(?:\s*(?:±|\+\s*/?\s*-)\s*{_DIGITS}\s*%?(?P<shared>{_POWER})?(?P<unit1>{_WITH_UNIT}))?"
    rf"(?(open)\s*\))(?P<outer>{_POWER})?(?P<unit2>{_WITH_UNIT})"
    rf"(?:\s*{_REMARK}|\s*[,;]?\s*[nN]\s*=\s*\d+)?(?P<unit3>{_WITH_UNIT})"
)
_BARE_POWER = re.compile(r"(^|[<>~≤≥=]\s*)10\s*\^\s*([+-]?\d+)")
_DATE = re.compile(
    r"\s*(\d{4}-\d\d-\d\d|\d{1,2}[-. /](jan|feb|mar|apr|ma[iy]|ju[nl]|aug|sep|o[ck]t|nov|de[cz]))",
    re.I,
)
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:[ ']\d{3})+(?!\d)")
_LIMIT = (
    r"(?:[lu]?lo[dq]|(?:the )?(?:lower )?(?:assay )?(?:limits? of )?"
    r"(?:detection|quantification)(?: limit)?)"
)
_NO_BINDING = re.compile(
    r"no (?:\w+able |detected |significant |specific |apparent )?"
    r"(?:bind|binds|binding|binder|interaction|affinity|signal|response)"
    r"(?: (?:was |is )?(?:detected|detectable|observed|seen|measured|measurable|found))?"
    r"|(?:does|did|do) ?(?:not|n'?t) (?:bind|interact)|not bind(?:ing|s)?|non ?bind(?:er|ers|ing)"
    r"|(?:binding )?(?:was |is )?(?:not |non ?|un)(?:detected|detectable|observed)"
    rf"|(?:below|under|<|≤|<=) ?{_LIMIT}"
)
_NO_BINDING_SHORT = frozenset("nb nbd dnb ndb bdl blq bloq blod".split())
_ABOVE_LIMIT = re.compile(rf"(?:above|over|>|≥|>=) ?{_LIMIT}")
_NOT_MEASURED = frozenset(
    "|na|n/a|#n/a|nan|none|null|nd|n.d|n.d.|n/d|-|?|tbd|unknown|not determined|not measured"
    "|not tested".split("|")
)


class NumberText(NamedTuple):
    """A number taken apart; it is ``number`` times ten to the ``power``, in ``unit`` (or none)."""

    bound: str  # ``<``, ``>=``, ``~`` ..., or empty
    number: str
    power: int
    unit: str

    @property
    def value(self) -> float:
        """The number, its unit left out."""
        return float(f"{self.number}e{self.power}") if self.power else float(self.number)


def plain_text(text: str) -> str:
    """Text in the characters of a keyboard; a raised number is written ``^-9``."""
    if text.isascii():
        return text
    raised = re.sub("[⁺⁻]?[⁰¹²³⁴-⁹]+", lambda match: "^" + match[0].translate(_RAISED), text)
    return raised.translate(_PLAIN)


def split_number(text: str) -> NumberText | None:
    """The parts of a number with what people write about it; None if it cannot be read.

    An uncertainty (``± 0.3``), an interval or a count in brackets, and ``≈`` say nothing of the
    value and are left out; so are spaces and apostrophes between thousands.

    >>> split_number("(1.2 ± 0.3) × 10⁻⁹ M (n=3)")
    NumberText(bound='', number='1.2', power=-9, unit='M')
    """
    plain = plain_text(text).strip()
    for pattern, sign in _WORDS:
        plain = re.sub(pattern, sign, plain, flags=re.IGNORECASE)
    plain = _BARE_POWER.sub(r"\g<1>1e\2", plain)
    plain = _GROUPED.sub(lambda match: re.sub("[ ']", "", match[0]), plain)
    match = _NUMBER.fullmatch(plain)
    if match is None:
        return None
    # of "1.2 ± 0.3e-9 nM", power and unit are those of both numbers
    powers = [match["power"] or match["shared"], match["outer"]]
    written = [match["unit"].strip() or match["unit1"] or "", *match.group("unit2", "unit3")]
    units = {unit.strip(" ()[]") for unit in written} - {""}
    if all(powers) or len(units) > 1:
        return None
    number, power = match["number"], 0
    for part in filter(None, powers):
        if part.strip()[0] in "eE":
            number += "".join(part.split())
        else:
            power = int(re.split(r"10\s*\^?\s*", part, maxsplit=1)[1])
    return NumberText(match["bound"] or "", number, power, units.pop() if units else "")


def hint_of(text: str) -> str:
    """What in a text is odd, for a message that it is no number; empty if that is not known."""
    plain = plain_text(text)
    if re.fullmatch(r"[^,]*\d,\d+(?!\d)[^,]*", plain):
        both = re.search(r"(?<![\d.])[1-9]\d{0,2},\d{3}(?![\d.])", plain)
        doubt = f"; {both[0]!r} may be thousands, too" if both else ""
        return f"; is this a decimal comma? Write {plain.replace(',', '.')!r}{doubt}"
    known = re.match(rf"\s*(?:[<>]=?|[~≤≥=])?\s*[+-]?{_DIGITS}{_POWER}?\s*", plain)
    tail = plain[known.end() :].strip() if known else ""
    if _DATE.match(plain):
        return "; it is a date, which a spreadsheet may have made of a number"
    odd = next((c for c in plain if not (c.isalnum() or c in " .,+-<>=~≤≥×^()[]±%/'")), "")
    if odd:
        return f"; the odd character is {odd!r} (U+{ord(odd):04X}, {unicodedata.name(odd, '?')})"
    return f"; behind the number stands {tail!r}" if tail else ""


def plain_commas(texts: Sequence[str]) -> tuple[list[str], str]:
    """A column's numbers with their commas resolved, and a note on what commas mean in it.

    A comma is a decimal point or divides thousands, whichever the column's other numbers prove;
    where nothing proves either, or single cells contradict the rest, texts stay as they are.

    >>> plain_commas(["3,2", "1,250"])
    (['3.2', '1.250'], 'decimal commas are read as points')
    """
    marked = [index for index, text in enumerate(texts) if re.search(r"\d,\d", text)]
    if not marked:
        return list(texts), ""
    thousands = re.compile(r"(?<![\d.,])([1-9]\d{0,2}(?:,\d{3})+)(?![\d,])")
    decimals = proof = points = 0
    doubtful: list[str] = []
    for text in texts:
        if not re.search(r"\d,\d", text):
            points += bool(re.search(r"\d\.\d", text))
            doubtful += re.findall(r"(?<![\d.,])[1-9]\d{0,2}\.\d{3}(?![\d.eE])", text)
        elif not (match := thousands.search(text)) or re.match(r"\s*[eE]", text[match.end() :]):
            decimals += re.fullmatch(r"[^,]*\d,\d+[^,]*", text) is not None
        else:
            proof += match[0].count(",") > 1 or text[match.end() : match.end() + 1] == "."
    result = list(texts)

    def joined(match: re.Match[str]) -> str:
        return re.sub("[.,]", "", match[0])

    if decimals > points + proof:
        for index, text in enumerate(texts):
            ungrouped = re.sub(r"(?<![\d.,])([1-9]\d{0,2}(?:\.\d{3})+)(?![\d.])", joined, text)
            result[index] = re.sub(r"(?<=\d),(?=\d)", ".", ungrouped)
        return result, "decimal commas are read as points"
    if points + proof > decimals:
        for index in marked:
            result[index] = thousands.sub(joined, texts[index])
        if result != list(texts):
            return result, "commas are read as standing between thousands"
    if decimals and points == len(doubtful) > 0:
        return result, f"{doubtful[0]!r} is read as it stands, yet may be thousands beside commas"
    return result, ""


def is_no_binding(text: str, *, of_kd: bool = False) -> bool:
    """Whether a value says in words that nothing binds (``"N.B."``; `of_kd`: ``> LOD``, too)."""
    words = re.sub(r"[\s_-]+", " ", plain_text(text).lower().strip(" \t*†‡#.!"))
    if re.sub("[./ ]", "", words) in _NO_BINDING_SHORT or _NO_BINDING.fullmatch(words):
        return True
    return of_kd and _ABOVE_LIMIT.fullmatch(words) is not None


def is_not_measured(text: str) -> bool:
    """Whether a value is empty or a word for "not measured", such as ``"n.d."``."""
    return plain_text(text).strip().lower() in _NOT_MEASURED
