"""What to expect of a campaign's model, in words and tables for a terminal and for its card."""

import math
from collections.abc import Mapping, Sequence

from paratope.campaigns.adaptation.expectation import Expectation, Validation
from paratope.campaigns.adaptation.folds import Kind
from paratope.campaigns.adaptation.learning_curve import Gain
from paratope.campaigns.adaptation.validation import COVERAGES, STANDARDS, Score

STANDARD_NAMES: Mapping[str, str] = {
    "constant": "mean of the assay",
    "one_hot_ridge": "one-hot ridge",
    "one_hot_gp": "one-hot Gaussian process",
    "nearest_neighbour": "nearest neighbours",
    "boosted_kmers": "boosted trees on k-mers",
}
KIND_NAMES: Mapping[Kind, str] = {
    "random": "variants at random",
    "unseen mutation": "mutations never trained on",
    "unseen position": "positions never trained on",
}
UNITS = {"pkd": "pKd", "score": "score"}
Table = tuple[list[str], list[list[str]]]


def model_table(expectation: Expectation) -> Table:
    """The model on each kind of held-out rows: header and rows."""
    unit = UNITS[expectation.label]
    header = ["held out", "trained on", "Spearman (95 % interval)", f"RMSE ({unit})"]
    header += [f"{claimed:.0%} intervals cover" for claimed in COVERAGES]
    rows = []
    for kind, one in expectation.validations.items():
        if one.model is None:
            continue
        covered = [one.coverage.get(f"{claimed:.0%}") for claimed in COVERAGES]
        rows.append(
            [
                KIND_NAMES[kind],
                f"{one.train_rows} rows",
                spearman_text(one.model),
                number(one.model.rmse),
                *("" if share is None else f"{share:.0%}" for share in covered),
            ]
        )
    return header, rows


def standards_table(expectation: Expectation) -> Table:
    """Spearman and RMSE of the model and of the trivial ones on the same rows."""
    judged: dict[Kind, Validation] = {
        k: one for k, one in expectation.validations.items() if one.model is not None
    }
    header = ["Spearman / RMSE", *(KIND_NAMES[kind] for kind in judged)]
    rows = [["this model", *(_pair(one.model) for one in judged.values())]]
    for name in STANDARDS:
        rows.append(
            [STANDARD_NAMES[name], *(_pair(one.standards[name]) for one in judged.values())]
        )
    return header, rows


def _pair(score: Score | None) -> str:
    assert score is not None
    return f"{correlation(score.spearman)} / {number(score.rmse)}"


def sentences(expectation: Expectation) -> list[str]:
    """What was not judged, how the model stands against the best trivial one, what more buys."""
    found = []
    for kind, one in expectation.validations.items():
        if one.model is None:
            found.append(f"Not judged on {KIND_NAMES[kind]}: {one.reason}.")
    for kind, one in expectation.validations.items():
        best = one.best_standard
        if one.model is not None and best is not None:
            found.append(_standing(kind, one, best))
    if expectation.curve is not None:
        gains = gain_sentences(expectation.curve.gains)
        if expectation.curve.gains and not expectation.learned:
            gains.append(
                "That is what they buy in other campaigns; in this one nothing shows yet that they "
                "would."
            )
        found += gains
    return found


def _standing(kind: Kind, one: Validation, best: str) -> str:
    gap, low, high = one.ahead[best]
    surely = "" if math.isnan(low) else f" ({low:+.2f} to {high:+.2f})"
    return (
        f"Against the best trivial model on {KIND_NAMES[kind]}, {STANDARD_NAMES[best]}: Spearman "
        f"{gap:+.2f}{surely}."
    )


def gain_sentences(gains: Sequence[Gain]) -> list[str]:
    """What more measurements should buy.

    >>> gain_sentences([Gain(24, 0.021, 0.004, 0.038)])
    ['24 more measurements should buy about +0.02 Spearman (95 %: +0.00 to +0.04).']
    """
    found = [
        f"{one.more} more measurements should buy about {one.gain:+.2f} Spearman "
        f"(95 %: {one.low:+.2f} to {one.high:+.2f})."
        for one in gains
    ]
    return found or ["Too few variants to foretell what more would buy."]


def spearman_text(score: Score) -> str:
    """A correlation with its interval."""
    if math.isnan(score.spearman):
        return "none"
    if math.isnan(score.low):
        return correlation(score.spearman)
    ends = f"{correlation(score.low)} to {correlation(score.high)}"
    return f"{correlation(score.spearman)} ({ends})"


def correlation(value: float) -> str:
    """Two decimals; a dash for nothing.

    >>> correlation(0.61), correlation(-0.003), correlation(float("nan"))
    ('0.61', '0.00', '–')
    """
    return "–" if math.isnan(value) else f"{value:z.2f}"


def number(value: float) -> str:
    """Two decimals, or three digits of something small or large; a dash for nothing.

    >>> number(0.5), number(1234.5), number(0.00123), number(float("nan"))
    ('0.50', '1.23e+03', '0.00123', '–')
    """
    if math.isnan(value):
        return "–"
    if value == 0 or 0.01 <= abs(value) < 1000 or round(value, 2) == 0 and abs(value) < 1e-9:
        return f"{value:.2f}"
    return f"{value:.3g}"


def markdown(expectation: Expectation) -> list[str]:
    """The report as lines of a card."""
    lines = [f"**Warning:** {_sentence(text)}" for text in expectation.warnings]
    lines = [line for text in lines for line in (text, "")]
    for table in (model_table(expectation), standards_table(expectation)):
        if table[1] and len(table[0]) > 1:
            lines += [*_markdown_table(table), ""]
    lines += [line for text in sentences(expectation) for line in (text, "")]
    return lines


def _markdown_table(table: Table) -> list[str]:
    header, rows = table
    ruled = ["---"] * len(header)
    return ["| " + " | ".join(cells) + " |" for cells in (header, ruled, *rows)]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
