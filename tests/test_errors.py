"""Errors are one family, and say what to do."""

import inspect

from paratope.core import errors
from paratope.core.errors import MissingExtraError, ParatopeError, unknown_name


def test_every_error_is_a_paratope_error():
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, ParatopeError) or not issubclass(kind, Exception)


def test_missing_extra_names_the_command_to_run():
    error = MissingExtraError("paratope adapt --engine gp", "campaign")
    assert "pip install 'paratope[campaign]'" in str(error)
    assert "paratope adapt --engine gp" in str(error)
    assert (error.feature, error.extra) == ("paratope adapt --engine gp", "campaign")


def test_unknown_name_lists_the_valid_ones_in_order():
    assert unknown_name("loss", "hubber", {"mse": 1, "huber": 2}) == (
        "unknown loss 'hubber'; valid names: huber, mse"
    )
