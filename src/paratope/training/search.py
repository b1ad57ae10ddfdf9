"""Search: the settings of a recipe that rank best on grouped validation of the training rows.

`search` asks Optuna for trials inside a documented space around the recipe, judges each by
cross-validation inside the training rows, and gives the best as a recipe. The validation and test
rows of the run that follows take no part. Trials are kept as they end, so a search can go on.
"""

import dataclasses
import hashlib
import itertools
import logging
import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from paratope.core.errors import InputError, MissingExtraError, TrainingError
from paratope.core.files import atomic_file
from paratope.core.validation import validated
from paratope.data.measurements import Measurement
from paratope.data.splits import split_measurements
from paratope.data.tables import write_table
from paratope.encoders import Encoder
from paratope.models.batches import Embeddings, Examples
from paratope.models.fine_tuning import open_store
from paratope.models.recipes import Recipe, in_folder, recipe_toml
from paratope.training.checkpoints import Checkpoints, callers_random_state_kept
from paratope.training.loggers import RunLog
from paratope.training.loop import Record, RunOptions, fit
from paratope.training.table import TrainingRows

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure
    from optuna.study import Study

FOLDS = 3
FOLDER, STUDY = "search", "optuna.log"
DONE, PRUNED, FAILED = "done", "pruned", "failed"
# A ranking that does not exist, as all predictions or all measurements are equal, is the worst.
NO_RANKING = -1.0
# Trials that end before any is given up, and epochs that every trial is given.
_TRIALS_BEFORE_PRUNING = 4
_EPOCHS_BEFORE_PRUNING = 2
# Trials drawn at random before their results steer.
_RANDOM_TRIALS = 8
# Ways to divide the training rows, strictest first; a table that does not allow one takes the next.
_GROUPED = ("antigen", "antibody")
_KINDS = (*_GROUPED, "random")
Fold = tuple[Examples, Examples]  # to train on, to validate by
_CAUTION = " (too few antigens and antibodies to keep groups apart: the objective is too good)"


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False  # Equal factors are equally likely, not equal differences


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One of some whole numbers, in rising order."""

    values: tuple[int, ...]


Domain = Range | Choice
# key of a recipe -> what is tried, in words
SPACE = {
    "training.learning_rate": "a tenth to ten times the recipe's",
    "network.dropout": "0 to 0.5",
    "network.dim": "half the recipe's width, the same, twice as wide",
    "network.layers": (
        "1 to one more than the recipe has, at least to 2; not without cross-attention"
    ),
    "training.batch_size": "half the recipe's, the same, twice as many",
    "loss.<name>": (
        "weights of the losses in use, a tenth to ten times the recipe's; the heaviest stays"
    ),
}


def search_space(recipe: Recipe, pins: Collection[str] = ()) -> dict[str, Domain]:
    """What a search around a recipe may change, by key, without `pins`, as `SPACE` says.

    Raises `TrainingError` if nothing is left to choose.

    >>> from paratope.models.recipes import load_recipe
    >>> space = search_space(load_recipe("v2.7"), pins=["network.dim", "network.layers"])
    >>> list(space)
    ['training.learning_rate', 'network.dropout', 'training.batch_size', 'loss.strong_binder_bce']
    >>> space["training.batch_size"]
    Choice(values=(8, 16, 32))
    """
    network, size, weights = recipe.network, recipe.training.batch_size, recipe.loss_weights()
    widths = sorted({network.dim // 2, network.dim, 2 * network.dim})
    heaviest = max(weights, key=lambda name: weights[name])  # only proportions matter

    def tenfold(value: float) -> Range:
        return Range(value / 10, value * 10, log=True)

    widths = [dim for dim in widths if dim and not dim % (2 * network.heads)]
    domains: dict[str, Domain] = {
        "training.learning_rate": tenfold(recipe.training.learning_rate),
        "network.dropout": Range(0.0, max(0.5, network.dropout)),
        "network.dim": Choice(tuple(widths)),
    }
    if network.use_cross_attention:
        domains["network.layers"] = Choice(tuple(range(1, max(2, network.layers + 1) + 1)))
    domains["training.batch_size"] = Choice(tuple(sorted({max(1, size // 2), size, 2 * size})))
    domains |= {f"loss.{name}": tenfold(weights[name]) for name in weights if name != heaviest}
    space = {
        key: domain
        for key, domain in domains.items()
        if key not in pins and not (isinstance(domain, Choice) and len(domain.values) < 2)
    }
    if not space:
        raise TrainingError(
            f"there is nothing to search: all of {', '.join(SPACE)} are set; leave out a --set"
        )
    return space


def values_of(recipe: Recipe, keys: Collection[str]) -> dict[str, Any]:
    """The recipe's values of some keys, such as those of a space."""
    settings = recipe.model_dump()
    parts = {key: key.partition(".") for key in keys}
    return {key: settings[section][name] for key, (section, _, name) in parts.items()}


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values, by key."""
    settings = recipe.model_dump()
    for key, value in values.items():
        section, _, name = key.partition(".")
        settings[section][name] = value
    return validated(Recipe, settings, "searched values", TrainingError)


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One set of values, and how well it did."""

    number: int  # From 1; the first has the recipe's own values
    state: str  # ``"done"``, ``"pruned"`` (half of the trials did better up to there), ``"failed"``
    values: dict[str, Any]  # By key of the recipe
    # Mean over the folds of the validation Spearman of each fold's best epoch; of a pruned trial as
    # far as it came, None of a failed one
    objective: float | None
    folds: tuple[float, ...]  # Each finished fold's part of it
    epochs: int  # Trained, in all folds
    seconds: float
    note: str = ""  # What is to be said of it


@dataclasses.dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search."""

    recipe: Recipe  # With the best trial's values
    best: Trial
    trials: tuple[Trial, ...]
    split: str  # How the training rows were divided


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest objective, the earliest of equals; None without one."""
    done = [trial for trial in trials if trial.state == DONE and trial.objective is not None]
    return max(done, key=lambda trial: (trial.objective, -trial.number), default=None)


def trials_table(trials: Sequence[Trial]) -> pl.DataFrame:
    """One row per trial: state, objective, every searched key, cost, note."""
    best = best_of(trials)
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    names = ("trial", "state", "best", "spearman", *keys, "epochs", "seconds", "note")
    rows = [
        (trial.number, trial.state, trial is best, trial.objective)
        + tuple(trial.values.get(key) for key in keys)
        + (trial.epochs, round(trial.seconds, 3), trial.note)
        for trial in trials
    ]
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)


def trials_figure(trials: Sequence[Trial], space: Mapping[str, Domain]) -> "Figure":
    """The objective by trial with the best so far, and by every searched key; pruned are rings."""
    from paratope.evaluation.figures.style import panels

    columns = min(3, len(space) + 1)
    rows = math.ceil((len(space) + 1) / columns)
    figure, every_panel = panels(4 * columns, 3.2 * rows, rows, columns)
    figure.suptitle("Search: validation Spearman, mean over folds")
    shown = [trial for trial in trials if trial.objective is not None]
    objective = np.array([trial.objective for trial in shown], dtype=float)
    done = np.array([trial.state == DONE for trial in shown], dtype=bool)
    numbers = np.array([trial.number for trial in shown])
    for axes, key in itertools.zip_longest(every_panel, ("trial", *space)):
        if key is None:
            axes.set_axis_off()
            continue
        values = numbers if key == "trial" else np.array([trial.values[key] for trial in shown])
        for chosen, filled in ((done, "tab:blue"), (~done, "none")):
            dots = {"facecolors": filled, "edgecolors": "tab:blue", "s": 24}
            axes.scatter(values[chosen], objective[chosen], **dots)
        axes.grid(alpha=0.3)
        axes.set_xlabel(key)
        if key == "trial":
            best = np.maximum.accumulate(objective[done])
            axes.step(numbers[done], best, where="post", color="tab:orange")
            axes.set(xlabel="trial (line: best so far)", ylabel="Spearman")
        elif isinstance(domain := space[key], Range) and domain.log:
            axes.set_xscale("log")
    return figure


@dataclasses.dataclass(frozen=True, slots=True)
class InnerFolds:
    """Training rows in folds."""

    encoders: tuple[Encoder, Encoder]  # Of antibodies and of antigens
    rows: tuple[Measurement, ...]  # As cut to what the encoders see
    fold: np.ndarray  # (rows,)
    split: str  # How they were divided

    @classmethod
    def of_table(cls, source: str | Path, recipe: Recipe, folds: int, device: str) -> "InnerFolds":
        """Divide a table's training rows in 2 folds at least; `TrainingError` if that cannot be."""
        data = recipe.data.model_copy(update={"table": str(source)})
        table = TrainingRows.read(recipe.model_copy(update={"data": data}), device)
        chosen = np.flatnonzero(table.parts == "train")
        whole = [table.usable.measurements[row] for row in chosen]
        # grouped as the run's own split is, if that is
        kinds = dict.fromkeys((data.split, *_KINDS) if data.split in _GROUPED else _KINDS)
        failure: InputError | None = None
        for kind, count in itertools.product(kinds, range(folds, 1, -1)):
            try:
                split = split_measurements(whole, kind, folds=count, seed=data.split_seed)
            except InputError as error:
                failure = error  # too few groups of this kind: fewer folds, or less strict
                continue
            rows = tuple(table.usable.cut[row] for row in chosen)
            how = f"{kind}{_CAUTION * (kind == 'random')}"
            return cls(table.encoders, rows, split.assignment.astype(int), how)
        raise TrainingError(
            f"the {len(whole)} training rows cannot be divided to search by: {failure}; give more "
            "rows"
        )

    def examples(self) -> list[Fold]:
        """For every fold: the rows to train on, the rows to validate by."""

        def part(chosen: np.ndarray) -> Examples:
            return Examples.from_measurements(list(itertools.compress(self.rows, chosen)))

        return [(part(self.fold != f), part(self.fold == f)) for f in np.unique(self.fold)]

    def fingerprint(self) -> str:
        """SHA-256 of all rows and their folds, in order."""
        rows = Examples.from_measurements(self.rows).fingerprint()
        return hashlib.sha256(f"{rows} {self.fold.tolist()}".encode()).hexdigest()


@callers_random_state_kept()
def search(
    source: str | Path,
    recipe: Recipe,
    folder: str | Path,
    trials: int,
    pins: Collection[str] = (),
    options: RunOptions | None = None,
    *,
    on_trial: Callable[[Trial], None] | None = None,
) -> SearchResult:
    """Look for the values of a recipe's settings that rank best on rows kept apart.

    The training rows of the table's split are divided into `FOLDS` folds (two, where there are only
    two groups), as strictly as they allow: by antigen cluster, else by antibody, else at random. A
    trial trains on all folds but one, for every fold in turn; its objective is the mean of the
    validation Spearman of each fold's best epoch. The first trial has the recipe's own values; the
    next are random, then Optuna's tree-structured Parzen estimator proposes them (Bergstra et al.
    2011, "Algorithms for hyper-parameter optimization"). A trial whose objective is below the
    median of the others after as many epochs is given up.

    Equal arguments give equal trials, also when the search was interrupted in between: a trial is
    proposed from the finished ones and the seed alone.

    `source` is a table as for `paratope.training.train_table`; `folder` the run folder, which gets
    a folder ``search``; `trials` counts those that are done already; `pins` are keys that stay as
    they are; `on_trial` is called with every trial that has ended. Raises `MissingExtraError`
    without Optuna, `InputError` or `TrainingError` if the table cannot be used, nothing is left to
    search, the folder holds another search or a run, or no trial ended well.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("a search (--search)", "research") from None
    optuna.logging.set_verbosity(logging.ERROR)
    if trials < 1:
        raise TrainingError(f"a search takes at least 1 trial, got {trials}")
    options, run = options or RunOptions(), Path(folder)
    space, search_folder = search_space(recipe, pins), run / FOLDER
    begun = (search_folder / STUDY).exists()
    run_begun = (run / "bundle").exists() or Checkpoints(run / "checkpoints").paths()
    if not options.resume and (begun or run_begun):
        raise TrainingError(
            f"{run} holds a {'search' if begun else 'run'} already; go on with --resume, or give "
            "another folder"
        )
    inner = InnerFolds.of_table(source, recipe, FOLDS, options.device)
    search_folder.mkdir(parents=True, exist_ok=True)
    settings = recipe.model_dump(mode="json")
    del settings["data"]  # the rows are compared, not what their file is called
    about = {"recipe": settings, "searched": sorted(space), "rows": inner.fingerprint()}
    about["split"] = inner.split
    with RunLog(search_folder / "log.txt", options.say) as log:
        study = _open_study(search_folder / STUDY, about)
        ended = _ended_trials(study)
        if ended:
            log.note(f"Going on after {len(ended)} of {trials} trials.")
        else:
            count, parts, kind = len(inner.rows), len(set(inner.fold)), inner.split
            log.note(f"Searching on the {count} training rows, in {parts} folds by {kind}.")
        if len(ended) < trials:
            with (
                open_store(inner.encoders[0], "antibody", recipe.lora) as antibodies,
                open_store(inner.encoders[1], "antigen", recipe.lora) as antigens,
            ):
                every = Examples.from_measurements(inner.rows)
                antibodies.fill(every.antibodies, options.progress)
                antigens.fill(every.antigens, options.progress)
                stores = antibodies, antigens
                objective = _objective(space, recipe, inner.examples(), stores, options)
                while len(ended) < trials:
                    # proposals depend on the trials before and the seed alone
                    key = f"{recipe.training.seed} {len(ended)}".encode()
                    seed = int.from_bytes(hashlib.sha256(key).digest()[:4], "big")
                    sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=seed)
                    if not ended:
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                            first = values_of(recipe, space)
                            sampler = optuna.samplers.PartialFixedSampler(first, sampler)
                    study.sampler = sampler
                    study.optimize(objective, n_trials=1, catch=TrainingError)
                    ended = _ended_trials(study)
                    number, state = ended[-1].number, ended[-1].state
                    log.event("trial", number=number, state=state, spearman=ended[-1].objective)
                    if on_trial is not None:
                        on_trial(ended[-1])
        return _finish(search_folder, ended[:trials], space, recipe, inner.split)


def _open_study(path: Path, about: dict[str, Any]) -> "Study":
    """Optuna's study of a search, which a file keeps trial by trial, epoch by epoch."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    try:
        if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])  # a line that was cut off
        backend = JournalFileBackend(str(path))
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=FOLDER,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(_TRIALS_BEFORE_PRUNING, _EPOCHS_BEFORE_PRUNING),
            load_if_exists=True,
        )
        before = study.user_attrs.get("about", about)
        _ended_trials(study)
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path}: damaged ({type(error).__name__}: {error}); delete {path.parent} to "
            "search afresh"
        ) from error
    if changed := [name for name in about if before.get(name) != about[name]]:
        raise TrainingError(
            f"{path.parent} holds a search with other {' and '.join(changed)}; go on with the "
            "same table, recipe and --set, or give another folder"
        )
    study.set_user_attr("about", about)
    return study


def _ended_trials(study: "Study") -> list[Trial]:
    """The trials that have ended, in order; one that was interrupted in between has not."""
    states = {"COMPLETE": DONE, "PRUNED": PRUNED, "FAIL": FAILED}
    ended = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and (trial.state.name != "FAIL" or "note" in trial.user_attrs)
    ]
    return [
        Trial(
            number=number,
            state=states[trial.state.name],
            values=dict(trial.params),
            objective=trial.value,
            folds=tuple(trial.user_attrs.get("folds", ())),
            epochs=len(trial.intermediate_values),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            note=trial.user_attrs.get("note", ""),
        )
        for number, trial in enumerate(ended, start=1)
    ]


def _objective(
    space: Mapping[str, Domain],
    recipe: Recipe,
    folds: Sequence[Fold],
    stores: tuple[Embeddings, Embeddings],
    options: RunOptions,
) -> Callable[["optuna.Trial"], float]:
    """What Optuna maximises: a function of a trial that fits every fold."""
    import optuna

    def objective(trial: optuna.Trial) -> float:
        values = {
            key: trial.suggest_float(key, domain.low, domain.high, log=domain.log)
            if isinstance(domain, Range)
            else trial.suggest_categorical(key, domain.values)
            for key, domain in space.items()
        }
        changed = with_values(recipe, values)
        spearmans: list[float] = []
        for index, fold in enumerate(folds):
            highest = NO_RANKING

            def on_epoch(record: Record, index: int = index) -> None:
                nonlocal highest
                highest = max(highest, _ranking(record["validation_spearman"]))
                step = index * changed.training.max_epochs + record["epoch"]
                trial.report(float(np.mean([*spearmans, highest])), step)
                if trial.should_prune():
                    note = "given up: below the median of the trials before after as many epochs"
                    trial.set_user_attr("note", note)
                    raise optuna.TrialPruned

            fold_options = dataclasses.replace(options, on_epoch=on_epoch, resume=False)
            try:
                result = fit(*fold, changed, stores, fold_options)
            except TrainingError as error:  # such as weights that are no longer finite
                trial.set_user_attr("note", str(error))
                raise
            spearmans.append(_ranking(result.best_spearman))
            trial.set_user_attr("folds", spearmans)
        return float(np.mean(spearmans))

    return objective


def _finish(
    folder: Path, trials: Sequence[Trial], space: Mapping[str, Domain], recipe: Recipe, split: str
) -> SearchResult:
    """Write what came out; `TrainingError` if no trial ended well."""
    from paratope.evaluation.figures.style import save_figure

    table = trials_table(trials)
    write_table(table, folder / "trials.csv", keep=table.columns)
    best = best_of(trials)
    if best is None:
        raise TrainingError(
            f"none of the {len(trials)} trials ended well; the first: {trials[0].note}. See "
            f"{folder / 'trials.csv'}"
        )
    save_figure(trials_figure(trials, space), folder / "trials.png")
    about = {
        "name": f"{recipe.name.removesuffix('-search')}-search",
        "summary": f"Recipe {recipe.name} with the best values of {len(trials)} trials.",
    }
    changed = with_values(recipe, best.values).model_copy(update=about)
    with atomic_file(folder / "best.toml") as file:
        file.write(recipe_toml(in_folder(changed, folder)).encode())
    return SearchResult(changed, best, tuple(trials), split)


def _ranking(spearman: float) -> float:
    return NO_RANKING if math.isnan(spearman) else spearman
