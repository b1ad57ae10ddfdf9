"""Monitors of a training run: faults are named, kept in the history, and may end the run.

Numbers that are not finite always end a run before the step that would carry them into the weights
(`check_finite_output`, `GradientPeaks`). After an epoch, `Monitors` asks each rule of ``MONITORS``:
collapsed predictions, predictions outside any possible pKd, a recall that swings, overfitting, and
parts of the network that get no gradient.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paratope.core.errors import TrainingError
from paratope.core.interruption import Resumable
from paratope.core.units import PKD_MAX_OUTPUT, PKD_MIN_OUTPUT
from paratope.data.findings import (
    MAX_OUTSIDE_SHARE,
    Finding,
    collapse,
    named,
    outside_share,
    percent,
)
from paratope.models.batches import PairBatch
from paratope.models.network import NetworkOutput
from paratope.models.recipes import Recipe

Record = Mapping[str, Any]
# A spread of predictions that grows by this factor from one epoch to the next has not collapsed.
_GROWTH = 1.5
# Epochs in a row that have to look overfitted.
OVERFITTED_EPOCHS = 3
# Rise of the validation loss, as a share of what the training rows' loss fell, that counts as one.
MIN_RISE = 0.1
# A recall (in percent) that swings by more than this from epoch to epoch makes a run unstable.
MAX_STABLE_RECALL_SD = 10.0
# Warn while a run goes if recall fell by more than this over its latest epochs; with fewer strong
# binders a row or two could make it.
RECALL_WINDOW = 5
MAX_RECALL_FALL = 20.0
MIN_STRONG = 10
# AdamW divides a gradient by its size plus this: below it, a parameter hardly moves any more.
VANISHED = 1e-8
MAX_DEAD_UNITS = 0.5
# A unit whose weights' gradients stay below this share of its layer's largest gets none.
_DEAD_UNIT = 1e-6
_NAMED_ROWS, _NAMED_PARAMETERS = 10, 6  # in a message


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """Predictions for the validation rows after an epoch, each pair once."""

    predicted: np.ndarray  # pKd, (n,)
    measured: np.ndarray  # pKd, (n,)
    strong: int  # Rows that are known to be strong binders


@dataclasses.dataclass(frozen=True, slots=True)
class Epoch:
    """What a monitor sees: records of the epochs so far, this one's answers, epochs of warm-up."""

    history: list[Record]
    answers: Answers
    warmup: float = 0

    def column(self, name: str) -> list[float]:
        """A number of every epoch; NaN where it is unknown."""
        return [record.get(name, math.nan) for record in self.history]


class Observation(NamedTuple):
    """What a monitor measured, and the fault it found, if any."""

    columns: dict[str, Any]
    finding: Finding | None = None

    @property
    def warning(self) -> str:
        """The fault and what to do in one sentence; empty where all is well."""
        return f"{self.finding.message}; {self.finding.advice}" if self.finding else ""


def check_finite_output(
    output: NetworkOutput,
    values: Mapping[str, float],
    batch: PairBatch,
    where: str,
    part: str = "training",
) -> None:
    """Stop before a loss that is not finite reaches the weights, naming batch, tensor and rows.

    `values` are the losses by name, `where` a place in the run such as ``"epoch 3, batch 17"``.
    """
    tensors = {"measured pKd": batch.pkd.isfinite()}
    if batch.antibody.numel():  # the embeddings may be gone already
        antibody = batch.antibody.flatten(1).isfinite().all(1)
        antigen = batch.antigen.flatten(1).isfinite().all(1)
        tensors["antibody embedding"] = antibody[batch.antibody_index]
        tensors["antigen embedding"] = antigen[batch.antigen_index]
    tensors |= {name: tensor.isfinite() for name, tensor in output._asdict().items()}
    for name, finite in tensors.items():
        if not bool(finite.all()):
            raise TrainingError(
                f"{where}: {name} is NaN or infinite for {part} rows "
                f"{_named_rows(batch.row[~finite].tolist())} (counted from 0); the last checkpoint "
                "is intact. Check these rows, or lower training.learning_rate"
            )
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{where}: loss {name} is {value} although predictions and measured values are "
                f"finite, in a batch of {part} rows {_named_rows(batch.row.tolist())} (counted "
                "from 0); the last checkpoint is intact. Lower training.learning_rate or check "
                "the measured values"
            )


def _named_rows(rows: Iterable[int]) -> str:
    return named([str(row) for row in sorted(set(map(int, rows)))], _NAMED_ROWS)


class GradientPeaks:
    """Largest absolute gradient of every unit of every parameter over an epoch's steps."""

    def __init__(self) -> None:
        self.peaks: dict[str, Tensor] = {}

    def add(self, network: nn.Module, where: str, rows: Iterable[int]) -> None:
        """Take in the gradients of a step over these rows; `TrainingError` if not finite."""
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue  # frozen on purpose
            units = len(parameter) if parameter.dim() > 1 else 1
            if parameter.grad is None:
                peak = torch.zeros(units, device=parameter.device)
            else:
                by_unit = parameter.grad.detach().reshape(units, -1)
                peak = by_unit.abs().amax(dim=1).float()  # NaN if any is
                if not bool(peak.isfinite().all()):
                    raise TrainingError(
                        f"{where}: the gradient of {name} is NaN or infinite, in a step over "
                        f"training rows {_named_rows(rows)} (counted from 0); the last checkpoint "
                        "is intact. Lower training.learning_rate or set training.gradient_clip"
                    )
            if name in self.peaks:
                peak = torch.maximum(self.peaks[name].to(peak), peak)
            self.peaks[name] = peak

    def take(self) -> Observation:
        """What got no gradient since the last time, by `dead_gradients`; begin anew."""
        peaks, self.peaks = self.peaks, {}
        return dead_gradients(peaks)

    def state_dict(self) -> dict[str, Tensor]:
        """The peaks so far, on the CPU."""
        return {name: peak.cpu().clone() for name, peak in self.peaks.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from another's peaks."""
        self.peaks = dict(state)


def dead_gradients(peaks: Mapping[str, Tensor]) -> Observation:
    """Parameters and hidden units (rows of weights but the last layer's) that got no gradient.

    `peaks` holds for each parameter, in the network's order, the largest absolute gradient of each
    row of a weight, (units,), or of the whole of anything else, (1,).
    """
    still = {name for name, peak in peaks.items() if float(peak.max()) < VANISHED}
    weights = [peak for peak in peaks.values() if len(peak) > 1][:-1]
    dead = sum(int((peak <= _DEAD_UNIT * peak.max()).sum()) for peak in weights)
    share = dead / max(1, sum(len(peak) for peak in weights))
    parts: dict[str, None] = {}  # the largest part of the network that is dead as a whole
    for name in filter(still.__contains__, peaks):
        pieces = name.split(".")
        wholes = [".".join(pieces[:count]) for count in range(1, len(pieces) + 1)]
        alive = [f"{other}." for other in peaks if other not in still]
        parts[next(w for w in wholes if not any(o.startswith(f"{w}.") for o in alive))] = None
    if still and len(still) == len(peaks):
        parts = {"every parameter": None}
    problems = []
    if still:
        vanished = any(bool(peaks[name].any()) for name in still)
        size = f"below {VANISHED:g}" if vanished else "exactly zero"
        names = named([*parts], _NAMED_PARAMETERS)
        problems.append(f"the gradient of {names} was {size} for the whole epoch")
    if share > MAX_DEAD_UNITS:
        problems.append(f"{100 * share:.0f} % of the hidden units got no gradient")
    columns = {"dead_unit_share": share, "dead_gradients": ", ".join(parts)}
    if not problems:
        return Observation(columns)
    message = f"dead gradients: {'; '.join(problems)}"
    advice = "these parts no longer learn: lower training.learning_rate, and start the run anew"
    return Observation(columns, Finding("gradients", "warning", message, advice))


def observe_collapse(epoch: Epoch) -> Observation:
    """Predictions that are (nearly) one value, and neither warmed up nor still spreading."""
    observed = collapse_of(epoch.answers.predicted, epoch.answers.measured)
    before = epoch.column("spread_ratio")[:-1]
    young = not before or epoch.history[-1]["epoch"] < epoch.warmup
    learning = young or observed.columns["spread_ratio"] > _GROWTH * before[-1]
    return Observation(observed.columns) if learning else observed


def collapse_of(predicted: np.ndarray, measured: np.ndarray) -> Observation:
    """`paratope.data.findings.collapse` of predictions, (n,), as an observation."""
    spread = collapse(predicted, measured)
    columns = {name: getattr(spread, name) for name in ("distinct", "tie_share", "spread_ratio")}
    advice = "look at the losses of the first epochs, and try another training.learning_rate"
    finding = Finding("collapse", "warning", spread.message, f"{advice} or loss")
    return Observation(columns, finding if spread.fault else None)


def range_of(predicted: np.ndarray, measured: np.ndarray) -> Observation:
    """How many of the predictions, (n,), lie outside pKd 4 to 14."""
    share = outside_share(predicted)
    columns = {"share_out_of_range": share}
    if not share > MAX_OUTSIDE_SHARE:
        return Observation(columns)
    message = (
        f"{percent(share)} of the predictions lie outside pKd {PKD_MIN_OUTPUT:g} to "
        f"{PKD_MAX_OUTPUT:g} (from {predicted.min():.3f} to {predicted.max():.3f}; of the measured "
        f"values {percent(outside_share(measured))} do)"
    )
    advice = "set network.output=bounded, or check the labels with paratope data audit"
    return Observation(columns, Finding("range", "warning", message, advice))


class RecallStability(NamedTuple):
    """How much the recall of strong binders swings from epoch to epoch, in percent."""

    sd: float | None  # Population standard deviation over the epochs; None where none is known
    max_jump: float | None  # Largest change from one epoch to the next; None for fewer than two
    status: str  # "stable", "unstable" (the standard deviation is above ten points) or "unknown"


def recall_stability(recalls: Sequence[float]) -> RecallStability:
    """Swing of the recall over a whole run; epochs without one (NaN) are left out."""
    known = np.array([recall for recall in recalls if math.isfinite(recall)])
    if not len(known):
        return RecallStability(None, None, "unknown")
    sd = float(np.std(known))
    jump = float(np.abs(np.diff(known)).max()) if len(known) > 1 else None
    return RecallStability(sd, jump, "unstable" if sd > MAX_STABLE_RECALL_SD else "stable")


def observe_recall(epoch: Epoch) -> Observation:
    """Whether the recall of strong binders swings in the latest five epochs.

    It has to fall by more than twenty points between epochs, with a standard deviation above ten.
    """
    recalls = epoch.column("validation_recall_percent")
    stability = recall_stability(recalls)
    columns = {
        "recall_sd": math.nan if stability.sd is None else stability.sd,
        "recall_jump": math.nan if stability.max_jump is None else stability.max_jump,
    }
    latest = np.array([recall for recall in recalls if math.isfinite(recall)][-RECALL_WINDOW:])
    if epoch.answers.strong < MIN_STRONG or len(latest) < 2:
        return Observation(columns)
    fall, sd = float(-np.diff(latest).min()), float(np.std(latest))
    if fall <= MAX_RECALL_FALL or sd <= MAX_STABLE_RECALL_SD:
        return Observation(columns)
    message = (
        f"recall of strong binders (pKd >= 9) is unstable: in the latest {len(latest)} epochs it "
        f"swung between {latest.min():.1f} % and {latest.max():.1f} % (standard deviation "
        f"{sd:.1f}, largest fall {fall:.1f} points)"
    )
    advice = "the predictions pass 9 together: judge ranks instead, or lower training.learning_rate"
    return Observation(columns, Finding("recall", "warning", message, advice))


def observe_overfitting(epoch: Epoch) -> Observation:
    """Whether training rows get better at the cost of validation rows.

    In each of the latest three epochs the validation loss was above its minimum by at least a tenth
    of what the training rows' (the same, without dropout) has fallen since the first epoch, and the
    gap between the two was wider than at that minimum.
    """
    seen = np.array(epoch.column("train_sample_loss"), dtype=float)
    unseen = np.array(epoch.column("validation_loss"), dtype=float)
    if not (np.isfinite(seen).all() and np.isfinite(unseen).all()):
        return Observation({"loss_gap": math.nan})
    gap = unseen - seen
    columns = {"loss_gap": float(gap[-1])}
    best = int(unseen.argmin())
    latest = slice(max(best + 1, len(seen) - OVERFITTED_EPOCHS), None)
    worse = unseen[latest] - unseen[best] > MIN_RISE * (seen[0] - seen[latest])
    wider = (gap[latest] > gap[best]) & (seen[latest] < seen[best])
    if len(worse) < OVERFITTED_EPOCHS or not (worse & wider).all():
        return Observation(columns)
    message = (
        f"overfitting: since epoch {best + 1} the loss of validation rows rose from "
        f"{unseen[best]:.4f} to {unseen[-1]:.4f} while that of training rows fell from "
        f"{seen[best]:.4f} to {seen[-1]:.4f} (gap {gap[best]:.4f}, now {gap[-1]:.4f})"
    )
    advice = (
        "the best epoch is kept: stop here, or raise network.dropout or training.weight_decay, or "
        "make the network smaller"
    )
    return Observation(columns, Finding("overfitting", "warning", message, advice))


# Of the answers for the validation rows; the gradients are watched in every run.
MONITORS: dict[str, Callable[[Epoch], Observation]] = {
    "collapse": observe_collapse,
    "range": lambda epoch: range_of(epoch.answers.predicted, epoch.answers.measured),
    "recall": observe_recall,
    "overfitting": observe_overfitting,
}


class Monitors:
    """Everything that watches a run; the recipe's ``monitors.<name>`` says what each one does.

    `stop` says why the run is to end after the latest epoch; it is empty if it is not.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.reactions: dict[str, str] = recipe.monitors.model_dump()
        if recipe.training.stop_on_collapse:
            self.reactions["collapse"] = "stop"
        self.gradients = GradientPeaks()
        self.stop = ""
        warmed = recipe.schedule.name == "warmup_cosine"
        self._warmup = recipe.schedule.warmup_epochs if warmed else 0

    def after_epoch(
        self, record: Record, answers: Answers | None, history: Sequence[Record]
    ) -> dict[str, Any]:
        """Judge an epoch by its record, its answers (None without validation) and those before.

        Returns columns of the history: what each monitor measured; ``warned``, the names of those
        that found something; ``warning``, a sentence of each, on a line of its own.
        """
        observed = {"gradients": self.gradients.take()}
        if answers is not None:
            epoch = Epoch([*history, record], answers, self._warmup)
            observed |= {name: monitor(epoch) for name, monitor in MONITORS.items()}
        columns: dict[str, Any] = {}
        warnings: dict[str, str] = {}
        for name, observation in observed.items():
            if self.reactions[name] != "off":
                columns |= observation.columns
                if observation.finding:
                    warnings[name] = observation.warning
        stopping = [text for name, text in warnings.items() if self.reactions[name] == "stop"]
        self.stop = f"after epoch {record['epoch']}: {'; '.join(stopping)}" if stopping else ""
        return {**columns, "warned": ", ".join(warnings), "warning": "\n".join(warnings.values())}


class EarlyStopping(Resumable):
    """Whether a value, higher = better, still improves.

    It is time to stop after `patience` epochs (0: never) without a rise of more than `min_delta`.
    """

    kept = ("best", "since", "waited")

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best, self.since, self.waited = -math.inf, 0, 0

    def update(self, epoch: int, value: float) -> bool:
        """Take in an epoch's value; True if it is time to stop."""
        if value > self.best + self.min_delta:
            self.best, self.since = value, epoch
        self.waited = epoch - self.since
        return bool(self.patience) and self.waited >= self.patience
