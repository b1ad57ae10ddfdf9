"""Settings and files against pydantic models: every value has a range, every fault a sentence."""

import reprlib
import unicodedata
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import pydantic

from paratope.core.errors import ParatopeError

_Model = TypeVar("_Model", bound=pydantic.BaseModel)
_MAX_FAULTS = 3
_MAX_LETTERS = 10_000


def within(low: float, high: float) -> pydantic.AfterValidator:
    """Both ends of a number's range, to annotate it with.

    >>> class Plate(pydantic.BaseModel):
    ...     wells: Annotated[int, within(1, 1536)]
    >>> validated(Plate, {"wells": 2000}, "plate.json")
    Traceback (most recent call last):
    ...
    paratope.core.errors.ParatopeError: plate.json: wells: should be from 1 to 1536, got 2000
    """

    def check(value: Any) -> Any:
        if not low <= value <= high:
            raise ValueError(f"should be from {low:.10g} to {high:.10g}")
        return value

    return pydantic.AfterValidator(check)


def _one_line(text: str) -> str:
    if len(text) > _MAX_LETTERS or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError(
            f"should be one line of at most {_MAX_LETTERS:,} letters without control characters"
        )
    return text


Line = Annotated[str, pydantic.AfterValidator(_one_line)]
"""Text of a setting."""


def validated(
    model: type[_Model],
    data: object,
    where: str,
    error: type[ParatopeError] = ParatopeError,
    unknown_key: Callable[[tuple[str, ...]], str] = lambda keys: f"unknown key {keys[-1]!r}",
) -> _Model:
    """The data as a model; an `error` that begins with `where` names each key that is wrong.

    `unknown_key` says what is wrong with a key that the model does not have.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as refused:
        faults = refused.errors(include_url=False)
        told = [_fault(fault, unknown_key) for fault in faults[:_MAX_FAULTS]]
        if len(faults) > _MAX_FAULTS:
            told.append(f"and {len(faults) - _MAX_FAULTS:,} more")
        raise error(f"{where}: {'; '.join(told)}") from None


def _fault(fault: Mapping[str, Any], unknown_key: Callable[[tuple[str, ...]], str]) -> str:
    keys = tuple(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return unknown_key(keys)
    says = fault["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if fault["type"] != "value_error" or not isinstance(fault["input"], Mapping):
        says += f", got {_short(fault['input'])}"  # a rule between keys says what it got
    return f"{'.'.join(keys)}: {says}" if keys else says


def _short(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
