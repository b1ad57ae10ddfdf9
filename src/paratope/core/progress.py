"""Progress of long work: one callback type, and the bars a terminal shows for it."""

import contextlib
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[str, int, int], None]
"""Called with the stage under way, the units done and the units to do."""


def silent(stage: str, done: int, total: int) -> None:
    """Show nothing: the default wherever a `Progress` is taken."""


@contextlib.contextmanager
def console_progress() -> Iterator[Progress]:
    """One bar for each stage on stderr; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    stages: dict[str, bars.TaskID] = {}
    display = bars.Progress(*columns, console=Console(stderr=True), transient=True)

    def show(stage: str, done: int, total: int) -> None:
        display.start()  # not before there is something to show
        if stage not in stages:
            stages[stage] = display.add_task(stage, total=total)
        display.update(stages[stage], completed=done, total=total)

    try:
        yield show
    finally:
        display.stop()
