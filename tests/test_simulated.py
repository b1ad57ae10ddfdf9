import json

import numpy as np
import pytest

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.datasets.simulated import BACKGROUNDS, SLOTS, simulate
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import AMINO_ACIDS

PLAIN = {"epistatic_sd": 0.0, "contact_sd": 0.0, "noise_sd": 0.0, "decimals": None}


def values(simulation):
    return np.array([row.pkd for row in simulation.measurements])


def test_true_pkd_is_the_sum_of_its_documented_terms():
    simulation = simulate(antibodies=12, antigens=3, backgrounds=3, seed=4)
    truth = simulation.truth
    antigens = {
        int(j): row.pair.antigen.chains[0]
        for j, row in zip(truth.antigen, simulation.measurements, strict=True)
    }
    for i in range(12):
        for j in range(3):
            letters = truth.residues[i]
            expected = truth.antigen_levels[j] + truth.background_levels[i % 3]
            expected += sum(truth.additive[slot, letter] for slot, letter in enumerate(letters))
            for (a, b), energy in zip(truth.epistatic_slots, truth.epistatic, strict=True):
                expected += energy[letters[a], letters[b]]
            for slot, site in zip(truth.contact_slots, truth.contact_sites[j], strict=True):
                beside = AMINO_ACIDS.index(antigens[j][site])
                expected += truth.contact[letters[slot], beside]
            assert truth.matrix[i, j] == pytest.approx(expected, abs=1e-12)


def test_slots_in_the_truth_are_residues_of_the_sequences():
    simulation = simulate(antibodies=30, antigens=1, backgrounds=4, seed=2)
    for row, letters in zip(simulation.measurements, simulation.truth.residues, strict=True):
        text = "".join(AMINO_ACIDS[letter] for letter in letters)
        heavy = find_domains(row.pair.antibody.heavy)[0]
        light = find_domains(row.pair.antibody.light)[0]
        assert text[:6] in heavy.region("CDR1")
        assert text[6:12] in heavy.region("CDR2")
        assert text[12:20] in heavy.region("CDR3")
        assert text[20:] in light.region("CDR3")


def test_additive_effects_are_recovered_from_the_measurements():
    simulation = simulate(antibodies=1500, antigens=1, backgrounds=1, mutations=12, **PLAIN, seed=3)
    truth = simulation.truth
    design = np.zeros((1500, len(SLOTS) * 20))
    for row, letters in enumerate(truth.residues):
        design[row, np.arange(len(SLOTS)) * 20 + letters] = 1.0
    effects = np.linalg.lstsq(
        np.column_stack([design, np.ones(1500)]), values(simulation), rcond=None
    )[0][:-1].reshape(len(SLOTS), 20)
    for slot in range(len(SLOTS)):
        seen = np.unique(truth.residues[:, slot])
        fitted = effects[slot, seen] - effects[slot, seen].mean()
        true = truth.additive[slot, seen] - truth.additive[slot, seen].mean()
        np.testing.assert_allclose(fitted, true, atol=1e-8)


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_noise_and_offsets_are_what_was_asked_for(noise):
    simulation = simulate(antibodies=400, antigens=4, assays=3, noise_sd=noise, seed=5)
    truth = simulation.truth
    residual = values(simulation) - truth.pkd - truth.assay_offsets[truth.assay]
    assert residual.std() == pytest.approx(noise, rel=0.04)
    assert truth.assay_offsets[0] == 0.0
    assert np.unique(truth.assay_offsets).size == 3


def test_floor_and_ceiling_are_bounds_that_the_uncensored_value_satisfies():
    options = {"antibodies": 300, "antigens": 2, "noise_sd": 0.3, "seed": 6}
    free = values(simulate(**options))
    simulation = simulate(**options, floor_pkd=6.5, ceiling_pkd=8.5)
    kinds = np.array([row.censoring for row in simulation.measurements])
    assert ((kinds == Censoring.AT_MOST) == (free < 6.5)).all()
    assert ((kinds == Censoring.AT_LEAST) == (free > 8.5)).all()
    np.testing.assert_array_equal(values(simulation), np.clip(free, 6.5, 8.5))
    assert min((kinds == Censoring.AT_MOST).sum(), (kinds == Censoring.AT_LEAST).sum()) > 20
    record = json.loads(simulation.truth.to_json())
    for name in ("pkd", "additive"):
        np.testing.assert_allclose(record[name], getattr(simulation.truth, name), atol=1e-6)
    assert record["parameters"]["floor_pkd"] == 6.5
    assert record["slots"][12] == "H3:1"


def test_same_seed_same_rows_and_another_seed_other_rows():
    first, again, other = (simulate(antibodies=40, seed=seed) for seed in (7, 7, 8))
    assert first.measurements == again.measurements
    assert first.truth.to_json() == again.truth.to_json()
    assert first.measurements != other.measurements
    # more noise or more rows keep the landscape
    small = simulate(antibodies=40, antigens=2, seed=9).truth
    large = simulate(antibodies=90, antigens=2, noise_sd=0.6, replicates=2, seed=9).truth
    np.testing.assert_array_equal(small.additive, large.additive)
    np.testing.assert_array_equal(small.contact, large.contact)


def test_antigen_coupling_changes_the_order_of_antibodies():
    coupled, uncoupled = (
        simulate(antibodies=300, antigens=2, contact_sd=sd, seed=10).truth.matrix for sd in (0.5, 0)
    )
    assert np.corrcoef(uncoupled.T)[0, 1] == pytest.approx(1.0)
    assert np.corrcoef(coupled.T)[0, 1] < 0.9


@pytest.mark.parametrize("light_chains", [True, False])
def test_every_background_is_an_antibody_and_all_antibodies_differ(light_chains):
    options = {"backgrounds": len(BACKGROUNDS), "light_chains": light_chains}
    simulation = simulate(antibodies=120, antigens=1, **options, seed=1)
    antibodies = [row.pair.antibody for row in simulation.measurements]
    assert len({antibody.chains for antibody in antibodies}) == 120
    for antibody in antibodies:
        assert [domain.chain for domain in find_domains(antibody.heavy)] == ["H"]
        if light_chains:
            assert find_domains(antibody.light)[0].chain in "KL"
        else:
            assert antibody.light is None
    if light_chains:
        unmutated = simulate(antibodies=500, antigens=1, mutations=0.0, seed=1).measurements
        assert len({row.pair.antibody.chains for row in unmutated}) == 500
    else:  # whose slots have no effect
        truth = simulation.truth
        assert not truth.additive[-5:].any()
        assert max(truth.contact_slots.max(), truth.epistatic_slots.max()) < len(SLOTS) - 5


def test_a_share_of_pairs_with_replicates():
    simulation = simulate(antibodies=50, antigens=4, measured=0.3, replicates=3, seed=1)
    cells = np.stack([simulation.truth.antibody, simulation.truth.antigen], axis=1)
    found, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(found) == 60
    assert (counts == 3).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"antibodies": 0}, "antibodies must be at least 1"),
        ({"backgrounds": 9}, "at most 4"),
        ({"measured": 0.0}, "measured must be at least"),
        ({"noise_sd": -0.1}, "noise_sd must be"),
        ({"noise_sd": float("nan")}, "noise_sd must be"),
        ({"mutations": 99.0}, "mutations must be"),
        ({"floor_pkd": 400.0}, "floor_pkd must be at least 2 and at most 15"),
        ({"floor_pkd": 8.0, "ceiling_pkd": 7.0}, "must be below"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        simulate(**arguments)
