"""The embedding store among several processes: kills, forks, a full disk, many readers."""

import multiprocessing
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from counting_encoder import CountingEncoder
from paratope.encoders import embedding_store as store_module
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.molecules.sequences import ALPHABET

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
