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
# Variants that a campaign's full form predicts: the best by the fast form, of more than these.
FULL_ROWS = 500


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
    row = _row(0, "parent", parent)
    (answer,) = predictor.predict_rows([row], parent=parent, coverage=coverage)
    if answer.error:
        raise InputError(f"the parent cannot be predicted: {answer.error}")
    unit = "pkd" if answer.pkd is not None else "score"
    value, low, high = (getattr(answer, f"{unit}{end}") for end in ("", "_low", "_high"))
    return Reference(unit, value, low, high, answer.domain, answer.note)


def predict_changes(
    predictor: Predictor,
    parent: Pair,
    reference: Reference,
    variants: Sequence[tuple[str, Pair]],
    coverage: float,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Predictions of named variants and their changes: columns of `value_columns`, a row each."""
    answers: list[Prediction] = []
    for start in range(0, len(variants), ROWS_PER_BLOCK):
        block = variants[start : start + ROWS_PER_BLOCK]
        rows = [_row(index, name, pair) for index, (name, pair) in enumerate(block, start)]
        answers += predictor.predict_rows(rows, parent=parent, coverage=coverage)
        progress("predicting variants", len(answers), len(variants))
    names, text = value_columns(reference.unit), ("domain", "note", "error")
    columns = {name: [getattr(answer, name) for answer in answers] for name in names}
    schema = {name: pl.String if name in text else pl.Float64 for name in names}
    return pl.DataFrame(columns, schema=schema).with_columns(pl.col(pl.String).replace("", None))


def predict_changes_in_stages(
    predictor: Predictor,
    parent: Pair,
    reference: Reference,
    variants: Sequence[tuple[str, Pair]],
    coverage: float,
    progress: Progress = silent,
    best: np.ndarray | None = None,
) -> pl.DataFrame:
    """As `predict_changes`; of many variants a campaign's full form predicts the best alone.

    The others are predicted by the fast form, which encodes none; ``stage``, ``full`` or ``fast``,
    tells which. Models without a fast form have no such column. `best` are the rows, ascending,
    that are predicted in full, by default those of the greatest change.
    """
    inputs = (parent, reference, variants, coverage, progress)
    fast = predictor.campaign.fast if predictor.bundle.campaign else predictor.model
    if fast is predictor.model:
        return predict_changes(predictor, *inputs)
    if len(variants) <= FULL_ROWS:
        return predict_changes(predictor, *inputs).with_columns(stage=pl.lit("full"))
    quick = predict_changes(Predictor(fast, predictor.bundle), *inputs)
    if best is None:
        delta = quick[f"delta_{reference.unit}"].fill_null(-math.inf).to_numpy()
        best = np.sort(np.argsort(-delta, kind="stable")[:FULL_ROWS])
    chosen = [variants[row] for row in best.tolist()]
    full = predict_changes(predictor, parent, reference, chosen, coverage, progress)
    stages = [quick.with_columns(stage=pl.lit("fast")), full.with_columns(stage=pl.lit("full"))]
    order = np.arange(len(variants))
    order[best] = len(variants) + np.arange(len(best))
    return pl.concat(stages)[order.tolist()]


def value_columns(unit: str) -> tuple[str, ...]:
    """Names of the predicted columns of a model that answers in ``"pkd"`` or ``"score"``."""
    names = [f"{name}{end}" for name in (unit, f"delta_{unit}") for end in ("", "_low", "_high")]
    return (*names, "p_stronger", "domain", "note", "error")


def _row(index: int, name: str, pair: Pair) -> TableRow:
    return TableRow(index, 0, name, pair, None, (), None)


def position_columns(parent: Antibody, variants: Sequence[Mutations]) -> pl.DataFrame:
    """Mutations by position and by IMGT number; of a single one also chain, position and region.

    The last six columns are empty where a variant has several mutations.
    """
    schema = dict.fromkeys(("mutations", "mutations_imgt", "chain"), pl.String)
    schema |= {"position": pl.Int64}
    schema |= dict.fromkeys(("imgt", "region", "wild_type", "mutant"), pl.String)
    chains = "H" if parent.light is None else "HL"
    domains = {chain: chain_domain(parent, chain) for chain in chains}
    rows = []
    for mutations in variants:
        row = [format_mutations(mutations), format_mutations(mutations, imgt_of=parent)]
        if len(mutations) == 1 and mutations[0].before:
            (mutation,) = mutations
            domain, index = domains[mutation.chain], mutation.position - 1
            region = mutation.chain + domain.regions[index].removeprefix("CDR")
            row += [mutation.chain, mutation.position, domain.positions[index], region]
            row += [mutation.before, mutation.after or None]
        rows.append(row + [None] * (len(schema) - len(row)))
    return pl.DataFrame(rows, schema=schema, orient="row")


def liability_columns(parent: Antibody, antibodies: Sequence[Antibody]) -> pl.DataFrame:
    """``liabilities_gained`` and ``liabilities_lost`` against the parent, joined by ``;``."""
    changes = {
        "liabilities_gained": [new_liabilities(parent, variant) for variant in antibodies],
        "liabilities_lost": [new_liabilities(variant, parent) for variant in antibodies],
    }
    columns = {
        name: ["; ".join(map(str, liabilities)) or None for liabilities in of_variants]
        for name, of_variants in changes.items()
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def frequency_columns(
    likelihood: Likelihood, parent: Antibody, variants: Sequence[Mutations]
) -> pl.DataFrame:
    """Frequencies of the new and the old residue by the language model, and their log-ratio.

    Frequencies are those of a single substitution; ``log_frequency_ratio`` (natural logarithm) is
    summed over substitutions, and empty if a variant has another mutation, which the model does
    not judge.
    """
    tables = {
        chain: likelihood.frequencies(residues)
        for chain, residues in zip("HL", parent.chains, strict=False)
    }
    rows = []
    for mutations in variants:
        pairs = [
            tuple(
                float(tables[mutation.chain][mutation.position - 1][AMINO_ACIDS.index(residue)])
                for residue in (mutation.after, mutation.before)
            )
            for mutation in mutations
            if mutation.kind == "substitution"
            and {mutation.before, mutation.after} <= set(AMINO_ACIDS)
        ]
        judged = bool(pairs) and len(pairs) == len(mutations)
        ratio = sum(math.log(new / old) for new, old in pairs) if judged else None
        rows.append((*(pairs[0] if judged and len(pairs) == 1 else (None, None)), ratio))
    names = ("frequency", "frequency_wild_type", "log_frequency_ratio")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")


def humanness_columns(
    likelihood: Likelihood, parent: Antibody, antibodies: Sequence[Antibody]
) -> pl.DataFrame:
    """``humanness_heavy``, ``humanness_light`` and ``humanness_change``, summed over the chains."""
    columns: dict[str, np.ndarray | list[None]] = {}
    change = np.zeros(len(antibodies))
    for name in ("heavy", "light"):
        chains = [getattr(antibody, name) for antibody in (parent, *antibodies)]
        if chains[0] is None:
            columns[f"humanness_{name}"] = [None] * len(antibodies)
            continue
        different = list(dict.fromkeys(chains))
        scores = dict(zip(different, likelihood.humanness(different), strict=True))
        before, *after = (scores[chain] for chain in chains)
        columns[f"humanness_{name}"] = np.array(after, float)
        change += columns[f"humanness_{name}"] - before
    columns["humanness_change"] = change
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64))


def antigen_names(antigens: Sequence[Antigen]) -> tuple[str, ...]:
    """A name for each antigen, no two alike.

    >>> antigen_names([Antigen(("MK",), "HER2"), Antigen(("GS",)), Antigen(("AS",), "HER2")])
    ('HER2', 'antigen 2', 'HER2 (3)')
    """
    names: list[str] = []
    for index, antigen in enumerate(antigens, start=1):
        name = antigen.name.strip() or ("antigen" if len(antigens) == 1 else f"antigen {index}")
        names.append(name if name not in names else f"{name} ({index})")
    return tuple(names)


def specificity_table(
    mutations: pl.DataFrame,
    names: Sequence[str],
    references: Sequence[Reference],
    changes: Sequence[pl.DataFrame],
) -> pl.DataFrame:
    """The parent (``WT``, the first row) and its variants against each antigen, the target first.

    For each antigen its prediction and change against the parent; ``selectivity NAME``: prediction
    on the target less that on NAME; ``selectivity_gain NAME``: what that is more than the
    parent's; ``selectivity_gain``: the smallest of them. `mutations` has the columns ``mutations``
    and ``mutations_imgt`` of each variant, `changes` are of `predict_changes`.
    """
    unit = references[0].unit
    columns = {
        name: pl.Series(["WT", *mutations[name]], dtype=pl.String)
        for name in ("mutations", "mutations_imgt")
    }
    selectivities: dict[str, pl.Series] = {}
    gains: dict[str, pl.Series] = {}
    target, target_delta = pl.Series(), pl.Series()
    for index, (name, reference, table) in enumerate(zip(names, references, changes, strict=True)):
        value = pl.Series([reference.value, *table[unit]], dtype=pl.Float64)
        delta = pl.Series([0.0, *table[f"delta_{unit}"]], dtype=pl.Float64)
        columns |= {f"{unit} {name}": value, f"delta_{unit} {name}": delta}
        if index == 0:
            target, target_delta = value, delta
        else:
            selectivities[f"selectivity {name}"] = target - value
            gains[f"selectivity_gain {name}"] = target_delta - delta
    table = pl.DataFrame({**columns, **selectivities, **gains})
    return table.with_columns(pl.min_horizontal(*gains).alias("selectivity_gain"))
