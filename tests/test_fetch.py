"""Fetching published files: verified, whole or not at all, from a server that misbehaves."""

import dataclasses
import hashlib
import http.server
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import serving
from paratope.core.errors import InputError, OutputError
from paratope.data.datasets import DATASETS
from paratope.data.datasets import fetch as fetching
from paratope.data.datasets.dataset import DataFile, Dataset
from paratope.data.datasets.fetch import COMPARATORS, fetch

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes: several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Origin:
    """A web server of one file, and how it behaves."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.cut_after: list[int] = []  # bytes sent in the 1st, 2nd, ... answer before the cut
        self.statuses: list[int] = []  # answers before the first proper one
        self.requests = 0
        self.url = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.requests += 1
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        if not handler.path.endswith("data.csv"):
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        end = self.cut_after.pop(0) if self.cut_after else None
        handler.wfile.write(self.content[:end])
        handler.close_connection = True


@pytest.fixture
def origin() -> Iterator[Origin]:
    state = Origin()
    methods = {"do_GET": lambda handler: state.answer(handler)}
    handler = type("Handler", (http.server.BaseHTTPRequestHandler,), methods)
    with serving(handler) as state.url:
        yield state


def dataset_of(*files: DataFile) -> Dataset:
    return Dataset("toy", "", "MIT", False, files, "", lambda source: iter(()))


@pytest.fixture
def toy(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> DataFile:
    """A data set of one file that the server publishes, put into the real table."""
    file = DataFile("toy/data.csv", SHA256, url=f"{origin.url}/data.csv")
    monkeypatch.setitem(DATASETS, "toy", dataset_of(file))
    return file


def get(folder: Path, **options: object) -> fetching.Fetched:
    return fetch("toy", folder, pause_s=0.001, **options)


def assert_whole(folder: Path) -> None:
    assert (folder / "toy/data.csv").read_bytes() == CONTENT
    assert [path.name for path in (folder / "toy").iterdir()] == ["data.csv"]


def test_downloads_verifies_and_reports_progress_once(toy, origin, tmp_path):
    seen: list[tuple[str, int, int]] = []
    fetched = get(tmp_path, progress=lambda *values: seen.append(values))
    assert fetched.downloaded == (tmp_path / "toy/data.csv",)
    assert_whole(tmp_path)
    assert seen[-1] == ("data.csv", len(CONTENT), len(CONTENT))
    assert len(seen) > 3
    fetched = get(tmp_path)
    assert (fetched.downloaded, fetched.present) == ((), (tmp_path / "toy/data.csv",))
    assert origin.requests == 1


def test_a_cut_connection_is_asked_again_and_never_leaves_a_part(toy, origin, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/data.csv").write_bytes(CONTENT[:1000])  # damaged: it is replaced
    origin.cut_after = [100_000, 0]
    get(tmp_path)
    assert_whole(tmp_path)
    (tmp_path / "toy/data.csv").write_bytes(b"mine")
    origin.cut_after = [70_000] * 3
    with pytest.raises(InputError, match="gave up after 3 tries"):
        get(tmp_path, attempts=3)
    assert {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()} == {
        "data.csv": b"mine"
    }


def test_a_stumbling_server_is_asked_again_and_one_without_the_file_is_not(toy, origin, tmp_path):
    origin.statuses = [503, 429, 500]
    get(tmp_path / "here")
    assert_whole(tmp_path / "here")
    before, origin.statuses = origin.requests, [404]
    with pytest.raises(InputError, match="answered 404"):
        get(tmp_path / "there")
    assert origin.requests == before + 1


@pytest.mark.parametrize("before", [None, b"mine"])
def test_wrong_checksum_changes_nothing_and_says_both(toy, origin, tmp_path, before):
    target = tmp_path / "toy/data.csv"
    target.parent.mkdir()
    if before is not None:
        target.write_bytes(before)
    origin.content = CONTENT[:-1] + b"!"
    both = rf"(?s)(?=.*{hashlib.sha256(origin.content).hexdigest()}).*{SHA256}"
    with pytest.raises(InputError, match=both):
        get(tmp_path)
    left = [path.read_bytes() for path in target.parent.iterdir()]
    assert left == ([] if before is None else [before])


def test_offline_says_which_file_to_put_where(tmp_path, monkeypatch):
    url = "http://127.0.0.1:9/data.csv"  # the discard port: nobody listens
    monkeypatch.setitem(DATASETS, "toy", dataset_of(DataFile("toy/data.csv", SHA256, url=url)))
    with pytest.raises(InputError) as caught:
        get(tmp_path, attempts=2)
    assert all(one in str(caught.value) for one in (url, f"{tmp_path}/toy/data.csv", SHA256))


def test_a_mirror_has_the_layout_of_the_data_root(toy, origin, tmp_path, monkeypatch):
    moved = dataclasses.replace(toy, url="http://127.0.0.1:9/elsewhere.csv")
    monkeypatch.setitem(DATASETS, "toy", dataset_of(moved))
    get(tmp_path, base_url=f"{origin.url}/mirror/")
    assert_whole(tmp_path)


def test_files_that_are_published_nowhere_are_named(toy, tmp_path, monkeypatch):
    derived = DataFile("toy/joined.csv", "0" * 64, made="data.csv joined with chains")
    monkeypatch.setitem(DATASETS, "toy", dataset_of(toy, derived))
    fetched = get(tmp_path)
    assert_whole(tmp_path)
    (missing,) = fetched.missing
    assert "joined.csv" in missing
    assert "data.csv joined with chains" in missing
    monkeypatch.setitem(DATASETS, "toy", dataset_of(derived))
    with pytest.raises(InputError, match="not published as a file"):
        get(tmp_path)


def test_what_cannot_be_fetched(toy, tmp_path):
    names = "unknown data set 'skempy'; valid names: .*gearbind.*skempi"
    for name, message in (("skempy", names), ("flab", "nothing to fetch")):
        with pytest.raises(InputError, match=message):
            fetch(name, tmp_path)
    with pytest.raises(InputError, match="starts with http"):
        get(tmp_path, base_url="file:///etc")
    (tmp_path / "toy").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="cannot write"):
        get(tmp_path)


def test_checksum_table_is_that_of_the_public_files_and_says_where_they_are_from(data_root):
    groups = [*(dataset.files for dataset in DATASETS.values()), *COMPARATORS.values()]
    table = {file.path: file for files in groups for file in files}
    assert len(table) >= 25
    for file in table.values():
        path = data_root / file.path
        assert path.is_file(), file.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256, file.path
    assert set(COMPARATORS) == {"gearbind", "protattba", "graphinity"}
    for file in table.values():
        assert bool(file.url) != bool(file.made), file.path
        if file.url:
            assert file.url.startswith("https://raw.githubusercontent.com/"), file.path
            commit = file.url.split("/")[5]
            assert len(commit) == 40, f"{file.path}: the commit is pinned"
