"""Which device is computed on: every choice and refusal, and how torch is asked."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from node import devices
from node.cli.main import cli
from node.config import Config
from node.devices import Device, DeviceError, Found, Wanted, agreed_device, ask_torch, choose_device
from node.hardware import describe_device
from node.sandbox.gpu import RISK
from tests.node.replayable import replayable
from trainer.task import load_task
from trainer.worker.devices import describe

if TYPE_CHECKING:
    from pathlib import Path

SAID = '{"cuda": "X", "mps": false, "torch": "1", "bf16": true}'
NOTHING = Found(torch="2.13.0")
H100 = Found("NVIDIA H100 80GB HBM3", torch="2.13.0")
APPLE = Found(mps=True, torch="2.13.0")


def never() -> Found:
    raise AssertionError("torch is not asked where no GPU is in question")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted("cpu"),
        Wanted("cpu", gpu_mode=True),
        Wanted(tier_device="cpu"),
        Wanted(tier_device="cpu", gpu_mode=True),
        Wanted("cpu", tier_device="cpu"),
    ],
)
def test_the_cpu_is_taken_without_asking_torch(wanted: Wanted) -> None:
    assert choose_device(wanted, never) == Device("cpu")
    assert not Device("cpu").is_gpu


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(gpu_mode=True),
        Wanted("cuda", gpu_mode=True),
        Wanted("auto", gpu_mode=True, tier_device="cuda"),
        Wanted("cuda", gpu_mode=True, tier_device="cuda", tier_model="h100"),
    ],
)
def test_a_gpu_is_taken_once_gpu_mode_is_agreed_to(wanted: Wanted) -> None:
    device = choose_device(wanted, lambda: H100)
    assert device == Device("cuda", "cuda NVIDIA H100 80GB HBM3")
    assert device.is_gpu


@pytest.mark.parametrize(
    ("wanted", "found", "message"),
    [
        (Wanted("cuda"), H100, RISK),
        (Wanted("mps"), APPLE, "needs --gpu"),
        (Wanted(tier_device="cuda"), H100, "computing on cuda needs --gpu"),
        (Wanted("cpu", tier_device="cuda"), H100, "compares runs on cuda only, .* told to use cpu"),
        (Wanted("cuda", gpu_mode=True, tier_device="cpu"), H100, "compares runs on cpu only"),
        (Wanted(gpu_mode=True), NOTHING, "torch 2.13.0 sees no CUDA device"),
        (Wanted(gpu_mode=True), Found(), "torch is not installed"),
        (Wanted("cuda", gpu_mode=True), APPLE, "sees no CUDA device"),
        (Wanted("mps", gpu_mode=True), APPLE, "nothing can be trained on mps"),
        (Wanted(gpu_mode=True), APPLE, "nothing can be trained on mps"),
        (
            Wanted(gpu_mode=True, tier_device="cuda", tier_model="A100"),
            H100,
            "compares runs on A100 only; this machine has NVIDIA H100",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_never_falls_back(
    wanted: Wanted, found: Found, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        choose_device(wanted, lambda: found)


def torch_with(*, cuda: str = "", devices: int = 1, mps: bool | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        __version__="2.13.0",
        cuda=SimpleNamespace(
            is_available=lambda: bool(cuda),
            device_count=lambda: devices,
            get_device_name=lambda _: cuda,
            is_bf16_supported=lambda: True,
        ),
        backends=SimpleNamespace(
            **({} if mps is None else {"mps": SimpleNamespace(is_available=lambda: mps)})
        ),
    )


def test_torch_is_asked_for_its_devices() -> None:
    assert describe(torch_with()) == {"cuda": "", "bf16": False, "mps": False, "torch": "2.13.0"}
    assert describe(torch_with(cuda="H100"))["cuda"] == "H100"
    assert describe(torch_with(cuda="H100"))["bf16"] is True
    # A driver without a device, as in a container that was given none.
    assert describe(torch_with(cuda="H100", devices=0))["cuda"] == ""
    assert describe(torch_with(mps=True))["mps"] is True


@pytest.mark.parametrize(
    ("program", "found"),
    [
        (f"print({SAID!r})", Found("X", False, "1")),
        ("raise SystemExit(1)", Found()),
        ("print('no json')", Found()),
        ("print('[]')", Found()),
        ("print('{}')", Found()),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_had_is_no_device(program: str, found: Found) -> None:
    assert ask_torch((sys.executable, "-c", program)) == found


def test_the_torch_of_these_tests_has_no_gpu() -> None:
    found = ask_torch()
    assert (found.cuda, found.mps) == ("", False)
    assert found.torch


GPU_TIER = """
[tiers.fast]
budget = { kind = "seconds", amount = 1 }
device = "cuda"
device_model = "H100"
evaluation = { context = 32, windows = 48, probes = 64 }
tau_micro = 10_000
"""


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a task that has a tier for a GPU, and a home whose swarm is on another."""
    directory = tmp_path_factory.mktemp("devices")
    replayable(directory, GPU_TIER)
    return directory


def test_a_tiers_class_and_model_are_what_is_asked_for(
    founded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers = load_task(founded / "task").tiers
    monkeypatch.setattr(devices, "ask_torch", lambda: H100)
    agreed = Config(gpu=True)
    device = agreed_device(agreed, tiers["fast"])
    assert device.words == "cuda NVIDIA H100 80GB HBM3"
    assert agreed_device(Config(), tiers["smoke"]).words == describe_device()
    monkeypatch.setattr(devices, "ask_torch", lambda: Found("NVIDIA A100", torch="2.13.0"))
    with pytest.raises(DeviceError, match="compares runs on H100 only"):
        agreed_device(agreed, tiers["fast"])


@pytest.mark.parametrize(
    "command",
    [
        ["run-task", "TASK", "--tier", "fast"],
        ["calibrate", "--task", "TASK", "--tier", "fast"],
        ["transfer", "--home", "HOME", "--tier", "fast"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "computing on cuda needs --gpu"),
        (["--device", "cpu"], "compares runs on cuda only"),
        (["--gpu"], "sees no CUDA device"),
    ],
    ids=["auto", "another", "absent"],
)
def test_no_command_runs_a_tier_on_another_device(
    founded: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(founded / "elsewhere"))
    monkeypatch.setattr(devices, "ask_torch", lambda: NOTHING)
    places = {"TASK": str(founded / "task"), "HOME": str(founded / "home")}
    result = CliRunner().invoke(cli, [places.get(word, word) for word in command] + flags)
    assert isinstance(result.exception, DeviceError), result.output
    assert message in str(result.exception)
