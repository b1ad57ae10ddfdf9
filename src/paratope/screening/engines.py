"""Engines: who scores the blocks of a screen. This process, or workers on Ray.

An engine maps tasks to answers, in whatever order these come; what is asked for, durable and put
together is the screen's business. The same task has the same answer from every engine.

With Ray, this process reads the library, puts blocks into Ray's object store, and writes what comes
back, so that no folder need be shared. A worker has `_AHEAD` blocks at most, so that memory stays
bounded however large the library is. A worker that dies is started again by Ray; its blocks are
given to whichever worker is free, so that a machine that never comes back holds nothing up.
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

from paratope import __version__
from paratope.core.errors import (
    EngineError,
    InputError,
    MissingExtraError,
    OutputError,
    ParatopeError,
    one_line,
)
from paratope.core.files import sole_writer
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antigen
from paratope.screening.blocks import Answer, BlockScorer, Task, Work, answered
from paratope.screening.scoring import screen_model

# Blocks that a worker has at once: the next fast one waits while one is scored. A full one takes
# so long that nothing is won, and the last ones are spread more evenly.
_AHEAD = {"scored": 2, "rescored": 1}
# So often may a block be under way when its worker dies, and a worker be started again.
_TRIES, _RESTARTS = 5, 20
# Of a cluster of ours: object store, for the blocks that are under way.
_STORE_BYTES, _STORE_BYTES_PER_WORKER = 128 << 20, 32 << 20
# Ray tells nobody outside of what it does; of a cluster of a killed process nobody waits for more.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_LOGGER_LEVEL": "error",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}
# Seconds in which a cluster is to answer.
_ANSWERS_WITHIN = 10
# The path of a socket has 107 characters at most, and Ray's are 70 below its folder.
_LONGEST_FOLDER = 30


class Engine(Protocol):
    """Who scores blocks."""

    def answers(self, work: Work, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Answers to all tasks; of the tasks only a bounded number is taken ahead."""
        ...


class LocalEngine:
    """The process itself."""

    def __init__(self, scorer: BlockScorer) -> None:
        self._scorer = scorer

    def answers(self, work: Work, tasks: Iterable[Task]) -> Iterator[Answer]:
        """One after the other."""
        for task in tasks:
            yield answered(self._scorer, work, task)


def check_engine(text: str) -> tuple[str, str]:
    """Name and address of an engine; raises `InputError` if there is none of that name.

    >>> check_engine("local"), check_engine("ray=10.0.0.1:6379")
    (('local', ''), ('ray', '10.0.0.1:6379'))
    """
    name, _, address = text.partition("=")
    if name not in ("local", "ray") or (name == "local" and "=" in text) or text == "ray=":
        raise InputError(
            f"no engine {text!r}; expected 'local' (this process), 'ray' (a worker for each "
            "processor of this machine), 'ray=N' (N of them) or 'ray=ADDRESS' (a cluster's)"
        )
    return name, address


@dataclasses.dataclass(frozen=True)
class _Order:
    """What a worker must know, beside the files of the model."""

    version: str
    antigens: tuple[Antigen, ...]
    names: tuple[str, ...]
    fast: bool
    coverage: float
    device: str
    cache: str | None


class _Worker:
    """An actor: one process with one thread, or a GPU, that holds the model.

    The model comes as a reference in a list, which is followed once in each process.
    """

    def __init__(self) -> None:
        self._scorer: BlockScorer | None = None

    def start(self, model: list[Any]) -> None:
        """Read the model, unless it is."""
        if self._scorer is None:
            import ray

            self._scorer = _opened(*ray.get(model[0]))

    def answer(self, model: list[Any], work: Work, task: Task) -> Answer:
        """A block, scored."""
        self.start(model)
        assert self._scorer is not None
        return answered(self._scorer, work, task)


def _opened(order: _Order, files: dict[str, bytes]) -> BlockScorer:
    """In a worker: what scores its blocks."""
    if order.version != __version__:
        raise EngineError(
            f"a worker has paratope {__version__}, this machine {order.version}; install the same "
            "version on every machine of the cluster"
        )
    import torch

    torch.set_num_threads(1)  # Ray sees to the other libraries' threads
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        predictor = Predictor.load(folder, order.device, order.cache)
    model = screen_model(predictor, order.antigens, order.coverage)
    return BlockScorer(model, order.names, order.fast)


class RayEngine:
    """Workers on Ray. `address` is a cluster's, a number of workers on this machine, or empty.

    A cluster of this machine begins with the first task and ends with the context, or with this
    process however that ends. Where Ray is already in use in this process, that cluster is taken.
    On a cluster there is a worker for each processor; full scores have one for each GPU, if there
    are any.
    """

    def __init__(
        self,
        address: str,
        scorer: BlockScorer,
        predictor: Predictor,
        device: str = "auto",
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        try:
            with _environment():
                import ray
        except ImportError:
            raise MissingExtraError("the engine 'ray'", "ray") from None
        self._ray: Any = ray
        self._address, self._predictor = address, predictor
        self._order = _Order(
            __version__,
            scorer.model.antigens,
            scorer.names,
            scorer.fast,
            scorer.model.coverage,
            device,
            None if cache is None else os.path.abspath(cache),
        )
        self._on_gpus = frozenset[Work](() if device == "cpu" else ("rescored",))
        if device != "cpu" and not scorer.fast:
            self._on_gpus |= {"scored"}
        self._workers: dict[bool, list[Any]] = {}  # by whether they have a GPU
        self._models: dict[bool, list[Any]] = {}  # what these read
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for workers in self._workers.values():
            for worker in workers:
                with contextlib.suppress(Exception):  # gone by now
                    self._ray.kill(worker)
        self._opened.close()

    def answers(self, work: Work, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Answers in the order in which they are ready."""
        coming = iter(tasks)
        first = next(coming, None)
        if first is None:
            return
        ray, lost = self._ray, self._ray.exceptions.RayActorError
        model, workers = self._pool(work)  # first: asked for anything, Ray begins a cluster itself
        waiting, tries = deque([self._put(first)]), Counter[int]()
        free: dict[Any, int] = {}  # blocks that a worker can take
        starting = {_started(worker, model): worker for worker in workers}
        under_way: dict[Any, tuple[Any, tuple[int, Any]]] = {}
        while True:
            while any(free.values()):
                if not waiting and (task := next(coming, None)) is not None:
                    waiting.append(self._put(task))
                if not waiting:
                    break
                worker = max(free, key=free.__getitem__)
                number, block = waiting.popleft()
                under_way[worker.answer.remote(model, work, block)] = worker, (number, block)
                free[worker] -= 1
            if not under_way and not waiting:
                return
            (done, *_), _ = ray.wait([*under_way, *starting])
            if done in starting:
                worker = starting.pop(done)
                try:
                    self._get(done)
                    free[worker] = _AHEAD[work]
                except lost as error:  # for good
                    if not free and not starting:
                        raise EngineError(f"no worker can be started: {one_line(error)}") from None
                continue
            worker, (number, block) = under_way.pop(done)
            try:
                answer = self._get(done)
            except lost as error:
                tries[number] += 1
                if tries[number] == _TRIES:
                    raise EngineError(
                        f"{_TRIES} workers died at block {number} of the screen, one after the "
                        f"other (out of memory?): {one_line(error)}"
                    ) from None
                waiting.appendleft((number, block))
                if free.pop(worker, None) is not None:
                    starting[_started(worker, model)] = worker
                continue
            if worker in free:
                free[worker] += 1
            yield answer

    def _put(self, task: Task) -> tuple[int, Any]:
        """A task in the object store: this process keeps its number only."""
        return task.number, self._ray.put(task)

    def _get(self, reference: Any) -> Any:
        """A value; raises what was raised where it was made."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            raise cause from (None if isinstance(cause, ParatopeError) else error)

    def _pool(self, work: Work) -> tuple[list[Any], list[Any]]:
        """A model and workers for a kind of work."""
        if not self._ray.is_initialized():
            self._connect()
        have = self._ray.cluster_resources()
        gpus, processors = (int(have.get(name, 0)) for name in ("GPU", "CPU"))
        if self._order.device == "cuda" and not gpus:
            raise EngineError("no machine of the cluster has a GPU; leave out --device cuda")
        on_gpus = gpus > 0 and work in self._on_gpus
        if on_gpus not in self._workers:
            order = dataclasses.replace(self._order, device="auto" if on_gpus else "cpu")
            needs = {"num_cpus": 0 if on_gpus else 1, "num_gpus": int(on_gpus)}
            with tempfile.TemporaryDirectory() as above:
                folder = self._predictor.save(Path(above) / "model")
                files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
            self._models[on_gpus] = [self._ray.put((order, files))]
            actor = self._ray.remote(_Worker).options(max_restarts=_RESTARTS, **needs)
            count = gpus if on_gpus else max(1, processors)
            self._workers[on_gpus] = [actor.remote() for _ in range(count)]
        return self._models[on_gpus], self._workers[on_gpus]

    def _connect(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._address and not self._address.isdigit():
            host, colon, port = self._address.removeprefix("ray://").rpartition(":")
            try:
                if colon:  # Ray itself tries for minutes
                    socket.create_connection((host, int(port)), _ANSWERS_WITHIN).close()
                with _environment():
                    self._ray.init(address=self._address, **quietly)
            except Exception as error:  # of many kinds
                raise EngineError(
                    f"no Ray cluster answers at {self._address!r}: {one_line(error)}. Is a head "
                    "node running there? If it asks for a token, set RAY_AUTH_MODE=token"
                ) from None
        else:
            has_affinity = hasattr(os, "sched_getaffinity")  # what this process may use
            processors = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
            workers = int(self._address or 0) or processors
            with _environment():
                self._ray.init(
                    address="local",
                    num_cpus=workers,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES + workers * _STORE_BYTES_PER_WORKER,
                    _temp_dir=str(self._opened.enter_context(_folder())),
                    **quietly,
                )
        self._opened.callback(self._ray.shutdown)
        if threading.current_thread() is threading.main_thread():  # which Ray has set
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def open_engine(
    text: str,
    scorer: BlockScorer,
    predictor: Predictor,
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> Iterator[Engine]:
    """The engine of a name, as `check_engine` reads it, for as long as it is used.

    Workers read the predictor anew, on `device`, and keep embeddings in `cache`. Raises
    `MissingExtraError` if Ray is not installed, `EngineError` if no cluster answers.
    """
    name, address = check_engine(text)
    if name == "local":
        yield LocalEngine(scorer)
        return
    with RayEngine(address, scorer, predictor, device, cache) as engine:
        yield engine


def _started(worker: Any, model: list[Any]) -> Any:
    """What is there when a worker has read the model, for the first time or again."""
    return worker.start.options(max_task_retries=-1).remote(model)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A new folder of a short path for a cluster's sockets and logs.

    What a killed process left under its name is removed.
    """
    above = Path(tempfile.gettempdir())
    if len(str(above)) > _LONGEST_FOLDER:
        above = Path("/tmp")
    with contextlib.ExitStack() as stack:
        for number in itertools.count():
            folder = above / f"paratope-ray-{os.getuid()}-{number}"
            with contextlib.suppress(OutputError, FileExistsError):  # another's
                stack.enter_context(sole_writer(folder))
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(mode=0o700)
                break
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Settings of Ray, which its processes inherit; the caller's own are as before."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
