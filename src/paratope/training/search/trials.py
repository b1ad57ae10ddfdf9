"""`search`: trials one after the other, kept as they end, so that a search can go on."""

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from paratope.core.errors import MissingExtraError, TrainingError
from paratope.core.files import atomic_file
from paratope.core.interruption import Interruption
from paratope.data.tables import write_table
from paratope.models.batches import Embeddings, Examples
from paratope.models.fine_tuning import open_store
from paratope.models.recipes import Recipe, recipe_toml
from paratope.training import Record, fit
from paratope.training.checkpoints import Checkpoints
from paratope.training.run_log import RunLog
from paratope.training.search.inner_folds import InnerFolds
from paratope.training.search.outcome import (
    DONE,
    FAILED,
    PRUNED,
    SearchResult,
    Trial,
    best_of,
    trials_figure,
    trials_table,
)
from paratope.training.search.space import Domain, Range, own_values, search_space, with_values

FOLDS = 3
FOLDER = "search"
# A ranking that does not exist, as all predictions or all measurements are equal, is the worst.
NO_RANKING = -1.0
# Trials that end before any is given up, and epochs that every trial is given.
_TRIALS_BEFORE_PRUNING = 4
_EPOCHS_BEFORE_PRUNING = 2
# Trials drawn at random before their results steer.
_RANDOM_TRIALS = 8


def search(
    source: str | Path,
    recipe: Recipe,
    folder: str | Path,
    trials: int,
    *,
    pins: Collection[str] = (),
    device: str = "auto",
    resume: bool = False,
    progress: bool | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    interruption: Interruption | None = None,
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

    Parameters
    ----------
    source : path
        Table of measurements; see `paratope.training.train_table`.
    recipe : Recipe
        What to search around; ``training.seed`` is the seed of the search too.
    folder : path
        Run folder; the search is in its folder ``search``.
    trials : int
        In all; those that are done already count.
    pins : collection of str
        Keys that stay as they are in `recipe`.
    device : str
    resume : bool
        Go on with the search in the folder, if there is one.
    progress : bool, optional
        Show bars on stderr; by default if that is a terminal.
    on_trial : callable, optional
        Called with every trial that has ended.
    on_note : callable, optional
        Told in words what is to be known about the search.
    interruption : Interruption, optional
        Heeded while training; the trial under way is then made again when the search goes on.

    Returns
    -------
    SearchResult

    Raises
    ------
    MissingExtraError
        Without Optuna.
    InputError, TrainingError
        If the table cannot be used, nothing is left to search, the folder holds another search or
        a run, or no trial ended well.
    """
    _optuna()
    if trials < 1:
        raise TrainingError(f"a search takes at least 1 trial, got {trials}")
    space = search_space(recipe, pins)
    place = Path(folder) / FOLDER
    _check_free(Path(folder), resume)
    inner = InnerFolds.of_table(source, recipe, FOLDS, device)
    place.mkdir(parents=True, exist_ok=True)
    with RunLog(place / "log.txt", on_note) as log:
        state = _State(place / "search.json", _about(recipe, space, inner))
        if state.trials:
            log.note(f"Going on after {len(state.trials)} of {trials} trials.")
        else:
            count, folds, kind = len(inner.rows), len(inner.names), inner.split
            log.note(f"Searching on the {count} training rows, in {folds} folds by {kind}.")
        if len(state.trials) < trials:
            with _Judge(recipe, inner, device, progress, interruption) as judge:
                while len(state.trials) < trials:
                    trial = _next_trial(state.trials, space, recipe, judge)
                    state.add(trial)
                    facts = {"number": trial.number, "state": trial.state}
                    log.event("trial", **facts, spearman=trial.objective)
                    if on_trial is not None:
                        on_trial(trial)
        return _finish(place, state.trials[:trials], space, recipe, inner.split)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("a search (--search)", "research") from None
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna


def _check_free(folder: Path, resume: bool) -> None:
    if resume:
        return
    begun = (folder / FOLDER / "search.json").exists()
    if begun or (folder / "bundle").exists() or Checkpoints(folder / "checkpoints").paths():
        what = "search" if begun else "run"
        raise TrainingError(
            f"{folder} holds a {what} already; go on with --resume, or give another folder"
        )


def _about(recipe: Recipe, space: Mapping[str, Domain], inner: InnerFolds) -> dict[str, Any]:
    """What must be the same for a search to go on."""
    settings = recipe.model_dump(mode="json")
    del settings["data"]  # the rows are compared, not what their file is called
    return {
        "recipe": settings,
        "searched": sorted(space),
        "rows": inner.fingerprint(),
        "split": inner.split,
    }


class _State:
    """Trials that have ended, on disk after each."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self.trials: list[Trial] = []
        if not path.is_file():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.trials = [Trial.from_dict(one) for one in content["trials"]]
            before = content["about"]
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

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        content = {"about": self.about, "trials": [one.to_dict() for one in self.trials]}
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        with atomic_file(self.path) as file:
            file.write(f"{text}\n".encode())


class _Judge:
    """Trains a recipe on every fold, and says how well it ranks what it has not seen."""

    def __init__(
        self,
        recipe: Recipe,
        inner: InnerFolds,
        device: str,
        progress: bool | None,
        interruption: Interruption | None,
    ) -> None:
        self.inner, self.device = inner, device
        self.progress, self.interruption = progress, interruption
        antibody_encoder, antigen_encoder = inner.encoders
        self.stores: tuple[Any, Any] = (
            open_store(antibody_encoder, "antibody", recipe.lora),
            open_store(antigen_encoder, "antigen", recipe.lora),
        )

    def __enter__(self) -> "_Judge":
        for store in self.stores:
            store.__enter__()
        every = Examples.from_measurements(self.inner.rows)
        shown = self.progress is not False
        self.stores[0].fill(every.antibodies, progress=shown)
        self.stores[1].fill(every.antigens, progress=shown)
        return self

    def __exit__(self, *error: Any) -> None:
        for store in self.stores:
            store.__exit__(*error)

    def folds(
        self, recipe: Recipe, report: Callable[[int, float], None], found: list[float]
    ) -> None:
        """Add each fold's Spearman to `found`; `report` is told the mean so far, and may raise."""
        stores: tuple[Embeddings, Embeddings] = self.stores
        for number, (train, validation) in enumerate(self.inner.examples()):
            highest = NO_RANKING

            def after_epoch(record: Record, number: int = number) -> None:
                nonlocal highest
                highest = max(highest, _ranking(record["validation_spearman"]))
                step = number * recipe.training.max_epochs + record["epoch"]
                report(step, _mean([*found, highest]))

            result = fit(
                *(train, validation, recipe, *stores),
                device=self.device,
                progress=self.progress,
                on_epoch=after_epoch,
                interruption=self.interruption,
            )
            found.append(_ranking(result.best_spearman))


def _next_trial(
    before: Sequence[Trial], space: Mapping[str, Domain], recipe: Recipe, judge: _Judge
) -> Trial:
    """Propose values by what is known from the trials before, and try them."""
    optuna = _optuna()
    study = _study(before, space, recipe)
    asked = study.ask(_distributions(space))
    values = {key: asked.params[key] for key in space}
    reported: dict[int, float] = {}
    folds: list[float] = []
    start = time.perf_counter()

    def report(step: int, value: float) -> None:
        reported[step] = value
        asked.report(value, step)
        if asked.should_prune():
            raise optuna.TrialPruned

    state, objective, note = DONE, None, ""
    try:
        judge.folds(with_values(recipe, values), report, folds)
        objective = _mean(folds)
    except optuna.TrialPruned:
        state, objective = PRUNED, reported[max(reported)]
        note = "given up: below the median of the trials before after as many epochs"
    except TrainingError as error:  # such as weights that are no longer finite
        state, note = FAILED, str(error)
    seconds = time.perf_counter() - start
    return Trial(
        len(before) + 1,
        *(state, values, objective, tuple(folds), reported, len(reported), seconds, note),
    )


def _study(before: Sequence[Trial], space: Mapping[str, Domain], recipe: Recipe) -> Any:
    """A study that knows the trials before, about to propose the next."""
    optuna = _optuna()
    seed = hashlib.sha256(f"{recipe.training.seed} {len(before)}".encode()).digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=int.from_bytes(seed[:4], "big"), n_startup_trials=_RANDOM_TRIALS
        )
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=_EPOCHS_BEFORE_PRUNING
    )
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    if not before:
        study.enqueue_trial(own_values(recipe, space))
    states = optuna.trial.TrialState
    for trial in before:
        study.add_trial(
            optuna.trial.create_trial(
                state={DONE: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL}[
                    trial.state
                ],
                params=trial.values,
                distributions=_distributions(space),
                value=trial.objective if trial.state == DONE else None,
                intermediate_values=trial.reported,
            )
        )
    return study


def _distributions(space: Mapping[str, Domain]) -> dict[str, Any]:
    """A space in Optuna's words."""
    kinds = _optuna().distributions
    return {
        key: kinds.FloatDistribution(domain.low, domain.high, log=domain.log)
        if isinstance(domain, Range)
        else kinds.CategoricalDistribution(domain.values)
        for key, domain in space.items()
    }


def _finish(
    place: Path, trials: Sequence[Trial], space: Mapping[str, Domain], recipe: Recipe, split: str
) -> SearchResult:
    """Write what came out; `TrainingError` if no trial ended well."""
    table = trials_table(trials)
    write_table(table, place / "trials.csv", keep=table.columns)
    best = best_of(trials)
    if best is None:
        raise TrainingError(
            f"none of the {len(trials)} trials ended well; the first: {trials[0].note}. See "
            f"{place / 'trials.csv'}"
        )
    with atomic_file(place / "trials.png") as file:
        file.write(trials_figure(trials, space))
    about = {
        "name": f"{recipe.name.removesuffix('-search')}-search",
        "summary": f"Recipe {recipe.name} with the best values of {len(trials)} trials.",
    }
    found = with_values(recipe, best.values).model_copy(update=about)
    with atomic_file(place / "best.toml") as file:
        file.write(recipe_toml(found).encode())
    return SearchResult(found, best, tuple(trials), split)


def _ranking(spearman: float) -> float:
    return spearman if spearman == spearman else NO_RANKING


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
