"""What this machine is, in words that fit a trial record. Costs nothing and asks nobody."""

import logging
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from node.errors import NodeError
from protocol.limits import DEVICE_BYTES_MAX
from protocol.schema import printable

_log = logging.getLogger(__name__)


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


def gpu_for_strangers(root: Path = Path("/dev")) -> tuple[Path, ...]:
    """The device files that GPU mode shows to strangers' code; the risk is logged.

    Raises:
        NodeError: There are none, so that the mode cannot be had.
    """
    from node.sandbox.gpu import RISK, present_devices

    devices = present_devices(root)
    if not devices:
        raise NodeError("GPU mode was asked for, but this machine has no GPU device")
    _log.warning("%s", RISK)
    return devices
