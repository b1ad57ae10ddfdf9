"""Numbers that are not finite are found before they reach the weights."""

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from paratope.core.errors import TrainingError
from paratope.models.batches import PairBatch
from paratope.models.network import NetworkOutput

_NAMED_ROWS = 10  # of a batch, in a message


def check_finite_output(
    output: NetworkOutput,
    values: Mapping[str, float],
    batch: PairBatch,
    place: str,
    part: str = "training",
) -> None:
    """Stop before a loss that is not finite reaches the weights.

    Parameters
    ----------
    output : NetworkOutput
    values : mapping of str to float
        Each loss by name.
    batch : PairBatch
    place : str
        Where in the run, such as ``"epoch 3, batch 17"``.
    part : str
        Of which part of the table the rows are.

    Raises
    ------
    TrainingError
        Naming the place, the tensor and the rows.
    """
    tensors = {"measured pKd": batch.pkd.isfinite()}
    if batch.antibody.numel():  # the embeddings may be gone already
        antibody = batch.antibody.flatten(1).isfinite().all(1)
        antigen = batch.antigen.flatten(1).isfinite().all(1)
        tensors["antibody embedding"] = antibody[batch.antibody_index]
        tensors["antigen embedding"] = antigen[batch.antigen_index]
    tensors |= {name: tensor.isfinite() for name, tensor in output._asdict().items()}
    for name, finite in tensors.items():
        if not bool(finite.all()):
            rows = named_rows(batch.row[~finite].tolist())
            raise TrainingError(
                f"{place}: {name} is NaN or infinite for {part} rows {rows} (counted from 0); "
                "the last checkpoint is intact. Check these rows, or lower training.learning_rate"
            )
    for name, value in values.items():
        if not math.isfinite(value):
            rows = named_rows(batch.row.tolist())
            raise TrainingError(
                f"{place}: loss {name} is {value} although predictions and measured values are "
                f"finite, in a batch of {part} rows {rows} (counted from 0); the last checkpoint "
                "is intact. Lower training.learning_rate or check the measured values"
            )


def check_finite_gradient(name: str, peak: Tensor, place: str, rows: Iterable[int]) -> None:
    """Stop before a gradient that is not finite reaches the weights.

    Parameters
    ----------
    name : str
        Of the parameter.
    peak : Tensor
        Its gradient, or what is NaN or infinite where that is, such as its largest absolute values.
    place : str
    rows : iterable of int
        Training rows of the step.

    Raises
    ------
    TrainingError
        Naming the place, the parameter and the rows.
    """
    if not bool(peak.isfinite().all()):
        raise TrainingError(
            f"{place}: the gradient of {name} is NaN or infinite, in a step over training rows "
            f"{named_rows(rows)} (counted from 0); the last checkpoint is intact. Lower "
            "training.learning_rate or set training.gradient_clip"
        )


def named_rows(rows: Iterable[int]) -> str:
    """The first rows by number, and how many there are.

    >>> named_rows([4, 2]), named_rows(range(12))
    ('2, 4', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    ordered = sorted({int(row) for row in rows})
    more = len(ordered) - _NAMED_ROWS
    named = ", ".join(str(row) for row in ordered[:_NAMED_ROWS])
    return f"{named} and {more} more" if more > 0 else named
