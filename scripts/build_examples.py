"""Write the example campaign of examples/: two plates, a pool, a parent. Values are simulated.

Variants of trastuzumab with one to four mutations in the CDRs that touch HER2; pKd is the parent's
plus an effect of each mutation (drawn by site and kind of residue: most weaken, none strengthens by
more than 0.4) and 0.15 of noise. Below pKd 6.5 nothing binds.
"""

from pathlib import Path

import numpy as np
import polars as pl

from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.sequences import Antibody

FOLDER = Path(__file__).resolve().parents[1] / "examples"
SITES = {"H": (28, 30, 31, 33, 52, 54, 55, 57, 98, 99, 100, 101, 102, 103, 104, 105)}
SITES["L"] = (91, 92, 93, 94)
PARENT_PKD, NOISE, FLOOR = 9.0, 0.15, 6.5
KINDS = ("AGST", "FWYH", "ILV", "DE", "KR", "NQ")


def main() -> None:
    rng = np.random.default_rng(7)
    known = pl.read_csv(FOLDER / "pairs.csv").row(0, named=True)
    parent = Antibody(known["heavy"], known["light"], "trastuzumab")
    places = [
        (chain, position, residue)
        for chain, numbers in SITES.items()
        for position in numbers
        for residue in ((parent.heavy if chain == "H" else parent.light) or "")[position - 1]
    ]
    effects = {
        f"{chain}:{before}{position}{after}": min(size * (of_kind + rng.normal(-0.3, 0.4)), 0.4)
        for chain, position, before in places
        for size in rng.gamma(1.5, 0.6, 1)
        for kind in KINDS
        for of_kind in rng.normal(-0.5, 0.7, 1)
        for after in kind.replace(before, "")
    }
    # mutations recur, as in a library: a dozen that strengthen, the others at random
    liked = sorted(effects, key=lambda name: -effects[name] + rng.normal(0, 0.5))[:40]
    variants: dict[str, float] = {}
    while len(variants) < 400:
        chosen = rng.choice(liked if rng.random() < 0.6 else list(effects), rng.integers(1, 5))
        if len({name[:-1] for name in chosen}) == len(chosen):
            name = ",".join(sorted(chosen, key=lambda mutation: (mutation[0], int(mutation[3:-1]))))
            variants[name] = PARENT_PKD + sum(effects[mutation] for mutation in chosen)
    rows = [("trastuzumab WT", parent.heavy, parent.light, PARENT_PKD)] * 2
    for number, (mutations, pkd) in enumerate(variants.items(), start=1):
        made = apply_mutations(parent, parse_mutations(mutations, parent))
        rows.append((f"T{number:03}", made.heavy, made.light, pkd))
    noisy = [pkd + NOISE * rng.standard_normal() for *_, pkd in rows]
    kd_nM = [f"{10 ** (9 - pkd):.3g}" if pkd > FLOOR else "n.b." for pkd in noisy]
    frame = pl.DataFrame(rows, ("id", "heavy", "light", "pkd"), orient="row")
    frame = frame.with_columns(kd_nM=pl.Series(kd_nM)).drop("pkd")
    pool = frame[80:]
    best = pool.with_row_index().filter(np.array(noisy[80:]) > PARENT_PKD)
    single = {name: known[name] for name in ("heavy", "light", "antigen")}
    pl.DataFrame({"id": parent.name, **single}).write_csv(FOLDER / "parent.csv")
    frame[:80].write_csv(FOLDER / "plate-1.csv")
    best.head(24).drop("index").write_csv(FOLDER / "plate-2.csv")
    pool.drop("kd_nM").write_csv(FOLDER / "pool.csv")
    text = f">HER2 extracellular domain\n{known['antigen']}\n"
    (FOLDER / "her2.fasta").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
