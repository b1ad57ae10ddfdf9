"""Random variants of a campaign's parents: what chance gives, and so what a score is worth."""

import numpy as np

from paratope.campaigns.campaign_model.fast_scoring import Chains, FastScorer
from paratope.campaigns.campaign_model.model import CampaignModel
from paratope.campaigns.kernels.variants import Site, antibody_chains, numbered
from paratope.molecules.sequences import AMINO_ACIDS, Antigen

# So many variants, with 1 to so many changes each.
BACKGROUND, MOST_CHANGES = 4000, 8


def background(model: CampaignModel, antigen: Antigen) -> np.ndarray:
    """Latent scores of random variants by the fast form, (`BACKGROUND`,), ascending."""
    return np.sort(FastScorer(model.fast, antigen).score(random_variants(model, BACKGROUND)).mean)


def random_variants(model: CampaignModel, count: int) -> list[Chains]:
    """So many random variants of a campaign's parents, the same whenever asked.

    Positions are drawn evenly, the new residues as natural antibodies have them there by the
    language model (evenly, if the campaign has none).
    """
    random = np.random.default_rng(0)
    drawn = zip(model.parents, model.featuriser.parent_sites, strict=True)
    parents = [
        (chains, *_choices(chains, sites.log_probability))
        for parent, sites in drawn
        for chains in [list(antibody_chains(parent))]
    ]
    variants: list[Chains] = []
    for number in range(count):
        chains, places, likely = parents[number % len(parents)]
        texts = [list(chain) for _, chain in chains]
        changes = min(int(random.integers(1, MOST_CHANGES + 1)), len(places))
        for place in random.choice(len(places), changes, replace=False).tolist():
            chain, position = places[place]
            residue = int(np.searchsorted(likely[place], random.random()))
            texts[chain][position] = AMINO_ACIDS[min(residue, len(AMINO_ACIDS) - 1)]
        heavy, *light = map("".join, texts)
        variants.append((heavy, light[0] if light else None))
    return variants


def _choices(
    chains: list[tuple[str, str]], log_probability: dict[Site, np.ndarray]
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Places, as chain and index, and cumulated probabilities of another residue there, (p, 20)."""
    places, likely = [], []
    for number, (role, chain) in enumerate(chains):
        domain = numbered(chain)
        for index, (label, residue) in enumerate(zip(domain.labels, domain.residues, strict=True)):
            logs = log_probability.get(Site(role, label))
            chances = np.ones(len(AMINO_ACIDS)) if logs is None else np.exp(logs.astype(float))
            if residue < len(AMINO_ACIDS):
                chances[residue] = 0.0
            places.append((number, domain.start + index))
            likely.append(np.cumsum(chances) / chances.sum())
    return places, np.array(likely)
