"""The general model: pKd = level + Δ, from sequences alone, each part in words and pKd."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.core.errors import InputError, ModelError
from paratope.core.units import (
    PKD_MAX_MEASURABLE,
    PKD_MAX_OUTPUT,
    PKD_MIN_MEASURABLE,
    PKD_MIN_OUTPUT,
    STRONG_PKD,
)
from paratope.data.measurements import PairContext
from paratope.models.applicability_domain import (
    NEAR_ANTIGEN_IDENTITY,
    SAME_ANTIGEN_IDENTITY,
    SAME_FAMILY_IDENTITY,
    ApplicabilityDomain,
    DomainDistance,
)
from paratope.models.bundle import GENERAL, Bundle
from paratope.models.calibration import check_options
from paratope.models.explanation import Explanation
from paratope.models.general.fitting import Fit, MeasuredPairs, Roots, level_rows
from paratope.models.general.intervals import DIFFERENCE, Intervals, stratum_of
from paratope.models.general.level import CELLS, NEW, PEPTIDE_COLUMNS, Level, LevelRows
from paratope.models.general.pair_kernel import (
    ANTIBODY_DESCRIPTORS,
    ANTIGEN_DESCRIPTORS,
    PairKernel,
)
from paratope.models.general.substitutions import (
    Change,
    SubstitutionScore,
    changes_between,
    is_mutant,
)
from paratope.models.model import (
    DEFAULT_COVERAGE,
    Calibrated,
    Label,
    PairPredictions,
    PredictedDifference,
)
from paratope.molecules.sequences import Antigen, Pair

# A variant changes at most this share of its parent's residues: all CDRs are about a quarter.
_MOST_CHANGED = 0.35
_NO_PARENT = "no parent named: variants of one antibody cannot be ranked"
_GERMLINE = (
    "the parent is a germline antibody: mutations of maturation improve it, so their cost on "
    "average is withheld"
)
_OTHER = "no variant of the parent: only levels are compared"
_OUT = "out of domain: the antigen resembles none that the model was trained on"


class _Known(NamedTuple):
    """Which of the trained effects apply to n root pairs, and rows trained on their clusters."""

    cluster: np.ndarray
    antigen: np.ndarray
    family: np.ndarray
    rows: np.ndarray


@dataclasses.dataclass(frozen=True)
class GeneralModel:
    """What was learned of many antibodies and antigens; see `Model`."""

    learned: Fit
    intervals: Intervals
    domain: ApplicabilityDomain
    roots: Roots
    measured: MeasuredPairs
    parent_share: float  # Of the difference between a measured parent and its level that holds
    label: Label = "pkd"
    default_antigen: Antigen | None = None  # every row must name its antigen

    def cut_pair(self, pair: Pair) -> tuple[Pair, str | None]:
        """The pair itself: any length is read."""
        return pair, None

    def judge(self, pairs: Sequence[Pair]) -> list[DomainDistance]:
        """How close each pair is to what was learned from."""
        return self.domain.judge(pairs)

    def close(self) -> None:
        """Nothing is open."""

    def predict_pairs(
        self,
        pairs: Sequence[Pair],
        *,
        parent: Pair | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        contexts: Sequence[PairContext] | None = None,
    ) -> PairPredictions:
        """Predictions with intervals; what a row's context names goes before `parent`."""
        check_options(coverage, strong_threshold_pkd)
        read = self._read(pairs, _with_parent(contexts, parent, len(pairs)))
        pkd = np.clip(read.level + read.delta + read.own, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT)
        half, p_strong = np.zeros((2, len(pairs)))
        for name in dict.fromkeys(read.strata):
            rows = np.array([stratum == name for stratum in read.strata])
            errors = self.intervals.of(name)
            half[rows] = errors.half_width(coverage)
            share = errors.share_at_least(strong_threshold_pkd - pkd[rows])
            # an antibody of no family measured against the antigen: that the level of its antigen
            # is high never speaks for it
            unknown = read.rows.family[rows] == NEW
            base = errors.base_rate(strong_threshold_pkd)
            p_strong[rows] = np.where(unknown, np.minimum(share, base), share)
        low, high = np.clip([pkd - half, pkd + half], PKD_MIN_MEASURABLE, PKD_MAX_MEASURABLE)
        calibrated = Calibrated(pkd, np.minimum(low, pkd), np.maximum(high, pkd), p_strong)
        difference = None
        if parent is not None:
            difference = self._difference(pairs, pkd, half, read, parent, coverage)
        is_root = all(root is pair for root, pair in zip(read.roots, pairs, strict=True))
        distances = read.closest if is_root else self.judge(pairs)
        return PairPredictions(calibrated, distances, read.notes, difference)

    def explain(
        self,
        pairs: Sequence[Pair],
        contexts: Sequence[PairContext] | None = None,
        parent: Pair | None = None,
    ) -> list[Explanation]:
        """Parts of each prediction; they and the changes add up to it exactly."""
        given = _with_parent(contexts, parent, len(pairs))
        read = self._read(pairs, given)
        parts = self.learned.level.parts(read.rows)
        answers = []
        for row, changes in enumerate(read.changes):
            named = {name: float(values[row]) for name, values in parts.items()}
            if read.parent_part[row]:
                named["measured parent"] = float(read.parent_part[row])
            if read.own[row]:
                named["this pair or its parent, as measured"] = float(read.own[row])
            shares = self._contributions(changes, read.epitopes[row])
            together = tuple(zip(changes, shares.tolist(), strict=True))
            total = sum(named.values()) + float(shares.sum())
            pkd = float(np.clip(total, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT))
            if pkd != total:
                named["end of the scale"] = pkd - total
            note = read.notes[row]
            if not changes:
                note = _with_reason(note, _root_of(pairs[row], given[row])[2])
            answers.append(Explanation(named, together, pkd, note))
        return answers

    def _contributions(
        self, changes: Sequence[Change], epitope: frozenset[tuple[str, int]] | None
    ) -> np.ndarray:
        scores = self.learned.substitutions
        antibody, antigen, cost = self.learned.level.slopes
        return (
            scores.antibody(changes) * antibody
            + scores.antigen(changes, epitope) * antigen
            + scores.cost(changes) * cost
        )

    def _difference(
        self,
        pairs: Sequence[Pair],
        pkd: np.ndarray,
        half: np.ndarray,
        read: "_Read",
        parent: Pair,
        coverage: float,
    ) -> PredictedDifference:
        reference = float(self.predict_pairs([parent], coverage=coverage).calibrated.value[0])
        of_parent = np.array([root is parent for root in read.roots])
        delta = np.where(read.parent_part != 0, read.delta, pkd - reference)
        errors = self.intervals.of(DIFFERENCE)
        reach = np.where(of_parent, errors.half_width(coverage), np.sqrt(2) * half)
        levels = self.intervals.of("new antigen")
        p = np.where(of_parent, errors.share_at_least(-delta), levels.share_at_least(-delta))
        return PredictedDifference(delta, delta - reach, delta + reach, p)

    def _read(self, pairs: Sequence[Pair], contexts: Sequence[PairContext]) -> "_Read":
        roots, changes, notes = [], [], []
        for pair, context in zip(pairs, contexts, strict=True):
            root, changed, note = _root_of(pair, context)
            roots.append(root)
            changes.append(changed)
            notes.append(note)
        closest = self.judge(roots)
        known = self._known(closest)
        epitopes = [context.epitope for context in contexts]
        indices = known.cluster, known.antigen, known.family
        rows = level_rows(self.learned, roots, changes, indices, epitopes)
        level, delta = self.learned.level.level(rows), self.learned.level.delta(rows)
        parent_part = np.zeros(len(pairs))
        for row, context in enumerate(contexts):
            if context.parent_pkd is not None and roots[row] is context.parent:
                parent_part[row] = self.parent_share * (context.parent_pkd - level[row])
        strata = [
            stratum_of(int(count), root.antibody.light is None, bool(part))
            for count, root, part in zip(known.rows, roots, parent_part, strict=True)
        ]
        own = np.zeros(len(pairs))
        for row, (pair, cluster) in enumerate(zip(pairs, known.cluster.tolist(), strict=True)):
            if cluster == NEW:
                notes[row] = "; ".join(filter(None, (_OUT, notes[row])))
            if parent_part[row]:
                continue
            index, of_root = self.measured.row(pair), self.measured.row(roots[row])
            if index >= 0 and not (changes[row] and index == of_root):
                # as a variant of the parent it was learned with, whichever is named now, if any
                own[row] = self.measured.effect[index] + self.measured.delta[index] - delta[row]
                told = f"learned from this pair: measured pKd {self.measured.pkd[index]:.2f}"
                notes[row] = told
            elif changes[row] and of_root >= 0:
                own[row] = self.parent_share * self.measured.effect[of_root]
        parts = level + parent_part, delta, own, parent_part
        return _Read(roots, changes, notes, rows, *parts, strata, epitopes, closest)

    def _known(self, closest: Sequence[DomainDistance]) -> _Known:
        cluster, antigen, family = np.full((3, len(closest)), NEW)
        families = {tuple(pair): row for row, pair in enumerate(self.roots.families.tolist())}
        for row, near in enumerate(closest):
            if near.antigen_identity >= NEAR_ANTIGEN_IDENTITY:
                cluster[row] = self.roots.antigen_cluster[near.antigen]
            if near.antigen_identity >= SAME_ANTIGEN_IDENTITY:
                antigen[row] = self.roots.antigen_effect[near.antigen]
            if near.antibody_identity >= SAME_FAMILY_IDENTITY:
                key = int(cluster[row]), int(self.roots.antibody_family[near.antibody])
                family[row] = families.get(key, NEW)
        counts = self.roots.cluster_rows
        rows = np.where(cluster == NEW, 0, counts[cluster] if len(counts) else 0)
        return _Known(cluster, antigen, family, rows)

    def to_bundle(
        self, metrics: Mapping[str, Any], environment: Mapping[str, Any], card: str
    ) -> Bundle:
        """As a model folder's contents: arrays and JSON."""
        level, substitutions = self.learned.level, self.learned.substitutions
        arrays = {
            f"level.{field.name}": np.asarray(getattr(level, field.name), float)
            for field in dataclasses.fields(level)
        }
        arrays |= {
            f"roots.{field.name}": np.asarray(getattr(self.roots, field.name), np.int64)
            for field in dataclasses.fields(self.roots)
        }
        arrays |= {
            f"kernel.{field.name}": np.asarray(getattr(self.learned.kernel, field.name), float)
            for field in dataclasses.fields(PairKernel)
        }
        arrays |= {
            "measured.key": self.measured.key,
            "measured.effect": self.measured.effect,
            "measured.pkd": self.measured.pkd,
            "measured.delta": self.measured.delta,
            "peptide_mean": self.learned.peptide_mean,
            "peptide_sd": self.learned.peptide_sd,
            "parent_share": np.array(self.parent_share),
            "mean_weight": np.array(substitutions.mean_weight),
            "weights": np.array(list(substitutions.weights.values()), float),
        }
        config = {
            "kind": GENERAL,
            "encoders": {"antibody": "none", "antigen": "none"},
            "members": 1,
            "positions": list(substitutions.weights),
        }
        return Bundle(
            config,
            arrays,
            self.intervals.to_json(),
            self.domain.to_json(),
            dict(metrics),
            dict(environment),
            card,
        )

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "GeneralModel":
        """The inverse of `to_bundle`; raises `ModelError` if a part is missing or out of range."""
        arrays = {name: np.asarray(values) for name, values in bundle.weights.items()}
        try:
            level = Level(
                float(arrays["level.mean"]),
                **{
                    field.name: arrays[f"level.{field.name}"]
                    for field in dataclasses.fields(Level)
                    if field.name != "mean"
                },
            )
            roots = Roots(*(arrays[f"roots.{field.name}"] for field in dataclasses.fields(Roots)))
            measured = MeasuredPairs(
                *(arrays[f"measured.{field.name}"] for field in dataclasses.fields(MeasuredPairs))
            )
            positions = [str(name) for name in bundle.config["positions"]]
            weights = dict(zip(positions, arrays["weights"].tolist(), strict=True))
            substitutions = SubstitutionScore(weights, float(arrays["mean_weight"]))
            features = arrays["peptide_mean"], arrays["peptide_sd"]
            kernel = PairKernel(
                *(arrays[f"kernel.{f.name}"] for f in dataclasses.fields(PairKernel))
            )
            share = float(arrays["parent_share"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"model.safetensors or config.json lacks a part of a general model: {error}"
            ) from error
        domain = ApplicabilityDomain.from_json(bundle.familiarity)
        model = cls(
            Fit(substitutions, level, *features, kernel),
            Intervals.from_json(bundle.calibration),
            domain,
            roots,
            measured,
            share,
        )
        model._check()
        return model

    def _check(self) -> None:
        """Raise `ModelError` if indices point outside what is there."""
        level, roots = self.learned.level, self.roots
        whole = [*dataclasses.astuple(roots), self.measured.key]
        effects = [v for v in dataclasses.astuple(level) if isinstance(v, np.ndarray)]
        if any(v.dtype.kind != "i" for v in whole) or any(v.ndim != 1 for v in effects):
            raise ModelError("model.safetensors: arrays of this general model are of other kinds")
        bounds = (
            (roots.antigen_cluster, len(self.domain.antigens), len(level.cluster)),
            (roots.antigen_effect, len(self.domain.antigens), len(level.antigen)),
            (roots.antibody_family, len(self.domain.antibodies), 2**31),
            (roots.cluster_rows, len(level.cluster), 2**31),
        )
        sizes = len({len(values) for values in dataclasses.astuple(self.measured)}) == 1
        sizes &= bool(np.all(np.diff(self.measured.key) > 0))
        sizes &= len(level.cell) == len(CELLS) and len(level.peptide) == len(PEPTIDE_COLUMNS)
        descriptors = ANTIBODY_DESCRIPTORS + ANTIGEN_DESCRIPTORS
        kernel, count = self.learned.kernel, len(level.similar)
        sizes &= kernel.landmarks.shape == (count, descriptors) and kernel.peptide.shape == (count,)
        sizes &= kernel.mean.shape == kernel.scale.shape == (descriptors,)
        sizes &= len(level.slopes) == 3 and roots.families.shape == (len(level.family), 2)
        inside = all(
            len(index) == count and (not count or NEW <= index.min() <= index.max() < most)
            for index, count, most in bounds
        )
        if not (sizes and inside):
            raise ModelError("model.safetensors: arrays of this general model do not fit together")


class _Read(NamedTuple):
    """What was read of n pairs, and their level and Δ in pKd."""

    roots: list[Pair]
    changes: list[tuple[Change, ...]]
    notes: list[str]
    rows: LevelRows
    level: np.ndarray
    delta: np.ndarray
    own: np.ndarray
    parent_part: np.ndarray
    strata: list[str]
    epitopes: list[frozenset[tuple[str, int]] | None]
    closest: list[DomainDistance]  # What was learned from, of the roots


def _with_parent(
    contexts: Sequence[PairContext] | None, parent: Pair | None, count: int
) -> list[PairContext]:
    """What is known of each pair; what a row's context names goes before `parent`."""
    given = contexts or [PairContext()] * count
    return [c if c.parent is not None else c._replace(parent=parent) for c in given]


def _with_reason(note: str, reason: str) -> str:
    """A row's note that says why its Δ is 0."""
    said = f"Δ is 0 ({reason or 'this is the parent itself'})"
    if reason and reason in note:
        return note.replace(reason, said)
    return "; ".join(filter(None, (note, said)))


def _root_of(pair: Pair, context: PairContext) -> tuple[Pair, tuple[Change, ...], str]:
    """The pair whose level counts, what is changed in it, and a note."""
    parent = context.parent
    if parent is None:
        return pair, (), _NO_PARENT
    same_antigen = parent.antigen.chains == pair.antigen.chains
    if not (same_antigen or is_mutant(parent.antigen, pair.antigen)):
        return pair, (), _OTHER
    try:
        changes = changes_between(parent, pair)
    except InputError:
        return pair, (), _OTHER
    inside = sum(bool(change.region) for change in changes)
    if inside > _MOST_CHANGED * sum(map(len, parent.antibody.chains)):
        return pair, (), _OTHER
    if context.parent_is == "germline" and inside:
        return parent, tuple(change for change in changes if not change.region), _GERMLINE
    return parent, changes, ""
