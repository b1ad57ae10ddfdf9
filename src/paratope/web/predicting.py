"""Predictions for many clients: one thread has the models, and answers who waits together."""

import asyncio
import dataclasses
import hashlib
import math
import queue
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from paratope.core.errors import ParatopeError
from paratope.core.units import STRONG_PKD
from paratope.data.tables import InputTable, table_from_frame
from paratope.models.model import DEFAULT_COVERAGE
from paratope.models.prediction import Prediction
from paratope.models.predictor import Predictor

Cells = Mapping[str, str]
_BATCH_REQUESTS, _BATCH_ROWS = 256, 1_000
_KEPT_ROWS = 50_000  # predictions that are remembered
# Antibody D1.3 and hen egg-white lysozyme (Protein Data Bank entry 1VFB): what a model must answer
# before the server calls itself healthy.
FIRST_PAIR: dict[str, Any] = {
    "id": "D1.3",
    "heavy": "QVQLQESGPGLVAPSQSLSITCTVSGFSLTGYGVNWVRQPPGKGLEWLGMIWGDGNTDYNSALKSRLSISKDNSKSQVFLKMNS"
    "LHTDDTARYYCARERDYRLDYWGQGTTLTVSS",
    "light": "DIVLTQSPASLSASVGETVTITCRASGNIHNYLAWYQQKQGKSPQLLVYYTTTLADGVPSRFSGSGSGTQYSLKINSLQPEDFG"
    "SYYCQHFWSTPRTFGGGTKLEIK",
    "antigen": "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGSRNLCNIPCS"
    "ALLSSDITASVNCAKKIVSDGNGMNAWVAWRNRCKGTDVQAWIRGCRL",
}


class BusyError(ParatopeError):
    """More work waits than is answered in reasonable time; `seconds` is when to come again."""

    def __init__(self, what: str, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"{what}; try again in {self.seconds} s")


class Asked(NamedTuple):
    """How rows are to be predicted."""

    model: str = "default"
    parent: str | None = None  # Id of the row that the others are compared with
    coverage: float = DEFAULT_COVERAGE
    strong_threshold_pkd: float = STRONG_PKD


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A model that is open."""

    name: str
    predictor: Predictor

    @property
    def version(self) -> str:
        """Checksum of its weights, shortened."""
        digests = self.predictor.bundle.config.get("sha256", {})
        return str(digests.get("model.safetensors", "unsaved"))[:12]

    def read(self, rows: Sequence[Cells]) -> InputTable:
        """Rows of cells as the command line reads a table."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        texts = {name: [row.get(name, "") for row in rows] for name in names}
        frame = pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String))
        return table_from_frame(
            frame, source="request", default_antigen=self.predictor.default_antigen
        )


@dataclasses.dataclass
class _Waiting:
    work: "tuple[Sequence[Cells], Asked] | Callable[[], Any]"
    answer: asyncio.Future[Any]
    rows: int
    since: float = dataclasses.field(default_factory=time.perf_counter)


@dataclasses.dataclass
class Counts:
    """What has happened since the start, for those who watch."""

    waiting_rows: int = 0
    hits: int = 0
    misses: int = 0
    seconds_per_row: float = 0.01  # moving average
    batches: list[int] = dataclasses.field(default_factory=list)  # rows of each, until observed


class Predicting:
    """The models, in a thread of their own.

    Whatever waits when the thread is free is predicted together. Rows that do not depend on others
    of their request are remembered.
    """

    def __init__(self, waiting_rows: int, answer_seconds: float) -> None:
        self.models: dict[str, ServedModel] = {}
        self.counts = Counts()
        self._waiting_rows, self._answer_seconds = waiting_rows, answer_seconds
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._kept: OrderedDict[bytes, Prediction] = OrderedDict()
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after what it does now."""
        self._queue.put(None)
        self._thread.join(5)

    async def predict(self, rows: Sequence[Cells], asked: Asked) -> list[Prediction]:
        """Predictions of rows in order; raises `BusyError`, or what the whole request has wrong."""
        keys = _keys(rows, asked)
        kept = [self._kept.get(key) for key in keys or ()]
        if kept and all(kept):
            self.counts.hits += len(rows)
            for key in keys or ():
                self._kept.move_to_end(key)
            found = (one for one in kept if one is not None)
            return [
                dataclasses.replace(one, id=row.get("id") or str(number))
                for number, (one, row) in enumerate(zip(found, rows, strict=True), start=1)
            ]
        self.counts.misses += len(rows)
        answers = await self._ask((rows, asked), len(rows))
        for key, answer in zip(keys or (), answers, strict=False):
            if not answer.error:
                self._kept[key] = answer
        while len(self._kept) > _KEPT_ROWS:
            self._kept.popitem(last=False)
        return answers

    async def run(self, work: Callable[[], Any], rows: int = 1) -> Any:
        """Something else that needs the models, in their thread."""
        return await self._ask(work, rows)

    async def _ask(self, work: Any, rows: int) -> Any:
        if self.counts.waiting_rows and self.counts.waiting_rows + rows > self._waiting_rows:
            raise BusyError(
                f"{self.counts.waiting_rows:,} rows are waiting already",
                self.counts.waiting_rows * self.counts.seconds_per_row,
            )
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.counts.waiting_rows += rows
        self._queue.put(_Waiting(work, answer, rows))
        try:
            return await asyncio.wait_for(answer, self._answer_seconds)
        except TimeoutError:
            raise BusyError(
                f"no answer within {self._answer_seconds:g} s", self._answer_seconds / 2
            ) from None
        finally:
            self.counts.waiting_rows -= rows

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, rows = [first], first.rows
            while len(batch) < _BATCH_REQUESTS and rows < _BATCH_ROWS:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._queue.put(None)
                    break
                batch.append(more)
                rows += more.rows
            wanted = [one for one in batch if not one.answer.cancelled()]  # who waits no longer
            together: dict[Any, list[_Waiting]] = defaultdict(list)
            for one in wanted:
                asked = None if callable(one.work) else one.work[1]
                alone = asked is None or asked.parent is not None
                together[id(one) if alone else asked].append(one)
            for group in together.values():
                self._answer(group)

    def _answer(self, group: Sequence[_Waiting]) -> None:
        start = time.perf_counter()
        try:
            answers = self._answers(group)
        except Exception as error:
            if len(group) > 1:  # one of them spoils it: each alone
                for one in group:
                    self._answer([one])
                return
            answers = [error]
        rows = max(1, sum(one.rows for one in group))
        seconds = (time.perf_counter() - start) / rows
        self.counts.seconds_per_row += 0.1 * (seconds - self.counts.seconds_per_row)
        self.counts.batches.append(rows)
        for one, answer in zip(group, answers, strict=True):
            one.answer.get_loop().call_soon_threadsafe(_give, one.answer, answer)

    def _answers(self, group: Sequence[_Waiting]) -> list[Any]:
        work = group[0].work
        if callable(work):
            return [work()]
        asked = work[1]
        model = self.models[asked.model]
        tables = [model.read(one.work[0]) for one in group if not callable(one.work)]
        parent = None
        if asked.parent is not None:
            parent = model.predictor.parent(tables[0], asked.parent)
        answers = model.predictor.predict_rows(
            [row for table in tables for row in table.rows],
            parent=parent,
            coverage=asked.coverage,
            strong_threshold_pkd=asked.strong_threshold_pkd,
        )
        rest = iter(answers)
        return [[next(rest) for _ in table.rows] for table in tables]


def _give(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _keys(rows: Sequence[Cells], asked: Asked) -> list[bytes] | None:
    """Keys under which predictions are remembered; None where rows depend on each other.

    Digests, so that what is remembered is as small for the longest chains.
    """
    ids = [row.get("id") or str(number) for number, row in enumerate(rows, start=1)]
    if asked.parent is not None or any(row.get("parent") for row in rows):
        return None
    if len(set(ids)) < len(ids):  # which a note says
        return None
    cells = (sorted(item for item in row.items() if item[0] != "id" and item[1]) for row in rows)
    return [hashlib.sha256(repr((asked, one)).encode()).digest() for one in cells]
