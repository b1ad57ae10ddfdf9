"""Campaigns from tables: what is learned, replicates, parents, and what cannot be learned."""

import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.campaigns import campaign as campaigns
from paratope.campaigns.campaign import UNKNOWN_ANTIGEN, Campaign, campaign_of
from paratope.campaigns.campaign.replicates import merge
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.datasets import load_dataset
from paratope.data.measurements import Measurement
from paratope.data.tables import read_table, table_from_frame
from paratope.molecules.sequences import Antibody, Antigen, Pair
from small_campaigns import PARENT, row_of, single_mutants
from small_campaigns import variant as antibody
from test_numbering import LYSOZYME, VH, VHH, VK

ANTIGEN = Antigen((LYSOZYME,), "HEL")


def variant(text: str, name: str = "") -> Pair:
    return Pair(antibody(text, name), ANTIGEN)


def measured(text: str, value: float, assay: str = "spr", **more) -> Measurement:
    return Measurement(variant(text), pkd=value, assay=assay, **more)


def table(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def test_a_table_without_antigens():
    frame = table([row_of("WT", kd_nM=1), row_of("H:D31A", kd_nM=10), row_of("H:Y33A", kd_nM=100)])
    campaign = campaign_of(frame)
    assert campaign.label == "pkd"
    assert campaign.values.tolist() == [9.0, 8.0, 7.0]
    assert campaign.antigens == ()
    assert campaign.default_antigen == UNKNOWN_ANTIGEN
    assert all(pair.antigen == UNKNOWN_ANTIGEN for pair in campaign.pairs)
    with pytest.raises(InputError, match="no column for antigen"):  # elsewhere it is needed
        table_from_frame(frame)


def test_rows_without_an_antigen_get_the_only_one():
    rows = [row_of("WT", pkd=9, antigen=LYSOZYME), row_of("H:D31A", pkd=8, antigen="")]
    campaign = campaign_of(table(rows))
    assert [pair.antigen.chains for pair in campaign.pairs] == [(LYSOZYME,)] * 2
    assert campaign.default_antigen == Antigen((LYSOZYME,))
    assert any("1 rows name no antigen: read as the one" in note for note in campaign.notes)
    rows.append(row_of("H:Y33A", pkd=7, antigen="MKVLAAGIVGLLLAQWERTY"))
    several = campaign_of(table(rows))
    assert len(several.antigens) == 2
    assert several.default_antigen is None
    assert several.pairs[1].antigen == UNKNOWN_ANTIGEN


def test_scores_of_any_unit_go_for_all_before_a_pkd_for_some():
    for name in ("score", "fitness", "enrichment"):
        rows = [row_of("WT", **{name: "140"}), row_of("H:D31A", **{name: "<-3"})]
        campaign = campaign_of(table(rows))
        assert campaign.label == "score"
        assert campaign.values.tolist() == [140.0, -3.0]
        assert campaign.censoring.tolist() == [0, -1]
    rows = [row_of("WT", score=10, pkd="9"), row_of("H:D31A", score=5, pkd="")]
    campaign = campaign_of(table(rows))
    assert campaign.label == "score"
    assert any("pKd of 1 rows is not used" in note for note in campaign.notes)
    both = campaign_of(table([row_of("WT", score=10, pkd=9), row_of("H:D31A", score=5, pkd=8)]))
    assert both.label == "pkd"
    assert any("scores of 2 rows are not used" in note for note in both.notes)


def test_ddg_with_the_parents_pkd_is_a_pkd():
    rows = [row_of("WT", kd_nM="1"), row_of("H:D31A", ddg_kcal_mol="1.3642", parent="WT")]
    campaign = campaign_of(table(rows))
    assert campaign.label == "pkd"
    assert campaign.values == pytest.approx([9.0, 8.0], abs=1e-3)
    stated = [row_of("H:D31A", ddg_kcal_mol="1.3642", parent_heavy=VH, parent_pkd="8.5")]
    assert campaign_of(table(stated)).values == pytest.approx([7.5], abs=1e-3)
    # also where the parent was measured in rows that were not read of a table
    delta = Measurement(variant("H:D31A"), delta_pkd=-1.0, parent=variant("WT"), assay="b")
    assert campaign_of([measured("WT", 9.0), delta]).values.tolist() == [9.0, 8.0]


def test_ddg_is_read_against_the_median_of_the_parents_replicates():
    replicates = [measured("WT", value) for value in (6.0, 9.0, 9.1, 9.0, 8.9)]
    stronger = Measurement(variant("H:D31A"), delta_pkd=1.0, parent=variant("WT"), assay="spr")
    campaign = campaign_of([*replicates, measured("WT", 5.0, "elisa"), stronger])
    assert campaign.values.tolist() == [9.0, 5.0, 10.0]
    assert any("was measured 5 times, from 6 to 9.1" in note for note in campaign.notes)
    agreeing = campaign_of([*replicates[1:], stronger])
    assert agreeing.values == pytest.approx([9.0, 10.0])
    assert agreeing.notes == ()


def test_ddg_alone_is_a_score_with_the_parent_at_zero():
    parent = {"parent_heavy": VH, "parent_light": VK}
    changes = {"H:D31A": 1.3642, "H:Y33A": -1.3642}
    rows = [row_of(text, ddg_kcal_mol=value, **parent) for text, value in changes.items()]
    campaign = campaign_of(table(rows))
    assert campaign.label == "score"
    assert campaign.values == pytest.approx([-1, 1, 0], abs=1e-3)
    assert campaign.pairs[2].antibody.chains == (VH, VK)
    assert [parent.antibody.chains for parent in campaign.parents] == [(VH, VK)]
    assert any("changes of pKd" in note and "parent_pkd" in note for note in campaign.notes)


def test_several_antigens_and_assays():
    other = Antigen(("MKVLAAGIVGLLLAQWERTYMKVLA",), "other")
    rows = [measured("WT", 9.0), measured("WT", 8.5, "elisa"), measured("H:D31A", 8.0)]
    rows.append(Measurement(Pair(PARENT, other), pkd=6.0, assay="spr"))
    campaign = campaign_of(rows)
    assert len(campaign) == 4
    assert campaign.assays == ("spr", "elisa")
    assert campaign.assay.tolist() == [0, 1, 0, 0]
    assert [antigen.name for antigen in campaign.antigens] == ["HEL", "other"]
    assert campaign_of(rows, assay="elisa").assays == ("elisa", "spr")
    with pytest.raises(InputError, match="unknown assay 'bli'; valid names: elisa, spr"):
        campaign_of(rows, assay="bli")


def test_assays_without_a_shared_variant_are_named():
    rows = [measured("WT", 9.0), measured("H:D31A", 8.0), measured("H:Y33A", 7.0, "elisa")]
    (note,) = [note for note in campaign_of(rows).notes if "elisa" in note]
    assert "no variant was also measured in 'spr'" in note
    assert "measuring two or three" in note
    linked = [*rows, measured("WT", 8.0, "elisa")]
    assert not [note for note in campaign_of(linked).notes if "offset" in note]


def test_scores_of_other_assays_are_brought_to_the_firsts_mean_and_deviation():
    """By the exact rows alone; bounds move along; once, whatever is asked of parts of it."""
    told = {"WT": (0, 10), "H:D31A": (2, 30), "H:Y33A": (4, 50), "H:Y33F": (1, 20)}
    rows = [
        Measurement(variant(text), score=float(values[number]), assay=f"assay {number}")
        for number in range(2)
        for text, values in told.items()
    ]
    rows[3] = dataclasses.replace(rows[3], censoring=Censoring.AT_LEAST)
    rows[7] = dataclasses.replace(rows[7], censoring=Censoring.AT_MOST)
    common = campaign_of(rows).on_common_scale()
    assert common.values == pytest.approx([0, 2, 4, 1, 0, 2, 4, 1])
    assert common.rows([0, 1, 4, 5, 6]).on_common_scale().values == pytest.approx([0, 2, 0, 2, 4])
    pkd = campaign_of([measured("WT", 9.0), measured("WT", 7.0, "b"), measured("H:D31A", 6, "b")])
    np.testing.assert_array_equal(pkd.on_common_scale().values, pkd.values)


def test_replicates_are_merged_and_their_spread_kept_and_copies_are_none():
    rows = [measured("WT", value) for value in (9.0, 9.2, 9.4)]
    rows += [measured("H:D31A", value) for value in (8.0, 8.2)] + [measured("H:Y33A", 6.0)]
    campaign = campaign_of(rows)
    assert campaign.values == pytest.approx([9.2, 8.1, 6.0])
    assert campaign.replicates.tolist() == [3, 2, 1]
    assert math.isnan(campaign.noise_sd[2])
    assert 0.05 < campaign.noise_sd[0] < campaign.noise_sd[1] < 0.2
    assert campaign.notes == ()
    campaign = campaign_of([measured("WT", 9.0), measured("WT", 9.0), measured("H:D31A", 7.0)])
    assert campaign.replicates.tolist() == [1, 1]
    assert np.isnan(campaign.noise_sd).all()
    assert any("copies of one measurement" in note for note in campaign.notes)


rows_of_keys = st.tuples(st.sampled_from("abcd"), st.sampled_from("xy"), st.floats(4, 12))


@given(st.lists(rows_of_keys, min_size=1))
def test_merging_keeps_every_row_once(rows: list[tuple[str, str, float]]):
    keys, assays, values = zip(*rows, strict=True)
    merged = merge(keys, assays, values, [0] * len(rows), log10=True)
    assert len(merged.values) == len(set(zip(keys, assays, strict=True)))
    for first, value in zip(merged.first, merged.values, strict=True):
        own = [v for k, a, v in rows if (k, a) == (keys[first], assays[first])]
        assert min(own) <= value <= max(own)
    if not any("copies" in note for note in merged.notes):
        assert merged.replicates.sum() == len(rows)
    finite = merged.noise_sd[np.isfinite(merged.noise_sd)]
    assert (finite >= 0).all()


def test_contradictory_replicates_are_said_and_count_for_less():
    rng = np.random.default_rng(0)
    letters = "ACDEFGHIKLMNPQRSTVWY".replace("D", "")
    rows = []
    for number, letter in enumerate(letters):
        truth = 7 + 2 * rng.random()
        second = truth + (2.5 if number % 3 == 0 else 0.1 * rng.standard_normal())
        rows += [measured(f"H:D31{letter}", truth), measured(f"H:D31{letter}", second)]
    campaign = campaign_of(rows)
    (note,) = campaign.notes
    assert "replicates of 7 of 19 repeated variants contradict each other" in note
    wild = np.arange(19) % 3 == 0
    assert campaign.noise_sd[wild].min() > 1.2 * campaign.noise_sd[~wild].max()
    calm = campaign_of([row for place, row in enumerate(rows) if (place // 2) % 3])
    assert campaign.noise_sd[~wild].min() > 3 * calm.noise_sd.max()  # the assay is worth less


def test_bounds_stay_bounds():
    most, least = {"censoring": Censoring.AT_MOST}, {"censoring": Censoring.AT_LEAST}
    rows = [
        measured("WT", 9.0),
        measured("H:D31A", 5.0, **most),
        measured("H:D31A", 4.5, **most),
        measured("H:Y33A", 10.0, **least),
        measured("H:Y33F", 7.0),
        measured("H:Y33F", 8.0, **most),  # satisfied: says nothing more
        measured("H:Y33W", 7.0, **least),
        measured("H:Y33W", 8.0, **most),
    ]
    campaign = campaign_of(rows)
    assert campaign.values.tolist() == [9.0, 4.5, 10.0, 7.0, 7.5]
    assert campaign.censoring.tolist() == [0, -1, 1, 0, 0]
    assert campaign.noise_sd[4] > 0
    broken = campaign_of([measured("WT", 9.0), measured("WT", 6.0, **most)])
    assert broken.noise_sd[0] > 1
    assert any("contradict" in note for note in broken.notes)


def test_parents_by_column_by_name_and_by_consensus():
    singles = ["H:D31A", "H:Y33A", "L:Q3A"]
    rows = [measured(text, 8.0) for text in singles]
    (found,) = campaign_of(rows).parents
    assert found.antibody.chains == PARENT.chains  # nobody measured it
    assert found.antibody.name == "consensus"
    (found,) = campaign_of([*rows, Measurement(variant("H:T32A", "wild-type"), 7.0)]).parents
    assert found.antibody.name == "wild-type"
    named = [Measurement(row.pair, 8.0, parent=variant("H:Y52A", "mother")) for row in rows]
    (found,) = campaign_of(named).parents
    assert found.antibody.name == "mother"


@pytest.mark.parametrize(
    ("name", "is_parent"),
    [("trastuzumab WT", True), ("H4 parental Fab", True), ("x (wild type)", True)]
    + [("WT_D31A", False), ("WT HD31A", False), ("wtf-1", False), ("parentheses", False)],
)
def test_the_wild_type_is_called_so_anywhere_in_its_id(name, is_parent):
    rows = [Measurement(variant(f"H:{m}"), 8.0) for m in ("D31A", "Y33A", "T32A")]
    rows.append(Measurement(variant("H:D31E", name), 9.0))
    (parent,) = campaign_of(rows).parents
    assert (parent.antibody.name == name) == is_parent


def test_a_plate_of_wild_types_has_one_parent():
    names = [f"H:{m}" for m in ("D31A", "D31K", "Y33A")]
    rows = [Measurement(variant(each, f"WT {each[-1]}{n}"), 8.0) for n, each in enumerate(names)]
    campaign = campaign_of(rows)
    assert len(campaign.parents) == 1
    assert any("called wild type or parent" in note for note in campaign.notes)


def test_plates_are_joined_as_one_assay_unless_their_assays_are_named(tmp_path):
    """A later plate is better by choice: that is no shift to be taken out."""
    first = {"WT": 1.0, "H:D31A": 0.5, "H:Y33A": 0.0}
    second = {"WT": 1.2, "H:T32A": 3.0, "H:R50A": 2.5}
    plates = [
        table([row_of(name, score=value) for name, value in plate.items()])
        for plate in (first, second)
    ]
    for number, plate in enumerate(plates, start=1):
        plate.write_csv(tmp_path / f"plate-{number}.csv")
    campaign = campaign_of(sorted(tmp_path.iterdir()))
    assert campaign.assays == ("plate-1 and plate-2",)
    assert len(campaign) == 5
    assert campaign.values.max() == 3.0
    (note,) = [note for note in campaign.notes if "joined as plates" in note]
    assert "1 variants on both differ by +0.2 on average" in note
    named = [plate.with_columns(assay=pl.lit(name)) for plate, name in zip(plates, "ab")]  # noqa: B905
    assert set(campaign_of(named).assays) == {"a", "b"}


def test_several_parents_and_indels_and_unrelated_antibodies_without():
    nanobody = [Antibody(VHH.replace("GPY", loop), None, loop) for loop in ("GPY", "GPF", "GY")]
    rows = [Measurement(Pair(one, ANTIGEN), 7.0) for one in nanobody]
    rows += [measured(text, 8.0) for text in ("WT", "H:D31A", "H:103insG")]
    parents = campaign_of(rows).parents
    assert {parent.antibody.chains for parent in parents} == {(VHH,), (VH, VK)}
    families = campaigns.antibody_families([row.pair.antibody for row in rows])
    assert families.tolist() == [0, 0, 0, 1, 1, 1]
    rows = [measured("WT", 8.0), Measurement(Pair(Antibody(VHH), ANTIGEN), 7.0)]
    assert campaigns.find_parents(rows[1:]) == ((), ())
    (parent,) = campaign_of(rows).parents  # called wt, with no variant of it measured
    assert parent.antibody.name == "WT"


def test_a_wrong_parent_is_said_and_not_believed():
    values = {"H:D31A": 8.0, "H:Y33A": 7.0, "L:Q3A": 7.5}
    rows = [row_of(text, pkd=value, parent="nano") for text, value in values.items()]
    frame = table([{"id": "nano", "heavy": VHH, "light": "", "pkd": 9.0, "parent": ""}, *rows])
    campaign = campaign_of(frame)
    (note,) = [note for note in campaign.notes if "wrong parent" in note]
    assert "'nano' agrees with 3 of the 3 rows that name it (first 'H:D31A')" in note
    assert (VH, VK) in [parent.antibody.chains for parent in campaign.parents]
    assert (VHH,) not in [parent.antibody.chains for parent in campaign.parents]


def test_mutations_that_the_parent_does_not_have_are_said():
    told = (("WT", ""), ("H:D31A", "H:D31A"), ("H:Y33A", "H:S31A"), ("H:Y33F", "H:Y33W"))
    rows = [
        row_of(text, pkd=9.0 - bool(said), mutations=said, parent="WT" if said else "")
        for text, said in told
    ]
    (note,) = campaign_of(table(rows)).notes
    assert note.startswith("wrong parent or mutations in 2 rows (the sequences are believed)")
    assert "the parent has D at position 31" in note


def test_mutations_in_the_numbers_of_a_structure_are_not_wrong():
    """Public tables name chains and residues as a PDB entry does; the letters are what counts."""
    rows = [row_of("WT", pkd=9.0, parent="WT", mutations="")]
    rows += [
        row_of("H:D31A", pkd=8.0, parent="WT", mutations="B:D28A"),
        row_of("H:Y33A,H:D31A", pkd=7.0, parent="WT", mutations="B:D28A,B:Y30A"),
    ]
    assert campaign_of(table(rows)).notes == ()
    rows.append(row_of("H:Y33F", pkd=7.5, parent="WT", mutations="B:Y30A"))
    (note,) = campaign_of(table(rows)).notes
    assert note.startswith("wrong parent or mutations in 1 rows")


def test_one_measurement_equal_values_mostly_bounds_and_chains_of_no_antibody_are_said():
    assert "one measurement" in campaign_of([measured("WT", 9.0)]).notes[0]
    equal = campaign_of([measured("WT", 7.0), measured("H:D31A", 7.0)])
    assert "all 2 values are equal within their assay (7)" in equal.notes[0]
    scaffold = Antibody("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", VK, "odd")
    odd = Measurement(Pair(scaffold, ANTIGEN), 6.0, assay="spr")
    (note,) = campaign_of([measured("WT", 9.0), measured("H:D31A", 8.0), odd]).notes
    assert note.startswith("1 rows have a chain that is no antibody domain (first 'odd')")
    most = {"censoring": Censoring.AT_MOST}
    few = [measured("WT", 9.0), *(measured(f"H:D31{letter}", 5.0, **most) for letter in "ACEFGH")]
    assert any("only 1 of 7 values are measured" in note for note in campaign_of(few).notes)


def test_no_usable_row():
    for rows, message in (
        ([1.0], "got a sequence of float"),
        ([], "no measurement can be used"),
    ):
        with pytest.raises(InputError, match=message):
            campaign_of(rows)


def test_rows_and_measurements():
    campaign = campaign_of([measured("WT", 9.0), measured("H:D31A", 8.0), measured("H:Y33A", 7.0)])
    some = campaign.rows(np.array([False, True, True]))
    assert len(some) == 2
    assert some.values.tolist() == [8.0, 7.0]
    assert some.parents == campaign.parents
    again = campaign_of(campaign.measurements())
    assert again.values.tolist() == campaign.values.tolist()
    assert again.pairs == campaign.pairs
    assert campaign.assay_names.tolist() == ["spr"] * 3


def test_files_are_read_too(tmp_path: Path):
    frame = table([row_of("WT", pkd=9.0), row_of("H:D31A", pkd=8.0)])
    path = tmp_path / "plate.csv"
    frame.write_csv(path)
    assert campaign_of(path).assays == ("plate",)
    assert campaign_of(frame.to_pandas()).values.tolist() == [9.0, 8.0]
    content = io.BytesIO(path.read_bytes())
    read = read_table(content, require="measured", default_antigen=ANTIGEN)
    assert campaign_of(read).antigens == (ANTIGEN,)


@pytest.mark.parametrize("name", ["absci_her2", "abbibench_2fjg", "abbibench_3gbn_h1"])
def test_public_campaigns(name: str, data_root: Path):
    campaign = campaign_of(load_dataset(name, data_root).measurements)
    assert isinstance(campaign, Campaign)
    assert len(campaign.parents) == 1
    assert len(campaign.assays) == 1
    assert campaign.label == ("score" if name.endswith("2fjg") else "pkd")
    assert (campaign.censoring == -1).any() == (name != "abbibench_2fjg")


@pytest.mark.parametrize(
    ("name", "floor", "limit"),
    [("pkd", 7.6, "<7.6"), ("kd_nM", 25.1189, ">25.1189"), ("OD450", 7.6, "<7.6")],
)
def test_a_floor_is_said_and_its_values_kept(name, floor, limit):
    frame = single_mutants().with_columns(pl.col("pkd").clip(lower_bound=7.6))
    rows = table_from_frame(frame, default_antigen=ANTIGEN, require="measured").measurements
    assert "Write <7.6 in these rows" in campaign_of(rows).notes[0]  # no table needed
    if name == "kd_nM":
        frame = frame.with_columns((10 ** (9 - pl.col("pkd"))).round(4).alias("pkd"))
    frame = frame.rename({"pkd": name})
    columns = {"score": name} if name == "OD450" else None
    campaign = campaign_of(frame, columns=columns)
    (note,) = campaign.notes
    count = int((frame[name] == floor).sum())
    assert count > 10
    assert note.startswith(f"column {name!r}: {count} of 60 values ")
    assert f"exactly {limit[1:]}" in note
    assert f"Write {limit} in these rows" in note
    assert (campaign.censoring == 0).all()  # told, not changed
    marked = frame.with_columns(pl.col(name).cast(pl.String).replace(limit[1:], limit))
    campaign = campaign_of(marked, columns=columns)
    assert campaign.notes == ()
    assert (campaign.censoring == -1).sum() == count


def test_pkd_in_a_column_of_kd_and_a_unit_slip_among_assays_are_suspected():
    frame = single_mutants()
    assert campaign_of(frame).notes == ()  # honest values are not
    (note,) = campaign_of(frame.rename({"pkd": "kd_nM"})).notes
    assert "few assays span so little in Kd" in note
    assert "If they are pKd, name the column pkd" in note
    other = frame.with_columns(pl.lit("second").alias("assay"), pl.col("pkd") - 3)
    both = pl.concat([frame.with_columns(pl.lit("first").alias("assay")), other])
    notes = campaign_of(both).notes
    assert any("shift" in note or "1000" in note or "unit" in note for note in notes), notes


def test_ids_of_replicates_are_no_news():
    rng = np.random.default_rng(0)
    frame = single_mutants(24)
    again = frame.with_columns(pl.col("pkd") + pl.Series(rng.normal(0, 0.1, 24).round(3)))
    assert campaign_of(pl.concat([frame, again])).notes == ()
