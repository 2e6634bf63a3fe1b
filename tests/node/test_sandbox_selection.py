"""Which backend is chosen, when none is, and what a person is told."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.sandbox import (
    BackendReport,
    Promise,
    PromiseResult,
    SandboxError,
    SandboxReport,
    SandboxSpec,
    SandboxUnavailableError,
    select_sandbox,
    selection,
)
from node.sandbox.bubblewrap import Bubblewrap
from node.sandbox.interpreter import Interpreter
from node.sandbox.probe_attacks import OUTER_ATTACKS, TIGHTENED_ATTACKS, Parameters
from node.sandbox.remedies import APPARMOR_PROFILE, SystemFacts, remedy
from node.sandbox.selftest import PROMISES, examine_backend, own_data_files, probe_files
from node.sandbox.staging import stage

PLAIN = SystemFacts(
    apparmor_restricts_userns=False, userns_disabled=False, in_container=False, is_root=False
)
GOOD = PromiseResult(Promise("network", "no network"), kept=True, detail="")
BAD = PromiseResult(Promise("files", "no files"), kept=False, detail="read /etc/passwd")


class NoSandbox:
    """Runs programs with all the rights of the tests: the control of every promise."""

    name = "none"
    second_wall = True

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=spec.stderr_fd,
            pass_fds=(*spec.pass_fds, 0),
            start_new_session=True,
            env={**spec.env, "LEAKED": "yes"},
        )


class BrokenSandbox:
    """Starts something else that says nothing of use."""

    name = "broken"
    second_wall = True

    def popen(self, spec: SandboxSpec) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "import sys; sys.exit('cannot make namespaces')"]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=spec.stderr_fd, start_new_session=True
        )


def test_every_attack_has_a_promise_and_every_promise_an_attack() -> None:
    attacks = [*OUTER_ATTACKS, *TIGHTENED_ATTACKS, "job-threads"]
    assert sorted(attacks) == sorted(p.key for p in PROMISES)
    assert len(set(attacks)) == len(attacks)


# What each attack must get where nothing stops it; the rest depends on the kernel and the user.
CONTROLS = {
    "network": ["inet socket of type 1", "inet6 socket of type 2", "unix socket of type 1"],
    "files": ["canary", "read /etc/passwd"],
    "own-data": ["trainer/__init__.py", "node/__init__.py"],
    "processes": ["environ", "maps"],
    "read-only": ["created /tmp/probe", "changed the mode of"],
    "signals": ["may signal process"],
    "kernel": ["memfd_create", "shmget"],
    "memory": ["allocated"],
    "descriptors": ["descriptor"],
    "environment": ["LEAKED"],
    "job-processes": ["forked", "may execute programs"],
    "job-writing": ["opened /dev/null", "canary", "opened /dev/shm/probe"],
    "job-memory": ["shared", "growing"],
    "job-signals": ["its parent", "its group", "everybody", "signals of a descriptor"],
    "job-channels": ["socket pair"],
    "job-network": ["inet socket of type 1", "unix socket of type 1"],
    "job-descriptors": ["descriptor"],
}


@pytest.mark.sandbox
def test_each_attack_works_where_nothing_stops_it(tmp_path: Path) -> None:
    """The control: without it, a probe that does nothing would pass for a good sandbox."""
    canary = tmp_path / "canary"
    canary.touch()
    staged = stage(probe_files(), tmp_path / "stage")
    reading, writing = os.pipe()
    parameters = Parameters(
        canary=str(canary),
        own_data=own_data_files(),
        node_pid=os.getpid(),
        inherited=(),
        environment=(),
        memory_bytes=1 << 28,
        tighten=False,
    )
    command = [sys.executable, "-I", "-S", "-B", str(staged / "probe.py"), str(writing)]
    subprocess.run(
        [*command, json.dumps(dataclasses.asdict(parameters))],
        pass_fds=(writing,),
        env={"LEAKED": "yes"},
        timeout=60,
        check=True,
        # "Everybody" in the attack is asked with signal 0, which is never delivered.
        start_new_session=True,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        found = json.loads(answers.read())
    assert not found["job-threads"]
    for key, expected in CONTROLS.items():
        for success in expected:
            assert any(success in got for got in found[key]), (key, success, found[key])


@pytest.mark.sandbox
def test_a_backend_that_confines_nothing_is_not_usable() -> None:
    report = examine_backend(NoSandbox, "none")
    assert report.problem is None
    assert not report.usable
    broken = {r.promise.key for r in report.results if not r.kept}
    # In the self-test the second half is tightened for real, and keeps its promises alone.
    outer = {"network", "files", "own-data", "processes", "read-only", "signals", "kernel"}
    assert outer <= broken
    assert not {key for key in broken if key.startswith("job-")}
    assert "own-data" in remedy(report, PLAIN)


def test_a_backend_that_does_not_start_is_not_usable() -> None:
    report = examine_backend(BrokenSandbox, "broken")
    assert not report.usable
    assert report.problem is not None
    assert "cannot make namespaces" in report.problem


def test_a_backend_that_cannot_be_built_is_not_usable(tmp_path: Path) -> None:
    def build() -> Bubblewrap:
        return Bubblewrap(tmp_path / "bwrap")

    report = examine_backend(build, "bubblewrap")
    assert not report.usable
    assert "cannot run" in str(report.problem)


def test_a_missing_bubblewrap_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    report = examine_backend(Bubblewrap, "bubblewrap")
    assert "apt-get install bubblewrap" in remedy(report, PLAIN)
    assert "dnf install bubblewrap" in remedy(report, PLAIN)


@pytest.mark.sandbox
def test_the_best_backend_is_chosen_here() -> None:
    assert select_sandbox().name == "bubblewrap"
    assert select_sandbox("bubblewrap").name == "bubblewrap"


def test_no_backend_means_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> BackendReport:
        return BackendReport(name, problem="this kernel has nothing", remedy="buy another\nreally")

    monkeypatch.setattr(selection, "_examine", fail)
    with pytest.raises(SandboxUnavailableError) as caught:
        select_sandbox()
    assert [b.name for b in caught.value.report.backends] == ["bubblewrap", "landlock"]
    assert caught.value.report.chosen is None
    text = str(caught.value)
    assert "this kernel has nothing" in text
    assert "remedy: buy another" in text


def test_the_second_backend_serves_when_the_first_breaks_a_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = {
        "bubblewrap": BackendReport("bubblewrap", results=(GOOD, BAD)),
        "landlock": BackendReport("landlock", results=(GOOD,)),
    }
    monkeypatch.setattr(selection, "_examine", reports.__getitem__)
    monkeypatch.setattr(selection, "_maker", lambda name: lambda: name)
    assert select_sandbox() == "landlock"  # type: ignore[comparison-overlap]
    with pytest.raises(SandboxUnavailableError):
        select_sandbox("bubblewrap")


@pytest.mark.parametrize(
    ("platform", "hint"), [("darwin", "macOS"), ("win32", "WSL2"), ("plan9", "plan9")]
)
def test_other_systems_are_refused_in_one_sentence(platform: str, hint: str) -> None:
    with pytest.raises(SandboxUnavailableError, match=hint) as caught:
        select_sandbox(platform=platform)
    assert str(caught.value).count(".") == 1
    if platform != "darwin":
        with pytest.raises(SandboxUnavailableError):
            selection.examine(platform=platform)


def test_an_unknown_preference_is_an_error() -> None:
    with pytest.raises(ValueError, match="firejail"):
        select_sandbox("firejail")


def test_a_report_reads_as_text() -> None:
    report = SandboxReport((BackendReport("bubblewrap", results=(GOOD, BAD), remedy="do this"),))
    assert report.lines() == [
        "bubblewrap: not usable",
        "  kept   no network",
        "  BROKEN no files (read /etc/passwd)",
        "  remedy: do this",
    ]


def failed(name: str, problem: str) -> BackendReport:
    return BackendReport(name, problem=problem)


def test_remedies_fit_the_machine() -> None:
    refused = failed("bubblewrap", "setting up uid map: Permission denied")
    ubuntu = dataclasses.replace(PLAIN, apparmor_restricts_userns=True)
    assert APPARMOR_PROFILE in remedy(refused, ubuntu)
    assert "Landlock" in remedy(refused, dataclasses.replace(PLAIN, in_container=True))
    disabled = dataclasses.replace(PLAIN, userns_disabled=True)
    assert "sysctl -w user.max_user_namespaces" in remedy(refused, disabled)
    # The switch is the cause, in a container too.
    inside = remedy(refused, dataclasses.replace(disabled, in_container=True))
    assert "sysctl" in inside
    assert "on the machine that runs this container" in inside
    assert "bwrap --unshare-user" in remedy(refused, PLAIN)
    old = failed("landlock", "the kernel's Landlock version is none; 3 (Linux 6.2) is needed")
    assert "lsm=" in remedy(old, PLAIN)
    closed = failed("landlock", "cannot reach /root/x: /root is closed to other users")
    assert "ordinary user" in remedy(closed, dataclasses.replace(PLAIN, is_root=True))
    assert remedy(BackendReport("landlock", results=(GOOD,)), PLAIN) == ""


def test_facts_come_from_the_system(tmp_path: Path) -> None:
    assert SystemFacts.gather(tmp_path, euid=0) == dataclasses.replace(PLAIN, is_root=True)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/user").mkdir()
    kernel = tmp_path / "proc/sys/kernel"
    (kernel / "apparmor_restrict_unprivileged_userns").write_text("1\n", encoding="ascii")
    (tmp_path / "proc/sys/user/max_user_namespaces").write_text("0\n", encoding="ascii")
    (tmp_path / ".dockerenv").touch()
    assert SystemFacts.gather(tmp_path, euid=1000) == SystemFacts(
        apparmor_restricts_userns=True, userns_disabled=True, in_container=True, is_root=False
    )


def test_a_closed_interpreter_is_a_clear_problem_for_landlock(tmp_path: Path) -> None:
    from node.sandbox.landlock import obstacle_for_others

    (tmp_path / "closed").mkdir(mode=0o700)
    program = tmp_path / "closed" / "python"
    program.touch(mode=0o755)
    obstacle = obstacle_for_others(program)
    assert obstacle is not None
    assert obstacle in program.parents
    assert obstacle_for_others(Path("/usr/lib")) is None
    assert obstacle_for_others(tmp_path / "missing") is not None


def test_errors_share_a_base() -> None:
    assert issubclass(SandboxUnavailableError, SandboxError)
    assert Interpreter.current().executable == Path(sys.executable)
