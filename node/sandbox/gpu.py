"""What GPU mode adds to a sandbox: device files, and nothing where a person did not ask for it.

This file decides which devices count as a GPU and states the risk. It refuses to know how they are
shown; each backend does that. Without GPU mode no sandbox shows any device of these.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

RISK: Final = (
    "GPU mode shows strangers' code the graphics driver: a million lines in the kernel that was not"
    " written with hostile programs in mind, and memory that is not always wiped between two jobs"
)
DEVICE_NAMES: Final = (
    re.compile(r"nvidia[0-9]+"),
    re.compile(r"nvidiactl"),
    re.compile(r"nvidia-uvm"),
    re.compile(r"kfd"),
    re.compile(r"dri/renderD[0-9]+"),
)
"""NVIDIA's compute devices, AMD's, and render nodes; never a display (``dri/card``), never the
tools and modeset devices."""


def gpu_devices(names: Iterable[str], root: Path = Path("/dev")) -> tuple[Path, ...]:
    """Return the device files that computing on a GPU takes.

    Args:
        names: what is below ``root``, relative to it.
        root: where devices lie.
    """
    wanted = {n for n in names if any(pattern.fullmatch(n) for pattern in DEVICE_NAMES)}
    return tuple(root / name for name in sorted(wanted))


def present_devices(root: Path = Path("/dev")) -> tuple[Path, ...]:
    """Return the GPU devices of this machine."""
    names = [path.name for path in root.glob("*")]
    names += [f"dri/{path.name}" for path in (root / "dri").glob("*")]
    return gpu_devices(names, root)
