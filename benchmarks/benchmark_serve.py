"""A server under load, each number beside its target.

python benchmarks/benchmark_serve.py [--quick] [-o benchmarks/results]

A real server on a free port of this machine, asked over sockets of loopback by this process, which
shares its cores. "Uncached" antibodies are variants that no one has asked for before, against two
antigens; "cached" ones were asked for before. Overload is clients that ask for 200 new pairs each,
without rest and without heeding Retry-After.
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import polars as pl

import paratope
from results_writer import RESULTS, circumstances, write_results

ROOT = Path(__file__).parents[1]
PAIRS = pl.read_csv(ROOT / "examples" / "pairs.csv").select("id", "heavy", "light", "antigen")
PAIRS = PAIRS.fill_null("").to_dicts()
CLIENTS = 64
PACKAGES = ("paratope", "fastapi", "uvicorn", "polars", "numpy")
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


class Server:
    """A server in a process of its own, with a new folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> float:
        """Start it; seconds until it is healthy."""
        begin = time.perf_counter()
        command = [sys.executable, "-m", "paratope", "serve", "--port", "0", "--folder"]
        log = self.folder.with_suffix(".log")
        with log.open("w") as file:
            self.process = subprocess.Popen([*command, str(self.folder)], stderr=file)
        while not (match := re.search(r"http://\S+", log.read_text())):
            time.sleep(0.02)
        self.address = match[0]
        while self.status() != 200:
            time.sleep(0.02)
        return time.perf_counter() - begin

    def status(self) -> int:
        """Of its health; 0 where it does not answer."""
        try:
            return httpx2.get(f"{self.address}/health", timeout=5).status_code
        except httpx2.TransportError:
            return 0

    def memory_mb(self) -> float:
        """Resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000


def variants(count: int, seed: int) -> list[dict[str, str]]:
    """Double mutants of an antibody's framework, against two antigens."""
    draw, rows = random.Random(seed), []
    for number in range(count):
        pair = PAIRS[(0, 4)[number % 2]]
        heavy = list(pair["heavy"])
        for place in draw.sample(range(len(heavy)), 3):
            heavy[place] = draw.choice(RESIDUES)
        rows.append({**pair, "id": f"v{number}", "heavy": "".join(heavy)})
    return rows


def ask_all(
    address: str, rows: list[dict[str, str]], clients: int
) -> tuple[float, list[float], list[Any]]:
    """Ask for single rows by some clients; seconds altogether, of each (ms), and the answers."""
    latencies: list[float] = []
    answers: list[Any] = [None] * len(rows)

    def client(number: int) -> None:
        # the plainest client there is: it shares the cores with the server
        session = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
        for index in range(number, len(rows), clients):
            body = json.dumps({"pairs": [rows[index]]})
            begin = time.perf_counter()
            session.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
            answer = session.getresponse()
            content = answer.read()
            latencies.append(1000 * (time.perf_counter() - begin))
            if answer.status == 200:
                answers[index] = json.loads(content)["predictions"][0]
        session.close()

    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return time.perf_counter() - begin, latencies, answers


def overload(server: Server, seconds: float) -> dict[str, Any]:
    """Far more than it can answer; what it says, its memory, and when it is well again."""
    end, codes, largest = time.monotonic() + seconds, [], [0.0]
    lock = threading.Lock()
    without = []

    def client(number: int) -> None:
        seed = 0
        with httpx2.Client(base_url=server.address, timeout=120) as session:
            while time.monotonic() < end:
                seed += 1
                pairs = variants(200, 1000 * number + seed)
                answer = session.post("/v1/predict", json={"pairs": pairs})
                with lock:
                    codes.append(answer.status_code)
                    if answer.status_code in (429, 503) and "retry-after" not in answer.headers:
                        without.append(answer.status_code)
                    largest[0] = max(largest[0], server.memory_mb())

    before = server.memory_mb()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    begin = time.perf_counter()
    answer = httpx2.post(f"{server.address}/v1/predict", json={"pairs": [PAIRS[0]]}, timeout=60)
    assert answer.status_code == 200
    return {
        "requests": len(codes),
        "codes": {str(code): codes.count(code) for code in sorted(set(codes))},
        "without_retry_after": len(without),
        "memory_mb_before": round(before),
        "memory_mb_most": round(largest[0]),
        "seconds_to_healthy": round(time.perf_counter() - begin, 2),
    }


def killed(folder: Path, jobs: int) -> dict[str, Any]:
    """Kill -9 in the midst of jobs, start again; whether each ended with the same numbers."""
    server = Server(folder)
    server.start()
    rows = pl.DataFrame(PAIRS * 100)
    with httpx2.Client(base_url=server.address, timeout=60) as client:
        ids = []
        for _ in range(jobs):
            content = rows.write_csv().encode()
            table = client.post("/v1/tables", params={"name": "t.csv"}, content=content).json()
            made = client.post("/v1/predict-table", json={"table": table["id"]}).json()
            ids.append(made["id"])
        while not client.get(f"/v1/jobs/{ids[1]}").json()["progress"]:
            time.sleep(0.05)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.start()
    right = paratope.Predictor.load("default").predict(rows)["pkd"]
    equal = finished = 0
    with httpx2.Client(base_url=server.address, timeout=60) as client:
        for one in ids:
            while (job := client.get(f"/v1/jobs/{one}").json())["state"] in ("queued", "running"):
                time.sleep(0.2)
            finished += job["state"] == "finished"
            content = client.get(f"/v1/jobs/{one}/files/predictions.parquet").content
            equal += float((pl.read_parquet(content)["pkd"] - right).abs().max()) < 1e-5  # type: ignore[arg-type]
    server.process.terminate()
    server.process.wait()
    return {"jobs": jobs, "finished": finished, "equal": equal}


def measure(quick: bool) -> dict[str, Any]:
    """All of it."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["PARATOPE_CACHE"] = f"{temporary}/cache"
        server = Server(Path(temporary) / "kept")
        found: dict[str, Any] = {"start_s": round(server.start(), 2)}
        distinct = variants(200, 1)
        right = paratope.Predictor.load("default").predict(pl.DataFrame(distinct))
        pkd = dict(right.select("id", "pkd").iter_rows())
        total = 400 if quick else 2_000
        rows = [distinct[number % 200] for number in range(total)]
        seconds, _, answers = ask_all(server.address, rows, CLIENTS)
        lost = sum(answer is None for answer in answers)
        apart = max(abs(answer["pkd"] - pkd[answer["id"]]) for answer in answers if answer)
        found["many"] = {"requests": total, "lost": lost, "largest_difference_pkd": apart,
                         "per_second": round(total / seconds, 1)}  # fmt: skip
        count = 100 if quick else 400
        alone, together = [], []
        for turn in range(1 if quick else 3):
            one = ask_all(server.address, variants(count, 10 + 2 * turn), 1)[0]
            many = ask_all(server.address, variants(count, 11 + 2 * turn), CLIENTS)[0]
            alone.append(count / one)
            together.append(count / many)
        found["throughput"] = {
            "alone_per_second": [round(value, 1) for value in alone],
            "together_per_second": [round(value, 1) for value in together],
            "ratio": round(statistics.median(together) / statistics.median(alone), 2),
        }
        rows = [distinct[number % 200] for number in range(400 if quick else 4_000)]
        latencies = sorted(ask_all(server.address, rows, 8)[1])
        found["cached_ms"] = {
            "p50": round(statistics.median(latencies), 1),
            "p99": round(latencies[int(0.99 * len(latencies))], 1),
        }
        found["overload"] = overload(server, 5 if quick else 30)
        server.process.terminate()
        server.process.wait()
        found["killed"] = killed(Path(temporary) / "killed", 3 if quick else 10)
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Beside the targets, as Markdown."""
    many, over, killed_jobs = found["many"], found["overload"], found["killed"]
    throughput, cached = found["throughput"], found["cached_ms"]
    codes = ", ".join(f"{count} × {code}" for code, count in over["codes"].items())
    rows = [
        ("start to healthy", f"{found['start_s']} s", "< 10 s", found["start_s"] < 10),
        (f"{CLIENTS} clients, {many['requests']:,} single predictions over 200 pairs: lost",
         many["lost"], "0", many["lost"] == 0),
        ("their largest difference from the command line's pKd",
         f"{many['largest_difference_pkd']:.1g}", "< 1e-5", many["largest_difference_pkd"] < 1e-5),
        ("their rate", f"{many['per_second']} a second", "", True),
        ("new antibodies, one client at a time",
         f"{statistics.median(throughput['alone_per_second'])} a second", "", True),
        (f"new antibodies, {CLIENTS} clients",
         f"{statistics.median(throughput['together_per_second'])} a second", "", True),
        ("ratio of the two", throughput["ratio"], "≥ 1.5", throughput["ratio"] >= 1.5),
        ("remembered pairs, 8 clients, median", f"{cached['p50']} ms", "< 25 ms",
         cached["p50"] < 25),
        ("remembered pairs, 8 clients, 99 %", f"{cached['p99']} ms", "< 150 ms",
         cached["p99"] < 150),
        ("overload: answers", codes, "429 or 503 with Retry-After",
         not over["without_retry_after"] and set(over["codes"]) <= {"200", "429", "503"}),
        ("overload: memory, before and most",
         f"{over['memory_mb_before']} and {over['memory_mb_most']} MB", "bounded", True),
        ("overload: healthy after", f"{over['seconds_to_healthy']} s", "< 5 s",
         over["seconds_to_healthy"] < 5),
        (f"kill -9 during {killed_jobs['jobs']} jobs: finished, with equal results",
         f"{killed_jobs['finished']}, {killed_jobs['equal']}", "all",
         killed_jobs["equal"] == killed_jobs["jobs"]),
    ]  # fmt: skip
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {value} | {target} | {('reached' if ok else '**missed**') if target else ''} |"
        for name, value, target, ok in rows
    ]
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    record = circumstances("python benchmarks/benchmark_serve.py", PACKAGES)
    record |= measure(options.quick)
    write_results("serve", record, table(record), options.output)


if __name__ == "__main__":
    main()
