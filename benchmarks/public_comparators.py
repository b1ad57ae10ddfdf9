"""Published predictions and folds of other methods, row by row, to be judged on the same rows.

All ddG here are in kcal/mol with positive = weaker; Graphinity publishes the opposite sign, which
is turned round on reading.
"""

from collections import defaultdict, deque
from pathlib import Path

import polars as pl

from paratope.core.errors import InputError, unknown_name
from paratope.data.datasets import ab_bind, data_root
from paratope.data.datasets.dataset import read_rows, require
from paratope.data.datasets.fetch import GEARBIND, GRAPHINITY, PROTATTBA

GEARBIND_MODELS = (
    "FoldX", "Flex-ddG", "esm-1b", "ESM-ensemble", "Bind-ddG", "GearBind", "GearBind+P", "Ensemble",
    "GearBind w/o resi MP", "GearBind w/o edge MP", "GearBind w/o side-chain atoms",
    "RGCN (w/ relational graph)", "GearBind w/o relational graph", "esm-1v-m2", "esm-1v-m3",
    "esm-1v-m4", "esm-1v-m5",
)  # fmt: skip


def gearbind_predictions(root: Path | None = None, *, antibodies: bool = True) -> pl.DataFrame:
    """Predictions of GearBind's comparison on SKEMPI v2, with its folds by complex.

    Parameters
    ----------
    root : Path, optional
        Folder of public data (default `data_root`).
    antibodies : bool
        Only the antibody–antigen rows (940 of 5,729).

    Returns
    -------
    polars.DataFrame
        ``row`` (from 1), ``complex_id``, ``mutations`` (SKEMPI's cleaned numbering), ``reference``,
        ``fold``, ``ddg_kcal_mol`` and one column a model. Scores of the ESM models are likelihood
        ratios.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    path = require(root or data_root(), GEARBIND)
    columns = ("#Pdb", "Mutation(s)_cleaned", "Hold_out_type", "Reference", "ddG", "fold")
    rows = []
    for row in read_rows(path, (*columns, *GEARBIND_MODELS)):
        if antibodies and "AB/AG" not in row["Hold_out_type"]:
            continue
        rows.append(
            {
                "row": row.row,
                "complex_id": row["#Pdb"],
                "mutations": row["Mutation(s)_cleaned"],
                "reference": row["Reference"],
                "fold": int(row.number("fold")),
                "ddg_kcal_mol": row.number("ddG"),
                **{model: row.number(model) for model in GEARBIND_MODELS},
            }
        )
    return pl.DataFrame(rows)


def protattba_predictions(name: str, root: Path | None = None) -> pl.DataFrame:
    """ProtAttBA's cross-validated predictions of a set.

    Parameters
    ----------
    name : str
        ``"ab645"``, ``"ab1101"`` or ``"s1131"``.
    root : Path, optional
        Folder of public data (default `data_root`).

    Returns
    -------
    polars.DataFrame
        ``row`` (that of the set's measurements as published), ``fold``, ``ddg_kcal_mol``,
        ``prediction``, by row.

    Raises
    ------
    InputError
        If the name is unknown, the file is missing or damaged.
    """
    if name not in PROTATTBA:
        raise InputError(unknown_name("ProtAttBA set", name, PROTATTBA))
    path = require(root or data_root(), PROTATTBA[name])
    rows = [
        {
            "row": int(row.number("test_indices")) + 1,
            "fold": int(row.number("fold")),
            "ddg_kcal_mol": row.number("true_label"),
            "prediction": row.number("prediction"),
        }
        for row in read_rows(path, ("fold", "test_indices", "prediction", "true_label"))
    ]
    return pl.DataFrame(rows).sort("row")


def graphinity_folds(cutoff: int, root: Path | None = None) -> pl.DataFrame:
    """Graphinity's folds of AB645 by CDR identity, without the flagged non-binders.

    Parameters
    ----------
    cutoff : int
        Percent identity of length-matched CDRs: 70, 90 or 100.
    root : Path, optional
        Folder of public data (default `data_root`); AB645 must be there too.

    Returns
    -------
    polars.DataFrame
        ``row`` (that of AB645's measurements), ``complex_id``, ``mutation`` (Graphinity's
        numbering), ``fold``, ``ddg_kcal_mol`` with positive = weaker.

    Raises
    ------
    InputError
        If the cutoff is unknown, a file is missing or damaged, or a row has no counterpart in
        AB645.
    """
    if cutoff not in GRAPHINITY:
        raise InputError(unknown_name("Graphinity cutoff", str(cutoff), GRAPHINITY))
    waiting = _ab645_rows(require(root or data_root(), ab_bind.AB645_FILE))
    path = require(root or data_root(), GRAPHINITY[cutoff])
    rows = []
    for row in read_rows(path, ("pdb", "complex", "labels", "fold_id")):
        complex_id, _, mutation = row["complex"].rpartition("_")
        ddg_kcal_mol = 0.0 - row.number("labels")
        queue = waiting[_key(complex_id, mutation, ddg_kcal_mol)]
        if not queue:
            raise row.error("complex", f"{row['complex']!r} has no counterpart in AB645")
        rows.append(
            {
                "row": queue.popleft(),
                "complex_id": complex_id,
                "mutation": mutation,
                "fold": int(row.number("fold_id")),
                "ddg_kcal_mol": ddg_kcal_mol,
            }
        )
    return pl.DataFrame(rows).sort("row")


Key = tuple[str, str, str, float]


def _key(complex_id: str, mutation: str, ddg_kcal_mol: float) -> Key:
    """What both files agree on: complex, residues before and after, ddG (not numbers or chains)."""
    return complex_id.lower(), mutation[0], mutation[-1], round(ddg_kcal_mol, 3)


def _ab645_rows(path: Path) -> dict[Key, deque[int]]:
    """Rows of AB645 by key, in file order: where keys repeat, both files go by position."""
    waiting: dict[Key, deque[int]] = defaultdict(deque)
    for row in read_rows(path, ("PDB", "Mutation", "ddG")):
        mutation = row["Mutation"].split(":")[-1]
        waiting[_key(row["PDB"], mutation, row.number("ddG"))].append(row.row)
    return waiting
