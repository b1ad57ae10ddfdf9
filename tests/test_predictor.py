"""Loading a model and predicting: parity with training, company, columns, errors, parents."""

import dataclasses
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest

from paratope.cli.doctor import D13_HEAVY, D13_LIGHT, LYSOZYME
from paratope.core.errors import InputError, ModelError, OutputError, StoreError
from paratope.models.bundle import make_bundle, read_bundle, write_bundle
from paratope.models.calibration import Calibration
from paratope.models.ensembling import ensemble_models
from paratope.models.network import Network
from paratope.models.prediction import OUTPUT_COLUMNS, PARENT_COLUMNS, output_columns
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.opening import predictor_of
from test_numbering import CH1
from trained_models import TrainedRun, train_tiny


@pytest.fixture
def frame(tiny_run: TrainedRun) -> pl.DataFrame:
    return pl.read_csv(tiny_run.table).head(12)


def test_predictions_of_the_bundle_are_those_of_the_trained_network(tiny_run, tiny_predictor):
    written = pl.read_csv(tiny_run.folder / "test_predictions.csv")
    ids, measurements = tiny_run.trained.part("test")
    assert written["id"].cast(pl.String).to_list() == ids
    served = tiny_predictor.predict_pkd([measurement.pair for measurement in measurements])
    np.testing.assert_allclose(served, written["pred"].to_numpy(), atol=1e-4)
    np.testing.assert_allclose(served, tiny_run.trained.scores["test"].mean, atol=1e-4)
    assert tiny_predictor.predict_pkd([]).shape == (0,)
    calibration = tiny_predictor.model.calibration
    assert isinstance(calibration, Calibration)
    assert len(calibration.held_out) == len(tiny_run.trained.part("validation")[0])


def test_company_and_order_do_not_matter(tiny_predictor, frame):
    together = tiny_predictor.predict(frame)["pkd"].to_numpy()
    backwards = tiny_predictor.predict(frame.reverse())["pkd"].to_numpy()[::-1]
    alone = [tiny_predictor.predict(frame[row])["pkd"][0] for row in range(3)]
    np.testing.assert_allclose(backwards, together, atol=1e-5)
    np.testing.assert_allclose(alone, together[:3], atol=1e-5)


def test_output_columns_then_the_users_own_unchanged(tiny_predictor, frame):
    table = frame.with_columns(well=pl.lit("A01"), notes=pl.lit('say "hi", ü'))
    out = tiny_predictor.predict(table)
    assert tuple(out.columns[: len(OUTPUT_COLUMNS)]) == OUTPUT_COLUMNS
    own = out.select(out.columns[len(OUTPUT_COLUMNS) :])
    assert own.rename({"pkd_measured": "pkd"}).equals(table)
    assert out["pkd"].is_finite().all()
    assert (out["pkd_low"] <= out["pkd"]).all()
    assert (out["pkd"] <= out["pkd_high"]).all()
    assert set(out["domain"]) <= {"in", "near", "out"}
    np.testing.assert_allclose(-np.log10(out["kd_nM"].to_numpy() * 1e-9), out["pkd"], atol=1e-9)


def test_a_row_in_error_has_no_numbers_and_stops_nothing(tiny_predictor):
    rows = {"heavy": [D13_HEAVY, LYSOZYME, "EVQ7", D13_HEAVY], "light": [D13_LIGHT] * 4}
    out = tiny_predictor.predict(pl.DataFrame({**rows, "antigen": [LYSOZYME] * 3 + [""]}))
    assert out["error"].is_null().to_list() == [True, False, False, False]
    for name in ("pkd", "pkd_low", "pkd_high", "kd_nM", "p_strong"):
        assert out[name].is_null().to_list() == [False, True, True, True]


def test_swapped_chains_and_constant_domains_do_not_change_the_number(tiny_predictor):
    rows = {"heavy": [D13_HEAVY, D13_LIGHT, D13_HEAVY + CH1]}
    rows |= {"light": [D13_LIGHT, D13_HEAVY, D13_LIGHT], "antigen": [LYSOZYME] * 3}
    out = tiny_predictor.predict(pl.DataFrame(rows))
    assert out["pkd"][1:].to_list() == pytest.approx([out["pkd"][0]] * 2, abs=1e-6)
    assert "swap" in out["note"][1]


def test_pandas_in_pandas_out(tiny_predictor, frame):
    data = frame.to_pandas().assign(well=["A1", 3] * 6, round=pd.array([1, None] * 6, "Int64"))
    data = pd.concat([data, data[["well"]]], axis=1)  # a name twice
    before = data.copy()
    out = tiny_predictor.predict(data)
    assert isinstance(out, pd.DataFrame)
    own = out.iloc[:, len(OUTPUT_COLUMNS) :].rename(columns={"pkd_measured": "pkd"})
    pd.testing.assert_frame_equal(own, data)
    pd.testing.assert_frame_equal(data, before)
    sub = data.iloc[[7, 2, 2, 5]].copy()
    sub["pkd"] = tiny_predictor.predict(sub)["pkd"].to_numpy()
    np.testing.assert_allclose(sub["pkd"], out["pkd"].iloc[[7, 2, 2, 5]], atol=1e-5)
    sub = data.iloc[2:8].copy()
    sub["pkd"] = tiny_predictor.predict(sub)["pkd"]
    np.testing.assert_allclose(sub["pkd"], out["pkd"].iloc[2:8], atol=1e-5)


def test_parent_adds_differences(tiny_predictor, frame):
    out = tiny_predictor.predict(frame, parent=str(frame["id"][3]))
    names = OUTPUT_COLUMNS + PARENT_COLUMNS
    assert tuple(out.columns[: len(names)]) == names
    assert out["delta_pkd"][3] == 0
    assert out["p_stronger"][3] == pytest.approx(0.5)
    np.testing.assert_allclose(out["delta_pkd"], out["pkd"] - out["pkd"][3], atol=1e-9)
    apart = out["delta_pkd"].abs() > 1e-6
    assert ((out["p_stronger"] > 0.5) == (out["delta_pkd"] > 0)).filter(apart).all()
    mutants = out["id"] != frame["id"][3]
    assert (out["delta_pkd_low"] < out["delta_pkd"]).filter(mutants).all()
    assert out.filter(~mutants).select(PARENT_COLUMNS).row(0) == (0, 0, 0, 0.5)
    with pytest.raises(InputError, match="no row has the id 'wild type'"):
        tiny_predictor.predict(frame, parent="wild type")


def test_coverage_widens_and_threshold_lowers(tiny_predictor, frame):
    narrow = tiny_predictor.predict(frame, coverage=0.5)
    wide = tiny_predictor.predict(frame, coverage=0.9, strong_threshold_pkd=10)
    assert (wide["pkd_high"] - wide["pkd_low"] > narrow["pkd_high"] - narrow["pkd_low"]).all()
    assert (wide["p_strong"] < narrow["p_strong"]).all()


def test_saved_model_is_the_same_model(tiny_predictor, tiny_run, frame, tmp_path):
    folder = tiny_predictor.save(tmp_path / "copy")
    again = Predictor.load(folder, device="cpu", cache=tmp_path / "cache")
    assert again.predict(frame).equals(tiny_predictor.predict(frame))
    for file in folder.iterdir():
        assert file.read_bytes() == (tiny_run.folder / "bundle" / file.name).read_bytes()


def test_a_closed_predictor_says_so(tiny_run, frame, tmp_path):
    with Predictor.load(tiny_run.folder, device="cpu", cache=tmp_path) as predictor:
        shown = "Predictor(network model of pkd, encoders: residue@1, residue@1)"
        assert repr(predictor) == shown
    with pytest.raises(StoreError, match="closed"):
        predictor.predict(frame)


def test_ensemble_averages(tiny_run, tiny_predictor, frame, tmp_path):
    second = train_tiny(tmp_path, seed=1)
    both = [str(tiny_run.folder), str(second.folder)]
    joined = write_bundle(ensemble_models(both), tmp_path / "j")
    other, mean = (
        Predictor.load(folder, cache=tmp_path / "cache").predict(frame)["pkd"]
        for folder in (second.folder, joined)
    )
    one = tiny_predictor.predict(frame)["pkd"]
    np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-5)
    assert len(read_bundle(joined).card) > 100


def test_ensemble_of_different_shapes_is_refused(tiny_run, tiny_predictor, tmp_path):
    bundle = read_bundle(tiny_run.folder / "bundle")
    encoders = {"antibody": "antiberty@0.1.3", "antigen": "residue@1"}
    changed = dataclasses.replace(bundle, config={**bundle.config, "encoders": encoders})
    other = write_bundle(changed, tmp_path / "other")
    with pytest.raises(ModelError, match="encoders"):
        ensemble_models([str(tiny_run.folder), str(other)])
    with pytest.raises(ModelError, match="at least two"):
        ensemble_models([str(tiny_run.folder)])
    model = tiny_predictor.model
    networks = [Network(model.config), Network(model.config.model_copy(update={"dim": 16}))]
    told = {"metrics": {}, "environment": {}, "card": ""}
    with pytest.raises(ModelError, match="one shape"):
        make_bundle(networks, {}, {}, model.calibration, model.domain, **told)


def test_an_ensemble_rescales_as_its_members_do(tiny_run, frame, tmp_path):
    plain = read_bundle(tiny_run.folder / "bundle")
    held_out = Calibration.from_json(plain.calibration).held_out
    scaled = dataclasses.replace(plain, calibration=Calibration(held_out, rescale=True).to_json())
    folder = str(write_bundle(scaled, tmp_path / "scaled"))
    joined = ensemble_models([folder, folder])
    assert joined.calibration["rescale"] is True
    alone, twice = (predictor_of(one, "cpu", tmp_path).predict(frame) for one in (scaled, joined))
    np.testing.assert_allclose(twice["pkd"], alone["pkd"], atol=0.1)  # capped rows differ a little
    with pytest.raises(ModelError, match="rescale"):
        ensemble_models([folder, str(tiny_run.folder)])


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "calibration.json", "familiarity.json", "card.md"]
)
@pytest.mark.parametrize("damage", ["missing", "altered", "empty"])
def test_damaged_model_folder(tmp_path, name, damage, tiny_predictor):
    folder = tiny_predictor.save(tmp_path / "model")
    file = folder / name
    if damage == "missing":
        file.unlink()
    elif damage == "altered":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(b"{" * (name == "config.json") + content)
    else:
        file.write_bytes(b"")
    with pytest.raises(ModelError) as error:
        Predictor.load(folder)
    assert name in str(error.value) or str(folder) in str(error.value)


def test_states_run_once_and_score_any_pairing(tiny_predictor, frame):
    antibodies = list(frame.select("heavy", "light").head(3).iter_rows())
    antigens = [(text,) for text in frame["antigen"].unique(maintain_order=True).to_list()[:2]]
    ensemble = tiny_predictor.model
    left, right = ensemble.antibody_state(antibodies), ensemble.antigen_state(antigens)
    index = [(a, g) for a in range(len(antibodies)) for g in range(len(antigens))]
    grid = ensemble.score(left, right, [a for a, _ in index], [g for _, g in index])
    pairs = [Pair(Antibody(*antibodies[a]), Antigen(antigens[g])) for a, g in index]
    for one, other in zip(grid, ensemble.score_pairs(pairs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert math.isfinite(float(grid.sd.max()))


def test_long_molecules_are_embedded_some_at_a_time(tiny_predictor):
    """The memory of a block is bounded by residues; the states are those of each alone."""
    model = tiny_predictor.model
    antigens = [(LYSOZYME * 40 + "A" * n,) for n in range(6)]  # 5,160 residues and more
    seen: list[int] = []
    tower = model.networks[0].antigen_tower
    hook = tower.register_forward_pre_hook(lambda _, given: seen.append(given[1].numel()))
    together = model.antigen_state(antigens)
    hook.remove()
    assert len(seen) == 2
    assert max(seen) <= 16_384
    for number in (0, 5):
        alone = model.antigen_state([antigens[number]])
        length = alone.mask.shape[1]
        assert together.mask[number].sum() == length
        found = together.latents[0][number, :length]
        np.testing.assert_allclose(found, alone.latents[0][0], atol=1e-5)


def test_command_predicts_one_pair(tiny_run, run_paratope, tmp_path):
    chains, target = ("--heavy", D13_HEAVY, "--light", D13_LIGHT), tmp_path / "one.csv"
    command = ("predict", *chains, "--model", tiny_run.folder, "-o", target)
    for antigen in (LYSOZYME, "|".join([LYSOZYME] * 40)):  # the second longer than any path may be
        assert "1 of 1 rows predicted" in run_paratope(*command, "--antigen", antigen, code=0).err
    assert pl.read_csv(target).columns[: len(OUTPUT_COLUMNS)] == list(OUTPUT_COLUMNS)


def test_command_joins_models(tiny_run, run_paratope, tmp_path):
    models = (tiny_run.folder, tiny_run.folder)
    run_paratope("models", "ensemble", *models, "-o", tmp_path / "joined", code=0)
    assert read_bundle(tmp_path / "joined").config["members"] == 2
    shown = run_paratope("models", "show", tmp_path / "joined", code=0)
    assert "Ensemble of 2 models" in shown.out
    with pytest.raises(ModelError, match=r"valid names: default, network; or a model folder"):
        Predictor.load("deafult")


def test_only_a_model_folder_is_written_into(tiny_predictor, tmp_path):
    """A stranger's config.json makes no model folder; what a user keeps in our own stays."""
    stranger = tmp_path / "app"
    (stranger / "data").mkdir(parents=True)
    mine = {"config.json": '{"name": "my web app"}', "thesis.txt": "years", "data/a.csv": "1,2"}
    for name, text in mine.items():
        (stranger / name).write_text(text)
    with pytest.raises(OutputError, match="no model folder"):
        tiny_predictor.save(stranger)
    assert {name: (stranger / name).read_text() for name in mine} == mine
    folder = tiny_predictor.save(tmp_path / "model")
    (folder / "next.csv").write_text("my next plate")
    (folder / "card.md").write_text("altered")
    tiny_predictor.save(folder)
    assert (folder / "next.csv").read_text() == "my next plate"
    assert read_bundle(folder).card == tiny_predictor.bundle.card
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("name", "tolerance"), [("model-0.1", 1e-6), ("campaign-0.1", 1e-4)])
def test_models_of_version_0_1_say_what_they_said(name, tolerance, repository, tmp_path):
    """Folders that version 0.1 wrote, with their predictions beside them, say it still.

    Only the parent's difference from itself has since lost its interval, and intervals of campaigns
    have become wider by Student's t: these are as of today. `campaign-0.1` is of two
    assays with bounds, on top of the tiny network `model-0.1`.
    """
    folder = repository / "tests" / "data" / name
    before = pl.read_csv(folder / "predictions.csv")
    names = list(output_columns(with_parent=True))
    with Predictor.load(folder, device="cpu", cache=tmp_path) as predictor:
        now = predictor.predict(before.drop(names), parent=str(before["id"][0]))
    for column in names:
        if now[column].dtype == pl.Float64:
            np.testing.assert_allclose(
                now[column], before[column], rtol=tolerance, atol=tolerance, err_msg=column
            )
        else:
            assert now[column].to_list() == before[column].to_list(), column
