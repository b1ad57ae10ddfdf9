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
    predict_changes_in_stages,
    predict_reference,
    specificity_table,
    value_columns,
)
from paratope.campaigns.scanning.variants import (
    Mutations,
    alanine_mutants,
    check_max_mutations,
    combinations,
    single_mutants,
)
from paratope.core.errors import InputError, OutputError
from paratope.core.files import atomic_folder, write_json
from paratope.core.progress import Progress, silent
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.encoders.embedding_store import cache_folder
from paratope.encoders.likelihood import Likelihood
from paratope.models.bundle import find_model, read_config
from paratope.models.calibration import check_options
from paratope.models.model import DEFAULT_COVERAGE
from paratope.models.predictor import Predictor
from paratope.molecules.mutations import Mutation, apply_mutations, format_mutations
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair

KINDS = ("single", "alanine", "combinations")
# Predicted changes that spread less than this share of an interval's half-width rank nothing.
FLAT = 0.25
# Variants below which their spread says nothing.
MIN_FOR_SPREAD = 10
# Raised when what a scan holds, or how it is worked out, changes.
FORMAT_VERSION = 2

Model = Predictor | str | os.PathLike[str]


def _sha256(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def model_checksum(model: Model) -> str | None:
    """Digest of a model's configuration with the checksums of its files.

    None for a model in memory that was never written; raises `ModelError` if there is no such
    model.
    """
    loaded = isinstance(model, Predictor)
    config = model.bundle.config if loaded else read_config(find_model(model))
    if "sha256" not in config:
        return None
    return _sha256(json.dumps(config, sort_keys=True, default=str))


class ScanCache:
    """Tables of one scan, under a key of all that the answer depends on."""

    def __init__(self, parts: Sequence[str], folder: str | os.PathLike[str] | None) -> None:
        root = Path(folder) if folder is not None else cache_folder()
        self.path = root / "scans" / _sha256(json.dumps([FORMAT_VERSION, *parts]))

    def read(self) -> tuple[dict[str, pl.DataFrame], dict[str, Any]] | None:
        """Tables by name and plain values; None if there is nothing, or it is damaged."""
        damage = (OSError, ValueError, KeyError, TypeError, AttributeError)
        try:
            values = json.loads((self.path / "scan.json").read_text(encoding="utf-8"))
            tables = {}
            for name, digest in values["sha256"].items():
                data = (self.path / f"{name}.parquet").read_bytes()
                if _sha256(data) != digest:
                    return None
                tables[name] = pl.read_parquet(data)
            return tables, values["values"]
        except (*damage, pl.exceptions.PolarsError):
            return None

    def write(self, tables: Mapping[str, pl.DataFrame], values: Mapping[str, Any]) -> None:
        """Keep a scan; a folder that cannot be written leaves it unkept."""
        try:
            with atomic_folder(self.path) as folder:
                digests = {}
                for name, table in tables.items():
                    path = folder / f"{name}.parquet"
                    table.write_parquet(path)
                    digests[name] = _sha256(path.read_bytes())
                write_json(folder / "scan.json", {"sha256": digests, "values": values})
        except (OSError, OutputError):  # it is only a cache
            pass


@dataclasses.dataclass(frozen=True, slots=True)
class ScanOptions:
    """What to scan, and how to predict it."""

    alanine: bool = False  # Mutate every residue to alanine only
    combine: Sequence[Mutation] = ()  # Combinations of these instead of single mutants
    max_mutations: int = 3  # In one combination
    # Keys of `paratope.molecules.mutations.REGION_NAMES` to mutate; all by default
    regions: Sequence[str] | None = None
    # Have AntiBERTy read every variant: a campaign's full form for all, frequencies, humanness
    thorough: bool = False
    coverage: float = DEFAULT_COVERAGE  # Of the intervals
    cache: str | os.PathLike[str] | None = None  # Folder of the caches; as `EmbeddingStore`

    def variants(self, parent: Antibody) -> tuple[str, list[Mutations]]:
        """The kind of scan, one of `KINDS`, and the mutations of each of its variants."""
        check_max_mutations(self.max_mutations)
        if self.combine:
            if self.alanine or self.regions is not None:
                raise InputError(
                    "combinations are of the mutations given: no alanine scan, no regions"
                )
            return "combinations", combinations(parent, self.combine, self.max_mutations)
        if self.alanine:
            return "alanine", alanine_mutants(parent, self.regions)
        return "single", single_mutants(parent, self.regions)


@dataclasses.dataclass(frozen=True)
class Scan:
    """The predicted variants of one antibody."""

    kind: str  # One of `KINDS`
    parent: Antibody  # Cut to its variable domains
    antigens: tuple[Antigen, ...]  # The target first
    references: tuple[Reference, ...]  # The parent's prediction against each antigen
    # One row per variant: its mutations and their positions, prediction against the target and
    # change against the parent with interval, liabilities, chains; the stage if a campaign's full
    # form predicted some; frequencies and humanness of a thorough scan
    variants: pl.DataFrame
    # With several antigens: the parent and every variant against each
    specificity: pl.DataFrame | None
    coverage: float  # Of the intervals
    notes: tuple[str, ...]  # What a reader must know before believing the numbers

    @property
    def unit(self) -> str:
        """``"pkd"``, or ``"score"`` for a model adapted on scores."""
        return self.references[0].unit

    @property
    def names(self) -> tuple[str, ...]:
        """Of the antigens, no two alike."""
        return antigen_names(self.antigens)


def scan(
    model: Model,
    antibody: Antibody,
    antigens: Antigen | Sequence[Antigen],
    *,
    progress: Progress = silent,
    **options: Any,
) -> Scan:
    """Predict variants of an antibody: all single mutants, alanines, or combinations.

    Parameters
    ----------
    model : Predictor, or a folder or bundled name of one
        A folder or name is loaded only if the answer is not in the cache.
    antibody : Antibody
    antigens : Antigen, or sequence of Antigen
        The target first; others give the table of specificity.
    progress : callable
        Called with the stage, the variants predicted and all variants.
    **options
        Of `ScanOptions`: ``alanine``, ``combine``, ``max_mutations``, ``regions``, ``thorough``,
        ``coverage``, ``cache``. A campaign's fast form predicts all variants and its full form
        the best, unless all are few or the scan is thorough.

    Raises
    ------
    InputError
        If the antibody is none, has no residue in the regions, a mutation does not fit it, or the
        parent cannot be predicted.
    """
    wanted = ScanOptions(**options)
    check_options(wanted.coverage)
    targets = (antigens,) if isinstance(antigens, Antigen) else tuple(antigens)
    if not targets:
        raise InputError("no antigen given; expected at least one, the target first")
    parent, notes = prepare_antibody(antibody)
    kind, mutations = wanted.variants(parent)
    cache = cached = None
    if (checksum := model_checksum(model)) is not None:
        variants_key = _sha256("\n".join(map(format_mutations, mutations)))
        key = [__version__, checksum, variants_key, repr(wanted.coverage), "|".join(parent.chains)]
        key.append(f"thorough={wanted.thorough}")
        for antigen, name in zip(targets, antigen_names(targets), strict=True):
            key += [name, "|".join(antigen.chains)]
        cache = ScanCache(key, wanted.cache)
        cached = cache.read()
    if cached is not None:
        tables, values = cached
        references = tuple(Reference(**fields) for fields in values["references"])
    else:
        tables, references = _compute(model, parent, targets, mutations, wanted, progress)
        if cache is not None:
            cache.write(tables, {"references": list(map(dataclasses.asdict, references))})
    scanned = Scan(
        kind,
        parent,
        targets,
        references,
        tables["variants"],
        tables.get("specificity"),
        wanted.coverage,
        notes=(),
    )
    return dataclasses.replace(scanned, notes=(*notes, *_warnings(scanned)))


def _compute(
    model: Model,
    parent: Antibody,
    antigens: Sequence[Antigen],
    variants: Sequence[Mutations],
    options: ScanOptions,
    progress: Progress,
) -> tuple[dict[str, pl.DataFrame], tuple[Reference, ...]]:
    coverage, cache = options.coverage, options.cache
    predictor = model if isinstance(model, Predictor) else Predictor.load(model, cache=cache)
    antibodies = [apply_mutations(parent, mutations) for mutations in variants]
    names = [format_mutations(mutations) for mutations in variants]
    references, changes = [], []
    best: np.ndarray | None = None
    for antigen in antigens:
        pair = Pair(parent, antigen)
        pairs = [
            (name, Pair(antibody, antigen))
            for name, antibody in zip(names, antibodies, strict=True)
        ]
        references.append(predict_reference(predictor, pair, coverage))
        inputs = (predictor, pair, references[-1], pairs, coverage, progress)
        if options.thorough:
            changes.append(predict_changes(*inputs))
            continue
        changes.append(predict_changes_in_stages(*inputs, best=best))
        if "stage" in changes[0].columns:  # a selectivity compares numbers of one form
            best = np.flatnonzero((changes[0]["stage"] == "full").to_numpy())
    positions, last = position_columns(parent, variants), ("note", "error")
    chains = {
        name: [getattr(antibody, name) for antibody in antibodies] for name in ("heavy", "light")
    }
    columns = [positions, changes[0].drop(last), liability_columns(parent, antibodies)]
    if options.thorough:
        # the AntiBERTy that has just read the variants: a network's, or a campaign's
        network = predictor.model
        reader = getattr(network, "antibody_store", None) or getattr(network, "language", None)
        encoder = getattr(reader, "encoder", None)
        likelihood = Likelihood(
            encoder if isinstance(encoder, AntibertyEncoder) else None, cache, progress
        )
        columns.append(frequency_columns(likelihood, parent, variants))
        columns.append(humanness_columns(likelihood, parent, antibodies))
    columns.append(changes[0].select(last))
    columns.append(pl.DataFrame(chains, schema=dict.fromkeys(chains, pl.String)))
    tables = {"variants": pl.concat(columns, how="horizontal")}
    if len(antigens) > 1:
        tables["specificity"] = specificity_table(
            positions, antigen_names(antigens), references, changes
        )
    return tables, tuple(references)


def _warnings(scanned: Scan) -> list[str]:
    """Failed variants, flat predictions, antigens that a campaign's model was never shown."""
    warnings = []
    variants, (parent, *others), unit = scanned.variants, scanned.references, scanned.unit
    failed = variants[f"delta_{unit}"].null_count()
    if failed:
        warnings.append(
            f"{failed} of {variants.height} variants could not be predicted: see column error"
        )
    if parent.note:
        warnings.append(f"of the parent: {parent.note}")
    if is_flat(variants, unit):
        what = "ΔpKd" if unit == "pkd" else "changes of the score"
        spread, half = _spread(variants, unit)
        warnings.append(
            f"the predicted {what} are nearly flat: 90 % of them lie within {spread:.2f} of each "
            f"other, while the {percent(scanned.coverage)} interval of each is ±{half:.2f}. Do not "
            "choose mutants by them; measure a plate and adapt the model to it (paratope adapt)"
        )
    for name, reference in zip(scanned.names[1:], others, strict=True):
        if reference.note:
            warnings.append(
                f"{name}: {reference.note}, so its selectivities say nothing"
                if reference.domain == "out"
                else f"{name}: {reference.note}; what was never measured cannot show in its "
                "selectivities"
            )
    return warnings


def is_flat(variants: pl.DataFrame, unit: str) -> bool:
    """Whether predicted changes spread so little beside their intervals that they rank nothing."""
    spread, half = _spread(variants, unit)
    return spread / 2 < FLAT * half


def percent(share: float) -> str:
    """A share as a percentage: ``90 %`` for 0.9."""
    return f"{100 * share:.3g} %"


def _spread(variants: pl.DataFrame, unit: str) -> tuple[float, float]:
    """Width that holds 90 % of the changes, and the half-width of the median interval."""
    delta, low, high = (variants[name] for name in value_columns(unit)[3:6])
    known = delta.drop_nulls().to_numpy()
    if len(known) < MIN_FOR_SPREAD:
        return float("inf"), 0.0
    half = np.nanmedian((high - low).drop_nulls().to_numpy()) / 2
    return float(np.subtract(*np.quantile(known, [0.95, 0.05]))), float(half)
