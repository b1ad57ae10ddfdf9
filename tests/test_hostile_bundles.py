"""Model folders altered so that their checksums still fit: refused in words, at once, in little.

Each case changes one of the folders that version 0.1 wrote, which open as they are.
"""

import hashlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from paratope.core.errors import OutputError, ParatopeError
from paratope.models.predictor import Predictor

Folder = Callable[[str], Path]
HUGE = 10**9


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Folder:
    def make(name: str) -> Path:
        return shutil.copytree(repository / "tests" / "data" / name, tmp_path / name)

    return make


def seal(folder: Path) -> None:
    """Make the checksums fit."""
    config = json.loads((folder / "config.json").read_text())
    for name in config["sha256"]:
        if (folder / name).is_file():
            config["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def alter(folder: Path, place: str, value: Any) -> None:
    """Set ``file:key.key.0`` of a JSON file to a value; None of it for `...`."""
    file, _, keys = place.partition(":")
    *above, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
    document = json.loads((folder / file).read_text())
    inside = document
    for key in above:
        inside = inside[key]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    (folder / file).write_text(json.dumps(document))


def refused(folder: Path, says: str, cache: Path) -> None:
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ParatopeError, match=says) as error:
        Predictor.load(folder, device="cpu", cache=cache)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700
    assert time.perf_counter() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB


CONFIG = [
    *[("encoders.antibody", bad, "encoders.antibody: ") for bad in (7, ["residue"], None, {}, ...)],
    ("encoders.antibody", "antiberty", "gives 512 numbers for a residue, but the network reads 51"),
    ("encoders.antigen", "antiberty@0.1.3", "the antigen encoder .* are not its own"),
    ("encoders.antigen", "residue@9", "revision '9' is asked for"),
    ("encoders.antigen", "x\x1b[2J", r"should be one line .*, got 'x\\x1b\[2J'"),
    ("encoders", "residue", "config.json: encoders: "),
    *[
        ("encoders.max_residues", bad, "encoders.max_residues: should be")
        for bad in (-1, HUGE, 1.5, "all", None)
    ],
    ("encoders.max_residues", float("inf"), "config.json is no JSON: Infinity is not finite"),
    ("encoders.max_residues", float("nan"), "config.json is no JSON: NaN is not finite"),
    ("encoders.lora", {"rank": HUGE}, "encoders.lora.rank: should be from 0 to 1024"),
    ("encoders.lora", {"rank": 4}, "is not one that LoRA can train|too few weights"),
    ("members", 0, "members: should be from 1 to 1000, got 0"),
    ("members", 100_000_000, "members: should be from 1 to 1000, got 100000000"),
    ("members", 1000, r"too few weights for config.json \(network 1\)"),
    ("members", [1], "members: should be a valid integer"),
    *[("network." + key, bad, f"network.{key}: should be from")
      for key in ("dim", "heads", "kernel", "antibody_dim", "antigen_dim", "feed_forward")
      for bad in (0, -4, HUGE)],
    ("network.layers", HUGE, "network.layers: should be from 0 to 64"),
    ("network.layers", 64, "too few weights"),
    ("network.tower_layers", -4, "network.tower_layers: should be from 0 to 64"),
    ("network.regressor", [HUGE], "network.regressor.0: should be from 1 to 65536"),
    ("network.regressor", [[16]], "network.regressor.0: should be a valid integer"),
    ("network.regressor", [17], "too few weights|does not fit"),
    ("network.regressor", 16, "network.regressor: should be a valid tuple"),
    ("network.dim", 4, "does not fit config.json"),
    ("network.dim", 4096, "too few weights"),
    ("network.dim", 8192, "1,209,303,040 weights; expected at most"),
    ("network.dropout", 7, "network.dropout: should be from 0 to 0.99"),
    ("network.output", "clamped", "network.output: should be 'bounded' or 'free'"),
    ("network.surprise", 1, "unknown key 'surprise'"),
    ("network", None, "'network', the table of its sizes, is missing"),
    ("network", ..., "'network', the table of its sizes, is missing"),
    ("recipe", [], "recipe: should be a valid dictionary"),
    ("kind", 7, "kind: should be a valid string"),
    ("format_version", [1], r"version \[1\]; this paratope reads 1"),
    ("sha256", [], "lists no checksums"),
    ("sha256./etc/passwd", "0" * 64, "names '.*', which no model folder holds"),
]  # fmt: skip
CALIBRATION = [
    ("held_out.domain.0", "beyond", "calibration.json: held_out: domain should be one of in, near"),
    ("held_out.domain.0", 7, "held_out.domain: should be a list of texts"),
    ("held_out.mean", [7.0], "held_out: columns of different lengths"),
    ("held_out.mean.3", None, "held_out.mean: should be a list of numbers"),
    ("held_out.mean.3", "7", "held_out.mean: should be a list of numbers"),
    ("held_out.sd.3", -1.0, "held_out.sd: should be a list of numbers from 0 to"),
    ("held_out.pkd.3", 1e300, "held_out.pkd: should be a list of numbers from -100 to 100"),
    ("held_out.pkd.3", float("-inf"), "calibration.json is no JSON: -Infinity is not finite"),
    ("held_out.censoring.3", 2, "held_out.censoring: should be a list of whole numbers from -1"),
    ("held_out.censoring.3", 0.5, "held_out.censoring: should be a list of whole numbers"),
    ("held_out.censoring", [1] * 10, "held-out rows with an exact pKd; got 0"),
    ("held_out.group", {}, "held_out.group: should be a list of texts"),
    ("held_out.assay", ["a" * 50_000_000] + ["b"] * 9, "held_out.assay: .*shorter texts"),
    ("held_out.sd", ..., "held_out.sd: Field required"),
    ("held_out", ..., "held_out: Field required"),
    ("held_out", [], "held_out: should be"),
    ("rescale", "perhaps", "rescale: should be a valid boolean"),
]
FAMILIARITY = [
    ("partners.0", [-1, 0], "familiarity.json: partners name molecules that it does not list"),
    ("partners.0", [0, HUGE], "familiarity.json: partners name molecules that it does not list"),
    ("partners.0", [0], "partners.0"),
    ("partners", "all", "partners: should be a valid list"),
    ("antigens.0", ["<script>"], "antigens.0.0: String should match"),
    ("antigens.0", "ACDE", "antigens.0: should be a valid tuple"),
    ("antibodies.0", [7], "antibodies.0.0: should be a valid string"),
    ("antibodies", ..., "antibodies: Field required"),
]
CAMPAIGN = [
    ("label", "rank", "campaign.json is damaged: label: should be 'pkd' or 'score'"),
    ("pairs.0.heavy", 7, "pairs.0.heavy: should be a valid string"),
    ("pairs.0.heavy", "<b>", "pairs.0.heavy: String should match"),
    ("pairs.0.antigen", [], "pairs.0.antigen: .*at least 1 item"),
    ("pairs.0", ..., "columns of other lengths than its 39 pairs"),
    ("pairs", {}, "pairs: should be a valid tuple"),
    ("parents", [], "parents: .*at least 1 item"),
    ("named_parents", HUGE, "named_parents: should be from 0 to 1000000"),
    ("named_parents", 2, "variances of noise for 4 groups"),
    ("assays", ["spr"], "rows or assays that it does not list"),
    ("assay.0", -1, "assay: should be a list of whole numbers from 0"),
    ("censoring.0", 7, "censoring: should be a list of whole numbers from -1 to 1"),
    ("values.0", None, "values: should be a list of numbers"),
    ("noise_sd.0", -1.0, "noise_sd: should be a list of numbers from 0"),
    ("noise", [1.0], "1 variances of noise for 2 groups"),
    ("prior_pkd", [7.0], "1 prior_pkd for 40 compared rows"),
    ("weights.moonlight", 1.0, "not a campaign's model, or damaged: KeyError"),
    ("weights.physics", -1.0, "weights.physics: should be from 0"),
    ("scales", [], "scales: should be"),
    ("scales.physics", "wide", "scales.physics: should be a valid number"),
    ("label_scale.slope", 0, "label scale: slope: should be from"),
    ("label_scale.values.0", 99.0, "label scale must increase"),
    ("label_scale.latent", [1.0], "label scale must increase"),
    ("anchors", [0, 1], "40 prior_pkd for 2 compared rows"),
    ("anchors", list(range(40)), "reference of 0 for 40 anchors"),
    ("prior", [7], "prior: should be"),
    ("prior", {"config": {}}, "prior.calibration: Field required"),
    ("notes", "a note", "notes: should be a valid tuple"),
]


@pytest.mark.parametrize(
    ("model", "file", "place", "value", "says"),
    [
        *(("model-0.1", "config.json", *case) for case in CONFIG),
        *(("model-0.1", "calibration.json", *case) for case in CALIBRATION),
        *(("model-0.1", "familiarity.json", *case) for case in FAMILIARITY),
        *(("campaign-0.1", "familiarity.json", *case) for case in FAMILIARITY[:2]),
        *(("campaign-0.1", "campaign.json", *case) for case in CAMPAIGN),
    ],
)
def test_altered_contents(copy, tmp_path, model, file, place, value, says):
    folder = copy(model)
    alter(folder, f"{file}:{place}", value)
    if file != "config.json":
        seal(folder)
    refused(folder, says, tmp_path / "cache")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("calibration.json", b"[" * 100_000, "calibration.json is nested too deep"),
        ("calibration.json", b"[" + b"[]," * 6_000_000 + b"[]]", "more than 10,000,000 values"),
        ("calibration.json", b'{"held_out": ' + b"9" * 5000 + b"}", "calibration.json is no JSON"),
        ("calibration.json", b'{"held_out": 1e999}', "1e999 is not finite"),
        ("calibration.json", b"\xff\xfe", "calibration.json is no JSON"),
        ("metrics.json", b"[]", "metrics.json should hold a JSON object, got list"),
        ("card.md", b"#" * 100_000_000, "card.md has 100,000,000 bytes; expected at most"),
        ("environment.json", b" " * 1_000_001, "environment.json has 1,000,001 bytes"),
        ("model.safetensors", b"\0" * 64, "model.safetensors cannot be read"),
        ("model.safetensors", b"\xff" * 64, "model.safetensors cannot be read"),
    ],
)
def test_altered_files(copy: Folder, tmp_path: Path, file: str, content: bytes, says: str):
    folder = copy("model-0.1")
    (folder / file).write_bytes(content)
    seal(folder)
    refused(folder, says, tmp_path / "cache")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "card.md", "metrics.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "holes", "loop"])
def test_only_regular_files_of_some_size_are_read(copy, tmp_path, file, kind):
    folder, says = copy("model-0.1"), f"{file} is no regular file"
    (folder / file).unlink()
    if kind == "pipe":
        os.mkfifo(folder / file)
    elif kind == "device":
        (folder / file).symlink_to("/dev/zero")
    elif kind == "folder":
        (folder / file).mkdir()
    elif kind == "loop":
        (folder / file).symlink_to(file)
        says = f"cannot read {file}"
    else:
        with (folder / file).open("wb") as sparse:
            sparse.truncate(11 * 2**30)
        says = f"{file} has 11,811,160,064 bytes; expected at most"
    refused(folder, says, tmp_path / "cache")
    if file == "config.json" and kind == "pipe":  # nor is it waited for when a model is written
        with pytest.raises(OutputError, match="is no model folder"):
            Predictor.load("default", device="cpu", cache=tmp_path).save(folder)


@pytest.mark.parametrize(
    ("model", "change", "says"),
    [
        ("model-0.1", lambda a: a[:1], "does not fit|too few weights"),
        ("model-0.1", lambda a: a * np.float32("nan"), "is not of finite numbers"),
        ("model-0.1", lambda a: a + np.float32("inf"), "is not of finite numbers"),
        ("model-0.1", lambda a: a.astype(np.int64), "of the kind torch.int64, which no model"),
        ("model-0.1", lambda a: a > 0, "of the kind torch.bool, which no model"),
        ("campaign-0.1", lambda a: a[:1], "or damaged"),
        ("campaign-0.1", lambda a: a[:, :3] if a.ndim > 1 else a[:3], "or damaged"),
        ("campaign-0.1", lambda a: a * a.dtype.type("nan"), "is not of finite numbers"),
        ("campaign-0.1", lambda a: np.zeros((0, *a.shape[1:]), a.dtype), "or damaged"),
    ],
)
def test_altered_weights(copy, tmp_path, model, change, says):
    folder = copy(model)
    file = folder / "model.safetensors"
    arrays = load_file(file)
    for name, array in arrays.items():
        if array.ndim and not name.startswith("prior."):
            arrays[name] = np.ascontiguousarray(change(array))
    save_file(arrays, file)
    seal(folder)
    refused(folder, says, tmp_path / "cache")


@pytest.mark.parametrize("prior", ["config", "calibration", "familiarity"])
def test_the_general_model_inside_a_campaign_is_checked_alike(copy, tmp_path, prior):
    folder, general = copy("campaign-0.1"), copy("model-0.1")
    parts = ("config", "calibration", "familiarity")
    inner = {name: json.loads((general / f"{name}.json").read_text()) for name in parts}
    inner[prior] = {}
    alter(folder, "campaign.json:prior", inner)
    seal(folder)
    refused(folder, "Field required", tmp_path / "cache")
