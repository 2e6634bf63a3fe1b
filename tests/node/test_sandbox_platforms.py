"""What cannot be run here, as pure functions: macOS, WSL and GPU mode."""

import dataclasses
import resource
from pathlib import Path

import click
import pytest

from node.cli.options import require_linux
from node.config import Config, read_config
from node.doctor import wsl_findings
from node.errors import ConfigError, NodeError
from node.hardware import gpu_for_strangers
from node.sandbox import SandboxError, SandboxLimits, SandboxSpec, SandboxUnavailableError
from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.gpu import RISK, gpu_devices, present_devices
from node.sandbox.interpreter import Interpreter, View
from node.sandbox.remedies import SystemFacts, wsl_version
from node.sandbox.seatbelt import PROGRAM, command, profile
from node.sandbox.selection import CONSENT, UNFINISHED, backends_for, select_sandbox
from node.sandbox.selftest import PROMISES, promises_of
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


# -- macOS -----------------------------------------------------------------------------------------


def test_macos_is_never_chosen_without_consent() -> None:
    for preference in ("auto", "bubblewrap", "landlock"):
        with pytest.raises(SandboxUnavailableError, match="weaker") as caught:
            select_sandbox(preference, platform="darwin")
        assert str(caught.value) == CONSENT
    assert "--accept-weaker-sandbox" in CONSENT
    assert CONSENT.count(".") == 1
    assert backends_for("seatbelt", "darwin") == ("seatbelt",)


def test_the_weaker_sandbox_is_not_for_linux() -> None:
    with pytest.raises(SandboxUnavailableError, match="Linux has better ones"):
        select_sandbox("seatbelt", platform="linux")
    assert "seatbelt" not in backends_for("auto", "linux")


def test_with_consent_it_still_has_to_pass_its_test() -> None:
    with pytest.raises(SandboxUnavailableError) as caught:
        select_sandbox("seatbelt", platform="darwin", memory_files=True)
    (report,) = caught.value.report.backends
    assert (report.name, report.usable) == ("seatbelt", False)
    assert PROGRAM in str(report.problem)
    with pytest.raises(SandboxUnavailableError) as unfinished:
        select_sandbox("seatbelt", platform="darwin", memory_files=False)
    assert str(unfinished.value) == UNFINISHED


def test_it_promises_less() -> None:
    weaker = {promise.key for promise in promises_of("seatbelt")}
    assert weaker < {promise.key for promise in PROMISES}
    assert {"network", "files", "own-data", "read-only"} <= weaker
    assert not {"memory", "processes", "kernel"} & weaker
    assert promises_of("bubblewrap") == promises_of("landlock") == PROMISES


def test_the_commands_ask_for_consent() -> None:
    with pytest.raises(click.ClickException, match="accept-weaker-sandbox"):
        require_linux(platform="darwin")
    require_linux(platform="darwin", weaker_accepted=True)
    with pytest.raises(click.ClickException, match="WSL2"):
        require_linux(platform="win32", weaker_accepted=True)
    require_linux(platform="linux")


def test_consent_can_stand_in_the_settings(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('sandbox = "seatbelt"', encoding="ascii")
    assert read_config(settings) == {"sandbox": "seatbelt"}
    settings.write_text('sandbox = "none"', encoding="ascii")
    with pytest.raises(ConfigError, match="seatbelt"):
        read_config(settings)


def test_the_profile_denies_what_it_does_not_allow() -> None:
    text = profile(VIEW, SPEC.read_only)
    lines = text.splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    assert lines[-1] == "(deny network*)"
    assert text.count("(") == text.count(")")
    assert "(allow network" not in text
    assert "(allow mach-lookup" not in text
    assert "(allow iokit" not in text
    writing = [line for line in lines if "file-write" in line]
    assert writing == ['(allow file-read* file-write-data (literal "/dev/null"))']
    assert '(subpath "/")' not in text


def test_later_rules_hide_our_packages_and_show_the_job() -> None:
    lines = profile(VIEW, SPEC.read_only).splitlines()
    allowed = next(n for n, line in enumerate(lines) if '(subpath "/opt/python")' in line)
    hidden = lines.index('(deny file-read* (subpath "/opt/python/lib/trainer"))')
    shown = lines.index('(allow file-read* (subpath "/opt/stage/1234"))')
    assert allowed < hidden < shown


@pytest.mark.parametrize("name", ['/opt/a"b', "/opt/a\\b"])
def test_a_name_cannot_end_its_own_quotes(name: str) -> None:
    text = profile(VIEW, (Path(name),))
    assert '"/opt/a\\"b"' in text or '"/opt/a\\\\b"' in text


def test_a_name_that_cannot_be_quoted_is_refused() -> None:
    for name in ("/opt/new\nline", "relative"):
        with pytest.raises(SandboxError, match="profile"):
            profile(VIEW, (Path(name),))


def test_the_command_limits_and_then_becomes_the_program() -> None:
    argv = command(SPEC, Interpreter.current())
    assert argv[:2] == [PROGRAM, "-p"]
    inner = argv[3:]
    assert inner[inner.index("--") + 1 :] == list(SPEC.argv)
    limits = inner[inner.index("RLIMIT_FSIZE") : inner.index("--")]
    assert limits == [
        *("RLIMIT_FSIZE", "777", "RLIMIT_NOFILE", "99"),
        *("RLIMIT_CORE", "0", "RLIMIT_CPU", "5"),
    ]


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
