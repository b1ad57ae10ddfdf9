"""`adapt`: a campaign's measurements in, a model folder with its report out."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.networks import (
    BUDGET_SECONDS,
    NETWORK,
    ModelChoice,
    NetworkOptions,
    choose_model,
)
from paratope.campaigns.adaptation.report import ValidationReport, card, validate, write_report
from paratope.campaigns.adaptation.validation import AssayPredictor, campaign_fitter
from paratope.campaigns.campaign import Campaign, campaign_of
from paratope.campaigns.campaign_bundle import campaign_bundle, open_campaign
from paratope.campaigns.campaign_model import INDUCING_ROWS, MAX_ROWS, CampaignModel, check_campaign
from paratope.campaigns.kernels.substitution_prior import SubstitutionPrior
from paratope.core.errors import InputError, OutputError
from paratope.core.progress import Progress, silent
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.models.bundle import Bundle, check_target, write_bundle
from paratope.models.ensembling import environment
from paratope.models.predictor import Predictor

AUTO_PRIOR, NO_PRIOR = "auto", "none"
# From this share of variants on that a general model was trained on relatives of, the report says
# so: its held-out rows are no news to that model.
_KNOWN_SHARE = 0.2
_REPORT_OF_SPARSE = (
    "what to expect is told of the sparse Gaussian process without networks, which were not "
    "trained again for every fold: expect rather more"
)


@dataclasses.dataclass(frozen=True, slots=True)
class AdaptOptions:
    """How to learn from a campaign's measurements."""

    # What is expected of variants before any is measured. ``"auto"``: what substitutions did in
    # other antibodies, as `SubstitutionPrior`. A bundled name or a model folder: a general model
    # whose predictions are one of the things that are learned from, with a weight that is learned
    # too. ``"none"``: nothing
    prior: str | os.PathLike[str] = AUTO_PRIOR
    # Whether to find out what to expect of the model; takes a few times as long as the fit
    report: bool = True
    # Canonical name to the table's column, where the name is not known
    columns: Mapping[str, str] | None = None
    antigens: Any = None  # The antigen of all rows
    # Assay on whose scale predictions are to be; by default the one with the most rows
    assay: str | None = None
    # Of the report's folds and draws, and of networks. A Gaussian process has nothing random.
    seed: int = 0
    # Above these a sparse Gaussian process learns from all rows, once with networks trained on the
    # campaign and once without; what ranks held-out variants better is kept
    exact_rows: int = MAX_ROWS
    network_seconds: float = BUDGET_SECONDS  # That training those networks may take, about
    device: str = "auto"  # ``auto``, ``cpu`` or ``cuda``
    cache: str | os.PathLike[str] | None = None  # Folder of the embedding stores
    overwrite: bool = False  # Replace a model that is in the folder already


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A model of a campaign, and what to expect of it."""

    campaign: Campaign  # What was learned from, with notes
    model: CampaignModel
    report: ValidationReport | None  # None where none was asked for
    bundle: Bundle
    # Of two models, where there are more rows than an exact process takes
    choice: ModelChoice | None = None
    folder: Path | None = None  # Where it was written
    written: tuple[Path, ...] = ()  # Files of the report

    def predictor(
        self, device: str = "auto", cache: str | os.PathLike[str] | None = None
    ) -> Predictor:
        """The model as what predicts tables, as `Predictor.load` of its folder gives it."""
        return Predictor(open_campaign(self.bundle, device, cache), self.bundle)


def adapt(
    measurements: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress = silent,
    **options: Any,
) -> Adapted:
    """Learn from a campaign's measurements.

    Parameters
    ----------
    measurements : path, DataFrame (polars or pandas), InputTable, or sequence of Measurement
        Variants with a measured value each: a Kd in any unit, ΔG, ΔΔG with a parent, or a score
        (higher = stronger). Replicates, bounds, several assays, parents and antigens are welcome;
        no antigen is needed. Several tables are plates of one assay. See
        `paratope.campaigns.campaign.campaign_of`.
    output : path, optional
        Model folder to write, with ``card.md`` and ``report/``.
    progress : callable
        Called with the stage, how much of it is done, and how much there is.
    **options
        Of `AdaptOptions`: ``prior``, ``report``, ``columns``, ``antigens``, ``assay``, ``seed``,
        ``exact_rows``, ``network_seconds``, ``device``, ``cache``, ``overwrite``.

    Raises
    ------
    InputError
        If nothing can be learned from the measurements; the message says why.
    ModelError
        If there is no such prior.
    OutputError
        If the folder cannot be written, holds something that is no model, or holds a model and
        ``overwrite`` is not set.
    """
    wanted = AdaptOptions(**options)
    target = None if output is None else Path(output)
    if target is not None:
        check_target(target)
        if not wanted.overwrite and (target / "config.json").exists():
            raise OutputError(
                f"{target} holds a model already; give another folder, or replace it with "
                "--overwrite (overwrite=True)"
            )
    progress("reading", 0, 1)
    campaign = campaign_of(
        measurements, columns=wanted.columns, antigens=wanted.antigens, assay=wanted.assay
    )
    progress("reading", 1, 1)
    check_campaign(campaign)
    large = len(campaign) > wanted.exact_rows
    general, notes = _prior_of(wanted, campaign, large)
    campaign = dataclasses.replace(campaign, notes=(*campaign.notes, *notes))
    language, choice = AntibodyLanguage(wanted.device, wanted.cache), None
    progress("fitting", 0, 1)
    if large:
        networks = NetworkOptions(wanted.network_seconds, wanted.seed, wanted.device, wanted.cache)
        model, choice = choose_model(
            campaign, language, general, options=networks, progress=progress
        )
        sparse_report = [_REPORT_OF_SPARSE] * (wanted.report and choice.kept == NETWORK)
        notes = (*campaign.notes, choice.sentence, *sparse_report)
        campaign = dataclasses.replace(campaign, notes=notes)
    else:
        model = CampaignModel.fit(campaign, language=language, prior=general)
        progress("fitting", 1, 1)
    report = None
    if wanted.report:
        fit = campaign_fitter(language, general, INDUCING_ROWS if large else MAX_ROWS)
        report = validate(
            campaign, lambda part: AssayPredictor(fit(part)), seed=wanted.seed, progress=progress
        )
    importance = model.importance()
    name = target.name if target is not None else "model"
    prior_name = NO_PRIOR if general is None else Path(wanted.prior).name
    bundle = campaign_bundle(
        model,
        metrics={
            **({} if report is None else report.to_json()),
            **({} if choice is None else {"choice": choice.to_json()}),
        },
        environment=environment(),
        card=card(name, campaign, importance, report, prior_name),
    )
    adapted = Adapted(campaign, model, report, bundle, choice, target)
    if target is None:
        return adapted
    write_bundle(bundle, target)
    written = write_report(campaign, importance, report, target)
    return dataclasses.replace(adapted, written=tuple(written))


def open_prior(
    prior: str | os.PathLike[str],
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> Any:
    """A `SubstitutionPrior`, None, or a general model; see `AdaptOptions.prior`."""
    if prior == NO_PRIOR:
        return None
    if prior == AUTO_PRIOR:
        return SubstitutionPrior.of_general_model()
    return Predictor.load(prior, device, cache)


def _prior_of(
    options: AdaptOptions, campaign: Campaign, large: bool
) -> tuple[Any, tuple[str, ...]]:
    """A general model, a `SubstitutionPrior` or None; and what a reader should know of it."""
    prior = options.prior
    if prior in (AUTO_PRIOR, NO_PRIOR):
        return None if large else open_prior(prior), ()
    if not campaign.antigens:
        return None, (
            "no antigen is named, so no general model is asked; the measurements alone count",
        )
    general = open_prior(prior, options.device, options.cache)
    if general.bundle.campaign:
        raise InputError(
            f"--prior {prior}: this is the model of a campaign; expected a general model (a folder "
            "of paratope train, default, or none). To go on with a campaign, adapt to all its "
            "measurements in one table"
        )
    share = np.mean([verdict.domain == "in" for verdict in general.model.judge(campaign.pairs)])
    if share < _KNOWN_SHARE:
        return general, ()
    return general, (
        f"the general model {prior} was trained on relatives of {share:.0%} of these variants: "
        "held-out numbers are flattered by it; --prior none shows how the measurements do alone",
    )
