"""A scan: every variant of a parent, predicted, with what else is known of it."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope import __version__
from paratope.campaigns.scanning.columns import (
    Reference,
    antigen_names,
    frequency_columns,
    humanness_columns,
    liability_columns,
    position_columns,
    predict_changes,
    predict_reference,
    specificity_table,
    value_columns,
)
from paratope.campaigns.scanning.variants import (
    Mutations,
    alanine_mutants,
    combinations,
    single_mutants,
)
from paratope.core.errors import InputError, ModelError, OutputError
from paratope.core.files import atomic_folder, write_json
from paratope.core.progress import Progress, silent
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.encoders.embedding_store import cache_folder
from paratope.encoders.likelihood import Likelihood
from paratope.models.bundle import find_model
from paratope.models.calibration import check_options
from paratope.models.model import DEFAULT_COVERAGE
from paratope.molecules.mutations import Mutation, apply_mutations, format_mutations
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair

KINDS = ("single", "alanine", "combinations")
# Predicted changes that spread less than this share of an interval's half-width rank nothing.
FLAT = 0.25
# Variants below which their spread says nothing.
MIN_FOR_SPREAD = 10


# Folder of the cache.
FOLDER = "scans"
# Raised when what a scan holds, or how it is worked out, changes.
FORMAT_VERSION = 1


def model_checksum(model: Any) -> str | None:
    """What tells one model from another: its folder's list of checksums, as written there.

    Parameters
    ----------
    model : Predictor, or a folder or bundled name of one
        A model in memory that was never written has none.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    if isinstance(model, str | os.PathLike):
        path = find_model(model) / "config.json"
        try:
            config: Any = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
    else:
        config = getattr(getattr(model, "bundle", None), "config", None)
    if not isinstance(config, Mapping) or "sha256" not in config:
        return None
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class ScanCache:
    """Tables of one scan under a key.

    Parameters
    ----------
    parts : sequence of str
        All that the answer depends on.
    folder : path-like, optional
        Default `cache_folder`.
    """

    def __init__(self, parts: Sequence[str], folder: str | os.PathLike[str] | None = None) -> None:
        text = json.dumps([FORMAT_VERSION, *parts])
        root = Path(folder) if folder is not None else cache_folder()
        self.path = root / FOLDER / hashlib.sha256(text.encode()).hexdigest()

    def read(self) -> tuple[dict[str, pl.DataFrame], dict[str, Any]] | None:
        """Tables by name and plain values; None if there is nothing, or it is damaged."""
        try:
            values = json.loads((self.path / "scan.json").read_text(encoding="utf-8"))
            tables = {}
            for name, digest in values["sha256"].items():
                data = (self.path / f"{name}.parquet").read_bytes()
                if hashlib.sha256(data).hexdigest() != digest:
                    return None
                tables[name] = pl.read_parquet(data)
            return tables, values["values"]
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            pl.exceptions.PolarsError,
        ):
            return None

    def write(self, tables: Mapping[str, pl.DataFrame], values: Mapping[str, Any]) -> None:
        """Keep a scan; a folder that cannot be written leaves it unkept."""
        try:
            with atomic_folder(self.path) as folder:
                digests = {}
                for name, table in tables.items():
                    table.write_parquet(folder / f"{name}.parquet")
                    data = (folder / f"{name}.parquet").read_bytes()
                    digests[name] = hashlib.sha256(data).hexdigest()
                write_json(folder / "scan.json", {"sha256": digests, "values": values})
        except (OSError, OutputError):  # it is only a cache
            pass


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a scan found.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    parent : Antibody
        Cut to its variable domains.
    antigens : tuple of Antigen
        The target first.
    references : tuple of Reference
        The parent's prediction against each antigen.
    variants : polars.DataFrame
        One row per variant: its mutations, where they are, prediction against the target and
        change against the parent with interval, liabilities, frequencies, humanness, chains.
    specificity : polars.DataFrame or None
        With several antigens: the parent and every variant against each.
    coverage : float
        Of the intervals.
    notes : tuple of str
        What a reader must know before believing the numbers.
    """

    kind: str
    parent: Antibody
    antigens: tuple[Antigen, ...]
    references: tuple[Reference, ...]
    variants: pl.DataFrame
    specificity: pl.DataFrame | None
    coverage: float
    notes: tuple[str, ...]

    @property
    def unit(self) -> str:
        """``"pkd"``, or ``"score"`` for a model adapted on scores."""
        return self.references[0].unit

    @property
    def names(self) -> tuple[str, ...]:
        """Of the antigens, no two alike."""
        return antigen_names(self.antigens)


def scan(
    model: Any,
    antibody: Antibody,
    antigens: Antigen | Sequence[Antigen],
    *,
    alanine: bool = False,
    combine: Sequence[Mutation] = (),
    max_mutations: int = 3,
    regions: Sequence[str] | None = None,
    coverage: float = DEFAULT_COVERAGE,
    progress: Progress = silent,
    cache: str | os.PathLike[str] | None = None,
) -> Scan:
    """Predict variants of an antibody: all single mutants, alanines, or combinations.

    Parameters
    ----------
    model : Predictor, or a folder or bundled name of one
        A folder or name is loaded only if the answer is not in the cache.
    antibody : Antibody
    antigens : Antigen, or sequence of Antigen
        The target first; others give the table of specificity.
    alanine : bool
        Mutate every residue to alanine only.
    combine : sequence of Mutation
        Look at combinations of these instead of single mutants.
    max_mutations : int
        In one combination.
    regions : sequence of str, optional
        Keys of `paratope.molecules.mutations.REGION_NAMES` to mutate; all by default.
    coverage : float
        Of the intervals.
    progress : callable
        Called with the stage, the variants predicted and all variants.
    cache : path-like, optional
        Folder of the caches; default as `EmbeddingStore`.

    Raises
    ------
    InputError
        If the antibody is none, has no residue in the regions, a mutation does not fit it, or the
        parent cannot be predicted.
    """
    check_options(coverage)
    targets = (antigens,) if isinstance(antigens, Antigen) else tuple(antigens)
    if not targets:
        raise InputError("no antigen given; expected at least one, the target first")
    parent, notes = prepare_antibody(antibody)
    kind, chosen = _variants(parent, alanine, combine, max_mutations, regions)
    checksum = model_checksum(model)
    kept = _kept(checksum, parent, targets, chosen, coverage, cache)
    found = None if kept is None else kept.read()
    if found is None:
        tables, references = _compute(model, parent, targets, chosen, coverage, progress, cache)
        if kept is not None:
            values = {"references": [dataclasses.asdict(one) for one in references]}
            kept.write(tables, values)
    else:
        tables, values = found
        references = tuple(Reference(**one) for one in values["references"])
    variants = tables["variants"]
    notes = (
        *notes,
        *_warnings(variants, references[0], coverage),
        *_panel_warnings(antigen_names(targets), references),
    )
    specificity = tables.get("specificity")
    return Scan(kind, parent, targets, references, variants, specificity, coverage, notes)


def _variants(
    parent: Antibody,
    alanine: bool,
    combine: Sequence[Mutation],
    max_mutations: int,
    regions: Sequence[str] | None,
) -> tuple[str, list[Mutations]]:
    if combine:
        if alanine or regions is not None:
            raise InputError("combinations are of the mutations given: no alanine scan, no regions")
        return "combinations", combinations(parent, combine, max_mutations)
    if alanine:
        return "alanine", alanine_mutants(parent, regions)
    return "single", single_mutants(parent, regions)


def _kept(
    checksum: str | None,
    parent: Antibody,
    antigens: Sequence[Antigen],
    variants: Sequence[Mutations],
    coverage: float,
    cache: str | os.PathLike[str] | None,
) -> ScanCache | None:
    """Where the answer is kept; None for a model without a checksum."""
    if checksum is None:
        return None
    question = hashlib.sha256("\n".join(map(format_mutations, variants)).encode()).hexdigest()
    molecules = ["|".join(parent.chains)]
    for antigen, name in zip(antigens, antigen_names(antigens), strict=True):
        molecules += [name, "|".join(antigen.chains)]
    return ScanCache([__version__, checksum, question, repr(coverage), *molecules], cache)


def _compute(
    model: Any,
    parent: Antibody,
    antigens: Sequence[Antigen],
    variants: Sequence[Mutations],
    coverage: float,
    progress: Progress,
    cache: str | os.PathLike[str] | None,
) -> tuple[dict[str, pl.DataFrame], tuple[Reference, ...]]:
    predictor = _loaded(model, cache)
    antibodies = [apply_mutations(parent, mutations) for mutations in variants]
    names = [format_mutations(mutations) for mutations in variants]
    references = []
    changes = []
    for antigen in antigens:
        pair = Pair(parent, antigen)
        reference = predict_reference(predictor, pair, coverage)
        pairs = [
            (name, Pair(antibody, antigen))
            for name, antibody in zip(names, antibodies, strict=True)
        ]
        references.append(reference)
        changes.append(predict_changes(predictor, pair, reference, pairs, coverage, progress))
    likelihood = Likelihood(_encoder_of(predictor), cache, progress)
    positions = position_columns(parent, variants)
    table = pl.concat(
        [
            positions,
            changes[0].drop("note", "error"),
            liability_columns(parent, antibodies),
            frequency_columns(likelihood, parent, variants),
            humanness_columns(likelihood, parent, antibodies),
            changes[0].select("note", "error"),
            pl.DataFrame(
                {
                    "heavy": [one.heavy for one in antibodies],
                    "light": [one.light for one in antibodies],
                },
                schema={"heavy": pl.String, "light": pl.String},
            ),
        ],
        how="horizontal",
    )
    tables = {"variants": table}
    if len(antigens) > 1:
        tables["specificity"] = specificity_table(
            positions, antigen_names(antigens), references, changes
        )
    return tables, tuple(references)


def _encoder_of(predictor: Any) -> AntibertyEncoder | None:
    """The AntiBERTy that has just read the variants: a network's, or a campaign's."""
    model = predictor.model
    reader = getattr(model, "antibody_store", None) or getattr(model, "language", None)
    found = getattr(reader, "encoder", None)
    return found if isinstance(found, AntibertyEncoder) else None


def _loaded(model: Any, cache: str | os.PathLike[str] | None) -> Any:
    if not isinstance(model, str | os.PathLike):
        return model
    from paratope.models.predictor import Predictor

    return Predictor.load(model, cache=cache)


def _warnings(variants: pl.DataFrame, parent: Reference, coverage: float) -> list[str]:
    """What a reader must know before believing the numbers."""
    said = []
    failed = variants[f"delta_{parent.unit}"].null_count()
    if failed:
        said.append(
            f"{failed} of {variants.height} variants could not be predicted: see column error"
        )
    if parent.note:
        said.append(f"of the parent: {parent.note}")
    if is_flat(variants, parent.unit):
        what = "ΔpKd" if parent.unit == "pkd" else "changes of the score"
        spread, half = _spread(variants, parent.unit)
        said.append(
            f"the predicted {what} are nearly flat: 90 % of them lie within {spread:.2f} of each "
            f"other, while the {percent(coverage)} interval of each is ±{half:.2f}. Do not choose "
            "mutants by them; measure a plate and adapt the model to it (paratope adapt)"
        )
    return said


def _panel_warnings(names: Sequence[str], references: Sequence[Reference]) -> list[str]:
    """Antigens beside the target of which a campaign's model knows nothing of its own."""
    said = []
    for name, one in list(zip(names, references, strict=True))[1:]:
        if one.domain == "out" and one.note:
            said.append(f"{name}: {one.note}, so its selectivities say nothing")
        elif one.note:
            said.append(
                f"{name}: {one.note}; what was never measured cannot show in its selectivities"
            )
    return said


def is_flat(variants: pl.DataFrame, unit: str) -> bool:
    """Whether predicted changes spread so little beside their intervals that they rank nothing."""
    spread, half = _spread(variants, unit)
    return spread / 2 < FLAT * half


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.9)
    '90 %'
    """
    return f"{100 * share:.3g} %"


def _spread(variants: pl.DataFrame, unit: str) -> tuple[float, float]:
    """Width that holds 90 % of the changes, and the half-width of the median interval."""
    delta, low, high = (variants[name] for name in value_columns(unit)[3:6])
    known = delta.drop_nulls().to_numpy()
    if len(known) < MIN_FOR_SPREAD:
        return float("inf"), 0.0
    half = np.nanmedian((high - low).drop_nulls().to_numpy()) / 2
    return float(np.subtract(*np.quantile(known, [0.95, 0.05]))), float(half)
