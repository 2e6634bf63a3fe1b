"""What cannot be run here, as pure functions: WSL and GPU mode (macOS: `test_sandbox_macos.py`)."""

import dataclasses
import resource
from pathlib import Path

import pytest

from node.config import Config, read_config
from node.doctor import wsl_findings
from node.errors import NodeError
from node.hardware import gpu_for_strangers
from node.sandbox import SandboxLimits, SandboxSpec
from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.gpu import RISK, gpu_devices, present_devices
from node.sandbox.interpreter import View
from node.sandbox.remedies import SystemFacts, wsl_version
from node.sandbox.starting import entry_plan
from trainer.confinement.enter import EntryPlan
from trainer.confinement.tightening import limits_by_kind

SPEC = SandboxSpec(
    argv=("/usr/bin/python3", "-c", "pass"),
    limits=SandboxLimits(memory_bytes=1 << 30, open_files=99, file_bytes=777, cpu_s=5),
    env={},
    read_only=(Path("/opt/stage/1234"),),
)
VIEW = View(trees=(Path("/opt/python"),), masked=(Path("/opt/python/lib/trainer"),))


# -- WSL -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.18.0-generic", 0),
        ("5.15.153.1-microsoft-standard-WSL2", 2),
        ("4.4.0-19041-Microsoft", 1),
        ("6.6.36.6-microsoft-standard-WSL2+", 2),
    ],
)
def test_wsl_is_known_by_its_kernel(release: str, version: int) -> None:
    assert wsl_version(release) == version


def system(root: Path, release: str, *, interop: bool) -> SystemFacts:
    kernel = root / "proc/sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "osrelease").write_text(release + "\n", encoding="ascii")
    if interop:
        (root / "proc/sys/fs/binfmt_misc").mkdir(parents=True)
        text = "enabled\ninterpreter /init\nflags: PF\n"
        (root / "proc/sys/fs/binfmt_misc/WSLInterop").write_text(text, encoding="ascii")
    return SystemFacts.gather(root, euid=1000)


def test_wsl2_is_linux_and_interop_is_named(tmp_path: Path) -> None:
    release = "5.15.153.1-microsoft-standard-WSL2"
    (on,) = wsl_findings(system(tmp_path / "on", release, interop=True))
    assert (on.subject, on.grade) == ("WSL", "warning")
    assert "treated as Linux" in on.text
    assert "/etc/wsl.conf" in on.remedy
    (off,) = wsl_findings(system(tmp_path / "off", release, interop=False))
    assert (off.grade, off.remedy) == ("ok", "")
    (old,) = wsl_findings(system(tmp_path / "old", "4.4.0-19041-Microsoft", interop=True))
    assert old.grade == "problem"
    assert "--set-version" in old.remedy
    assert list(wsl_findings(system(tmp_path / "no", "6.18.0", interop=False))) == []


# -- GPU mode --------------------------------------------------------------------------------------


def test_only_computing_devices_count_as_a_gpu(tmp_path: Path) -> None:
    names = [
        *("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "kfd", "dri/renderD128"),
        *("nvidia-uvm-tools", "nvidia-modeset", "dri/card0", "mem", "sda", "nvidia0/../mem"),
    ]
    found = [str(path) for path in gpu_devices(names)]
    assert found == sorted(f"/dev/{name}" for name in names[:6])
    (tmp_path / "dri").mkdir()
    for name in ("nvidia0", "null", "dri/renderD128", "dri/card0"):
        (tmp_path / name).touch()
    assert present_devices(tmp_path) == (tmp_path / "dri/renderD128", tmp_path / "nvidia0")
    assert "driver" in RISK


def test_no_sandbox_shows_a_device_unless_it_was_asked_for() -> None:
    assert SPEC.devices == ()
    assert EntryPlan.from_bytes(entry_plan(SPEC, uid=None, processes=None)).gpu is False


@pytest.mark.sandbox
def test_gpu_mode_shows_the_devices_that_were_named_and_no_others() -> None:
    with_gpu = dataclasses.replace(SPEC, devices=(Path("/dev/nvidia0"),))
    plain, gpu = (Bubblewrap()._mounts(spec) for spec in (SPEC, with_gpu))
    assert "/dev/nvidia0" not in plain
    at = gpu.index("/dev/nvidia0")
    assert gpu[at - 1 : at + 2] == ["--dev-bind", "/dev/nvidia0", "/dev/nvidia0"]
    assert EntryPlan.from_bytes(entry_plan(with_gpu, uid=None, processes=None)).gpu is True


def test_gpu_mode_lifts_the_limit_of_addresses_only() -> None:
    arguments = {"memory_bytes": 1 << 30, "file_bytes": 1, "open_files": 9, "cpu_s": 3}
    plain, gpu = (limits_by_kind(**arguments, gpu=gpu) for gpu in (False, True))
    assert plain.keys() - gpu.keys() == {resource.RLIMIT_AS}
    assert gpu.items() <= plain.items()


def test_gpu_mode_is_refused_where_there_is_no_gpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NodeError, match="no GPU device"):
        gpu_for_strangers(tmp_path)
    assert RISK not in caplog.text
    (tmp_path / "nvidia0").touch()
    assert gpu_for_strangers(tmp_path) == (tmp_path / "nvidia0",)
    assert RISK in caplog.text
    settings = tmp_path / "config.toml"
    settings.write_text("gpu = true", encoding="ascii")
    assert read_config(settings) == {"gpu": True}
    assert not Config().gpu
