"""Fixtures every test file may use."""

import os

# Matrices here are small, and two test processes share two cores: one thread each is quickest.
# Set before anything imports torch, and inherited by the processes that tests start. Users have
# the default number of threads, and so has `make test-threads`.
if os.environ.get("PARATOPE_TEST_THREADS") != "default":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from trained_models import TrainedRun

# Time is measured in benchmarks: an example that takes longer on a busy machine fails nothing.
settings.register_profile("paratope", deadline=None)
settings.load_profile("paratope")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's folder."""
    return ROOT


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of public data: PARATOPE_DATA, by default ../shared/data beside the checkout."""
    folder = Path(os.environ.get("PARATOPE_DATA") or ROOT.parent / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"public data not found at {folder}; set PARATOPE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def reference_root(data_root: Path) -> Path:
    """The folder of reference files (v2.6 release, vocabularies, draws) beside the data."""
    folder = data_root.parent / "reference"
    if not folder.is_dir():
        pytest.skip(f"reference files not found at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All tests keep embeddings in one new folder: each chain is read once, none of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARATOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def load(data_root: Path) -> Callable[..., Any]:
    """Import a public data set, once per session: ``load(name, as_published=False)``."""
    from paratope.data.datasets import load_dataset

    return functools.cache(
        lambda name, as_published=False: load_dataset(name, data_root, as_published=as_published)
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> "TrainedRun":
    """A finished run with its model."""
    from trained_models import train_tiny

    return train_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_predictor(tiny_run: "TrainedRun") -> Any:
    """The tiny run's model, loaded."""
    from paratope.models.predictor import Predictor

    return Predictor.load(tiny_run.folder, device="cpu")


@pytest.fixture(scope="session")
def campaign_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small campaign's model, made without a language model."""
    from small_campaigns import small_campaign, write_campaign

    return write_campaign(tmp_path_factory.mktemp("campaign") / "my-campaign", small_campaign())


@pytest.fixture(scope="session")
def two_form_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a campaign's model that has a language model, so that it has both forms."""
    from paratope.campaigns.campaign_model import CampaignModel
    from paratope.encoders.likelihood import AntibodyLanguage
    from paratope.models.bundle import write_bundle
    from small_campaigns import bundle_of, small_campaign

    model = CampaignModel.fit(small_campaign(30), language=AntibodyLanguage("cpu"))
    return write_bundle(bundle_of(model), tmp_path_factory.mktemp("language") / "my-campaign")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    """Training and validation examples with their store."""
    from small_runs import examples

    with examples(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture(scope="session")
def vocabularies(reference_root: Path) -> dict[str, list[str]]:
    """Tokens of published encoders in their order."""
    from tiny_models import IGBERT_TOKENS

    published = json.loads((reference_root / "vocabularies.json").read_text())
    return {**published, "igbert": IGBERT_TOKENS.split(" ")}


@pytest.fixture(scope="session")
def tiny_folder(
    vocabularies: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Files of a published encoder's architecture, small, with random weights."""
    from tiny_models import write_model

    return functools.cache(
        lambda name: write_model(name, vocabularies, tmp_path_factory.mktemp(name))
    )


@contextlib.contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a web server on this machine, which says nothing of what it is asked."""
    with (
        pytest.MonkeyPatch.context() as patch,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
    ):
        patch.setattr(http.server.BaseHTTPRequestHandler, "log_message", lambda *_: None)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def flipped(content: bytes, position: int) -> bytes:
    """The content with one bit altered."""
    place = position % len(content)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.target,)


class Finished(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Finished]


@pytest.fixture
def run_paratope(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``paratope ARGUMENTS`` in this process: ``run_paratope("scan", path, code=0)``."""
    from paratope.cli import main

    def run(*arguments: object, code: int | None = None) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        ended = left.value.code
        ended = ended if isinstance(ended, int) else 0 if ended is None else 1
        assert code in (None, ended), f"exit code {ended}\n{out}\n{err}"
        return Finished(ended, out, err)

    return run
