"""Batches: each molecule once, padding marked, every row drawn as promised."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.censoring import Censoring
from paratope.core.errors import EncoderError, InputError
from paratope.data.measurements import Measurement
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.models import batches as batching
from paratope.models.batches import BatchPlan, Examples, batches_by_length, fit_molecule
from paratope.molecules.sequences import Antibody, Antigen, Pair

HEAVY = ("EVQLVESGG", "QVQLQES", "EVQLLESGGGLVQ")
ANTIGENS = ("MKTAYIAKQR", "GSHMLEDPV")


def measurements() -> list[Measurement]:
    rows = []
    for number in range(12):
        antibody = Antibody(HEAVY[number % 3], "DIQMTQ" if number % 2 else None)
        pair = Pair(antibody, Antigen((ANTIGENS[number % 2], "AAAA")))
        kind = (Censoring.EXACT, Censoring.AT_MOST, Censoring.AT_LEAST)[number % 3]
        rows.append(Measurement(pair, 5 + 0.5 * number, kind, f"assay {number % 4}"))
    return rows


@pytest.fixture
def examples() -> Examples:
    return Examples.from_measurements(measurements())


@pytest.fixture
def store(tmp_path, examples):
    with EmbeddingStore(load_encoder("residue"), tmp_path) as store:
        store.fill((*examples.antibodies, *examples.antigens))
        yield store


def test_examples_hold_each_molecule_once_and_nothing_without_pkd(examples):
    assert len(examples) == 12
    assert len(examples.antibodies) == len(set(examples.antibodies)) == 6
    assert examples.antigens == tuple((antigen, "AAAA") for antigen in ANTIGENS)
    for row, measurement in enumerate(measurements()):
        assert examples.antibodies[examples.antibody_index[row]] == measurement.pair.antibody.chains
        assert examples.antigens[examples.antigen_index[row]] == measurement.pair.antigen.chains
        assert examples.assays[examples.assay[row]] == measurement.assay
        assert examples.pkd[row] == measurement.pkd
    assert examples.censoring[:3].tolist() == [0, -1, 1]  # exact, at most, at least
    rows = [*measurements(), Measurement(measurements()[0].pair, score=1.0)]
    with pytest.raises(InputError, match="measurement 13 has no pKd"):
        Examples.from_measurements(rows)


def test_collate_gives_the_rows_asked_for(examples, store):
    rows = [7, 2, 7, 0]
    batch = batching.collate(examples, rows, store, store)
    assert len(batch.row) == 4
    assert batch.row.tolist() == rows
    assert batch.pkd.tolist() == examples.pkd[rows].tolist()
    assert batch.censoring.tolist() == examples.censoring[rows].tolist()
    assert batch.assay.tolist() == examples.assay[rows].tolist()
    assert len(batch.antibody) == len({int(examples.antibody_index[row]) for row in rows})
    assert len(batch.antigen) == 2  # each molecule once, however many rows use it
    labels = batching.label_batch(examples, rows)
    for name in ("pkd", "censoring", "assay", "row"):
        assert torch.equal(getattr(labels, name), getattr(batch, name))
    for place, row in enumerate(rows):
        chains = examples.antibodies[examples.antibody_index[row]]
        number = int(batch.antibody_index[place])
        mask = batch.antibody_mask[number]
        assert int(mask.sum()) == sum(map(len, chains))
        assert torch.equal(batch.antibody[number, mask], torch.from_numpy(store.get(chains)))


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), dim=st.integers(1, 4))
def test_padding_keeps_values_and_marks_the_rest(lengths, dim):
    random = np.random.default_rng(0)
    embeddings = [random.normal(size=(length, dim)).astype(np.float32) for length in lengths]
    for embedding in embeddings:
        embedding.setflags(write=False)
    before = [embedding.copy() for embedding in embeddings]
    tokens, mask = batching.pad(embeddings)
    assert tokens.shape == (len(lengths), max(lengths), dim)
    assert tokens.dtype == torch.float32
    assert mask.sum(dim=1).tolist() == lengths
    assert (tokens[~mask] == 0).all()
    for number, embedding in enumerate(embeddings):
        assert np.array_equal(tokens[number, mask[number]].numpy(), embedding)
    tokens += 1  # a copy of its own
    assert all(np.array_equal(*both) for both in zip(embeddings, before, strict=True))


@pytest.mark.parametrize("batch_size", [1, 5, 12, 40])
def test_an_epoch_holds_every_row_once(examples, batch_size):
    plan = BatchPlan(examples, batch_size, seed=4)
    batches = plan.batches(0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(12))
    assert len(batches) == len(plan)
    assert max(map(len, batches)) <= batch_size
    rows = np.concatenate(batches_by_length(examples, batch_size))
    assert sorted(rows.tolist()) == list(range(12))


def test_epochs_and_seeds_differ_and_repeat_and_go_on_where_another_stopped(examples):
    def rows(seed: int, epoch: int) -> list[int]:
        return np.concatenate(BatchPlan(examples, 3, seed).batches(epoch)).tolist()

    assert rows(0, 0) == rows(0, 0)
    assert rows(0, 0) != rows(0, 1)
    assert rows(0, 0) != rows(1, 0)
    plan = BatchPlan(examples, 5, seed=9)
    plan.start_epoch(3)
    whole = [batch.tolist() for batch in plan.batches(3)]
    plan.position = 1
    other = BatchPlan(examples, 5, seed=0)
    other.load_state_dict(plan.state_dict())
    assert (other.epoch, other.position) == (3, 1)
    assert [batch.tolist() for batch in other.batches(other.epoch)] == whole


def test_long_molecules_go_together():
    random = np.random.default_rng(0)
    lengths = random.integers(5, 400, 512)
    pairs = [Pair(Antibody("EVQL"), Antigen(("A" * int(n),))) for n in lengths]
    examples = Examples.from_measurements([Measurement(pair, 8.0) for pair in pairs])

    def padding(batches: list[np.ndarray]) -> int:
        return sum(int(lengths[rows].max() * len(rows) - lengths[rows].sum()) for rows in batches)

    shuffled = np.array_split(random.permutation(512), 32)
    assert padding(BatchPlan(examples, 16, seed=0).batches(0)) < 0.3 * padding(shuffled)
    assert padding(batches_by_length(examples, 16)) < 0.1 * padding(shuffled)


@pytest.mark.parametrize(("power", "share"), [(0.0, 0.5), (0.5, 0.25), (1.0, 0.1)])
@pytest.mark.parametrize("balance", ["antigen", "assay"])
def test_balance_draws_small_groups_more_often(balance, power, share):
    rows = []
    for number in range(1000):
        small = number % 10 == 0
        pair = Pair(Antibody("EVQL"), Antigen((ANTIGENS[small],)))
        rows.append(Measurement(pair, 8.0, assay=str(small)))
    examples = Examples.from_measurements(rows)
    plan = BatchPlan(examples, 50, seed=0, balance=balance, balance_power=power)
    drawn = np.concatenate([row for epoch in range(5) for row in plan.batches(epoch)])
    assert len(drawn) == 5000
    assert (drawn % 10 == 0).mean() == pytest.approx(share, abs=0.03)


def test_a_recipes_limit_cuts_the_end_and_says_so():
    encoder = load_encoder("residue")
    assert fit_molecule(encoder, ("EVQL", "DIQM"), "antigen") == (("EVQL", "DIQM"), None)
    chains, note = fit_molecule(encoder, ("EVQL", "DIQM", "MKV"), "antigen", max_residues=4)
    assert chains == ("EVQL",)
    assert note == "antigen: the last 7 of 11 residues are left out (limit 4)"
    with pytest.raises(EncoderError):  # the encoder's own refusal is passed on
        fit_molecule(load_encoder("antiberty"), ("A" * 600,), "antibody")
