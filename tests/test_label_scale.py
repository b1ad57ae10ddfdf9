import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paratope.campaigns.campaign_model.training import HalfRankNormalTransform
from paratope.core.errors import ModelError
from paratope.core.files import plain

values = st.lists(st.floats(-20, 20).map(lambda x: round(x, 3)), min_size=2, max_size=60).filter(
    lambda xs: max(xs) - min(xs) > 0.1
)


@settings(max_examples=60, deadline=None)
@given(values, st.lists(st.floats(-30, 30), min_size=1, max_size=10))
def test_there_and_back(measured, new):
    scale = HalfRankNormalTransform.of(np.array(measured))
    back = scale.to_label(scale.to_latent(np.array(new)))
    np.testing.assert_allclose(back, new, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(values, st.lists(st.floats(-30, 30), min_size=2, max_size=10))
def test_order_is_kept(measured, new):
    scale = HalfRankNormalTransform.of(np.array(measured))
    ordered = np.sort(np.array(new))
    assert (np.diff(scale.to_latent(ordered)) >= -1e-12).all()


def test_measured_values_become_standardised():
    latent = HalfRankNormalTransform.of(np.random.default_rng(0).gamma(1.0, size=500)).latent
    assert abs(latent.mean()) < 0.01
    assert latent.std() == pytest.approx(1.0, abs=0.01)


def test_a_floor_does_not_rule():
    """Half the rows at a floor: what is above it keeps more room than by standardising."""
    random = np.random.default_rng(0)
    measured = np.concatenate([np.full(100, 5.0), random.normal(9.0, 0.3, 100)])
    latent = HalfRankNormalTransform.of(measured).to_latent(measured)
    plain = (measured - measured.mean()) / measured.std()
    assert latent[100:].std() > 2 * plain[100:].std()


def test_json_and_damage():
    scale = HalfRankNormalTransform.of(np.array([1.0, 2.0, 4.0]))
    again = HalfRankNormalTransform.from_json(plain(scale))
    assert again.to_label(np.array([0.3])) == scale.to_label(np.array([0.3]))
    with pytest.raises(ModelError, match="must increase"):
        HalfRankNormalTransform.from_json({**plain(scale), "values": [2.0, 1.0, 4.0]})
    with pytest.raises(ModelError, match="not a campaign"):
        HalfRankNormalTransform.from_json({"values": [2.0]})


@pytest.mark.parametrize("unit", [1e-10, 1.0, 1e12])
def test_the_size_of_the_values_is_no_matter(unit):
    scale = HalfRankNormalTransform.of(unit * np.array([7.0, 7.5, 8.0, 9.0]))
    assert scale.to_label(np.array([0.0, 3.0])) / unit == pytest.approx([7.79, 10.09], abs=0.1)


def test_one_value_is_a_flat_scale():
    scale = HalfRankNormalTransform.of(np.array([7.0, 7.0]))
    assert scale.to_label(np.array([0.0]))[0] == 7.0
