"""The embedding store: nothing encoded twice, nothing lost by a kill, nothing damaged believed."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import flipped
from counting_encoder import CountingEncoder
from paratope.core.errors import EncoderError, StoreError
from paratope.encoders import embedding_store as store_module
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore, clear_caches, list_caches
from paratope.molecules.sequences import ALPHABET

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


chains = st.lists(st.text(ALPHABET, min_size=1, max_size=30), min_size=1, max_size=3).map(tuple)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(molecules=st.lists(chains, max_size=6))
def test_what_is_kept_comes_back(tmp_path, molecules):
    encoder = load_encoder("residue")
    with EmbeddingStore(encoder, tmp_path) as store:
        store.fill(molecules)
        for molecule, rows in zip(molecules, encoder.encode(molecules), strict=True):
            np.testing.assert_array_equal(store.get(molecule), rows)


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
    """The same set is encoded in the same batches: equal bytes whatever the order of the table."""
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
