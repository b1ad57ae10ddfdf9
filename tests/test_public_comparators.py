"""Published numbers come out again from the published rows, and nothing sees its own fold."""

import dataclasses
import json
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from paratope.core.errors import InputError
from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data.datasets.abbibench import ASSAYS
from paratope.data.measurements import Measurement, Origin
from paratope.evaluation.metrics import METRICS
from paratope.molecules.sequences import Antibody, Antigen, Pair
from published_files import benchmark_fixture, module_fixture
from small_campaigns import HEAVY

benchmark = benchmark_fixture("benchmark_public")
predictors = module_fixture("predictors", "public_predictors")
comparators = module_fixture("comparators", "public_comparators")
tables = module_fixture("tables", "public_tables")
few = module_fixture("few", "public_few_shot")


def mutant(place: int, residue: str, value: float, complex_id: str = "c") -> Measurement:
    heavy = HEAVY[:place] + residue + HEAVY[place + 1 :]
    antigen = Antigen(("MKVLAAGITKLPQRSTVWYD",))
    return Measurement(
        Pair(Antibody(heavy), antigen),
        delta_pkd=value,
        parent=Pair(Antibody(HEAVY), antigen),
        origin=Origin("set", place + 1, complex_id=complex_id),
    )


def words_of(chain: str) -> set[str]:
    return {chain[start : start + 12] for start in range(len(chain) - 11)}


def test_gearbind_on_all_antibody_rows(benchmark, data_root):
    assert benchmark.gearbind_predictions(data_root, antibodies=False).height == 5729
    frame = benchmark.gearbind_predictions(data_root)
    lines = {line["predictor"]: line for line in benchmark.gearbind_lines(frame, stated=True)}
    for model, published in benchmark.GEARBIND_PUBLISHED.items():
        assert lines[model]["rows"] == 940
        assert lines[model]["pearson"] == pytest.approx(published, abs=5e-4)
        low, high = lines[model]["pearson_95"]
        assert low < published < high
    # rows that the network shares with it
    frame, rows = benchmark.gearbind_joined(data_root)
    assert len(frame) == len(rows) == 908
    for complex_id, mutations, row in zip(
        frame["complex_id"], frame["mutations"], rows, strict=True
    ):
        assert row.origin.complex_id == complex_id
        assert ",".join(row.origin.mutations) == mutations
        assert row.pair != row.parent
    assert frame.group_by("complex_id").agg(pl.col("fold").n_unique())["fold"].max() == 1


@pytest.mark.parametrize("name", ["ab645", "ab1101", "s1131"])
def test_row_numbers_join_other_peoples_folds(name, comparators, data_root, load):
    folds = comparators.protattba_predictions(name, data_root)
    measurements = load(name, True).measurements
    assert [row.origin.row for row in measurements] == folds["row"].to_list()
    ours = np.array([row.delta_pkd for row in measurements])
    theirs = [ddg_kcal_mol_to_delta_pkd(value) for value in folds["ddg_kcal_mol"]]
    assert np.abs(ours - theirs).max() < 1e-6
    assert sorted(folds["fold"].unique()) == list(range(folds["fold"].n_unique()))


@pytest.mark.parametrize("cutoff", [70, 90, 100])
def test_graphinity_folds_join_with_the_sign_turned(cutoff, comparators, data_root, load):
    folds = comparators.graphinity_folds(cutoff, data_root)
    rows = {row.origin.row: row for row in load("ab645", True).measurements}
    assert (folds.height, folds["row"].n_unique(), folds["fold"].n_unique()) == (618, 618, 10)
    for record in folds.iter_rows(named=True):
        row = rows[record["row"]]
        assert row.delta_pkd == pytest.approx(ddg_kcal_mol_to_delta_pkd(record["ddg_kcal_mol"]))
        (mutation,) = row.origin.mutations
        assert (mutation[2], mutation[-1]) == (record["mutation"][0], record["mutation"][-1])
        assert row.origin.complex_id.lower().startswith(record["complex_id"].lower())
    assert folds["ddg_kcal_mol"].mean() == pytest.approx(0.97304, abs=1e-4)


def test_comparators_list_their_names_and_the_missing_file(comparators, few, data_root, tmp_path):
    with pytest.raises(InputError, match="ab1101, ab645, s1131"):
        comparators.protattba_predictions("ab646", data_root)
    with pytest.raises(InputError, match="100, 70, 90"):
        comparators.graphinity_folds(80, data_root)
    with pytest.raises(Exception, match=r"draws\.py: the reference draws are not there"):
        few.reference_draws(tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "rows", "flags", "reached"), [("ab645", 645, 27, 0.42), ("ab1101", 1100, 50, 0.58)]
)
def test_protattba_and_the_complex_alone_on_random_folds(
    name, rows, flags, reached, benchmark, data_root
):
    frame, measurements = benchmark.protattba_frame(data_root, name)
    line = benchmark.protattba_line(frame, name)
    assert line["rows"] == len(measurements) == rows
    assert line["pearson"] == pytest.approx(benchmark.PROTATTBA_PUBLISHED[name], abs=1e-3)
    measured, complexes = frame["ddg_kcal_mol"].to_numpy(), frame["complex_id"].to_list()
    assert int((measured == 8.0).sum()) == flags
    mean = benchmark.complex_mean(measured, complexes, frame["fold"].to_numpy())
    assert METRICS["pearson"](measured, mean) == pytest.approx(reached, abs=0.01)
    # which never sees its own fold
    few = benchmark.complex_mean(np.array([1.0, 3.0, 5.0, 9.0]), [*"aaba"], np.array([0, 1, 1, 1]))
    assert few.tolist() == [6.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("assay", ASSAYS)
def test_abbibench_spearman(assay, benchmark, data_root):
    lines = benchmark.abbibench(data_root, assay)
    stated = [line for line in lines if "published" in line]
    assert len(stated) >= 30
    for line in stated:
        assert line["spearman"] == pytest.approx(line["published"], abs=0.01)


@pytest.fixture
def data(benchmark: ModuleType, predictors: ModuleType):
    rows = [mutant(place, "A", -0.1 * place, "cd"[place % 2]) for place in range(30, 42)]
    recipe = benchmark.load_recipe(
        "default", ["encoders.antibody=residue", "training.max_epochs=1"]
    )
    encode = predictors.Encoders.of(recipe)
    delta = np.array([row.delta_pkd for row in rows])
    made = predictors.DeltaRows.of(rows, delta, np.arange(12) % 3, encode)
    return made, recipe, encode


def test_a_fold_is_not_trained_on_and_its_labels_change_no_prediction_of_it(data, predictors):
    made, recipe, encode = data
    train = made.training(1, parents=True)
    held = {made.rows[place].pair for place in (1, 4, 7, 10)}
    assert held.isdisjoint(row.pair for row in train)
    assert len(train) == 8 + 2  # mutants, and the parent of each complex
    assert [row.pkd for row in train[8:]] == [predictors.PARENT_PKD] * 2
    assert {row.assay for row in train[8:]} == {"c", "d"}
    assert [row.pkd for row in train[:2]] == pytest.approx([8 - 3.0, 8 - 3.2])
    inside = made.folds == 1
    rows = zip(made.rows, inside, strict=True)
    rows = tuple(dataclasses.replace(row, pkd=2.0) if held else row for row, held in rows)
    changed = predictors.DeltaRows(rows, made.folds)
    for predict in (
        lambda rows: predictors.network_ddg(rows, recipe, encode),
        lambda rows: predictors.baseline_ddg("one_hot_ridge", rows),
    ):
        before, after = predict(made), predict(changed)
        assert before[inside].tolist() == after[inside].tolist()
        assert before[~inside].tolist() != after[~inside].tolist()
    # ΔΔG is positive for weaker binding
    got = predictors.baseline_ddg("constant", made)
    delta = np.array([row.delta_pkd for row in made.rows])
    assert got[0] == pytest.approx(-1.3643 * delta[made.folds > 0].mean(), rel=1e-3)
    assert (got > 0).all()


@pytest.mark.slow
def test_prior_leaves_out_every_relative(benchmark, predictors, data_root, monkeypatch):
    monkeypatch.setenv("PARATOPE_DATA", str(data_root))
    recipe = benchmark.load_recipe("default", ["encoders.antibody=residue"])
    antigens = [
        benchmark.load_dataset(f"abbibench_{assay}", data_root).measurements[0].pair.antigen
        for assay in ASSAYS
    ]
    encode = predictors.Encoders.of(recipe)
    rows, left_out = predictors.prior_rows(antigens, benchmark.UNNAMED_ANTIGENS, encode)
    assert left_out > 1900
    assert len(rows) > 1000
    words = set().union(*(words_of(chain) for antigen in antigens for chain in antigen.chains))
    for row in rows:
        assert row.origin.source != "absci_her2"
        assert "hemagglutinin" not in row.pair.antigen.name.lower()
    for chain in {chain for row in rows for chain in row.pair.antigen.chains}:
        assert words.isdisjoint(words_of(chain))


def test_a_table_has_intervals_and_gaps_and_one_number_within_a_complex_counts_as_nothing(tables):
    record = {"predictor": "x", "rows": 3, "pearson": 0.5, "pearson_95": [0.1, 0.8], "rmse": None}
    lines = tables.table([record]).splitlines()
    assert lines[0] == "| predictor | rows | Pearson | RMSE |"
    assert lines[2] == "| x | 3 | 0.500 (0.10 to 0.80) | – |"
    measured = np.arange(24.0)
    predicted = np.where(measured < 12, measured, 3.0)
    line = tables.within_groups(measured, predicted, (measured >= 12).astype(int))
    assert line == {"per_complex": 0.5, "complexes": 2}
    assert tables.within_groups(measured[:5], predicted[:5], np.zeros(5, int)) == {}


def test_few_shot_uses_the_reference_draws(few, benchmark, data_root):
    name = "1n8z"
    rows = benchmark.load_dataset(f"abbibench_{name}", data_root, as_published=True).measurements
    path = data_root / ASSAYS[name].data.path
    found = few.few_shot(data_root, name, path, rows, {24: 2})
    draws = few.reference_draws(data_root)
    sequences, labels = draws.landscape(str(path))
    random = next(line for line in found if line["mode"] == "random")
    assert random["trained_on"] == "24"
    assert random["test_rows"] == str(len(sequences) - 24)
    train, test = draws.draw(sequences, 24, "random", 1)
    by_heavy = {row.pair.antibody.heavy: row.pair for row in rows}
    variants = [
        Measurement(by_heavy[sequence], score=float(label))
        for sequence, label in zip(sequences, labels, strict=True)
    ]
    expected = few.rank("mutation_type", variants, labels, train, test)
    assert random["each_repeat"]["mutation_type"][1] == pytest.approx(expected, abs=1e-4)


def test_a_section_is_written_with_what_it_was_made_by(benchmark, tmp_path):
    settings = benchmark.Settings(epochs=2)
    line = {"predictor": "x", "rows": 3, "pearson": 0.5}
    record = benchmark.circumstances("python benchmark", ("numpy",))
    section = benchmark.Section("A set", ("A note.",), [line])
    benchmark.write("set", section, settings, tmp_path, record)
    text = (tmp_path / "public_set.md").read_text(encoding="utf-8")
    assert text.startswith("# A set\n\nA note.\n\nNetwork: default recipe, 2 epochs")
    content = json.loads((tmp_path / "public_set.json").read_text(encoding="utf-8"))
    assert content["lines"] == [line]
    assert content["settings"]["epochs"] == 2
    assert content["command"] == "python benchmark"
    assert {"machine", "versions", "date"} <= set(content)
