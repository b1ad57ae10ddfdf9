"""The first plate: chosen of a parent's mutants so that it teaches most."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.suggestion import first_plate, read_parent, suggestion_frame
from paratope.campaigns.suggestion.first_plate import representative_batch
from paratope.core.errors import InputError
from paratope.data.tables import read_table
from paratope.molecules.liabilities import new_liabilities
from paratope.molecules.mutations import mutations_between
from paratope.molecules.sequences import UNKNOWN_ANTIGEN, Antibody, Antigen, Pair
from small_campaigns import HEAVY, LIGHT

LYSOZYME = Antigen(
    ("KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGSRNLCNIPCSALLSSD",),
    "HEL",
)
PARENT = Pair(Antibody(HEAVY, LIGHT, "mab"), LYSOZYME)


FEW = "single:1200,double:300,combinatorial:200"


@pytest.fixture(scope="module")
def plate():
    return first_plate(PARENT, 48, candidates=FEW)


def discrepancy(kernel: np.ndarray, rows: list[int]) -> float:
    """Squared maximum mean discrepancy of rows and all, by its definition."""
    among = kernel[np.ix_(rows, rows)].mean()
    return float(kernel.mean() - 2 * kernel[rows].mean() + among)


def test_each_choice_leaves_the_plate_most_like_all():
    random = np.random.default_rng(0)
    points = np.concatenate([random.normal(size=(20, 2)), random.normal(size=(40, 2)) + 6])
    kernel = np.exp(-((points[:, None] - points) ** 2).sum(2) / 4)
    chosen = representative_batch(kernel, 6, np.zeros(60), np.arange(60)[:, None])
    for count in range(6):
        others = [row for row in range(60) if row not in chosen[:count]]
        left = {row: discrepancy(kernel, [*chosen[:count], row]) for row in others}
        assert left[chosen[count]] == pytest.approx(min(left.values()), abs=1e-12)
    assert sum(row < 20 for row in chosen) == 2  # a third of all is a third of the plate
    drawn = [random.choice(60, 6, replace=False).tolist() for _ in range(40)]
    assert discrepancy(kernel, chosen) < min(discrepancy(kernel, each) for each in drawn)
    # what is expected is a gentle preference: more of the better third, and never that alone
    liked = representative_batch(kernel, 12, 3.0 * (np.arange(60) < 20), np.arange(60)[:, None])
    assert 4 < sum(row < 20 for row in liked) < 9


def test_the_plate_is_spread_over_positions_and_residues(plate):
    mutations = [each for one in plate.suggestions for each in one.candidate.mutations]
    assert len({one.candidate.pair.residues for one in plate.suggestions}) == 48
    assert len({(each.chain, each.position) for each in mutations}) >= 24
    assert len({each.after for each in mutations}) >= 14
    sizes = Counter(len(one.candidate.mutations) for one in plate.suggestions)
    assert set(sizes) == {1, 2, 3}
    for one in plate.suggestions:
        antibody = one.candidate.pair.antibody
        assert mutations_between(PARENT.antibody, antibody) == one.candidate.mutations
        kinds = {each.kind for each in new_liabilities(PARENT.antibody, antibody)}
        assert not kinds & set(plate.filters.liabilities)
        assert one.prediction.delta_pkd is not None
        assert "to learn from" in one.reason
    assert [one.candidate.name for one in first_plate(PARENT, 48, candidates=FEW).suggestions] == [
        one.candidate.name for one in plate.suggestions
    ]


def test_the_table_is_read_by_adapt_once_values_are_added(plate, tmp_path):
    frame = suggestion_frame(plate)
    assert "p_beats_best" not in frame.columns
    frame.with_columns(kd_nM=pl.Series(np.linspace(1, 50, 48))).write_csv(tmp_path / "plate.csv")
    rows = read_table(tmp_path / "plate.csv", require="measured").rows
    assert not [row.error for row in rows if row.error]


def test_an_unnamed_antigen_has_differences_but_no_level():
    parent = Pair(PARENT.antibody, UNKNOWN_ANTIGEN)
    plate = first_plate(parent, 4, regions="H3", candidates="single")
    assert any("no antigen is named" in note for note in plate.notes)
    for one in plate.suggestions:
        assert one.prediction.pkd is None
        assert 0 < one.p_beats_parent < 1
    positions = {m.position for one in plate.suggestions for m in one.candidate.mutations}
    assert len(positions) > 2


def test_what_cannot_be_chosen_is_said():
    with pytest.raises(InputError, match="a batch of at most"):
        first_plate(PARENT, 96, regions="H:D31", max_mutations=1)
    with pytest.raises(InputError, match="made of measured variants"):
        first_plate(PARENT, 4, candidates="recombination")
    with pytest.raises(InputError, match="names kinds"):
        first_plate(PARENT, 4, candidates="pool.csv")
    with pytest.raises(InputError, match="residues apart"):
        first_plate(PARENT, 24, regions="H:D31,H:T32", max_mutations=2, min_distance=2)


@pytest.fixture
def parent_file(tmp_path: Path) -> Path:
    path = tmp_path / "parent.csv"
    row = {"id": ["mab"], "heavy": [HEAVY], "light": [LIGHT], "antigen": [LYSOZYME.chains[0]]}
    pl.DataFrame(row).write_csv(path)
    return path


def test_the_command_writes_a_plate_and_its_fasta(parent_file, tmp_path, run_paratope):
    out, few = tmp_path / "plate-1.csv", ("--candidates", "single:300,double:100")
    done = run_paratope(
        "suggest", "--parent", parent_file, "--batch", "12", *few, "-o", out, code=0
    )
    assert "12 chosen of" in done.err
    assert "paratope adapt" in done.err
    assert pl.read_csv(out).height == 12
    assert (tmp_path / "plate-1.fasta").read_text("utf-8").count(">") == 24
    shown = run_paratope("suggest", "--parent", parent_file, "--batch", "3", *few, code=0)
    assert "P(better)" in shown.out


def test_a_first_plate_needs_one_parent(parent_file, tmp_path, run_paratope):
    for arguments, said in (
        ((), "the folder of a campaign's model"),
        (("--parent", "mab"), "no such file"),
        (("--parent", parent_file, "--explore", "1"), "to learn from"),
    ):
        done = run_paratope("suggest", *arguments, "--batch", "4", code=2)
        assert said in done.err
    two = pl.concat([pl.read_csv(parent_file)] * 2).with_columns(
        heavy=pl.Series([HEAVY, HEAVY[:-1]])
    )
    two.write_csv(tmp_path / "two.csv")
    with pytest.raises(InputError, match="made of one parent; got 2"):
        read_parent(tmp_path / "two.csv")
