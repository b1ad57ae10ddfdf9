"""Where published encoders' files are found, fetched and read: no pickle, nothing half loaded."""

import hashlib
import http.server
import importlib.util
import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from conftest import Trap, serving
from paratope.core.errors import EncoderError, MissingExtraError
from paratope.encoders import ENCODERS, download_encoder, load_encoder
from paratope.encoders.hub import FOLDER_VARIABLE, fingerprint, read_vocabulary
from tiny_models import PUBLISHED, sentencepiece_model

CHAIN = "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQ"


def rows_of(name: str, folder: Path) -> np.ndarray:
    """What an encoder of these files makes of the chain."""
    return load_encoder(f"{name}@{folder}", device="cpu").encode([(CHAIN,)])[0]


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    return folder


@pytest.fixture
def copied(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a tiny model's files, to be damaged."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny_folder(name), tmp_path / name))

    return copy


@pytest.mark.parametrize("name", ["igt5", "igt5-unpaired", "prott5"])
def test_t5_vocabulary_is_read_from_sentencepiece(name, tiny_folder, vocabularies, tmp_path):
    import sentencepiece

    pieces = vocabularies["prott5"][:28]
    proto = sentencepiece_model(pieces)
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder(name), folder, ignore=shutil.ignore_patterns("tokenizer*"))
    (folder / "spiece.model").write_bytes(proto)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    assert processor.EncodeAsPieces("V Q L") == ["▁V", "▁Q", "▁L"]
    assert read_vocabulary(folder) == {piece: index for index, piece in enumerate(pieces)}
    np.testing.assert_array_equal(rows_of(name, folder), rows_of(name, tiny_folder(name)))


def test_without_sentencepiece_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "spiece.model").write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"paratope\[t5\]"):
        read_vocabulary(tmp_path)


def cache_snapshot(cache: Path, repository: str, commit: str, files: Path) -> None:
    """Put files where the hub's client would."""
    storage = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(files, storage / "snapshots" / commit)
    (storage / "refs").mkdir(exist_ok=True)
    (storage / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_not_here_says_how_to_get_it(name, hub_cache):
    with pytest.raises(EncoderError) as refusal:
        load_encoder(name)
    for said in (f"paratope encoders download {name}", f"{name}@FOLDER", FOLDER_VARIABLE):
        assert said in str(refusal.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_revision_is_pinned_or_recorded(name, hub_cache, tiny_folder):
    model = ENCODERS[name].hub
    first, second = model.revision or "1" * 40, "2" * 40
    cache_snapshot(hub_cache, model.repository, first, tiny_folder(name))
    assert load_encoder(name).name == f"{name}@{first}"
    cache_snapshot(hub_cache, model.repository, second, tiny_folder(name))
    # a newer one on the machine changes nothing where the table pins a commit
    assert load_encoder(name).name == f"{name}@{model.revision or second}"
    assert load_encoder(f"{name}@{first}").name == f"{name}@{first}"
    with pytest.raises(EncoderError, match=f"encoders download {name}@{'3' * 40}"):
        load_encoder(f"{name}@{'3' * 40}")


def test_a_folder_for_all_encoders(hub_cache, tiny_folder, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(tiny_folder("esm2-8m"), tmp_path / "all" / "esm2-8m"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "all"))
    encoder = load_encoder("esm2-8m", device="cpu")
    assert encoder.name == f"esm2-8m@folder-{fingerprint(folder)}"
    # so that a model that was trained with it finds it again
    assert load_encoder(encoder.name).name == encoder.name
    with pytest.raises(EncoderError, match="not on this machine"):
        load_encoder("esm2-8m@folder-0123456789abcdef")


def change_weights(folder: Path, change: Callable[[dict], Any]) -> None:
    """Write a folder's weights again, as they are after a change in place or as it gives them."""
    weights = load_file(folder / "model.safetensors")
    weights = change(weights) or weights
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_name_of_a_folder_follows_its_contents(copied):
    folder = copied("esm2-8m")
    name = load_encoder(f"esm2-8m@{folder}").name
    assert load_encoder(f"esm2-8m@{folder}").name == name
    key = "embeddings.word_embeddings.weight"
    change_weights(folder, lambda weights: {**weights, key: weights[key] + 1e-3})
    assert load_encoder(f"esm2-8m@{folder}").name != name


def test_folders_that_cannot_be_used(copied, tmp_path):
    with pytest.raises(EncoderError, match="there is no folder"):
        load_encoder(f"esm2-8m@{tmp_path / 'nowhere'}")
    with pytest.raises(EncoderError, match=r"expected a model of type 'bert', got 'esm'"):
        load_encoder(f"igbert@{copied('esm2-8m')}")
    folder = copied("prott5")
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="holds no weights"):
        load_encoder(f"prott5@{folder}")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", b"", "cannot be read"),
        ("model.safetensors", b"not a tensor", "cannot be read"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b"[]", "expected a model of type"),
        ("vocab.txt", b"A B C", "no token"),
        ("vocab.txt", None, "holds no vocabulary"),
        ("vocab.txt", b"\xff\xfe\xff", "cannot be read"),
    ],
)
def test_damaged_files(copied, name, damage, message):
    folder = copied("esm2-8m")
    for other in folder.glob("tokenizer*"):
        other.unlink()
    (folder / name).unlink()
    if damage is not None:
        (folder / name).write_bytes(damage)
    with pytest.raises(EncoderError, match=message):
        rows_of("esm2-8m", folder)


@pytest.mark.parametrize("name", ["esm2-8m", "igbert", "prott5"])
def test_a_missing_weight_is_no_random_weight(name, copied):
    folder, lost = copied(name), []

    def lose(weights):
        pattern = r"\.1\..*(query|\.q)\.weight"
        lost.append(next(key for key in sorted(weights) if re.search(pattern, key)))
        del weights[lost[0]]

    change_weights(folder, lose)
    with pytest.raises(EncoderError, match=f"no {lost[0]}"):
        rows_of(name, folder)


def test_no_code_and_no_pickle_of_a_model_is_run(copied, tmp_path):
    folder, proof = copied("esm2-8m"), tmp_path / "was-run"
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.EvilModel", "AutoConfig": "evil.EvilConfig"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(proof)!r})")
    rows_of("esm2-8m", folder)
    assert not proof.exists()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(proof)))
    with pytest.raises(EncoderError, match="cannot be read"):
        rows_of("esm2-8m", folder)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["esm2-8m", "igbert"])
def test_weights_as_the_hub_holds_them(name, copied, tiny_folder):
    """Published checkpoints are of the masked language model, some as PyTorch files only."""
    folder = copied(name)
    loaded: Any = load_encoder(f"{name}@{folder}", device="cpu")
    kind = "Esm" if name.startswith("esm") else "Bert"
    config = getattr(transformers, f"{kind}Config").from_pretrained(folder)
    whole = getattr(transformers, f"{kind}ForMaskedLM")(config)
    whole.base_model.load_state_dict(loaded.language_model.state_dict())
    (folder / "model.safetensors").unlink()
    torch.save(whole.state_dict(), folder / "pytorch_model.bin")
    np.testing.assert_allclose(rows_of(name, folder), rows_of(name, tiny_folder(name)), atol=1e-6)


def test_half_precision_weights_are_used_in_single_precision(copied):
    folder = copied("prott5")
    change_weights(folder, lambda weights: {key: one.half() for key, one in weights.items()})
    encoder: Any = load_encoder(f"prott5@{folder}", device="cpu")
    assert encoder.encode([(CHAIN,)])[0].dtype == np.float32
    assert {parameter.dtype for parameter in encoder.language_model.parameters()} == {torch.float32}


def test_loading_says_nothing(copied, capfd, caplog):
    rows_of("esm2-8m", copied("esm2-8m"))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


COMMIT = "c0ffee" + "0" * 34


@pytest.fixture
def hub(
    tiny_folder: Callable[[str], Path], hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """A server that speaks as the hub does, with one model; gives the list of paths asked for."""
    files = {path.name: path.read_bytes() for path in tiny_folder("igt5").iterdir()}
    files |= {"README.md": b"text", "pytorch_model.bin": b"the same again", "evil.py": b"boom()"}
    oid = {name: hashlib.sha1(body).hexdigest() for name, body in files.items()}
    tree = [
        {"type": "file", "path": name, "size": len(files[name]), "oid": oid[name]} for name in files
    ]
    siblings = [{"rfilename": name} for name in files]
    about = {"id": "Exscientia/IgT5", "sha": COMMIT, "siblings": siblings}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            asked.append(path)
            name = path.rsplit("/", 1)[-1]
            body = json.dumps(tree if "/tree/" in path else about).encode()
            if "/resolve/" in path:
                body = files.get(name)
            if body is None or "Exscientia/IgT5" not in path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{oid.get(name)}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

    with serving(Handler) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield asked


def test_download_into_the_cache_and_into_a_folder(hub, run_paratope, tmp_path):
    done = run_paratope("encoders", "download", "igt5", code=0)
    assert COMMIT in done.out
    # what is not needed stays there: other formats, texts, code
    fetched = {path.rsplit("/", 1)[-1] for path in hub if "/resolve/" in path}
    assert "model.safetensors" in fetched
    assert not fetched & {"README.md", "pytorch_model.bin", "evil.py"}
    before = len(hub)
    encoder = load_encoder("igt5", device="cpu")
    assert encoder.name == f"igt5@{COMMIT}"
    assert encoder.encode([(CHAIN, CHAIN)])[0].shape == (2 * len(CHAIN), 32)
    assert len(hub) == before  # loading asks nobody
    folder = tmp_path / "carried" / "igt5"
    done = run_paratope("encoders", "download", "igt5", "--folder", folder, code=0)
    assert f"igt5@{folder}" in done.out
    # the commit travels with the files, so that the name is the same everywhere
    assert load_encoder(f"igt5@{folder}").name == f"igt5@{COMMIT}"


def test_download_without_a_network_and_of_nothing(hub_cache, monkeypatch, run_paratope):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    done = run_paratope("encoders", "download", "esm2-8m", code=2)
    assert "could not be downloaded" in done.err
    assert "esm2-8m@FOLDER" in done.err
    assert "nothing to download" in download_encoder("residue")
    with pytest.raises(EncoderError, match="unknown encoder"):
        download_encoder("esm9")


def test_list_shows_every_encoder(run_paratope, hub_cache):
    done = run_paratope("encoders", "list", code=0)
    lines = {line.split()[0]: line for line in done.out.splitlines()[1:]}
    assert list(lines) == list(ENCODERS)
    for name, entry in ENCODERS.items():
        assert f" {entry.dim} " in lines[name]
        assert (" yes " in lines[name]) == entry.is_here()
        assert entry.licence in lines[name]
