"""Which device this node computes on, and why not another.

Theory of operation. A tier may name a device class (`cpu`, `cuda`, `mps`) and a model: runs are
then compared on such devices only, as a budget in seconds demands. A person may name a device
(`--device`), and must agree to GPU mode (`--gpu`) before strangers' code sees one. `auto` takes
what the tier names, else the GPU where GPU mode was agreed to, else the CPU. What does not fit
together is refused in words: nothing falls back in silence, because a result from another device
would be compared with those of the right one.

This file refuses to know how a sandbox shows a device (`node.sandbox.gpu`).
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from node.errors import NodeError
from node.hardware import describe_device, gpu_for_strangers
from protocol.limits import DEVICE_BYTES_MAX
from protocol.schema import printable

if TYPE_CHECKING:
    from node.config import Config
    from trainer.manifest import Tier

DEVICES: Final = ("auto", "cpu", "cuda", "mps")
_PROBE_TIMEOUT_S: Final = 120.0


class DeviceError(NodeError):
    """The device that is wanted cannot be used; the text says why, and what can be done."""


@dataclass(frozen=True, slots=True)
class Found:
    """What torch can compute on here.

    Attributes:
        cuda: The first CUDA device's name; empty without one.
        mps: Whether Apple's GPU is there.
        torch: torch's version; empty without it.
    """

    cuda: str = ""
    mps: bool = False
    torch: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the tier and the person ask for.

    Attributes:
        device: The person's `--device`.
        gpu_mode: Whether the person agreed that strangers' code sees the GPU.
        tier_device: The tier's device class; `any` for none.
        tier_model: What the device's name must contain, whatever its case; empty for anything.
    """

    device: str = "auto"
    gpu_mode: bool = False
    tier_device: str = "any"
    tier_model: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """The device of this node's runs.

    Attributes:
        kind: As torch names it.
        name: Its model, for trial records; empty for the CPU, which is described elsewhere.
    """

    kind: str
    name: str = ""

    @property
    def is_gpu(self) -> bool:
        """Whether runs need GPU mode."""
        return self.kind != "cpu"

    @property
    def words(self) -> str:
        """The hardware, as records and reports name it."""
        return self.name or describe_device()

    def files(self) -> tuple[Path, ...]:
        """The device files that runs must see; the risk of showing them is logged.

        Raises:
            NodeError: There are none, so that GPU mode cannot be had.
        """
        return gpu_for_strangers() if self.is_gpu else ()


def agreed_device(config: "Config", tier: "Tier") -> Device:
    """The device that a tier and this machine's person agree on; may ask torch, for seconds.

    Raises:
        DeviceError: There is none.
    """
    wanted = Wanted(config.device, config.gpu, tier.device, tier.device_model)
    return choose_device(wanted, ask_torch)


def choose_device(wanted: Wanted, find: Callable[[], Found]) -> Device:
    """The device to use.

    Args:
        wanted: What is asked for.
        find: Asks torch; called only where a GPU is in question, because it takes seconds.

    Raises:
        DeviceError: What is asked for does not fit together, or is not here.
    """
    tier = wanted.tier_device
    if tier not in {"any", wanted.device} and wanted.device != "auto":
        raise DeviceError(
            f"this swarm compares runs on {tier} only, and this node was told to use"
            f" {wanted.device}; leave --device out, or watch with swarm-node leaderboard"
        )
    kind = wanted.device if tier == "any" else tier
    if kind == "auto" and not wanted.gpu_mode:
        kind = "cpu"
    if kind == "cpu":
        return Device("cpu")
    if not wanted.gpu_mode:
        from node.sandbox.gpu import RISK

        raise DeviceError(f"computing on {kind} needs --gpu, which agrees to a risk: {RISK}")
    found = find()
    if kind == "auto":
        kind = "cuda" if found.cuda or not found.mps else "mps"
    return _gpu(kind, found, wanted.tier_model)


def _gpu(kind: str, found: Found, model: str) -> Device:
    if kind == "mps":
        raise DeviceError(
            "the sandbox of macOS runs no worker yet, so that nothing can be trained on mps;"
            " this node can take part without training"
        )
    if not found.cuda:
        has = (
            f"torch {found.torch} sees no CUDA device" if found.torch else "torch is not installed"
        )
        raise DeviceError(f"computing on cuda was asked for, but {has} here")
    if model.lower() not in found.cuda.lower():
        raise DeviceError(
            f"this swarm compares runs on {model} only; this machine has {found.cuda}"
        )
    return Device("cuda", printable(f"cuda {found.cuda}", DEVICE_BYTES_MAX))


def ask_torch(command: tuple[str, ...] = (sys.executable, "-m", "trainer.worker.devices")) -> Found:
    """Ask torch in a process of its own; nothing found where it cannot be asked."""
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
        said = json.loads(done.stdout)
        return Found(str(said["cuda"]), bool(said["mps"]), str(said["torch"]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return Found()
