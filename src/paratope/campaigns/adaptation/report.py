"""What a campaign's folder says beside the model: card, figures, tables."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.campaigns.adaptation.expectation import Expectation
from paratope.campaigns.adaptation.validation import COVERAGES
from paratope.campaigns.adaptation.wording import STANDARD_NAMES, UNITS, markdown, number
from paratope.campaigns.campaign import Campaign
from paratope.core.errors import InputError, OutputError
from paratope.evaluation.metrics import EvaluationRows
from paratope.molecules.numbering import number_chain

FOLDER = "report"
_SHOWN_TERMS = 6
_SHOWN_POSITIONS = 8
_SHOWN_NAMES = 10
_LIMITS = (
    "A model of one campaign: it ranks variants of the antibodies it was fitted on, against the "
    "same antigen, in the same assay. Other antibodies and antigens are marked `out` and get the "
    "campaign's middle value with a wide interval; another construct of the antigen is `near`, and "
    "predicted as if it were the campaign's. Coverage is a share of rows like those "
    "measured, not a promise about each row."
)


def card(
    name: str, campaign: Campaign, importance: Any, expectation: Expectation | None, prior: str
) -> str:
    """The model's card, in Markdown.

    Parameters
    ----------
    name : str
    campaign : Campaign
    importance : Importance
        Of the fitted model.
    expectation : Expectation or None
        None where no report was asked for.
    prior : str
        Name of the general model whose answers were learned from, or ``"none"``.
    """
    lines = [f"# Campaign {name}", "", *_measured(campaign, prior), ""]
    if campaign.notes:
        lines += ["## Notes on the measurements", "", *(f"- {note}" for note in campaign.notes), ""]
    lines += ["## What to expect", ""]
    if expectation is None:
        lines += ["Not judged: the report was not asked for.", ""]
    else:
        lines += markdown(expectation)
        lines += [f"![{title}]({FOLDER}/{file})" for file, title in _figures(expectation)] + [""]
    lines += ["## What was learned", "", *_learned(campaign, importance), ""]
    return "\n".join([*lines, "## Limits", "", _LIMITS, ""])


def _measured(campaign: Campaign, prior: str) -> list[str]:
    unit = UNITS[campaign.label]
    exact = int((campaign.censoring == 0).sum())
    assays = _listed(
        f"{name} ({int((campaign.assay == place).sum())})"
        for place, name in enumerate(campaign.assays)
    )
    antigens = _listed(one.name or "unnamed" for one in campaign.antigens) or "none named"
    parents = _listed(one.antibody.name or "unnamed" for one in campaign.parents) or "unrelated"
    values = campaign.values
    return [
        f"- **Learned from** {len(campaign)} values ({exact} exact, {len(campaign) - exact} "
        f"bounds) of {len({one.antibody.chains for one in campaign.pairs})} antibodies, "
        f"{int(campaign.replicates.sum())} measurements.",
        f"- **Values**: {unit}, {number(float(values.min()))} to {number(float(values.max()))}, "
        "higher = stronger.",
        f"- **Assays** (rows): {assays}. Predictions are on the scale of the first.",
        f"- **Antigen**: {antigens}. **Parents**: {parents}.",
        f"- **General model beneath**: {prior}.",
    ]


def _listed(names: Iterable[str]) -> str:
    """The first of some names, each once with how often, and how many more there are.

    >>> _listed(["HER2", "lysozyme", "HER2"])
    'HER2 (2 of this name), lysozyme'
    """
    counts = Counter(names)
    shown = [
        name + f" ({count} of this name)" * (count > 1)
        for name, count in list(counts.items())[:_SHOWN_NAMES]
    ]
    more = len(counts) - len(shown)
    return ", ".join(shown) + f" and {more} more" * (more > 0)


def _figures(expectation: Expectation) -> list[tuple[str, str]]:
    found = []
    if expectation.validations["random"].held_out is not None:
        found.append(("held_out.png", "Predicted against measured, held-out variants"))
    if expectation.curve is not None:
        found.append(("learning_curve.png", "What more measurements should buy"))
    return found


def _learned(campaign: Campaign, importance: Any) -> list[str]:
    """Sites with the largest effects, and the kernel's terms, as tables."""
    unit = UNITS[campaign.label]
    sites = [one for one in importance.sites if one["chain"] in ("H", "L")]
    if not sites:
        return ["No mutation of a parent was measured."]
    first = sorted(sites, key=lambda one: -one["spread"])[:_SHOWN_POSITIONS]
    lines = [
        f"| position (IMGT) | region | mutations measured | typical effect, {unit} | mean |",
        "|---|---|---|---|---|",
        *(
            f"| {one['chain']}:{one['imgt']} | {one['region']} | {one['changes']} | "
            f"{number(one['spread'])} | {one['effect']:+.3g} |"
            for one in first
        ),
        "",
        f"![What was learned of each position]({FOLDER}/positions.png)",
    ]
    terms = sorted(importance.terms.items(), key=lambda one: -one[1])[:_SHOWN_TERMS]
    said = ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in terms)
    return [*lines, "", f"Share of the fitted differences by term of the kernel: {said}."]


def write_report(
    campaign: Campaign, importance: Any, expectation: Expectation | None, folder: Path
) -> list[Path]:
    """Write figures and tables into ``report/`` of a model's folder.

    Returns
    -------
    list of Path
        What was written.
    """
    target = folder / FOLDER
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    written = [_write_positions(campaign, importance, target)]
    if expectation is not None:
        written += _write_expectation(campaign, expectation, target)
    return [path for path in written if path is not None]


def _write_expectation(campaign: Campaign, expectation: Expectation, target: Path) -> list[Path]:
    from paratope.core.files import atomic_file
    from paratope.data.tables import write_table
    from paratope.evaluation.figures import held_out_predictions, learning_curve, save_figure

    unit = UNITS[campaign.label]
    paths = [target / "expectation.json"]
    with atomic_file(paths[0]) as file:
        text = json.dumps(expectation.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        file.write((text + "\n").encode())
    random = expectation.validations["random"].held_out
    if random is not None:
        first = random.round == 0
        rows = random.row[first]
        low, high = random.low[-1][first], random.high[-1][first]
        mean = random.mean[first]
        frame = pl.DataFrame(
            {
                "id": [campaign.pairs[row].antibody.name for row in rows],
                "assay": campaign.assay_names[rows].tolist(),
                "measured": campaign.values[rows],
                "relation": [{-1: "<", 0: "", 1: ">"}[int(campaign.censoring[r])] for r in rows],
                "predicted": mean,
                "low": low,
                "high": high,
            }
        )
        paths.append(target / "held_out.csv")
        write_table(frame, paths[-1])
        figure = held_out_predictions(
            EvaluationRows(
                campaign.values[rows], mean, low=low, high=high, coverage=COVERAGES[-1],
                censoring=campaign.censoring[rows],
            ),
            unit,
            campaign.assay_names[rows].tolist() if len(campaign.assays) > 1 else None,
        )  # fmt: skip
        paths.append(target / "held_out.png")
        save_figure(figure, paths[-1])
    if expectation.curve is not None:
        paths.append(target / "learning_curve.png")
        save_figure(learning_curve(**curve_of(expectation)), paths[-1])
    return paths


def curve_of(expectation: Expectation) -> dict[str, Any]:
    """What `paratope.evaluation.figures.learning_curve` draws."""
    curve = expectation.curve
    assert curve is not None
    smallest = min(point.size for point in curve.points)
    sizes = np.unique(np.geomspace(smallest, 4 * curve.variants, 80).round().astype(int))
    line = dict(zip(("spearman", "low", "high"), curve.spearman(sizes), strict=True))
    random = expectation.validations["random"]
    ranked = {
        STANDARD_NAMES[name]: one.spearman
        for name, one in random.standards.items()
        if np.isfinite(one.spearman)
    }
    best = dict(sorted(ranked.items(), key=lambda one: -one[1])[:3])
    return {
        "sizes": [point.size for point in curve.points],
        "spearman": [point.spearman for point in curve.points],
        "line": {"variants": sizes.tolist(), **{k: v.tolist() for k, v in line.items()}},
        "variants": curve.variants,
        "trained": round(random.train_rows / expectation.rows * curve.variants),
        "standards": best,
    }


def _write_positions(campaign: Campaign, importance: Any, target: Path) -> Path | None:
    from paratope.evaluation.figures import position_importance, save_figure

    positions = position_effects(campaign, importance)
    if not positions:
        return None
    path = target / "positions.png"
    save_figure(position_importance(positions, UNITS[campaign.label]), path)
    return path


def position_effects(campaign: Campaign, importance: Any) -> list[Any]:
    """What was learned of every position of the first parent's varied chains."""
    from paratope.evaluation.figures import PositionEffect

    known = {(one["chain"], one["imgt"]): one for one in importance.sites}
    found = []
    for chain in ("H", "L"):
        parents = [one for one in campaign.parents if chain == "H" or one.antibody.light]
        if not parents or not any(role == chain for role, _ in known):
            continue
        antibody = parents[0].antibody
        try:
            domain = number_chain(antibody.heavy if chain == "H" else antibody.light or "")
        except InputError:  # a chain that is no antibody domain has no such numbers
            continue
        for position, region in zip(domain.positions, domain.regions, strict=True):
            one = known.get((chain, position), {"spread": 0.0, "effect": 0.0, "changes": 0})
            found.append(
                PositionEffect(
                    chain, position, region, one["spread"], one["effect"], one["changes"]
                )
            )
    return found
