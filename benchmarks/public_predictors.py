"""Our network and the trivial baselines, fitted on the folds of published comparisons.

A ΔpKd set is learnt as pKd: a mutant is 8 + ΔpKd and the parent of every training row is 8, so that
the network predicts ΔpKd as the difference of two predictions. Baselines are fitted on the mutants
alone. Nothing of a fold is looked at while the others are trained on: the recipe is fixed and every
epoch is run.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from paratope.core.errors import InputError
from paratope.core.progress import console_progress
from paratope.core.units import pkd_to_dg_kcal_mol
from paratope.data.datasets import training_rows
from paratope.data.measurements import Measurement
from paratope.data.splits import antigen_clusters
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.evaluation.baselines import BASELINES
from paratope.models.batches import Examples, fit_molecule
from paratope.models.network import Network
from paratope.models.recipes import Recipe
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.training import fit, score

PARENT_PKD = 8.0


@dataclasses.dataclass(frozen=True)
class Encoders:
    """Embedding stores of the two sides of a recipe."""

    antibody: EmbeddingStore
    antigen: EmbeddingStore

    @classmethod
    def of(cls, recipe: Recipe) -> "Encoders":
        """The stores in the cache folder."""
        names = recipe.encoders.antibody, recipe.encoders.antigen
        return cls(*(EmbeddingStore(load_encoder(name)) for name in names))

    def seen(self, pair: Pair) -> Pair:
        """A pair as the network sees it: variable domains, or whole chains that hold none."""
        try:
            antibody, _ = prepare_antibody(pair.antibody)
        except InputError:
            antibody = pair.antibody
        chains, _ = fit_molecule(self.antibody.encoder, antibody.chains, "antibody")
        antigen, _ = fit_molecule(self.antigen.encoder, pair.antigen.chains, "antigen")
        return Pair(
            Antibody(chains[0], chains[1] if len(chains) > 1 else None, antibody.name),
            Antigen(antigen, pair.antigen.name),
        )

    def train(self, rows: Sequence[Measurement], recipe: Recipe) -> Network:
        """A network trained on rows for all epochs of a recipe."""
        examples = Examples.from_measurements(rows)
        self.fill([row.pair for row in rows])
        return fit(examples, None, recipe, (self.antibody, self.antigen)).network()

    def predict_pkd(self, network: Network, pairs: Sequence[Pair]) -> np.ndarray:
        """A network's pKd of pairs."""
        self.fill(pairs)
        examples = Examples.from_measurements([Measurement(pair, 8.0) for pair in pairs])
        return score(network, examples, (self.antibody, self.antigen)).mean

    def fill(self, pairs: Sequence[Pair]) -> None:
        """Encode what is not in the stores yet."""
        with console_progress() as progress:
            self.antibody.fill([pair.antibody.chains for pair in pairs], progress)
            self.antigen.fill([pair.antigen.chains for pair in pairs], progress)


@dataclasses.dataclass(frozen=True)
class DeltaRows:
    """Mutants with ΔpKd, their parents, and a comparison's folds; n rows each."""

    rows: tuple[Measurement, ...]
    folds: np.ndarray

    @classmethod
    def of(
        cls, rows: Sequence[Measurement], delta_pkd: np.ndarray, folds: np.ndarray, encode: Encoders
    ) -> "DeltaRows":
        """Rows as they are trained on: cut to what is seen, labelled with ΔpKd alone."""
        seen: dict[Pair, Pair] = {}

        def cut(pair: Pair) -> Pair:
            if pair not in seen:
                seen[pair] = encode.seen(pair)
            return seen[pair]

        made = []
        for row, delta in zip(rows, delta_pkd, strict=True):
            if row.parent is None:
                raise InputError(f"row {row.origin.row} of {row.origin.source} has no parent")
            value = PARENT_PKD + float(delta)
            pairs = {"pair": cut(row.pair), "parent": cut(row.parent)}
            label = {"pkd": value, "delta_pkd": float(delta)}
            made.append(Measurement(**pairs, **label, assay=row.origin.complex_id))
        return cls(tuple(made), np.asarray(folds))

    def training(self, fold: int, *, parents: bool) -> list[Measurement]:
        """Rows of the other folds, with each distinct parent of theirs at its pKd."""
        rows = [
            row for row, held_out in zip(self.rows, self.folds, strict=True) if held_out != fold
        ]
        wild = {(row.assay, row.parent): row.parent for row in rows} if parents else {}
        return rows + [
            Measurement(pair, PARENT_PKD, assay=assay)
            for (assay, _), pair in wild.items()
            if pair is not None
        ]


def network_ddg(data: DeltaRows, recipe: Recipe, encode: Encoders) -> np.ndarray:
    """Cross-validated ddG (kcal/mol) of the network, one training a fold."""
    predicted = np.empty(len(data.rows))
    for fold in np.unique(data.folds).tolist():
        network = encode.train(data.training(fold, parents=True), recipe)
        places = np.flatnonzero(data.folds == fold)
        rows = [data.rows[int(index)] for index in places]
        mutants = encode.predict_pkd(network, [row.pair for row in rows])
        wild = encode.predict_pkd(network, [row.parent for row in rows if row.parent is not None])
        predicted[places] = mutants - wild
    return ddg(predicted)


def baseline_ddg(name: str, data: DeltaRows) -> np.ndarray:
    """Cross-validated ddG (kcal/mol) of a baseline."""
    predicted = np.empty(len(data.rows))
    for fold in np.unique(data.folds).tolist():
        places = np.flatnonzero(data.folds == fold)
        model = BASELINES[name]().fit(data.training(fold, parents=False))
        pairs = [data.rows[int(index)].pair for index in places]
        predicted[places] = model.predict_pkd(pairs) - PARENT_PKD
    return ddg(predicted)


def ddg(delta_pkd: np.ndarray) -> np.ndarray:
    """ΔΔG in kcal/mol of ΔpKd, positive is weaker."""
    return np.array([pkd_to_dg_kcal_mol(value) for value in delta_pkd])


def prior_rows(
    antigens: Sequence[Antigen], names: Sequence[str], encode: Encoders
) -> tuple[tuple[Measurement, ...], int]:
    """Rows that may train a shipped model, without the antigen clusters that are judged on.

    Parameters
    ----------
    antigens : sequence of Antigen
        Every training antigen in a cluster with one of these is left out.
    names : sequence of str
        For an antigen whose residues are not published: part of its name; clusters with such a
        name are left out.
    encode : Encoders

    Returns
    -------
    rows : tuple of Measurement
    left_out : int
    """
    rows = [row for row in training_rows().measurements if row.pkd is not None]
    clusters = antigen_clusters([*(row.pair.antigen for row in rows), *antigens])
    banned = set(clusters[len(rows) :].tolist())
    for row, cluster in zip(rows, clusters, strict=False):
        if any(name in row.pair.antigen.name.lower() for name in names):
            banned.add(int(cluster))
    kept = [row for row, cluster in zip(rows, clusters, strict=False) if int(cluster) not in banned]
    cut = tuple(dataclasses.replace(row, pair=encode.seen(row.pair)) for row in kept)
    return cut, len(rows) - len(kept)
