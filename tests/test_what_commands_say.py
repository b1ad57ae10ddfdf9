"""What a user reads in the terminal: tables that fit, last lines, bars, warnings said once."""

import io
import sys
from typing import Any

import pytest
from rich.console import Console

from paratope.campaigns.adaptation import adapt
from paratope.campaigns.suggestion import suggest
from paratope.cli.prediction_table import prediction_table
from paratope.core.progress import _Bar, console_progress
from paratope.models.prediction import Prediction
from small_campaigns import SmallCampaignPredictor, small_campaign

OUT = "out of domain: the antigen resembles none that the model was trained on"
IDS = ("trastuzumab-HER2", "ranibizumab-parent-VEGF", "a-library-of-HER2-binders-plate-17-well-B07")


def predictions(kind: str) -> list[Prediction]:
    """Rows of a model that answers in pKd, against a parent, in scores; one of them in error."""
    pkd = {"pkd": 11.485, "pkd_low": 10.2, "pkd_high": 12.97, "kd_nM": 0.00327}
    delta = {"delta_pkd": -1.5, "delta_pkd_low": -2.25, "delta_pkd_high": 0.5, "p_stronger": 0.1}
    score = {"score": 1234.5, "score_low": -1234.5, "score_high": 12345.0}
    numbers = {"pkd": pkd | {"p_strong": 0.36}, "parent": pkd | delta, "score": score}
    notes = (OUT, "", f"{OUT}; heavy and light swapped")
    rows = [
        Prediction(name, 0.9, domain="near", note=note, **numbers[kind])
        for name, note in zip(IDS, notes, strict=True)
    ]
    return [*rows, Prediction("[red]no\x1b[2J", 0.9, error="row 4: no antigen")]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("kind", ["pkd", "parent", "score"])
def test_predictions_fit_the_terminal(kind: str, width: int):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in prediction_table(predictions(kind), width):
        console.print(part)
    lines = console.file.getvalue().splitlines()
    rows, legend = lines[1:5], " ".join(" ".join(lines[5:]).split())
    assert max(map(len, lines)) <= width
    assert [row.split()[-1] for row in rows] == ["1", "near", "1,2", "3"]
    assert "…" not in lines[0]
    assert all("…" not in row.split(maxsplit=1)[1] for row in rows)
    assert rows[0].startswith(IDS[0][:5])
    assert rows[2].split()[0].endswith("B07")
    assert rows[3].startswith("[red]no\N{REPLACEMENT CHARACTER}[2J")
    assert legend.count(OUT) == 1
    assert "2 heavy and light swapped" in legend
    assert width == 60 or kind == "score" or "3.27 pM" in rows[0]
    assert width < 120 or [*map(str.strip, lines[5:])] == [
        f"1  {OUT}",
        "2  heavy and light swapped",
        "3  row 4: no antigen",
    ]


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def test_one_bar_at_a_time_with_its_stage(monkeypatch: pytest.MonkeyPatch):
    """What is counted within a stage belongs to it, and does not take turns with its own count."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = []
    with console_progress() as stage:
        for report in ("fitting", 0, 1), ("encoding", 1, 2), ("encoding", 2, 2), ("folds", 3, 9):
            with console_progress() as within:
                (within if report[0] == "encoding" else stage)(*report)
            (task,) = _Bar.under_way.display.tasks
            shown.append((task.description, task.fields["count"]))
        with console_progress() as within:
            within("encoding", 1, 2)
        (task,) = _Bar.under_way.display.tasks
        assert task.description == "folds"
    assert shown == [
        ("fitting", ""),
        ("fitting: encoding", "1/2"),
        ("fitting", ""),
        ("folds", "3/9"),
    ]
    assert _Bar.under_way is None


SUGGESTING = ["reading the plate", "ranking 203 single mutants", "predicting", "choosing 6 of them"]
STAGES: dict[str, tuple[Any, list[str]]] = {
    "adapt": (
        lambda progress: adapt(small_campaign(12).measurements(), progress=progress),
        ["reading", "fitting", "validating"],
    ),
    "suggest": (
        lambda progress: suggest(
            SmallCampaignPredictor(small_campaign()),
            6,
            candidates="single:250,double:50",
            regions="H3",
            progress=progress,
        ),
        [*SUGGESTING, "giving reasons"],
    ),
    "suggest of a pool": (
        lambda progress: suggest(
            SmallCampaignPredictor(small_campaign()),
            2,
            candidates=[*small_campaign(50, seed=5).pairs],
            progress=progress,
        ),
        ["reading the plate", "reading the pool", "predicting", "choosing 2", "giving reasons"],
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_own_bar(name: str):
    run, expected = STAGES[name]
    told: list[str] = []
    run(lambda stage, done, total: told.append(stage))
    names = list(dict.fromkeys(told))
    assert len(names) == len(expected)
    for stage, beginning in zip(names, expected, strict=True):
        assert stage.startswith(beginning)
    assert told == [name for name in names for _ in range(told.count(name))]  # none comes again
