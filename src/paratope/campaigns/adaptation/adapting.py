"""`adapt`: a campaign's measurements in, a model folder with its report out."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.choice import NETWORK, Choice, choose_model
from paratope.campaigns.adaptation.expectation import Expectation, expect
from paratope.campaigns.adaptation.learner import fitting
from paratope.campaigns.adaptation.report import card, write_report
from paratope.campaigns.adaptation.tuned_networks import BUDGET_SECONDS
from paratope.campaigns.campaign import Campaign, campaign_of
from paratope.campaigns.campaign_bundle import campaign_bundle, open_campaign
from paratope.campaigns.campaign_model import INDUCING_ROWS, MAX_ROWS, CampaignModel, check_campaign
from paratope.campaigns.kernels import AntibodyLanguage
from paratope.core.errors import InputError
from paratope.models.bundle import Bundle, check_target, write_bundle
from paratope.models.ensembling import environment
from paratope.models.predictor import Predictor

NO_PRIOR = "none"
# From this share of variants on that a general model was trained on relatives of, the report says
# so: its held-out rows are no news to that model.
_KNOWN_SHARE = 0.2
_REPORT_OF_SPARSE = (
    "what to expect is told of the sparse Gaussian process without networks, which were not "
    "trained again for every fold: expect rather more"
)


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A model of a campaign, and what to expect of it.

    Attributes
    ----------
    campaign : Campaign
        What was learned from, with notes.
    model : CampaignModel
    expectation : Expectation or None
        None where no report was asked for.
    bundle : Bundle
    choice : Choice or None
        Of two models, where there are more rows than an exact process takes.
    folder : Path or None
        Where it was written.
    written : tuple of Path
        Files of the report.
    """

    campaign: Campaign
    model: CampaignModel
    expectation: Expectation | None
    bundle: Bundle
    choice: Choice | None = None
    folder: Path | None = None
    written: tuple[Path, ...] = ()

    def predictor(
        self, device: str = "auto", cache: str | os.PathLike[str] | None = None
    ) -> Predictor:
        """The model as what predicts tables, as `Predictor.load` of its folder gives it."""
        return Predictor(open_campaign(self.bundle, device, cache), self.bundle)


def adapt(
    measurements: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    prior: str | os.PathLike[str] = NO_PRIOR,
    report: bool = True,
    columns: Mapping[str, str] | None = None,
    antigens: Any = None,
    assay: str | None = None,
    seed: int = 0,
    exact_rows: int = MAX_ROWS,
    network_seconds: float = BUDGET_SECONDS,
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Adapted:
    """Learn from a campaign's measurements.

    Parameters
    ----------
    measurements : path, DataFrame (polars or pandas), InputTable, or sequence of Measurement
        Variants with a measured value each: a Kd in any unit, ΔG, ΔΔG with a parent, or a score
        (higher = stronger). Replicates, bounds, several assays, parents and antigens are welcome;
        no antigen is needed. See `paratope.campaigns.campaign.campaign_of`.
    output : path, optional
        Model folder to write, with ``card.md`` and ``report/``.
    prior : str or path
        General model whose answers become one of the things that are learned from, with a weight
        that is learned too: a bundled name, a model folder, or ``"none"``.
    report : bool
        Whether to find out what to expect of the model; takes a few times as long as the fit.
    columns : mapping of str to str, optional
        Canonical name to the table's column, where the name is not known.
    antigens : path of a FASTA file, or sequence of one Antigen, optional
        The antigen of all rows.
    assay : str, optional
        Assay on whose scale predictions are to be; by default the one with the most rows.
    seed : int
        Of the report's folds and draws, and of networks. A Gaussian process has nothing random.
    exact_rows : int
        Above these a sparse Gaussian process learns from all rows, once with networks trained on
        the campaign and once without; what ranks held-out variants better is kept.
    network_seconds : float
        That training those networks may take, about.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    cache : path, optional
        Folder of the embedding stores.
    progress : callable
        Called with what is done, how much of it, and how much there is.

    Returns
    -------
    Adapted

    Raises
    ------
    InputError
        If nothing can be learned from the measurements; the message says why.
    ModelError
        If there is no such prior.
    OutputError
        If the folder cannot be written, or holds something that is no model.
    """
    target = None if output is None else Path(output)
    if target is not None:
        check_target(target)
    progress("reading", 0, 1)
    campaign = campaign_of(measurements, columns=columns, antigens=antigens, assay=assay)
    check_campaign(campaign)
    general, prior_notes = _general_model(prior, campaign, device, cache)
    campaign = dataclasses.replace(campaign, notes=(*campaign.notes, *prior_notes))
    language, choice = AntibodyLanguage(device, cache), None
    progress("fitting", 0, 1)
    if large := len(campaign) > exact_rows:
        model, choice = choose_model(
            campaign, language=language, general=general, budget_seconds=network_seconds,
            seed=seed, device=device, cache=cache, progress=progress,
        )  # fmt: skip
        notes = (
            choice.sentence,
            *([_REPORT_OF_SPARSE] if report and choice.kept == NETWORK else []),
        )
        campaign = dataclasses.replace(campaign, notes=(*campaign.notes, *notes))
    else:
        model = CampaignModel.fit(campaign, language=language, prior=general)
    progress("fitting", 1, 1)
    expectation = None
    if report:
        expectation = expect(
            campaign,
            fitting(language, general, INDUCING_ROWS if large else MAX_ROWS),
            seed=seed,
            progress=lambda done, total: progress("validating", done, total),
        )
    importance = model.importance()
    name = target.name if target is not None else "model"
    bundle = campaign_bundle(
        model,
        metrics={
            **({} if expectation is None else expectation.to_json()),
            **({} if choice is None else {"choice": choice.to_json()}),
        },
        environment=environment(),
        card=card(name, campaign, importance, expectation, _prior_name(prior, general)),
    )
    written: list[Path] = []
    if target is not None:
        write_bundle(bundle, target)
        written = write_report(campaign, importance, expectation, target)
    return Adapted(campaign, model, expectation, bundle, choice, target, tuple(written))


def _general_model(
    prior: str | os.PathLike[str],
    campaign: Campaign,
    device: str,
    cache: str | os.PathLike[str] | None,
) -> tuple[Predictor | None, tuple[str, ...]]:
    """The general model to learn from, and what a reader should know of it."""
    if str(prior) == NO_PRIOR:
        return None, ()
    if not campaign.antigens:
        return None, (
            "no antigen is named, so no general model is asked; the measurements alone count",
        )
    general = Predictor.load(prior, device, cache)
    if general.bundle.campaign:
        raise InputError(
            f"--prior {prior}: this is the model of a campaign; expected a general model (a folder "
            "of paratope train, default, or none). To go on with a campaign, adapt to all its "
            "measurements in one table"
        )
    domains = np.array([close.domain for close in general.model.judge(campaign.pairs)])
    share = float(np.mean(domains == "in"))
    if share < _KNOWN_SHARE:
        return general, ()
    return general, (
        f"the general model {prior} was trained on relatives of {share:.0%} of these variants: "
        "held-out numbers are flattered by it; --prior none shows how the measurements do alone",
    )


def _prior_name(prior: str | os.PathLike[str], general: Predictor | None) -> str:
    if general is None:
        return NO_PRIOR
    return Path(prior).name
