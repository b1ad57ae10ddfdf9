"""The embedding store, also of several processes: nothing encoded twice, lost or damaged."""

import contextlib
import functools
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import numpy as np
import pytest

from conftest import flipped
from paratope.core.errors import EncoderError, StoreError
from paratope.encoders import BaseEncoder, load_encoder
from paratope.encoders import embedding_store as store_module
from paratope.encoders.embedding_store import EmbeddingStore, clear_caches, list_caches
from paratope.molecules.sequences import ALPHABET


class CountingEncoder(BaseEncoder):
    """Vectors from a hash of what is encoded together, and a count of what that was."""

    def __init__(self, name: str = "counting@1", paired: bool = False, dim: int = 4) -> None:
        self.name = name
        self.paired = paired
        self.dim = dim
        self.calls: list[tuple[str, ...]] = []

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        self.calls += units
        arrays = []
        for unit in units:
            seed = int.from_bytes(hashlib.sha256("|".join(unit).encode()).digest()[:8], "little")
            shape = (sum(map(len, unit)), self.dim)
            arrays.append(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
        return arrays


AB = ("EVQLVESGG", "DIQMTQSPSS")
NANOBODY = ("QVQLQESGG",)
ANTIGEN = ("MKV", "GGSTT", "MKV")


def expected(encoder: CountingEncoder, molecule: tuple[str, ...]) -> np.ndarray:
    return CountingEncoder(encoder.name, encoder.paired, encoder.dim).encode([molecule])[0]


@pytest.mark.parametrize("paired", [False, True])
def test_a_second_pass_makes_no_encoder_call(tmp_path, paired):
    encoder = CountingEncoder(paired=paired)
    molecules = [AB, NANOBODY, ANTIGEN, AB, (AB[1], AB[0])]
    # unpaired: EVQ…, DIQ…, QVQ…, MKV, GGSTT; paired: four different molecules
    units = 4 if paired else 5
    with EmbeddingStore(encoder, tmp_path) as store:
        assert store.lacking([AB, NANOBODY]) == [AB, NANOBODY]  # told without reading
        store.fill([AB])
        assert store.lacking([AB, NANOBODY, AB]) == [NANOBODY]
        assert store.lacking([]) == []
        store.fill(molecules)
        assert len(store) == len(encoder.calls) == units
        assert store.fill(molecules) == 0
        for molecule in molecules:
            assert molecule in store
            np.testing.assert_array_equal(store.get(molecule), expected(encoder, molecule))
        assert len(encoder.calls) == units
    again = CountingEncoder(paired=paired)
    with EmbeddingStore(again, tmp_path) as store:
        assert store.fill(molecules) == 0
        np.testing.assert_array_equal(store.get(AB), expected(again, AB))
    with EmbeddingStore(again, tmp_path / "other") as store:
        assert store.fill(molecules) == len(again.calls) == units


def test_get_encodes_what_is_missing_and_keeps_it(tmp_path):
    encoder = CountingEncoder()
    with EmbeddingStore(encoder, tmp_path) as store:
        assert AB not in store
        first = store.get(AB)
        assert AB in store
        np.testing.assert_array_equal(store.get(AB), first)
        assert len(encoder.calls) == 2
        with pytest.raises(EncoderError, match="no chain"):
            store.get(())
        first[:] = 0  # the caller's own copy
        assert store.get(AB).any()
        assert store.get(AB).dtype == np.float32


def test_encoders_and_revisions_do_not_mix(tmp_path):
    encoders = [CountingEncoder("some@1"), CountingEncoder("some@2", dim=7)]
    encoders.append(CountingEncoder("some/name with: signs@1"))
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(EmbeddingStore(one, tmp_path)) for one in encoders]
        assert len({store.path for store in stores}) == 3
        for store in stores:
            assert store.fill([AB]) == 2
        assert stores[1].get(AB).shape == (19, 7)
    names = [cache.encoder for cache in list_caches(tmp_path)]
    assert names == sorted(encoder.name for encoder in encoders)


def test_two_stores_of_one_encoder_share_what_they_keep(tmp_path):
    first, second = CountingEncoder(), CountingEncoder()
    with EmbeddingStore(first, tmp_path) as one:
        with EmbeddingStore(second, tmp_path) as two:
            one.fill([AB])
            assert two.fill([AB]) == 0
        assert one.get(AB).shape == (19, 4)  # not closed by the other
    with pytest.raises(StoreError, match="closed"):
        one.get(AB)
    one.close()  # again, to no effect


def test_keys():
    key = store_module.embedding_key("antiberty@0.1.3", AB)
    assert key == hashlib.sha256(b"antiberty@0.1.3\nEVQLVESGG\nDIQMTQSPSS").digest()
    several = [("AA",), ("A", "A"), ("A", "AA")]
    assert len({store_module.embedding_key("a@1", chains) for chains in several}) == 3


def change_value(store: EmbeddingStore, unit: tuple[str, ...], change: Callable[[bytes], bytes]):
    key = store_module.embedding_key(store.encoder.name, unit)
    with store._environment._transaction(write=True) as transaction:
        transaction.put(key, change(transaction.get(key)))


@pytest.mark.parametrize(
    "damage",
    [functools.partial(flipped, position=place) for place in (0, 5, 7, 17, 21, 25, 40, -1)]
    + [lambda value: value[:-1], lambda value: b"", lambda value: value + b"\0"],
)
def test_a_damaged_value_is_encoded_again(tmp_path, damage):
    encoder = CountingEncoder()
    with EmbeddingStore(encoder, tmp_path) as store:
        store.fill([AB])
        encoder.calls.clear()
        change_value(store, (AB[0],), damage)
        assert AB not in store
        assert store.fill([AB]) == 1
        change_value(store, (AB[0],), damage)
        np.testing.assert_array_equal(store.get(AB), expected(encoder, AB))
        assert encoder.calls == [(AB[0],), (AB[0],)]
        assert AB in store
        store.fill([NANOBODY])  # whose value, in another's place, is not believed either
        other = store._environment.read(store_module.embedding_key(encoder.name, NANOBODY))
        change_value(store, (AB[0],), lambda value: other)
        np.testing.assert_array_equal(store.get(AB), expected(encoder, AB))


@pytest.mark.parametrize("content", [b"", b"no database " * 1000, "truncated"])
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path, content):
    encoder = CountingEncoder(dim=256)
    with EmbeddingStore(encoder, tmp_path) as store:
        store.fill([(letter * 100,) for letter in ALPHABET])
        data = store.path / "data.mdb"
    if content == "truncated":
        os.truncate(data, data.stat().st_size // 2)
    else:
        data.write_bytes(content)
    if content:  # an empty file is as a new one
        with pytest.raises(StoreError, match="paratope encoders cache --clear"):
            EmbeddingStore(encoder, tmp_path)
        (cache,) = list_caches(tmp_path)
        assert cache.entries is None
        clear_caches(tmp_path)
    with EmbeddingStore(encoder, tmp_path) as store:
        assert store.fill([AB]) == 2


def test_the_map_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "INITIAL_MAP_BYTES", 1 << 20)
    encoder = CountingEncoder(dim=512)
    molecules = [(letter * length,) for letter in ALPHABET for length in (150, 151, 152)]
    with EmbeddingStore(encoder, tmp_path) as store:
        assert store._environment._lmdb.info()["map_size"] == 1 << 20
        store.fill(molecules)
        assert store_module.disk_size(store.path) > 16 << 20
        for molecule in molecules:
            np.testing.assert_array_equal(store.get(molecule), expected(encoder, molecule))
    assert len(encoder.calls) == len(molecules)


@pytest.mark.parametrize("obstacle", ["file", "read-only"])
def test_a_folder_that_cannot_be_written(tmp_path, obstacle):
    folder = tmp_path / "cache"
    if obstacle == "file":
        folder.write_text("in the way")
    else:
        folder.mkdir(mode=0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
    with pytest.raises(StoreError, match="set PARATOPE_CACHE"):
        EmbeddingStore(CountingEncoder(), folder)


def test_where_caches_live(tmp_path, monkeypatch):
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "mine"))
    assert store_module.cache_folder() == tmp_path / "mine"
    with EmbeddingStore(CountingEncoder()) as store:
        assert store.path.is_relative_to(tmp_path / "mine")
    monkeypatch.delenv("PARATOPE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_module.cache_folder() == tmp_path / ".cache" / "paratope"


def test_what_was_encoded_before_a_failure_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "RESIDUES_PER_COMMIT", 7)
    with EmbeddingStore(CountingEncoder(), tmp_path) as store:
        with pytest.raises(EncoderError, match="no residue"):
            store.fill([("AAAAAAAA",), ("CCCCCC",), ("ev",)])
        assert len(store) == 2


def test_the_order_of_molecules_does_not_matter(tmp_path):
    molecules = [(letter * length,) for letter in "ACDE" for length in (5, 9, 7)]
    calls = []
    for number, order in enumerate((molecules, molecules[::-1])):
        encoder = CountingEncoder()
        with EmbeddingStore(encoder, tmp_path / str(number)) as store:
            store.fill(order)
        calls.append(encoder.calls)
    assert calls[0] == calls[1]


def test_clearing(tmp_path):
    encoder = CountingEncoder(dim=512)
    molecules = [(letter * 300,) for letter in ALPHABET]
    with EmbeddingStore(encoder, tmp_path) as store:
        store.fill(molecules)
        assert store_module.disk_size(store.path) > 10e6
        assert clear_caches(tmp_path) > 10e6  # while it is open
        assert len(store) == 0
        assert store.fill(molecules) == len(molecules)
        store.clear()
        assert store_module.disk_size(store.path) < 1e6
        assert store.fill([AB]) == 2
    (tmp_path / "embeddings" / "not ours").mkdir()
    clear_caches(tmp_path)
    assert list_caches(tmp_path) == ()
    assert [path.name for path in (tmp_path / "embeddings").iterdir()] == ["not ours"]
    assert clear_caches(tmp_path / "nowhere") == 0


def test_the_cache_command(tmp_path, monkeypatch, run_paratope):
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path))
    with EmbeddingStore(CountingEncoder(dim=512)) as store:
        store.fill([(letter * 300,) for letter in ALPHABET])
    shown = run_paratope("encoders", "cache", code=0)
    assert "counting@1\t21 entries\t" in shown.out
    assert str(tmp_path) in shown.out
    megabytes = float(shown.out.splitlines()[-1].split(" MB")[0].split()[-1])
    assert 12 < megabytes < 15
    cleared = run_paratope("encoders", "cache", "--clear", code=0)
    assert f"{megabytes} MB freed" in cleared.out
    assert "0 encoders" in run_paratope("encoders", "cache").out


def test_lmdb_is_what_is_on_disk(tmp_path):
    """Other tools can read the store: plain LMDB, a documented header."""
    encoder = CountingEncoder()
    with EmbeddingStore(encoder, tmp_path) as store:
        store.fill([NANOBODY])
    with lmdb.open(str(store.path), readonly=True) as plain, plain.begin() as transaction:
        value = transaction.get(store_module.embedding_key(encoder.name, NANOBODY))
    assert value[:4] == b"PTEM"
    assert value[6:16].rstrip(b"\0") == b"float32"
    assert np.frombuffer(value[16:24], "<u4").tolist() == [9, 4]
    rows = np.frombuffer(value[28:], "<f4").reshape(9, 4)
    np.testing.assert_array_equal(rows, expected(encoder, NANOBODY))


BEGIN = """
import os, random, sys
from paratope.core.errors import StoreError
from paratope.encoders import embedding_store, load_encoder
open_store = lambda: embedding_store.EmbeddingStore(load_encoder("residue"), sys.argv[1])
"""
FILL = """
try:
    with open_store() as store:
        store.fill([("A" * n,) for n in range(1, 400)])
except StoreError as error:
    print(error)
"""


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run code on a store in a folder."""
    command = [sys.executable, "-c", BEGIN + code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_map_grows_under_a_reader_in_another_process(tmp_path):
    with EmbeddingStore(load_encoder("residue"), tmp_path) as store:
        store.fill([("C",)])
        many = "embedding_store.INITIAL_MAP_BYTES = 1 << 18" + FILL.replace("400", "900")
        assert run_python(many, tmp_path).stderr == ""
        expected = load_encoder("residue").encode([("A" * 899,)])[0]
        np.testing.assert_array_equal(store.get(("A" * 899,)), expected)
        assert len(store) == 900


def test_what_is_written_after_another_process_cleared_the_store_is_kept(tmp_path):
    with EmbeddingStore(load_encoder("residue"), tmp_path) as store:
        store.fill([("AC",)])
        clear = "embedding_store.clear_caches(sys.argv[1])"
        assert run_python(clear, tmp_path).returncode == 0
        assert len(store) == 0
        store.fill([("CD",), ("AC",)])
    with EmbeddingStore(load_encoder("residue"), tmp_path) as store:  # opened anew, from the disk
        assert len(store) == 2


def test_a_full_disk_is_a_clear_error_and_harms_nothing(tmp_path):
    """A limit on the size of files stands in for the disk's end."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))"
    done = run_python(limit + FILL, tmp_path)
    assert done.stderr == ""
    assert "cannot be written" in done.stdout
    assert "PARATOPE_CACHE" in done.stdout
    encoder = load_encoder("residue")
    with EmbeddingStore(encoder, tmp_path) as store:
        kept = len(store)
        assert 0 < kept < 399
        assert store.fill([("A" * n,) for n in range(1, 400)]) == 399 - kept


ENDLESS = """
letters = random.Random(0)
with open_store() as store:
    while True:
        chains = ["".join(letters.choices("ACDEFGHIKLMNPQRSTVWY", k=200)) for _ in range(5)]
        store.fill([(chain,) for chain in chains])
        print(*chains, sep="\\n", flush=True)
"""


def test_a_kill_while_writing_loses_nothing_that_was_committed(tmp_path):
    encoder = load_encoder("residue")
    for kill_after in (1, 40, 155):
        command = [sys.executable, "-c", BEGIN + ENDLESS, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        committed = [process.stdout.readline().strip() for _ in range(5 * kill_after)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")[:-1]  # whole lines only
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        committed += [chain for chain in rest if len(chain) == 200]
        with EmbeddingStore(encoder, tmp_path) as store:
            assert store.fill([(chain,) for chain in committed]) == 0
            for chain in committed[:: max(1, len(committed) // 50)]:
                np.testing.assert_array_equal(store.get((chain,)), encoder.encode([(chain,)])[0])
            # nothing half written: every value is whole
            with store._environment._transaction(write=False) as transaction:
                sizes = {len(value) for _, value in transaction.cursor()}
            assert len(sizes) == 1


def read_all(folder: Path, molecules: Sequence[tuple[str, ...]], results: multiprocessing.Queue):
    encoder = CountingEncoder()
    with EmbeddingStore(encoder, folder) as store:
        total = sum(float(store.get(molecule).sum()) for _ in range(5) for molecule in molecules)
    results.put((total, len(encoder.calls)))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_several_processes_read_at_once(tmp_path, method):
    molecules = [(letter * 20, "AC") for letter in ALPHABET]
    encoder = CountingEncoder()
    context = multiprocessing.get_context(method)
    results = context.Queue()
    with EmbeddingStore(encoder, tmp_path) as store:
        store.fill(molecules)
        total = sum(float(store.get(molecule).sum()) for _ in range(5) for molecule in molecules)
        arguments = (tmp_path, molecules, results)
        readers = [context.Process(target=read_all, args=arguments) for _ in range(3)]
        for reader in readers:
            reader.start()
        store.fill([("WWWW",)])  # and one writes
        assert [results.get(timeout=60) for _ in readers] == [(total, 0)] * 3
        for reader in readers:
            reader.join()
    results.close()
    results.join_thread()


FORK = """
with open_store() as store:
    store.fill([("AAAA",)])
    child = os.fork()
    if child == 0:
        good = ("AAAA",) in store and store.fill([("CCCC",)]) == 1
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ("CCCC",) in store
    assert store.fill([("DDDD",)]) == 1
    print(len(store))
"""


def test_a_store_goes_through_a_fork(tmp_path):
    done = run_python(FORK, tmp_path)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_threads_share_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "INITIAL_MAP_BYTES", 1 << 18)  # grows meanwhile
    encoder = load_encoder("residue")
    molecules = [("A" * length,) for length in range(1, 200)]
    wrong: list[object] = []

    def work(store: EmbeddingStore, start: int) -> None:
        try:
            for molecule in molecules[start::4] + molecules[::9]:
                if store.get(molecule).shape != (len(molecule[0]), encoder.dim):
                    wrong.append(molecule)
        except Exception as error:
            wrong.append(error)

    with EmbeddingStore(encoder, tmp_path) as store:
        threads = [threading.Thread(target=work, args=(store, start)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(store) == len(molecules)
