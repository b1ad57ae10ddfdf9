"""Settings and files against pydantic models: every value has a range, every fault a sentence."""

import reprlib
import unicodedata
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import numpy as np
import pydantic

from paratope.core.errors import ParatopeError

_T = TypeVar("_T")
_MAX_FAULTS = 3
_MAX_LETTERS = 10_000
_MAX_TEXTS = 100_000_000  # letters of an array


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


def numbers(
    low: float, high: float, *, whole: bool = False, gaps: bool = False
) -> pydantic.PlainValidator:
    """A list of numbers, each in a range, as an array; with `gaps` some may be missing (NaN)."""

    def check(values: Any) -> np.ndarray:
        if gaps and isinstance(values, list):
            values = [np.nan if value is None else value for value in values]
        try:
            array = np.array(values)
        except (ValueError, OverflowError):  # ragged
            array = np.zeros((1, 1))
        is_plain = array.ndim == 1 and array.dtype.kind in ("i" if whole and len(array) else "if")
        if not is_plain or not ((array >= low) & (array <= high) | gaps & np.isnan(array)).all():
            kind = "whole numbers" if whole else "numbers"
            raise ValueError(f"should be a list of {kind} from {low:.10g} to {high:.10g}")
        return array.astype(int if whole else float)

    return pydantic.PlainValidator(check)


def _texts(values: Any) -> np.ndarray:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("should be a list of texts")
    if len(values) * max(map(len, values), default=0) > _MAX_TEXTS:
        raise ValueError("should be a list of shorter texts")
    return np.array(values, dtype=np.str_)


Texts = Annotated[np.ndarray, pydantic.PlainValidator(_texts)]
"""A list of texts, as an array."""


def _one_line(text: str) -> str:
    if len(text) > _MAX_LETTERS or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError(
            f"should be one line of at most {_MAX_LETTERS:,} letters without control characters"
        )
    return text


Line = Annotated[str, pydantic.AfterValidator(_one_line)]
"""Text of a setting."""


def validated(
    model: type[_T],
    data: object,
    where: str,
    error: type[ParatopeError] = ParatopeError,
    unknown_key: Callable[[tuple[str, ...]], str] = lambda keys: f"unknown key {keys[-1]!r}",
) -> _T:
    """The data as a model or dataclass; an `error`, `where` first, names each wrong key.

    `unknown_key` says what is wrong with a key that the model does not have.
    """
    try:
        return pydantic.TypeAdapter(model).validate_python(data)
    except pydantic.ValidationError as refused:
        faults = refused.errors(include_url=False)
        told = []
        for fault in faults[:_MAX_FAULTS]:
            keys = tuple(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                told.append(unknown_key(keys))
                continue
            says = fault["msg"].removeprefix("Value error, ").replace("Input should", "should")
            # a rule between keys says what it got
            if fault["type"] != "value_error" or not isinstance(fault["input"], Mapping):
                try:
                    says += f", got {reprlib.repr(fault['input'])}"
                except ValueError:  # an integer of more digits than Python writes
                    says += ", got a number of thousands of digits"
            told.append(f"{'.'.join(keys)}: {says}" if keys else says)
        if len(faults) > _MAX_FAULTS:
            told.append(f"and {len(faults) - _MAX_FAULTS:,} more")
        raise error(f"{where}: {'; '.join(told)}") from None
