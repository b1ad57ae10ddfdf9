"""Progress of long work: one callback type, and the bar a terminal shows for it."""

import contextlib
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Called with the stage under way, the units done and the units to do (1: they are not counted)."""


def silent(stage: str, done: int, total: int) -> None:
    """Show nothing: the default wherever a `Progress` is taken."""


def peak_memory_mb() -> float:
    """Most main memory this process has held so far, in MB of 10⁶ bytes."""
    # on Linux, what getrusage reports includes the process that started this one
    status = Path("/proc/self/status")
    if status.is_file():
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
        if peak:
            return int(peak[1]) * 1024 / 1e6
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6


class _Bar:
    """One line on stderr: the stage, how much is done and how fast, the most memory, the time."""

    under_way: "_Bar | None" = None

    def __init__(self) -> None:
        from rich import progress as bars
        from rich.console import Console

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=20),
            bars.TextColumn("{task.fields[count]}"),
            bars.TimeElapsedColumn(),
            bars.TextColumn("{task.fields[left]}"),
            bars.TimeRemainingColumn(),
        )
        self.display = bars.Progress(*columns, console=Console(stderr=True), transient=True)
        self.stage, self.counted, self.line = "", False, ""

    def show(self, stage: str, done: int, total: int) -> None:
        self.stage, self.counted = stage, total > 1
        self._draw(stage, done, total)

    def within(self, stage: str, done: int, total: int) -> None:
        """Count what the stage under way waits for, unless it counts itself."""
        if not self.counted:
            self._draw(f"{self.stage}: {stage}", done, total)
            if done == total:
                self._draw(self.stage, 0, 1)

    def _draw(self, line: str, done: int, total: int) -> None:
        if line != self.line:  # the bar before it goes: two in turn would flicker
            for task in self.display.task_ids:
                self.display.remove_task(task)
            self.display.add_task(line, total=None, count="", left="")
            self.display.start()  # not before there is something to show
        self.line, counted = line, total > 1
        self.display.update(
            self.display.task_ids[0],
            completed=done,
            total=total if counted else None,
            count=f"{done:,}/{total:,}" if counted else "",
            left="left" if counted else "",
        )
        (task,) = self.display.tasks
        if counted and (speed := task.speed) is not None:
            told = f"{done:,}/{total:,} {speed:,.{0 if speed >= 10 else 1}f}/s"
            self.display.update(task.id, count=f"{told} {peak_memory_mb():,.0f} MB")


@contextlib.contextmanager
def console_progress() -> Iterator[Progress]:
    """One bar on stderr, of the stage under way; nothing where stderr is no terminal.

    Within another, what is counted belongs to the other's stage.
    """
    if not sys.stderr.isatty():
        yield silent
    elif _Bar.under_way is not None:
        yield _Bar.under_way.within
    else:
        bar = _Bar.under_way = _Bar()
        try:
            yield bar.show
        finally:
            _Bar.under_way = None
            bar.display.stop()
