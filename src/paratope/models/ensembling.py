"""Several trained models as one that averages their networks (a deep ensemble)."""

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from paratope.core.errors import ModelError
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.bundle import Bundle, find_model, read_bundle
from paratope.models.calibration import Calibration, CalibrationRows

_LIBRARIES = ("torch", "numpy", "safetensors", "immunum", "transformers")


def ensemble_models(sources: Sequence[str]) -> Bundle:
    """One bundle of all networks of several models (run folders, model folders or bundled names).

    Rows held out from each network calibrate the average; a little pessimistic, as it errs less
    than its members. Raises `ModelError` for fewer than two, or models that do not agree.
    """
    if len(sources) < 2:
        raise ModelError(f"an ensemble joins at least two models, got {len(sources)}")
    bundles = [read_bundle(find_model(source)) for source in sources]
    first = bundles[0].config
    for source, bundle in zip(sources, bundles, strict=True):
        if bundle.campaign:
            raise ModelError(f"{source} is the model of a campaign; expected trained networks")
        for part in ("encoders", "network"):
            if bundle.config.get(part) != first.get(part):
                raise ModelError(
                    f"{source} differs from {sources[0]} in its {part}: "
                    f"{bundle.config.get(part)} instead of {first.get(part)}"
                )
    calibrations = [Calibration.from_json(bundle.calibration) for bundle in bundles]
    rescale = calibrations[0].rescale
    for source, calibration in zip(sources, calibrations, strict=True):
        if calibration.rescale != rescale:
            raise ModelError(
                f"{source} differs from {sources[0]} in its calibration: rescale is "
                f"{calibration.rescale} instead of {rescale}; join models that agree in it"
            )
    weights: dict[str, Any] = {}
    members = 0
    for bundle in bundles:
        for name, tensor in bundle.weights.items():
            number, _, parameter = name.partition(".")
            weights[f"{int(number) + members}.{parameter}"] = tensor
        members += int(bundle.config["members"])
    rows = CalibrationRows.joined([calibration.held_out for calibration in calibrations])
    joined = Calibration(rows, rescale)
    domains = [ApplicabilityDomain.from_json(bundle.familiarity) for bundle in bundles]
    card = [
        f"# Ensemble of {len(bundles)} models",
        "",
        "The mean of the networks of the models below, calibrated on the rows that each of them "
        "did not see.",
        "",
        *calibration_lines(joined),
    ]
    for number, bundle in enumerate(bundles, start=1):
        card += ["", f"## Model {number}", "", bundle.card.strip()]
    return Bundle(
        config={
            "encoders": first["encoders"],
            "network": first["network"],
            "members": members,
            "recipe": first.get("recipe", {}),
        },
        weights=weights,
        calibration=joined.to_json(),
        familiarity=ApplicabilityDomain.joined(domains).to_json(),
        metrics={"members": [bundle.metrics for bundle in bundles]},
        environment=environment(),
        card="\n".join(card) + "\n",
    )


def environment(libraries: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    """Versions of Python and of the libraries that shape a model's numbers."""
    versions = {name: metadata.version(name).split("+")[0] for name in libraries}
    return {"python": platform.python_version(), **versions}


def calibration_lines(calibration: Calibration) -> list[str]:
    """Markdown table of the rows and errors behind each domain's interval."""
    lines = ["| domain | held-out rows | RMSE (pKd) |", "|---|---|---|"]
    for domain, numbers in calibration.summary().items():
        rows = f"{numbers['rows']}{' (borrowed)' if numbers['borrowed'] else ''}"
        lines.append(f"| {domain} | {rows} | {numbers['rmse_pkd']:.2f} |")
    return lines
