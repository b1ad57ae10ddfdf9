"""The most memory this process has held so far."""

import re
import resource
import sys
from pathlib import Path

import torch

# entries of an epoch's record that differ from one run to the next of the same recipe
TIME_AND_MEMORY = ("seconds", "peak_memory_mb", "peak_gpu_memory_mb")


def peak_memory_mb() -> float:
    """Most main memory held so far, in MB of 10⁶ bytes.

    From the kernel's own record of this program where there is one (Linux): what ``getrusage``
    reports there includes the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
        if found:
            return int(found[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def memory_record(device: torch.device) -> dict[str, float]:
    """Peak memory as entries of an epoch's record; that of a GPU too, where one is used.

    >>> list(memory_record(torch.device("cpu")))
    ['peak_memory_mb']
    """
    record = {"peak_memory_mb": round(peak_memory_mb(), 1)}
    if device.type == "cuda":
        record["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return record
