"""The general model: it makes sense on real complexes, adds up, and says what it cannot know."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from paratope.core.errors import InputError, ModelError
from paratope.core.units import PKD_MAX_OUTPUT, PKD_MIN_OUTPUT
from paratope.data.datasets import load_dataset
from paratope.data.measurements import PairContext
from paratope.models.bundle import read_bundle, write_bundle
from paratope.models.general.general_model import GeneralModel
from paratope.models.general.intervals import Errors, stratum_of
from paratope.models.general.substitutions import (
    SubstitutionScore,
    changes_between,
    similarity,
)
from paratope.models.predictor import Predictor
from paratope.molecules.epitope import parse_epitope
from paratope.molecules.numbering import number_chain, prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair


@pytest.fixture(scope="module")
def model() -> GeneralModel:
    opened = Predictor.load("default").model
    assert isinstance(opened, GeneralModel)
    return opened


@pytest.fixture(scope="module")
def complexes(data_root) -> list[Pair]:
    """Sixty structures with both chains, of different antibodies."""
    pairs: dict[str, Pair] = {}
    for row in load_dataset("sabdab_full", data_root).measurements:
        if row.pair.antibody.light is not None and len(pairs) < 60:
            antibody, notes = prepare_antibody(row.pair.antibody)
            if not notes:
                pairs.setdefault(antibody.heavy, Pair(antibody, row.pair.antigen))
    assert len(pairs) == 60
    return list(pairs.values())


def mutated(pair: Pair, region: str, letter: str, residues: str = "", which=slice(None)) -> Pair:
    """Heavy chain with some residues of its regions replaced."""
    domain = number_chain(pair.antibody.heavy)
    places = [
        index
        for index, (name, residue) in enumerate(zip(domain.regions, domain.residues, strict=True))
        if name.startswith(region) and residue != letter and residue in (residues or residue)
    ][which]
    chain = list(domain.residues)
    for index in places:
        chain[index] = letter
    return Pair(Antibody("".join(chain), pair.antibody.light), pair.antigen)


def deltas(model: GeneralModel, parents: list[Pair], variants: list[Pair]) -> np.ndarray:
    explained = model.explain(variants, [PairContext(parent) for parent in parents])
    return np.array([sum(value for _, value in row.changes) for row in explained])


def test_cdrs_to_alanine_lower_the_pkd(model, complexes):
    assert (
        deltas(model, complexes, [mutated(p, "CDR", "A") for p in complexes]) < 0
    ).mean() >= 0.95


def test_a_proline_costs_more_than_a_conservative_change_there(model, complexes):
    kept = [pair for pair in complexes if "S" in number_chain(pair.antibody.heavy).region("CDR3")]
    kept += [pair for pair in complexes if "S" in number_chain(pair.antibody.heavy).region("CDR1")]
    assert len(kept) >= 50
    proline, threonine = (
        deltas(model, kept, [mutated(pair, "CDR", to, "S", slice(1)) for pair in kept])
        for to in "PT"
    )
    assert (proline < threonine).all()


def test_a_conservative_change_matters_less_in_the_framework(model, complexes):
    sizes = {
        region: np.abs(deltas(model, complexes, [mutated(p, region, "T", "S", slice(1))
                                                 for p in complexes])).mean()
        for region in ("CDR", "FR2", "FR1")
    }  # fmt: skip
    assert sizes["FR1"] < sizes["CDR"]


def test_another_antigen_changes_domain_or_level(model, complexes):
    others = [*complexes[7:], *complexes[:7]]
    swapped = [Pair(a.antibody, b.antigen) for a, b in zip(complexes, others, strict=True)]
    own, other = (model.predict_pairs(pairs) for pairs in (complexes, swapped))
    moved = np.abs(own.calibrated.value - other.calibrated.value) > 0.01
    domains = [[distance.domain for distance in told.distances] for told in (own, other)]
    assert (moved | (np.array(domains[0]) != np.array(domains[1]))).all()


def test_companions_and_order_change_nothing(model, complexes):
    whole = model.predict_pairs(complexes).calibrated.value
    turned = model.predict_pairs(complexes[::-1]).calibrated.value[::-1]
    alone = [model.predict_pairs([pair]).calibrated.value[0] for pair in complexes[:10]]
    np.testing.assert_array_equal(whole, turned)
    np.testing.assert_array_equal(whole[:10], alone)


def test_swapped_chains_and_constant_domains_change_nothing(complexes):
    predictor, pair = Predictor.load("default"), complexes[0]
    heavy, light = pair.antibody.heavy, pair.antibody.light
    asked = (
        *(pair.antibody, Antibody(light, heavy)),
        Antibody(heavy + "ASTKGPSVFPLAPSSKSTSGGTAALGCLVKDYFPEPVTVSW", light + "RTVAAPSVFIFPPS"),
    )
    values = predictor.predict_pkd([Pair(antibody, pair.antigen) for antibody in asked])
    assert np.ptp(values) <= 0.01


def test_parts_and_changes_add_up(model, complexes):
    variants = [mutated(pair, "CDR3", "A") for pair in complexes]
    contexts = [PairContext(pair, parent_pkd=9.0) for pair in complexes]
    contexts[::2] = [PairContext(pair) for pair in complexes[::2]]
    told = model.predict_pairs(variants, contexts=contexts)
    for row, explained in enumerate(model.explain(variants, contexts)):
        total = sum(explained.parts.values()) + sum(value for _, value in explained.changes)
        assert total == pytest.approx(explained.pkd, abs=1e-12)
        shown = np.clip(explained.pkd, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT)
        assert shown == pytest.approx(told.calibrated.value[row], abs=1e-9)


def test_without_a_parent_variants_are_not_ranked_and_the_row_says_so(model, complexes):
    pair = complexes[0]
    variants = [mutated(pair, "CDR3", letter, which=slice(1)) for letter in "DKW"]
    told = model.predict_pairs(variants)
    # their loops' composition differs by a residue: hundredths of a pKd, which rank nothing
    parts = [row.parts for row in model.explain(variants)]
    assert all(row.pop("similar pairs") for row in parts)
    assert parts[0] == parts[1] == parts[2]
    assert np.ptp(told.calibrated.value) < 0.05
    assert all("cannot be ranked" in note for note in told.notes)


def test_a_measured_mutant_is_answered_by_its_measurement_whoever_is_named_its_parent(
    model, data_root
):
    rows = [r for r in load_dataset("skempi", data_root).measurements if r.parent and r.pkd]
    variants, parents = (
        [Pair(prepare_antibody(p.antibody)[0], p.antigen) for p in pairs]
        for pairs in ([r.pair for r in rows[:200]], [r.parent for r in rows[:200]])
    )
    contexts = [PairContext(parent) for parent in parents]
    alone, named = model.predict_pairs(variants), model.predict_pairs(variants, contexts=contexts)
    known = [row for row, pair in enumerate(variants) if model.measured.row(pair) >= 0]
    assert len(known) > 100
    measured = model.measured.pkd[[model.measured.row(variants[row]) for row in known]]
    for told in (alone, named):
        assert np.sqrt(np.mean((told.calibrated.value[known] - measured) ** 2)) < 0.3
        assert "learned from this pair" in told.notes[known[0]]


def test_a_mutation_at_a_chains_end_makes_another_pair_of_a_measured_one(model, complexes):
    pair = next(pair for pair in complexes if model.measured.row(pair) >= 0)
    variant = Pair(Antibody("A" + pair.antibody.heavy[1:], pair.antibody.light), pair.antigen)
    assert model.measured.row(variant) == model.measured.row(pair)
    told = model.predict_pairs([variant], contexts=[PairContext(pair)])
    assert "learned" not in told.notes[0]
    (explained,) = model.explain([variant], [PairContext(pair)])
    whole = model.measured.effect[model.measured.row(pair)]
    kept = explained.parts["this pair or its parent, as measured"]
    assert kept == pytest.approx(model.parent_share * whole)


def test_a_germline_parent_withholds_the_score(model, complexes):
    pair = complexes[0]
    variant = mutated(pair, "CDR3", "A")
    told = model.predict_pairs([variant], contexts=[PairContext(pair, parent_is="germline")])
    parent = model.predict_pairs([variant], contexts=[PairContext(pair)])
    assert told.calibrated.value[0] > parent.calibrated.value[0]
    assert "germline" in told.notes[0]


def test_a_measured_parent_narrows_and_moves(model, complexes):
    pair = complexes[0]
    variant = mutated(pair, "CDR3", "A", which=slice(1))
    plain, low, high = (
        model.predict_pairs([variant], contexts=[PairContext(pair, parent_pkd=value)]).calibrated
        for value in (None, 6.0, 10.0)
    )
    assert low.value[0] < plain.value[0] < high.value[0]
    assert high.value[0] - low.value[0] > 2.0  # most of the parent's four pKd hold


def test_an_epitope_weighs_antigen_mutants(model):
    parent = Pair(Antibody(*VHH), Antigen("MKVLAEGRYWDNKHTSQPLIVCFMKDE" * 3))
    letters = list(parent.antigen.chains[0])
    letters[8] = "A"  # a tyrosine
    variant = Pair(parent.antibody, Antigen("".join(letters)))
    contexts = [
        PairContext(parent, epitope=None if text is None else parse_epitope(text, parent.antigen))
        for text in ("Y9", None, "20-30")
    ]
    values = model.predict_pairs([variant] * 3, contexts=contexts).calibrated.value
    assert values[0] < values[1] < values[2]


VHH = (
    "QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS",
)


def test_changes_are_named_by_imgt_with_insertions_and_deletions():
    parent = Pair(Antibody(*VHH), Antigen("MKVLAEGR"))
    longer = VHH[0].replace("AKDRLS", "AKDRGLS")
    changes = changes_between(parent, Pair(Antibody(longer), Antigen("MKVLAEGR")))
    assert [(c.chain, c.region, c.before) for c in changes] == [("H", "CDR3", "-")]
    (change,) = changes_between(
        parent, Pair(Antibody(VHH[0].replace("SSYAMS", "SSWAMS")), Antigen("MKVLAEGR"))
    )
    assert str(change) == "H:37Y→W"


def test_scores_have_their_signs():
    assert similarity("Y", "A") < similarity("S", "T") < similarity("S", "Y")
    parent = Pair(Antibody(*VHH), Antigen("MKVLAEGRYW"))
    variant = Pair(parent.antibody, Antigen("MKVLAEGRAW"))
    changes = changes_between(parent, variant)
    inside, outside = (
        SubstitutionScore.antigen(changes, parse_epitope(text, parent.antigen))[0]
        for text in ("Y9", "K2")
    )
    assert inside < outside < 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("K9", "names K at 9"),
        ("0-3", "outside"),
        ("x", "neither"),
        ("A2:1", "chain A2"),
        ("", "no"),
    ],
)
def test_epitopes_that_cannot_be_read(text, message):
    with pytest.raises(InputError, match=message):
        parse_epitope(text, Antigen("MKVLAEGRYW"))


def test_a_peptide_of_unknown_residues_has_a_pkd(model):
    told = model.predict_pairs([Pair(Antibody(*VHH), Antigen("XXXXXXXX"))])
    assert np.isfinite(told.calibrated.value).all()


def test_cells_of_free_text_are_not_used_and_the_row_says_so():
    row = {"id": "wt", "heavy": VHH[0], "light": "", "antigen": "MKVLAEGRYWDNKHTS"}
    known = {"parent": "lead 7", "parent_is": "clone", "parent_pkd": "n.a.", "epitope": "domain IV"}
    plain, told = (
        Predictor.load("default").predict(pl.DataFrame([line])) for line in (row, row | known)
    )
    assert told["pkd"][0] == plain["pkd"][0]
    for name in ("parent", "parent_is", "epitope"):
        assert f"column {name!r} is not used" in told["note"][0]


@pytest.mark.parametrize("stated", ["500", ">9", "0.5", "5 nM"])
def test_a_parents_pkd_that_is_none_is_not_used_and_the_row_says_so(stated):
    wt = {"id": "wt", "heavy": VHH[0], "light": "", "antigen": "MKVLAEGRYWDNKHTS"}
    variant = {"id": "v", "heavy": VHH[0].replace("DRLS", "DALS"), "parent": "wt"}
    plain, told = (
        Predictor.load("default").predict(pl.DataFrame([wt, wt | variant | known], strict=False))
        for known in ({}, {"parent_pkd": stated})
    )
    assert told["pkd"][1] == plain["pkd"][1]
    (said,) = (note for note in told["note"][1].split("; ") if "parent_pkd" in note)
    assert said.startswith("column 'parent_pkd' is not used: ")
    assert said.count("parent_pkd") == 1
    assert repr(stated) in said


def test_half_width_is_conservative_and_weighted():
    errors = Errors(np.array([0.1, -0.2, 0.3, 5.0]), np.array([1.0, 1, 1, 1]), np.zeros(4))
    assert errors.half_width(0.5) == pytest.approx(0.3)
    assert errors.half_width(0.9) == np.inf  # four rows cannot tell
    heavy = Errors(errors.error, np.array([100.0, 1, 1, 1]), np.zeros(4))
    assert heavy.half_width(0.5) == pytest.approx(0.1)
    share = errors.share_at_least(np.array([-10.0, 0.0, 10.0]))
    assert share[0] > share[1] > share[2] > 0


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ((0, True, False), "new antigen, single domain"),
        ((19, True, False), "antigen known by few rows"),
        ((20, False, False), "antigen known by many rows"),
        ((0, False, True), "parent measured"),
    ],
)
def test_strata(known, name):
    assert stratum_of(*known) == name


def test_held_out_intervals_cover(model):
    """Coverage on the other half of the clusters is near nominal, and intervals are no wider."""
    metrics = Predictor.load("default").bundle.metrics
    widths = {name: line["90%"]["half_width"] for name, line in metrics["coverage"].items()}
    assert widths["new antigen"] <= 2.3
    assert widths["new antigen, single domain"] <= 2.0
    assert widths["antigen known by many rows"] <= 2.1
    for name, line in metrics["coverage"].items():
        for level in ("80%", "90%", "95%"):
            assert abs(line[level]["rows"] - float(level[:-1]) / 100) <= 0.04, (name, level)


def test_a_model_comes_back_from_its_folder(model, tmp_path, complexes):
    bundle = model.to_bundle({}, {}, "# card\n")
    write_bundle(bundle, tmp_path / "m")
    opened = GeneralModel.of_bundle(read_bundle(tmp_path / "m"))
    for one, other in zip(
        model.predict_pairs(complexes[:5]).calibrated,
        opened.predict_pairs(complexes[:5]).calibrated,
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)
    clusters = bundle.weights["roots.antigen_cluster"]
    for name, values, says in (
        ("level.cell", np.zeros(3), "fit together"),
        ("level.cell", np.array(1.0), "other kinds"),
        ("level.similar", np.zeros(3), "fit together"),
        ("kernel.mean", np.zeros(3), "fit together"),
        ("roots.antigen_cluster", clusters.astype(float), "other kinds"),
        ("roots.antigen_cluster", clusters + 10**6, "fit together"),
        ("measured.key", bundle.weights["measured.key"][::-1], "fit together"),
    ):
        broken = dataclasses.replace(bundle, weights={**bundle.weights, name: values})
        write_bundle(broken, tmp_path / "n")
        with pytest.raises(ModelError, match=says):
            GeneralModel.of_bundle(read_bundle(tmp_path / "n"))


def test_mutations_made_in_the_sequences_beside_them_are_counted_from_these():
    cells = {"heavy": VHH[0], "light": "", "antigen": "MKVLAEGRYWDNKHTS"}
    texts = {"wt": "", "a": "H:D99A", "b": "H:R100A", "c": "A:Y9A"}
    beside = [{"id": name, **cells, "mutations": text} for name, text in texts.items()]
    named = [
        {"id": name, **(dict.fromkeys(cells, "") if text else cells), "mutations": text}
        | {"parent": "wt" if text else ""}
        for name, text in texts.items()
    ]
    told, right = (
        Predictor.load("default").predict(pl.DataFrame(rows)) for rows in (beside, named)
    )
    assert told["pkd"].to_list() == right["pkd"].to_list()
    assert len(set(told["pkd"])) == 4
    assert "mutations are made" in told["note"][1]
    assert "no parent named" not in told["note"][1]
