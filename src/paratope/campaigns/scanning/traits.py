"""What is known of a variant besides its binding: liabilities, frequency, humanness."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from paratope.campaigns.scanning.variants import Mutations
from paratope.encoders.likelihood import Likelihood
from paratope.molecules.liabilities import new_liabilities
from paratope.molecules.mutations import chain_domain, format_mutations
from paratope.molecules.sequences import AMINO_ACIDS, Antibody


def place_columns(parent: Antibody, variants: Sequence[Mutations]) -> pl.DataFrame:
    """Mutations by place and by IMGT number; of a single one also where it is.

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
            of_place = tables[one.chain][one.position - 1] if known else None
            if of_place is None:
                pairs = []
                break
            letters = AMINO_ACIDS.index(one.after), AMINO_ACIDS.index(one.before)
            pairs.append((float(of_place[letters[0]]), float(of_place[letters[1]])))
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
