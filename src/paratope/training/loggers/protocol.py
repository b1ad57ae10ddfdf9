"""What every logger offers, and what of an epoch and a recipe it is given."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from paratope.core.files import atomic_file
from paratope.models.recipes import Recipe

Record = Mapping[str, Any]


class RunLogger(Protocol):
    """Writes the epochs of a run to somewhere."""

    def log(self, history: Sequence[Record], /) -> None:
        """Write the epochs of a history that are not written yet."""
        ...

    def close(self, status: str, /) -> None:
        """Finish: the run is ``"finished"``, ``"stopped"`` (it can be resumed) or ``"failed"``."""
        ...


def numbers(record: Record) -> dict[str, float]:
    """The numbers of an epoch's record, without its own and those that are not defined.

    >>> numbers({"epoch": 3, "train_loss": 0.5, "validation_loss": float("nan"), "warning": ""})
    {'train_loss': 0.5}
    """
    return {
        name: float(value)
        for name, value in record.items()
        if name != "epoch" and isinstance(value, int | float) and math.isfinite(value)
    }


def settings(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Every key of a recipe that is set, as ``section.key``, and its value."""
    for section, value in recipe.model_dump(mode="json").items():
        keys = (
            {f"{section}.{key}": one for key, one in value.items()}.items()
            if isinstance(value, dict)
            else [(section, value)]
        )
        yield from ((key, one) for key, one in keys if one != "")


def read_state(path: Path) -> dict[str, Any]:
    """What a logger noted about its run beside what it wrote; empty at its first time."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Note it, whole or not at all."""
    with atomic_file(path) as file:
        file.write(f"{json.dumps(state)}\n".encode())
