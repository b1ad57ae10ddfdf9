"""Campaigns with a real, exact Gaussian process on one-hot residues, quick enough for any test."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist
from scipy.stats import norm

from paratope.campaigns.campaign import Campaign, campaign_of
from paratope.campaigns.campaign_bundle import campaign_bundle
from paratope.campaigns.campaign_model import CampaignModel, Posterior
from paratope.core.units import pkd_to_kd_nM
from paratope.data.datasets.simulated import simulate
from paratope.data.measurements import Measurement
from paratope.data.tables import TableRow
from paratope.models.bundle import Bundle, write_bundle
from paratope.models.prediction import Prediction
from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.sequences import Antibody, Antigen, Pair
from test_numbering import VH as HEAVY
from test_numbering import VK as LIGHT

_NOISE = 0.1
_LENGTH = 8.0


class SmallCampaignModel:
    """An exact GP, kernel exp(-differing places / length), on standardised labels."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.noise_variance = _NOISE
        self._centre = float(campaign.values.mean())
        self._scale = float(campaign.values.std()) or 1.0
        self._solve = cho_factor(
            self._kernel(campaign.pairs, campaign.pairs) + _NOISE * np.eye(len(campaign))
        )
        self.scale = self
        self.process = self
        self.ep_target = self.to_latent(campaign.values)
        self._weights = cho_solve(self._solve, self.ep_target)
        self.fast = self

    def posterior(self, pairs: Sequence[Pair]) -> Posterior:
        cross = self._kernel(pairs, self.campaign.pairs)
        covariance = self._kernel(pairs, pairs) - cross @ cho_solve(self._solve, cross.T)
        return Posterior(cross @ self._weights, covariance)

    def marginals(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
        found = self.posterior(pairs)
        return found.mean, np.sqrt(np.maximum(np.diagonal(found.covariance), 0.0))

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        diagonal = np.diagonal(cho_solve(self._solve, np.eye(len(self.campaign))))
        return self.ep_target, self.ep_target - self._weights / diagonal, 1.0 / diagonal

    def to_latent(self, values: np.ndarray) -> np.ndarray:
        return (np.asarray(values) - self._centre) / self._scale

    def to_label(self, values: np.ndarray) -> np.ndarray:
        return self._centre + self._scale * np.asarray(values)

    def _kernel(self, left: Sequence[Pair], right: Sequence[Pair]) -> np.ndarray:
        return np.exp(-differing(left, right) / _LENGTH)


def differing(left: Sequence[Pair], right: Sequence[Pair]) -> np.ndarray:
    """Places at which two pairs' chains differ, each chain filled up at its end."""
    chains = [chain for pair in (*left, *right) for chain in pair.antibody.chains]
    longest = max(map(len, chains), default=1)

    def letters(pairs: Sequence[Pair]) -> np.ndarray:
        both = [chain for pair in pairs for chain in (*pair.antibody.chains, "")[:2]]
        filled = "".join(chain.ljust(longest) for chain in both)
        return np.frombuffer(filled.encode(), np.uint8).reshape(-1, 2 * longest)

    return np.rint(2 * longest * cdist(letters(left), letters(right), "hamming"))


class SmallCampaignPredictor:
    """What a predictor of a campaign offers to the choice of the next round."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = SmallCampaignModel(campaign)

    def predict_rows(self, rows: Sequence[TableRow], *, coverage: float = 0.9) -> list[Prediction]:
        posterior = self.campaign.posterior([row.pair for row in rows if row.pair is not None])
        sd = np.sqrt(np.diagonal(posterior.covariance) + _NOISE)
        reach = norm.ppf(0.5 + coverage / 2) * sd
        low, mid, high = (
            self.campaign.to_label(posterior.mean + side * reach) for side in (-1, 0, 1)
        )
        label = self.campaign.campaign.label
        found = []
        for row, *values in zip(rows, mid, low, high, strict=True):
            named = dict(zip((label, f"{label}_low", f"{label}_high"), map(float, values)))  # noqa: B905
            if label == "pkd":
                named["kd_nM"] = pkd_to_kd_nM(named["pkd"])
            found.append(Prediction(row.id, coverage, **named))
        return found


TARGET = Antigen(
    ("TQVCTGTDMKLRLPASPETHLDMLRHLYQGCQVVQGNLELTYLPTNASLSFLQDIQEVQGYVLIAHNQVR",), "target"
)
WILD_TYPE = Pair(Antibody(HEAVY, LIGHT, "wt"), TARGET)
PARENT = WILD_TYPE.antibody


def variant(text: str, name: str = "") -> Antibody:
    """The wild type with mutations."""
    made = apply_mutations(PARENT, parse_mutations(text, PARENT))
    return dataclasses.replace(made, name=name or text)


def row_of(text: str, **columns: object) -> dict[str, object]:
    """A row of a table about the wild type with mutations, named after them."""
    made = variant(text)
    return {"id": text, "heavy": made.heavy, "light": made.light, **columns}


def single_mutants(count: int = 60) -> pl.DataFrame:
    """Single mutants with a pKd each, to three decimals."""
    rng = np.random.default_rng(3)
    places = [(chain, place) for chain in "HL" for place in range(20, 90, 5)]
    rows = []
    for number in range(count):
        chain, place = places[number % len(places)]
        before = (HEAVY if chain == "H" else LIGHT)[place - 1]
        after = [letter for letter in "ADEFGHIKLMNPQRSTVWY" if letter != before][number // 5]
        rows.append(row_of(f"{chain}:{before}{place}{after}", pkd=round(rng.normal(8, 1), 3)))
    return pl.DataFrame(rows)


def additive_mutants(
    random: np.random.Generator,
    count: int,
    places: Sequence[tuple[str, int]],
    most: int,
    sd: float,
    noise: float = 0.0,
) -> dict[tuple[str, str], float]:
    """Chains with one to ``most`` changes at these places, whose effects add up, and their pKd."""
    effects = {(*place, residue): random.normal(0, sd) for place in places for residue in "ADFKSY"}
    made: dict[tuple[str, str], float] = {}
    while len(made) < count:
        chains, total = {"H": list(HEAVY), "L": list(LIGHT)}, 8.0
        for number in random.choice(len(places), random.integers(1, most + 1), replace=False):
            chain, place = places[number]
            residue = str(random.choice(list("ADFKSY")))
            chains[chain][place] = residue
            total += effects[chain, place, residue]
        both = "".join(chains["H"]), "".join(chains["L"])
        if both not in made:
            made[both] = total + (random.normal(0, noise) if noise else 0.0)
    return made


def exact_campaign(pairs: Sequence[Pair], values: Sequence[float], *parents: Pair) -> Campaign:
    """Exact pKd of one assay, each measured once."""
    zeros, ones = np.zeros(len(pairs), int), np.ones(len(pairs), int)
    nothing = np.full(len(pairs), np.nan)
    return Campaign(
        tuple(pairs), np.array(values), "pkd", zeros, zeros, ("plate",), ones, nothing, parents
    )


def bundle_of(model: CampaignModel) -> Bundle:
    """A campaign's model without a report."""
    return campaign_bundle(model, metrics={}, environment={}, card="# A small campaign\n")


def write_campaign(folder: Path, campaign: Campaign) -> Path:
    """A campaign's model, without a language model, as a folder."""
    return write_bundle(bundle_of(CampaignModel.fit(campaign)), folder)


def small_campaign(rows: int = 40, seed: int = 0, light: bool = True) -> Campaign:
    """Random mutants of the wild type in CDR-H3, the value the sum of what each residue brings."""
    random = np.random.default_rng(seed)
    places = [98, 99, 100, 101, 102, 103, 104]  # from 0: within CDR-H3, WGGDGFY
    effects = np.random.default_rng(1).normal(size=(len(places), 20))
    letters = "ACDEFGHIKLMNPQRSTVWY"
    measured = [Measurement(_made(HEAVY, "wt", light), 8.0, assay="spr")]
    while len(measured) < rows:
        residues, value = list(HEAVY), 8.0
        for which in random.choice(len(places), random.integers(1, 4), replace=False):
            new = random.choice([one for one in "ADEFGHIKLNPQRSTVY" if one != HEAVY[places[which]]])
            residues[places[which]] = str(new)
            value += 0.5 * effects[which, letters.index(str(new))]
        pair = _made("".join(residues), f"v{len(measured)}", light)
        if all(pair.antibody.chains != one.pair.antibody.chains for one in measured):
            measured.append(Measurement(pair, value + 0.1 * random.normal(), assay="spr"))
    return campaign_of(measured)


def simulated_campaign(rows: int = 60, seed: int = 3, light_chains: bool = True) -> Campaign:
    """A campaign of a simulated landscape: two backgrounds, loops of several lengths."""
    made = simulate(antibodies=rows, antigens=1, seed=seed, light_chains=light_chains)
    return campaign_of(list(made.measurements))


def _made(heavy: str, name: str, light: bool) -> Pair:
    return Pair(Antibody(heavy, LIGHT if light else None, name), TARGET)
