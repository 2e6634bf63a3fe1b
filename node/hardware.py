"""What this machine is, in words that fit a trial record. Costs nothing and asks nobody."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from protocol.limits import DEVICE_BYTES_MAX
from protocol.schema import printable


@cache
def describe_device() -> str:
    """The processor and how many cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return printable(f"cpu {platform.machine()} {model} x{cores}", DEVICE_BYTES_MAX)


@cache
def describe_runtime() -> str:
    """The software that decides a run's numbers."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "none"
    return printable(f"torch {torch}, python {platform.python_version()}", DEVICE_BYTES_MAX)


@cache
def software_version() -> str:
    """The installed version of swarm-node."""
    try:
        return version("swarm-node")
    except PackageNotFoundError:
        return "0.0.0"
