"""Simulated measurements with known truth: landscapes for recovery, calibration and power tests.

A pair's true pKd is a sum of four kinds of terms,

    pKd = level(antigen) + level(background)
        + sum over slots of additive(slot, residue)
        + sum over interacting slots of epistatic(pair, residue, residue)
        + sum over contacts of contact(residue of the antibody, residue of the antigen),

where the slots are CDR positions of germline-like backgrounds. A contact's energy is the dot
product of two vectors of residue properties, so it transfers between antigens as far as their
residues do. Loops vary in length without any effect on the pKd. Measurements add the assay's offset
and normal noise, are rounded, and are censored at the assay's floor and ceiling.
"""

import dataclasses
import json
import math
from typing import Any

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import PKD_MAX_MEASURABLE, PKD_MIN_MEASURABLE
from paratope.data.datasets.backgrounds import (
    BACKGROUNDS,
    LIGHT_SLOTS,
    LOOP_FILLER,
    MUTABLE,
    SLOTS,
    build_antibody,
    parent_residues,
)
from paratope.data.measurements import Conditions, Measurement, Origin
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair

LICENCE = "CC0-1.0"
MIN_ANTIGEN_RESIDUES = 80
MAX_ANTIGEN_RESIDUES = 240
# Share of each residue in proteins at large, in the order of AMINO_ACIDS.
_FREQUENCIES = np.array(
    [
        8.3, 1.4, 5.5, 6.7, 3.9, 7.1, 2.3, 5.9, 5.8, 9.7,
        2.4, 4.1, 4.7, 3.9, 5.5, 6.6, 5.4, 6.9, 1.1, 2.9,
    ]
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Truth:
    """What the simulation knows and a table does not say.

    Attributes
    ----------
    pkd : numpy.ndarray
        True pKd of each measurement's pair, before offset, noise, rounding and censoring; (rows,).
    antibody, antigen, assay, background : numpy.ndarray
        Index of each measurement's antibody, antigen, assay and background; (rows,).
    matrix : numpy.ndarray
        True pKd of every antibody with every antigen; (antibodies, antigens).
    residues : numpy.ndarray
        Index into `AMINO_ACIDS` of each antibody's slots; (antibodies, slots).
    additive : numpy.ndarray
        Effect of each residue (columns as `AMINO_ACIDS`) in each of `SLOTS`; each row sums to zero.
    epistatic_slots : numpy.ndarray
        Pairs of interacting slots; (pairs, 2).
    epistatic : numpy.ndarray
        Effect of two residues in them; (pairs, 20, 20).
    contact_slots : numpy.ndarray
        Slots that touch the antigen; (contacts,).
    contact_sites : numpy.ndarray
        Index of the antigen's residue each of them touches; (antigens, contacts).
    contact : numpy.ndarray
        Energy of an antibody's residue beside an antigen's; (20, 20).
    antigen_levels, background_levels, assay_offsets : numpy.ndarray
    parameters : dict
        The arguments of `simulate`.
    """

    pkd: np.ndarray
    antibody: np.ndarray
    antigen: np.ndarray
    assay: np.ndarray
    background: np.ndarray
    matrix: np.ndarray
    residues: np.ndarray
    additive: np.ndarray
    epistatic_slots: np.ndarray
    epistatic: np.ndarray
    contact_slots: np.ndarray
    contact_sites: np.ndarray
    contact: np.ndarray
    antigen_levels: np.ndarray
    background_levels: np.ndarray
    assay_offsets: np.ndarray
    parameters: dict[str, Any]

    def to_json(self) -> str:
        """The truth as JSON: arrays as nested lists; the slots' names and the residues' order."""
        record: dict[str, Any] = {"slots": list(SLOTS), "residue_order": AMINO_ACIDS}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value = (np.round(value, 6) if value.dtype.kind == "f" else value).tolist()
            record[field.name] = value
        return json.dumps(record, sort_keys=True) + "\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Simulation:
    """Measurements and the truth behind them, row for row."""

    measurements: tuple[Measurement, ...]
    truth: Truth


def simulate(
    *,
    antibodies: int = 200,
    antigens: int = 3,
    assays: int = 1,
    replicates: int = 1,
    measured: float = 1.0,
    backgrounds: int = 2,
    mutations: float = 5.0,
    additive_sd: float = 0.3,
    epistatic_sd: float = 0.15,
    contact_sd: float = 0.1,
    antigen_sd: float = 0.4,
    assay_offset_sd: float = 0.25,
    noise_sd: float = 0.3,
    mean_pkd: float = 7.5,
    floor_pkd: float | None = None,
    ceiling_pkd: float | None = None,
    decimals: int | None = 3,
    light_chains: bool = True,
    seed: int = 0,
) -> Simulation:
    """Simulate measurements of antibodies against antigens; the same arguments give the same rows.

    Parameters
    ----------
    antibodies, antigens, assays : int
        How many of each.
    replicates : int
        Measurements of a pair in an assay, each with its own noise.
    measured : float
        Share of all (antibody, antigen, assay) combinations that are measured, in (0, 1].
    backgrounds : int
        How many of `BACKGROUNDS` the antibodies are made from.
    mutations : float
        Mean number of slots in which an antibody differs from its background.
    additive_sd, epistatic_sd, contact_sd : float
        Standard deviation of one slot's effect, one interacting pair's, one contact's, in pKd.
    antigen_sd : float
        Standard deviation of the antigens' levels; the backgrounds' is half of it.
    assay_offset_sd : float
        Standard deviation of the assays' offsets; the first assay has none.
    noise_sd : float
        Standard deviation of one measurement, log10.
    mean_pkd : float
        Mean level of the unmutated backgrounds.
    floor_pkd, ceiling_pkd : float, optional
        Weaker (stronger) values are reported as bounds at this pKd, in every assay.
    decimals : int or None
        Rounding of the reported pKd; None keeps every digit.
    light_chains : bool
        False simulates single domains: no light chain, and no effect of its slots.
    seed : int

    Returns
    -------
    Simulation

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> simulation = simulate(antibodies=20, antigens=2, noise_sd=0.0, decimals=None, seed=1)
    >>> len(simulation.measurements), simulation.truth.matrix.shape
    (40, (20, 2))
    >>> row = simulation.measurements[7]
    >>> row.pkd == float(simulation.truth.pkd[7])
    True
    """
    parameters = dict(locals())
    _check(parameters)
    # one stream for each part, so that more rows do not change the landscape
    streams = np.random.default_rng(seed).spawn(4)
    landscape = _landscape(streams[0], parameters)
    antibody_list, residues, parents, background = _antibodies(streams[1], parameters)
    # a background's level is that of its unmutated antibody
    landscape["background_levels"] -= _own_energy(landscape, parents)
    antigen_list, sites = _antigens(streams[2], antigens, len(landscape["contact_slots"]))
    matrix = _matrix(landscape, residues, background, sites)

    rng = streams[3]
    cells = np.stack(
        np.meshgrid(np.arange(antibodies), np.arange(antigens), np.arange(assays), indexing="ij"),
        axis=-1,
    ).reshape(-1, 3)
    if measured < 1.0:
        count = max(1, round(measured * len(cells)))
        cells = cells[np.sort(rng.choice(len(cells), count, replace=False))]
    cells = np.repeat(cells, replicates, axis=0)
    of_antibody, of_antigen, of_assay = cells.T
    true = matrix[of_antibody, of_antigen]
    value = true + landscape["assay_offsets"][of_assay] + noise_sd * rng.normal(size=len(true))
    if decimals is not None:
        value = np.round(value, decimals)
    measurements = _measurements(
        value, cells, antibody_list, antigen_list, parameters, (floor_pkd, ceiling_pkd)
    )
    truth = Truth(
        pkd=true,
        antibody=of_antibody,
        antigen=of_antigen,
        assay=of_assay,
        background=background[of_antibody],
        matrix=matrix,
        residues=residues,
        contact_sites=sites[1],
        parameters=parameters,
        **landscape,
    )
    return Simulation(measurements, truth)


def _check(parameters: dict[str, Any]) -> None:
    for name in ("antibodies", "antigens", "assays", "replicates", "backgrounds"):
        if parameters[name] < 1:
            raise InputError(f"simulate: {name} must be at least 1, got {parameters[name]}")
    if parameters["backgrounds"] > len(BACKGROUNDS):
        raise InputError(
            f"simulate: backgrounds must be at most {len(BACKGROUNDS)}, "
            f"got {parameters['backgrounds']}"
        )
    if not 0.0 < parameters["measured"] <= 1.0:
        raise InputError(f"simulate: measured must be in (0, 1], got {parameters['measured']}")
    for name, value in parameters.items():
        if name.endswith("_sd") and not (math.isfinite(value) and value >= 0.0):
            raise InputError(f"simulate: {name} must be a number of at least 0, got {value}")
    if not 0.0 <= parameters["mutations"] <= len(SLOTS):
        raise InputError(
            f"simulate: mutations must be between 0 and {len(SLOTS)}, got {parameters['mutations']}"
        )
    floor, ceiling = parameters["floor_pkd"], parameters["ceiling_pkd"]
    for name in ("mean_pkd", "floor_pkd", "ceiling_pkd"):
        value = parameters[name]
        if value is not None and not PKD_MIN_MEASURABLE <= value <= PKD_MAX_MEASURABLE:
            raise InputError(
                f"simulate: {name} must be between {PKD_MIN_MEASURABLE:g} and "
                f"{PKD_MAX_MEASURABLE:g}, got {value}"
            )
    if floor is not None and ceiling is not None and floor >= ceiling:
        raise InputError(f"simulate: floor_pkd {floor} must be below ceiling_pkd {ceiling}")


def _landscape(rng: np.random.Generator, parameters: dict[str, Any]) -> dict[str, np.ndarray]:
    slots, letters = len(SLOTS), len(AMINO_ACIDS)
    used = slots if parameters["light_chains"] else slots - LIGHT_SLOTS
    additive = rng.normal(size=(slots, letters))
    additive -= additive.mean(axis=1, keepdims=True)
    additive[used:] = 0.0
    order = rng.permutation(used)
    pairs = np.sort(order[: used // 2 * 2].reshape(-1, 2), axis=1)
    epistatic = rng.normal(size=(len(pairs), letters, letters))
    # both margins are taken out: what is left is epistasis, not additive effects in disguise
    epistatic -= epistatic.mean(axis=1, keepdims=True)
    epistatic -= epistatic.mean(axis=2, keepdims=True)
    properties = 3
    left, right = rng.normal(size=(2, letters, properties))
    contact = left @ right.T / math.sqrt(properties)
    contact -= contact.mean()
    offsets = parameters["assay_offset_sd"] * rng.normal(size=parameters["assays"])
    offsets[0] = 0.0
    antigen_levels = parameters["antigen_sd"] * rng.normal(size=parameters["antigens"])
    background_levels = 0.5 * parameters["antigen_sd"] * rng.normal(size=len(BACKGROUNDS))
    return {
        "additive": parameters["additive_sd"] * additive,
        "epistatic_slots": pairs,
        "epistatic": parameters["epistatic_sd"] * epistatic,
        "contact_slots": np.sort(rng.choice(used, 8, replace=False)),
        "contact": parameters["contact_sd"] * contact,
        "antigen_levels": parameters["mean_pkd"] + antigen_levels,
        "background_levels": background_levels[: parameters["backgrounds"]],
        "assay_offsets": offsets,
    }


def _antibodies(
    rng: np.random.Generator, parameters: dict[str, Any]
) -> tuple[list[Antibody], np.ndarray, np.ndarray, np.ndarray]:
    """Distinct antibodies, their slots' residues, their parents' residues, their backgrounds."""
    count, kinds = parameters["antibodies"], parameters["backgrounds"]
    light_chains = parameters["light_chains"]
    background = np.arange(count) % kinds
    parents = parent_residues(kinds, rng)
    residues = parents[background]
    mutated = rng.random(residues.shape) < parameters["mutations"] / len(SLOTS)
    residues = np.where(mutated, rng.choice(MUTABLE, size=residues.shape), residues)
    if not light_chains:
        residues[:, -LIGHT_SLOTS:] = parents[background][:, -LIGHT_SLOTS:]
    lengths = rng.integers(0, 7, size=count)
    filler = rng.choice(list(LOOP_FILLER), size=(count, 7))
    seen: set[tuple[str, ...]] = set()
    antibodies = []
    for number in range(count):
        kind = BACKGROUNDS[background[number]]
        name = f"antibody-{number + 1}"
        loop = "".join(filler[number, : lengths[number]])
        antibody = build_antibody(kind, residues[number], loop, light_chains, name)
        while antibody.chains in seen:
            # two antibodies came out alike: a longer inert loop makes them two
            loop += LOOP_FILLER[rng.integers(len(LOOP_FILLER))]
            antibody = build_antibody(kind, residues[number], loop, light_chains, name)
        seen.add(antibody.chains)
        antibodies.append(antibody)
    return antibodies, residues, parents, background


def _antigens(
    rng: np.random.Generator, count: int, contacts: int
) -> tuple[list[Antigen], tuple[np.ndarray, np.ndarray]]:
    """Antigens of natural composition; residues and indices of their contact sites."""
    shares = _FREQUENCIES / _FREQUENCIES.sum()
    antigens = []
    residues = np.empty((count, contacts), dtype=int)
    sites = np.empty((count, contacts), dtype=int)
    for number in range(count):
        length = int(rng.integers(MIN_ANTIGEN_RESIDUES, MAX_ANTIGEN_RESIDUES + 1))
        sequence = rng.choice(len(AMINO_ACIDS), size=length, p=shares)
        sites[number] = np.sort(rng.choice(length, contacts, replace=False))
        residues[number] = sequence[sites[number]]
        text = "M" + "".join(AMINO_ACIDS[index] for index in sequence[1:])
        residues[number][sites[number] == 0] = AMINO_ACIDS.index("M")
        antigens.append(Antigen((text,), f"antigen-{number + 1}"))
    return antigens, (residues, sites)


def _own_energy(landscape: dict[str, np.ndarray], residues: np.ndarray) -> np.ndarray:
    """Additive and epistatic part of each row of slots' residues; (rows,)."""
    additive = landscape["additive"][np.arange(residues.shape[1]), residues].sum(axis=1)
    first, second = landscape["epistatic_slots"].T
    pairs = np.arange(len(first))
    epistatic = landscape["epistatic"][pairs, residues[:, first], residues[:, second]].sum(axis=1)
    return additive + epistatic


def _matrix(
    landscape: dict[str, np.ndarray],
    residues: np.ndarray,
    background: np.ndarray,
    sites: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    touching = residues[:, landscape["contact_slots"]]  # (antibodies, contacts)
    contact = landscape["contact"][touching[:, None, :], sites[0][None, :, :]].sum(axis=2)
    own = _own_energy(landscape, residues) + landscape["background_levels"][background]
    return own[:, None] + landscape["antigen_levels"][None, :] + contact


def _measurements(
    value: np.ndarray,
    cells: np.ndarray,
    antibodies: list[Antibody],
    antigens: list[Antigen],
    parameters: dict[str, Any],
    limits: tuple[float | None, float | None],
) -> tuple[Measurement, ...]:
    floor, ceiling = limits
    conditions = Conditions(
        "Fab" if parameters["light_chains"] else "VHH", "simulation", temperature_K=298.15
    )
    source = f"simulated-{parameters['seed']}"
    rows = []
    for row, (pkd, (i, j, k)) in enumerate(
        zip(value.tolist(), cells.tolist(), strict=True), start=1
    ):
        censoring = Censoring.EXACT
        if floor is not None and pkd < floor:
            pkd, censoring = floor, Censoring.AT_MOST
        elif ceiling is not None and pkd > ceiling:
            pkd, censoring = ceiling, Censoring.AT_LEAST
        origin = Origin(source=source, row=row, licence=LICENCE)
        pair = Pair(antibodies[i], antigens[j])
        assay = f"assay-{k + 1}"
        rows.append(
            Measurement(pair, pkd, censoring, assay=assay, conditions=conditions, origin=origin)
        )
    return tuple(rows)
