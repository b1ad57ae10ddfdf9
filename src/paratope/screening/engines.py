"""Engines: who scores the blocks of a screen. This process, or workers on Ray.

An engine maps tasks to answers, in whatever order these come; what is asked for, durable and put
together is the screen's business. The same task has the same answer from every engine.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from paratope.core.errors import InputError
from paratope.models.predictor import Predictor
from paratope.screening.blocks import Answer, BlockScorer, Task, Work, answered


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
    # imported here: Ray is an extra
    from paratope.screening.ray_engine import RayEngine

    with RayEngine(address, scorer, predictor, device, cache) as engine:
        yield engine
