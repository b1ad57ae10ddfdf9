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
import importlib.resources
import json
import math
from typing import Any

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import PKD_MAX_MEASURABLE, PKD_MIN_MEASURABLE
from paratope.data.measurements import Conditions, Measurement, Origin
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair

LICENCE = "CC0-1.0"
MIN_ANTIGEN_RESIDUES = 80
MAX_ANTIGEN_RESIDUES = 240
MAX_ROWS, MAX_SD = 1_000_000, 10.0
# Share (%) of each residue in proteins at large, in the order of AMINO_ACIDS.
_FREQUENCIES = np.array(
    ("8.3 1.4 5.5 6.7 3.9 7.1 2.3 5.9 5.8 9.7 2.4 4.1 4.7 3.9 5.5 6.6 5.4 6.9 1.1 2.9").split(),
    float,
)
# Residues a mutation may bring: no cysteine, which would pair, and no proline.
_MUTABLE = np.array([AMINO_ACIDS.index(letter) for letter in "ADEFGHIKLMNQRSTVWY"])
_LOOP_FILLER = "GSYDA"
_RESIDUE_PROPERTIES = 3
_CONTACTS = 8

# The slots: six of CDR-H1 (from its third residue), six of CDR-H2 (from its second), eight of
# CDR-H3, and five of CDR-L3, the only ones of a light chain.
_SLOT_COUNTS = {"H1": 6, "H2": 6, "H3": 8, "L3": 5}
_LIGHT_SLOTS = _SLOT_COUNTS["L3"]
_LOOP_ENDS = np.cumsum(list(_SLOT_COUNTS.values())).tolist()
SLOTS: tuple[str, ...] = tuple(
    f"{loop}:{number}" for loop, count in _SLOT_COUNTS.items() for number in range(1, count + 1)
)


@dataclasses.dataclass(frozen=True, slots=True)
class Background:
    """A germline-like antibody: frameworks and CDRs in turn, CDR-H3 left to the simulation."""

    name: str  # germline genes
    heavy: str  # FR1 CDR1 FR2 CDR2, FR3 with the start of CDR3, the end of CDR3 with FR4
    light: str  # FR1 to FR3, the five varied residues of CDR3, the rest

    def residues(self, loop: np.ndarray) -> np.ndarray:
        """Indices into `AMINO_ACIDS` of its slots, `loop` in those of CDR-H3; (slots,)."""
        _, cdr1, _, cdr2, _, _ = self.heavy.split()
        _, cdr3, _ = self.light.split()
        germline = [
            np.array([AMINO_ACIDS.index(letter) for letter in text])
            for text in (cdr1[2:], cdr2[1:-1], cdr3)
        ]
        return np.concatenate([*germline[:2], loop, germline[2]])

    def antibody(self, residues: np.ndarray, filler: str, light_chain: bool, name: str) -> Antibody:
        """The antibody with these residues in its slots and an inert loop within CDR-H3."""
        text = "".join(AMINO_ACIDS[index] for index in residues)
        h1, h2, h3, l3 = (
            text[start:end] for start, end in zip([0, *_LOOP_ENDS], _LOOP_ENDS, strict=False)
        )
        fr1, cdr1, fr2, cdr2, fr3, fr4 = self.heavy.split()
        heavy = fr1 + cdr1[:2] + h1 + fr2 + cdr2[:1] + h2 + cdr2[-1:] + fr3 + h3 + filler + fr4
        start, _, end = self.light.split()
        return Antibody(heavy, start + l3 + end if light_chain else None, name)


_GERMLINES = importlib.resources.files("paratope.data.datasets") / "germlines.csv"
BACKGROUNDS: tuple[Background, ...] = tuple(
    Background(*line.split(","))
    for line in _GERMLINES.read_text("utf-8").splitlines()
    if not line.startswith(("#", "name"))
)


# What settings may be, by the end of their names
_RANGES = {
    **dict.fromkeys(("antibodies", "antigens", "assays", "replicates"), (1, math.inf)),
    "backgrounds": (1, len(BACKGROUNDS)),
    "measured": (1e-9, 1.0),
    "mutations": (0.0, len(SLOTS)),
    "_sd": (0.0, MAX_SD),
    "_pkd": (PKD_MIN_MEASURABLE, PKD_MAX_MEASURABLE),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSettings:
    """What `simulate` is asked for; raises `InputError` if a value is out of range."""

    antibodies: int = 200
    antigens: int = 3
    assays: int = 1
    replicates: int = 1  # measurements of a pair in an assay, each with its own noise
    measured: float = 1.0  # share of all (antibody, antigen, assay) that is measured, in (0, 1]
    backgrounds: int = 2  # how many of `BACKGROUNDS` the antibodies are made from
    mutations: float = 5.0  # mean number of slots in which an antibody differs from its background
    additive_sd: float = 0.3  # SD of one slot's effect (all SDs in pKd)
    epistatic_sd: float = 0.15  # SD of one interacting pair's effect
    contact_sd: float = 0.1  # SD of one contact's effect
    antigen_sd: float = 0.4  # SD of the antigens' levels; the backgrounds' is half of it
    assay_offset_sd: float = 0.25  # SD of the assays' offsets; the first assay has none
    noise_sd: float = 0.3  # SD of one measurement
    mean_pkd: float = 7.5  # mean level of the unmutated backgrounds
    floor_pkd: float | None = None  # weaker values are reported as bounds at it, in every assay
    ceiling_pkd: float | None = None  # stronger ones, likewise
    decimals: int | None = 3  # of the reported pKd; None keeps every digit
    light_chains: bool = True  # False: single domains, and no effect of the light chain's slots
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            key = next((key for key in _RANGES if name.endswith(key)), "")
            low, high = _RANGES.get(key, (0, 0))
            if key and value is not None and not low <= value <= high:
                most = f" and at most {high:g}" * (high < math.inf)
                raise InputError(f"simulate: {name} must be at least {low:g}{most}, got {value}")
        rows = self.antibodies * self.antigens * self.assays * self.replicates
        if rows > MAX_ROWS:
            raise InputError(
                f"simulate: {self.antibodies} antibodies, {self.antigens} antigens, {self.assays} "
                f"assays and {self.replicates} replicates are {rows:.3g} measurements, about "
                f"{rows * 2.7e-6:.3g} GB of memory; at most {MAX_ROWS:,} are simulated at once"
            )
        floor, ceiling = self.floor_pkd, self.ceiling_pkd
        if floor is not None and ceiling is not None and floor >= ceiling:
            raise InputError(f"simulate: floor_pkd {floor} must be below ceiling_pkd {ceiling}")


@dataclasses.dataclass(frozen=True, slots=True)
class Truth:
    """What the simulation knows and a table does not say; residues are indices into AMINO_ACIDS."""

    pkd: np.ndarray  # (rows,) of each measurement's pair: no offset, noise, rounding or censoring
    antibody: np.ndarray  # (rows,) index of each measurement's antibody
    antigen: np.ndarray  # (rows,)
    assay: np.ndarray  # (rows,)
    background: np.ndarray  # (rows,)
    matrix: np.ndarray  # (antibodies, antigens) pKd of every antibody with every antigen
    residues: np.ndarray  # (antibodies, slots)
    additive: np.ndarray  # (slots, 20) effect of a residue in a slot; rows sum to zero
    epistatic_slots: np.ndarray  # (pairs, 2) slots that interact
    epistatic: np.ndarray  # (pairs, 20, 20) effect of two residues in them
    contact_slots: np.ndarray  # (contacts,) slots that touch the antigen
    contact_sites: np.ndarray  # (antigens, contacts) index of the antigen's residue they touch
    contact: np.ndarray  # (20, 20) energy of an antibody's residue beside an antigen's
    antigen_levels: np.ndarray  # (antigens,)
    background_levels: np.ndarray  # (backgrounds,)
    assay_offsets: np.ndarray  # (assays,)
    parameters: dict[str, Any]  # the settings

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


def simulate(**settings: Any) -> Simulation:
    """Simulate measurements of antibodies against antigens; equal arguments give equal rows.

    The arguments are the fields of `SimulationSettings`, each with a default; raises `InputError`
    if one is out of range.

    >>> simulation = simulate(antibodies=20, antigens=2, noise_sd=0.0, decimals=None, seed=1)
    >>> len(simulation.measurements), simulation.truth.matrix.shape
    (40, (20, 2))
    >>> row = simulation.measurements[7]
    >>> row.pkd == float(simulation.truth.pkd[7])
    True
    """
    asked = SimulationSettings(**settings)
    # one stream for each part, so that more rows do not change the landscape
    streams = np.random.default_rng(asked.seed).spawn(4)
    landscape = _landscape(streams[0], asked)
    antibodies, residues, parents, background = _antibodies(streams[1], asked)
    # a background's level is that of its unmutated antibody
    landscape["background_levels"] -= _intramolecular(landscape, parents)
    antigens, contact_sites, contact_residues = _antigens(streams[2], asked.antigens)

    touching = residues[:, landscape["contact_slots"]]  # (antibodies, contacts)
    contact = landscape["contact"][touching[:, None, :], contact_residues[None, :, :]].sum(axis=2)
    level = _intramolecular(landscape, residues) + landscape["background_levels"][background]
    matrix = level[:, None] + landscape["antigen_levels"][None, :] + contact

    rng = streams[3]
    shape = (asked.antibodies, asked.antigens, asked.assays)
    cells = np.indices(shape).reshape(3, -1).T
    if asked.measured < 1.0:
        count = max(1, round(asked.measured * len(cells)))
        cells = cells[np.sort(rng.choice(len(cells), count, replace=False))]
    cells = np.repeat(cells, asked.replicates, axis=0)
    antibody, antigen, assay = cells.T
    pkd = matrix[antibody, antigen]
    value = pkd + landscape["assay_offsets"][assay] + asked.noise_sd * rng.normal(size=len(pkd))
    if asked.decimals is not None:
        value = np.round(value, asked.decimals)
    floor = -np.inf if asked.floor_pkd is None else asked.floor_pkd
    ceiling = np.inf if asked.ceiling_pkd is None else asked.ceiling_pkd
    bounds = np.where(value < floor, -1, np.where(value > ceiling, 1, 0))
    construct = "Fab" if asked.light_chains else "VHH"
    conditions = Conditions(construct, "simulation", temperature_K=298.15)
    each = zip(cells.tolist(), value.clip(floor, ceiling).tolist(), bounds.tolist(), strict=True)
    measurements = tuple(
        Measurement(
            Pair(antibodies[i], antigens[j]),
            reported,
            Censoring(bound),
            assay=f"assay-{k + 1}",
            conditions=conditions,
            origin=Origin(f"simulated-{asked.seed}", row, LICENCE),
        )
        for row, ((i, j, k), reported, bound) in enumerate(each, start=1)
    )
    truth = Truth(
        pkd=pkd,
        antibody=antibody,
        antigen=antigen,
        assay=assay,
        background=background[antibody],
        matrix=matrix,
        residues=residues,
        contact_sites=contact_sites,
        parameters=dataclasses.asdict(asked),
        **landscape,
    )
    return Simulation(measurements, truth)


def _landscape(rng: np.random.Generator, settings: SimulationSettings) -> dict[str, np.ndarray]:
    slots, letters = len(SLOTS), len(AMINO_ACIDS)
    used = slots if settings.light_chains else slots - _LIGHT_SLOTS
    additive = rng.normal(size=(slots, letters))
    additive -= additive.mean(axis=1, keepdims=True)
    additive[used:] = 0.0
    order = rng.permutation(used)
    pairs = np.sort(order[: used // 2 * 2].reshape(-1, 2), axis=1)
    epistatic = rng.normal(size=(len(pairs), letters, letters))
    # both margins are taken out: what is left is epistasis, not additive effects in disguise
    epistatic -= epistatic.mean(axis=1, keepdims=True)
    epistatic -= epistatic.mean(axis=2, keepdims=True)
    left, right = rng.normal(size=(2, letters, _RESIDUE_PROPERTIES))
    contact = left @ right.T / math.sqrt(_RESIDUE_PROPERTIES)
    contact -= contact.mean()
    offsets = settings.assay_offset_sd * rng.normal(size=settings.assays)
    offsets[0] = 0.0
    antigen_levels = settings.antigen_sd * rng.normal(size=settings.antigens)
    background_levels = 0.5 * settings.antigen_sd * rng.normal(size=len(BACKGROUNDS))
    return {
        "additive": settings.additive_sd * additive,
        "epistatic_slots": pairs,
        "epistatic": settings.epistatic_sd * epistatic,
        "contact_slots": np.sort(rng.choice(used, _CONTACTS, replace=False)),
        "contact": settings.contact_sd * contact,
        "antigen_levels": settings.mean_pkd + antigen_levels,
        "background_levels": background_levels[: settings.backgrounds],
        "assay_offsets": offsets,
    }


def _antibodies(
    rng: np.random.Generator, settings: SimulationSettings
) -> tuple[list[Antibody], np.ndarray, np.ndarray, np.ndarray]:
    """Distinct antibodies, their slots' residues, the backgrounds' residues, their backgrounds."""
    count, kinds = settings.antibodies, BACKGROUNDS[: settings.backgrounds]
    background = np.arange(count) % len(kinds)
    # no germline gene encodes CDR-H3: its residues are drawn
    loops = rng.choice(_MUTABLE, size=(len(kinds), _SLOT_COUNTS["H3"]))
    parents = np.stack([kind.residues(loop) for kind, loop in zip(kinds, loops, strict=True)])
    residues = parents[background]
    mutated = rng.random(residues.shape) < settings.mutations / len(SLOTS)
    residues = np.where(mutated, rng.choice(_MUTABLE, size=residues.shape), residues)
    if not settings.light_chains:
        residues[:, -_LIGHT_SLOTS:] = parents[background][:, -_LIGHT_SLOTS:]
    lengths = rng.integers(0, 7, size=count)
    fillers = rng.choice(list(_LOOP_FILLER), size=(count, 7))
    seen: set[tuple[str, ...]] = set()
    antibodies = []
    for index in range(count):
        filler = "".join(fillers[index, : lengths[index]])
        while True:
            antibody = kinds[background[index]].antibody(
                residues[index], filler, settings.light_chains, f"antibody-{index + 1}"
            )
            if antibody.chains not in seen:
                break
            # two antibodies came out equal: a longer inert loop makes them two
            filler += _LOOP_FILLER[rng.integers(len(_LOOP_FILLER))]
        seen.add(antibody.chains)
        antibodies.append(antibody)
    return antibodies, residues, parents, background


def _antigens(rng: np.random.Generator, count: int) -> tuple[list[Antigen], np.ndarray, np.ndarray]:
    """Antigens of natural composition; indices and residues of their contact sites."""
    shares = _FREQUENCIES / _FREQUENCIES.sum()
    antigens = []
    sites = np.empty((count, _CONTACTS), dtype=int)
    residues = np.empty((count, _CONTACTS), dtype=int)
    for index in range(count):
        length = int(rng.integers(MIN_ANTIGEN_RESIDUES, MAX_ANTIGEN_RESIDUES + 1))
        sequence = rng.choice(len(AMINO_ACIDS), size=length, p=shares)
        sequence[0] = AMINO_ACIDS.index("M")
        sites[index] = np.sort(rng.choice(length, _CONTACTS, replace=False))
        residues[index] = sequence[sites[index]]
        text = "".join(AMINO_ACIDS[residue] for residue in sequence)
        antigens.append(Antigen((text,), f"antigen-{index + 1}"))
    return antigens, sites, residues


def _intramolecular(landscape: dict[str, np.ndarray], residues: np.ndarray) -> np.ndarray:
    """Additive and epistatic part of each row of slots' residues; (rows,)."""
    additive = landscape["additive"][np.arange(residues.shape[1]), residues].sum(axis=1)
    first, second = landscape["epistatic_slots"].T
    pairs = np.arange(len(first))
    epistatic = landscape["epistatic"][pairs, residues[:, first], residues[:, second]].sum(axis=1)
    return additive + epistatic
