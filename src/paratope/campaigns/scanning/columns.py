"""Columns of a scan: predictions against the parent, liabilities, frequencies, specificity."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from paratope.campaigns.scanning.variants import Mutations
from paratope.core.errors import InputError
from paratope.core.progress import Progress, silent
from paratope.data.tables import TableRow
from paratope.encoders.likelihood import Likelihood
from paratope.models.prediction import Prediction
from paratope.models.predictor import Predictor
from paratope.molecules.liabilities import new_liabilities
from paratope.molecules.mutations import chain_domain, format_mutations
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair

# Variants predicted at once: a report of progress every few seconds, and bounded memory.
ROWS_PER_BLOCK = 512
_COMMON = ("p_stronger", "domain", "note", "error")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """The parent's own prediction."""

    unit: str  # ``"pkd"``, or ``"score"`` for a model adapted on scores
    value: float
    low: float
    high: float
    domain: str
    note: str = ""  # What its prediction is to be read with


def predict_reference(predictor: Predictor, parent: Pair, coverage: float) -> Reference:
    """Prediction of the parent; raises `InputError` if it cannot be predicted."""
    (one,) = predictor.predict_rows([_row(0, "parent", parent)], coverage=coverage)
    if one.error:
        raise InputError(f"the parent cannot be predicted: {one.error}")
    unit = "pkd" if one.pkd is not None else "score"
    value, low, high = (getattr(one, name) for name in (unit, f"{unit}_low", f"{unit}_high"))
    return Reference(unit, value, low, high, one.domain, one.note)


def predict_changes(
    predictor: Predictor,
    parent: Pair,
    reference: Reference,
    variants: Sequence[tuple[str, Pair]],
    coverage: float,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Predictions of variants, and their change against the parent.

    Parameters
    ----------
    predictor : Predictor
    parent : Pair
    reference : Reference
        Its prediction.
    variants : sequence of (str, Pair)
        Names and pairs.
    coverage : float
        Of the intervals.
    progress : callable

    Returns
    -------
    polars.DataFrame
        Columns of `value_columns`, one row per variant.
    """
    answers: list[Prediction] = []
    for start in range(0, len(variants), ROWS_PER_BLOCK):
        block = variants[start : start + ROWS_PER_BLOCK]
        rows = [_row(start + number, name, pair) for number, (name, pair) in enumerate(block)]
        answers += predictor.predict_rows(rows, parent=parent, coverage=coverage)
        progress("predicting variants", len(answers), len(variants))
    columns = {}
    for name in value_columns(reference.unit):
        values = [getattr(one, name) for one in answers]
        text = name in ("domain", "note", "error")
        values = [None if value == "" else value for value in values] if text else values
        columns[name] = pl.Series(name, values, pl.String if text else pl.Float64)
    return pl.DataFrame(columns)


def value_columns(unit: str) -> tuple[str, ...]:
    """Names of the predicted columns of a model that answers in ``"pkd"`` or ``"score"``."""
    own = (unit, f"{unit}_low", f"{unit}_high")
    change = (f"delta_{unit}", f"delta_{unit}_low", f"delta_{unit}_high")
    return (*own, *change, *_COMMON)


def _row(index: int, name: str, pair: Pair) -> TableRow:
    return TableRow(index, 0, name, pair, None, (), None)


def position_columns(parent: Antibody, variants: Sequence[Mutations]) -> pl.DataFrame:
    """Mutations by position and by IMGT number; of a single one also where it is.

    Returns
    -------
    polars.DataFrame
        ``mutations``, ``mutations_imgt``, ``chain``, ``position``, ``imgt``, ``region``,
        ``wild_type``, ``mutant``; the last six empty where a variant has several.
    """
    domains = {
        chain: chain_domain(parent, chain) for chain in ("H" if parent.light is None else "HL")
    }
    rows = []
    for mutations in variants:
        row = {
            "mutations": format_mutations(mutations),
            "mutations_imgt": format_mutations(mutations, imgt_of=parent),
        }
        if len(mutations) == 1 and mutations[0].before:
            one = mutations[0]
            domain, at = domains[one.chain], one.position - 1
            row |= {"chain": one.chain, "position": one.position, "imgt": domain.positions[at]}
            row |= {"region": one.chain + domain.regions[at].removeprefix("CDR")}
            row |= {"wild_type": one.before, "mutant": one.after or None}
        rows.append(row)
    names = ("mutations", "mutations_imgt", "chain", "imgt", "region", "wild_type", "mutant")
    schema = dict.fromkeys(names, pl.String)
    order = ["mutations", "mutations_imgt", "chain", "position", "imgt", "region"]
    order += ["wild_type", "mutant"]
    return pl.DataFrame(rows, schema={**schema, "position": pl.Int64}).select(order)


def liability_columns(parent: Antibody, antibodies: Sequence[Antibody]) -> pl.DataFrame:
    """``liabilities_gained`` and ``liabilities_lost`` against the parent, joined by ``;``."""
    gained = [new_liabilities(parent, one) for one in antibodies]
    lost = [new_liabilities(one, parent) for one in antibodies]
    return pl.DataFrame(
        {
            name: pl.Series(
                ["; ".join(map(str, found)) or None for found in all_found], dtype=pl.String
            )
            for name, all_found in (("liabilities_gained", gained), ("liabilities_lost", lost))
        }
    )


def frequency_columns(
    likelihood: Likelihood, parent: Antibody, variants: Sequence[Mutations]
) -> pl.DataFrame:
    """Frequencies of the new and the old residue by the language model, and their log-ratio.

    Returns
    -------
    polars.DataFrame
        ``frequency``, ``frequency_wild_type`` (of a single substitution) and
        ``log_frequency_ratio`` (natural logarithm, summed over substitutions; empty if a variant
        has another mutation, which the model does not judge).
    """
    tables = {
        chain: likelihood.frequencies(residues)
        for chain, residues in zip("HL", parent.chains, strict=False)
    }
    rows = []
    for mutations in variants:
        pairs = []
        for one in mutations:
            known = one.kind == "substitution" and {one.before, one.after} <= set(AMINO_ACIDS)
            of_position = tables[one.chain][one.position - 1] if known else None
            if of_position is None:
                pairs = []
                break
            letters = AMINO_ACIDS.index(one.after), AMINO_ACIDS.index(one.before)
            pairs.append((float(of_position[letters[0]]), float(of_position[letters[1]])))
        ratio = sum(math.log(new / old) for new, old in pairs) if pairs else None
        new, old = pairs[0] if len(pairs) == 1 else (None, None)
        rows.append((new, old, ratio))
    names = ("frequency", "frequency_wild_type", "log_frequency_ratio")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")


def humanness_columns(
    likelihood: Likelihood, parent: Antibody, antibodies: Sequence[Antibody]
) -> pl.DataFrame:
    """``humanness_heavy``, ``humanness_light`` and ``humanness_change``, summed over the chains."""
    columns = {}
    change = np.zeros(len(antibodies))
    for name, own in (("heavy", parent.heavy), ("light", parent.light)):
        if own is None:
            columns[f"humanness_{name}"] = pl.Series([None] * len(antibodies), dtype=pl.Float64)
            continue
        chains = [getattr(one, name) for one in antibodies]
        different = list(dict.fromkeys([own, *chains]))
        scores = dict(zip(different, likelihood.humanness(different), strict=True))
        values = np.array([scores[chain] for chain in chains])
        change += values - scores[own]
        columns[f"humanness_{name}"] = pl.Series(values, dtype=pl.Float64)
    return pl.DataFrame({**columns, "humanness_change": pl.Series(change, dtype=pl.Float64)})


def antigen_names(antigens: Sequence[Antigen]) -> tuple[str, ...]:
    """A name for each antigen, no two alike.

    >>> antigen_names([Antigen(("MK",), "HER2"), Antigen(("GS",)), Antigen(("AS",), "HER2")])
    ('HER2', 'antigen 2', 'HER2 (3)')
    """
    names: list[str] = []
    for number, antigen in enumerate(antigens, start=1):
        name = antigen.name.strip() or ("antigen" if len(antigens) == 1 else f"antigen {number}")
        names.append(name if name not in names else f"{name} ({number})")
    return tuple(names)


def specificity_table(
    places: pl.DataFrame,
    names: Sequence[str],
    references: Sequence[Reference],
    changes: Sequence[pl.DataFrame],
) -> pl.DataFrame:
    """The parent and its variants against each antigen.

    Parameters
    ----------
    places : polars.DataFrame
        ``mutations`` and ``mutations_imgt`` of each variant.
    names : sequence of str
        Of the antigens, the target first.
    references : sequence of Reference
        The parent's prediction against each.
    changes : sequence of polars.DataFrame
        Of `predict_changes`, for each antigen.

    Returns
    -------
    polars.DataFrame
        The first row is the parent (``WT``). For each antigen its prediction and change against the
        parent; ``selectivity NAME``: prediction on the target less that on NAME;
        ``selectivity_gain NAME``: what that is more than the parent's; ``selectivity_gain``: the
        smallest of them.
    """
    unit = references[0].unit
    columns: dict[str, pl.Series] = {}
    for name in ("mutations", "mutations_imgt"):
        columns[name] = pl.Series(name, ["WT", *places[name]], dtype=pl.String)
    values = [
        pl.Series([reference.value, *table[unit]], dtype=pl.Float64)
        for reference, table in zip(references, changes, strict=True)
    ]
    deltas = [pl.Series([0.0, *table[f"delta_{unit}"]], dtype=pl.Float64) for table in changes]
    for name, value, delta in zip(names, values, deltas, strict=True):
        columns[f"{unit} {name}"] = value
        columns[f"delta_{unit} {name}"] = delta
    gains = {}
    for name, value, delta in list(zip(names, values, deltas, strict=True))[1:]:
        columns[f"selectivity {name}"] = values[0] - value
        gains[f"selectivity_gain {name}"] = deltas[0] - delta
    table = pl.DataFrame({**columns, **gains})
    return table.with_columns(pl.min_horizontal(*gains).alias("selectivity_gain"))
