"""macOS's weaker sandbox, on Linux: its profile, its self-test and its worker.

The product's own code runs here as it would there: files without seals, one process for each job,
limits that macOS has, memory watched from outside. Only `sandbox-exec` is a stand-in
(`sandbox_exec.py`), so what cannot be tested is whether the real one reads the profile alike.
"""

import ctypes
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any, cast

import click
import pytest

from node import runner_memory
from node.cli.options import require_sandboxes
from node.config import Config, read_config
from node.doctor import platform_finding, sandbox_findings
from node.errors import ConfigError
from node.runner import open_runner
from node.runner_data import RunData
from node.runner_files import SealedFiles, UnlinkedFiles, files_for
from node.runner_server import ModelServer
from node.sandbox import (
    Sandbox,
    SandboxError,
    SandboxLimits,
    SandboxReport,
    SandboxSpec,
    SandboxUnavailableError,
)
from node.sandbox.interpreter import Interpreter, View
from node.sandbox.remedies import SystemFacts, remedy
from node.sandbox.seatbelt import PROGRAM, Seatbelt, command, framework_view, profile
from node.sandbox.selection import CONSENT, backends_for, label, select_sandbox
from node.sandbox.selftest import PROMISES, WEAKER_PROMISES, examine_backend, promises_of
from tests.node.runner_support import HEAD, job, tiny_data
from tests.node.sandbox_exec import understood
from trainer.job import Evaluation
from trainer.scorer import InvalidAnswerError

MEMORY_BYTES = 256 << 20
NO_AUDIT = Evaluation(context=32, windows=48, probes=0)
ROOT = Path(__file__).resolve().parents[2]
SPEC = SandboxSpec(
    argv=("/usr/bin/python3", "-c", "pass"),
    limits=SandboxLimits(memory_bytes=1 << 30, open_files=99, file_bytes=777, cpu_s=5),
    env={},
    read_only=(Path("/opt/stage/1234"),),
)
VIEW = View(trees=(Path("/opt/python"),), masked=(Path("/opt/python/lib/trainer"),))
FACTS = SystemFacts(
    apparmor_restricts_userns=False, userns_disabled=False, in_container=False, is_root=False
)


def stand_in(directory: Path, *, keeps: bool) -> Path:
    """Return a `sandbox-exec` that keeps the profile, or one that only runs the program."""
    program = directory / ("keeping" if keeps else "careless") / "sandbox-exec"
    program.parent.mkdir(parents=True)
    body = f"import sys\nsys.path[:0] = [{str(ROOT)!r}]\nfrom tests.node.sandbox_exec import main\n"
    careless = "import os, sys\nmain = lambda: os.execv(sys.argv[3], sys.argv[3:])\n"
    program.write_text(
        f"#!{sys.executable} -B\n{body if keeps else careless}main()\n", encoding="utf-8"
    )
    program.chmod(0o755)
    return program


@pytest.fixture(scope="module")
def seatbelt(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    program = stand_in(tmp_path_factory.mktemp("sandbox-exec"), keeps=True)
    return Seatbelt(program=program, is_root=False)


# -- the profile -----------------------------------------------------------------------------------


def test_the_profile_denies_what_it_does_not_allow() -> None:
    text = profile(VIEW, SPEC.read_only)
    lines = text.splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    assert lines[-1] == "(deny network*)"
    for never in ("(allow network", "(allow mach-lookup", "(allow iokit", "process-fork"):
        assert never not in text
    writing = [line for line in lines if "file-write" in line]
    assert writing == ['(allow file-read* file-write-data (literal "/dev/null"))']
    # The loader reads the root directory itself; a tree of it would be everything.
    assert '(literal "/")' in text
    assert '(subpath "/")' not in text
    assert '(subpath "/System")' not in text, "the data volume lies below it"


def test_later_rules_hide_our_packages_and_show_the_job() -> None:
    lines = profile(VIEW, SPEC.read_only).splitlines()
    allowed = next(n for n, line in enumerate(lines) if '(subpath "/opt/python")' in line)
    hidden = lines.index('(deny file-read* (subpath "/opt/python/lib/trainer"))')
    shown = lines.index('(allow file-read* (subpath "/opt/stage/1234"))')
    assert allowed < hidden < shown


def test_a_job_inside_a_hidden_tree_uncovers_nothing_else() -> None:
    text = profile(VIEW, (Path("/opt/python/lib/trainer/stage"),))
    assert '(deny file-read* (subpath "/opt/python/lib/trainer"))' in text
    assert text.rindex('"/opt/python/lib/trainer/stage"') > text.index("(deny file-read*")


@pytest.mark.parametrize("name", ['/opt/a"b', "/opt/a\\b"])
def test_a_name_cannot_end_its_own_quotes(name: str) -> None:
    assert Path(name) in understood(profile(VIEW, (Path(name),))).readable


@pytest.mark.parametrize("name", ["/opt/new\nline", "relative", "/opt/größe"])
def test_a_name_that_cannot_be_quoted_is_refused(name: str) -> None:
    with pytest.raises(SandboxError, match="profile"):
        profile(VIEW, (Path(name),))


def test_the_command_limits_and_then_becomes_the_program() -> None:
    argv = command(SPEC, Interpreter.current())
    assert argv[:2] == [str(PROGRAM), "-p"]
    inner = argv[3:]
    assert inner[inner.index("--") + 1 :] == list(SPEC.argv)
    limits = inner[inner.index("RLIMIT_FSIZE") : inner.index("--")]
    assert limits == [
        *("RLIMIT_FSIZE", "777", "RLIMIT_NOFILE", "99"),
        *("RLIMIT_CORE", "0", "RLIMIT_CPU", "5"),
    ]


def test_a_framework_build_may_start_its_second_program(tmp_path: Path) -> None:
    version = tmp_path / "Python.framework/Versions/3.12"
    (version / "Resources/Python.app").mkdir(parents=True)
    (version / "Python").touch()
    interpreter = Interpreter(version / "bin/python3.12", version, version, ())
    trees = framework_view(interpreter, VIEW).trees
    assert {version / "Python", version / "Resources", *VIEW.trees} <= set(trees)


def test_root_and_a_system_without_the_program_are_told(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="not run as root"):
        Seatbelt(program=stand_in(tmp_path, keeps=True), is_root=True)
    with pytest.raises(SandboxError, match="is not there"):
        Seatbelt(program=tmp_path / "nothing", is_root=False)


# -- the self-test ---------------------------------------------------------------------------------


def test_it_promises_less(seatbelt: Sandbox) -> None:
    assert promises_of(seatbelt) == WEAKER_PROMISES
    weaker = {promise.key for promise in WEAKER_PROMISES}
    assert {"use-network", "files", "own-data", "read-only", "one-process"} <= weaker
    assert not {"memory", "processes", "kernel"} & weaker
    assert len(WEAKER_PROMISES) < len(PROMISES)


@pytest.mark.sandbox
def test_every_weaker_promise_is_kept_where_the_profile_is(seatbelt: Sandbox) -> None:
    report = examine_backend(lambda: seatbelt, "seatbelt")
    assert report.usable, report
    assert [r.promise for r in report.results] == list(WEAKER_PROMISES)


@pytest.mark.sandbox
def test_a_sandbox_exec_that_confines_nothing_is_found_out(tmp_path: Path) -> None:
    careless = Seatbelt(program=stand_in(tmp_path, keeps=False), is_root=False)
    report = examine_backend(lambda: careless, "seatbelt")
    assert not report.usable
    broken = {r.promise.key for r in report.results if not r.kept}
    assert broken >= {"use-network", "files", "own-data", "read-only", "signals", "one-process"}
    assert "run the node on Linux" in remedy(report, FACTS)


def test_here_there_is_no_sandbox_exec_and_the_report_says_what_to_do() -> None:
    with pytest.raises(SandboxUnavailableError) as caught:
        select_sandbox("seatbelt", platform="darwin")
    (report,) = caught.value.report.backends
    assert (report.name, report.usable) == ("seatbelt", False)
    assert str(PROGRAM) in str(report.problem)
    assert report.remedy


# -- consent ---------------------------------------------------------------------------------------


def test_it_is_never_chosen_without_consent() -> None:
    for preference in ("auto", "bubblewrap", "landlock"):
        with pytest.raises(SandboxUnavailableError, match="weaker") as caught:
            select_sandbox(preference, platform="darwin")
        assert str(caught.value) == CONSENT
    assert "--accept-weaker-sandbox" in CONSENT
    assert CONSENT.count(".") == 1
    assert backends_for("seatbelt", "darwin") == ("seatbelt",)
    assert label("seatbelt") == "seatbelt (weaker)"


def test_it_is_not_for_linux() -> None:
    with pytest.raises(SandboxUnavailableError, match="Linux has better ones"):
        select_sandbox("seatbelt", platform="linux")
    assert "seatbelt" not in backends_for("auto", "linux")


def test_the_doctor_names_it_weaker_and_asks_for_consent(seatbelt: Sandbox) -> None:
    usable = examine_backend(lambda: seatbelt, "seatbelt")
    waiting, _ = sandbox_findings(SandboxReport((usable,)), agreed=False)
    assert (waiting.grade, waiting.remedy) == ("problem", CONSENT)
    found, memory = sandbox_findings(SandboxReport((usable,)), agreed=True)
    assert (found.subject, found.grade) == ("sandbox seatbelt (weaker)", "ok")
    assert "the kernel sets none" in memory.text
    assert platform_finding("Darwin 23", "darwin").grade == "warning"
    assert platform_finding("Windows 11", "win32").grade == "problem"


def test_windows_is_refused_in_one_sentence() -> None:
    with pytest.raises(click.ClickException, match="WSL2") as caught:
        require_sandboxes("win32")
    assert "\n" not in str(caught.value.message)
    require_sandboxes("darwin")
    require_sandboxes("linux")


def test_the_settings_can_name_it(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('sandbox = "seatbelt"', encoding="ascii")
    assert read_config(settings) == {"sandbox": "seatbelt"}
    settings.write_text('sandbox = "none"', encoding="ascii")
    with pytest.raises(ConfigError, match="seatbelt"):
        read_config(settings)
    assert Config().sandbox == "auto"


# -- files without seals ---------------------------------------------------------------------------


def test_each_system_gets_the_best_files_that_it_has() -> None:
    assert isinstance(files_for("linux"), SealedFiles)
    assert isinstance(files_for("darwin"), UnlinkedFiles)


@pytest.mark.parametrize("files", [SealedFiles(), UnlinkedFiles()], ids=["sealed", "unlinked"])
def test_what_was_frozen_stays_whatever_its_writer_does(files: Any) -> None:
    room = files.room("weights", 4096)
    os.pwrite(room, b"honest", 0)
    frozen = files.frozen(room)
    for change in (lambda: os.pwrite(room, b"forged", 0), lambda: os.ftruncate(room, 0)):
        try:
            change()
        except PermissionError:
            assert isinstance(files, SealedFiles)
    with pytest.raises(OSError, match=r"Bad file descriptor|not permitted"):
        os.pwrite(frozen, b"forged", 0)
    assert os.pread(frozen, 6, 0) == b"honest"
    fixed = files.fixed("script", b"pass")
    with pytest.raises(OSError, match=r"Bad file descriptor|not permitted"):
        os.pwrite(fixed, b"evil", 0)
    assert os.pread(fixed, 9, 0) == b"pass"
    for fd in (room, frozen, fixed):
        assert os.fstat(fd).st_nlink == 0, "no name is left"
        os.close(fd)


# -- the worker ------------------------------------------------------------------------------------


def weaker_runner(seatbelt: Sandbox, directory: Path) -> Any:
    """Open a runner as macOS would have it: this sandbox, and files without seals."""
    files = tiny_data(directory)
    return open_runner(
        seatbelt,
        data=RunData(files["train"], files["validation"]),
        stage_home=directory / "stage",
        random_seed=lambda: 4,
        files=UnlinkedFiles(),
    )


REFUSALS = """
import os, socket
def attempt(name, action):
    try: action()
    except PermissionError: print(name, "refused", flush=True)
    else: print(name, "WORKED")
attempt("fork", os.fork)
attempt("network", lambda: socket.create_connection(("127.0.0.1", 9)))
attempt("secret", lambda: open("/etc/passwd").read())
attempt("writing", lambda: open("/tmp/left", "w"))
print(sorted(name for name in os.environ if "SWARM" in name or "KEY" in name), flush=True)
while True: pass
"""
BOMB = "held = []\nwhile True: held.append(bytearray(1 << 20))"


@pytest.mark.sandbox
async def test_the_real_worker_works_without_seals_or_forks(
    seatbelt: Sandbox, tmp_path: Path
) -> None:
    """In one test, since each process of a job is started afresh and imports torch."""
    async with weaker_runner(seatbelt, tmp_path) as runner:
        without_audit = dataclasses.replace(job(HEAD), evaluation=NO_AUDIT)
        honest = await runner.run(without_audit)
        assert honest.status == "ok", honest
        assert honest.metric_micro
        assert honest.train_cpu_ms > 0
        refused = await runner.run(job(REFUSALS, cpu_s=1))
        assert (refused.status, "processor time" in refused.reason) == ("timeout", True), refused
        assert refused.log_tail.splitlines() == [
            *(f"{name} refused" for name in ("fork", "network", "secret", "writing")),
            "[]",
        ]
        bomb = await runner.run(job(BOMB, memory_bytes=MEMORY_BYTES))
        assert (bomb.status, bomb.reason) == ("oom", "held over 256 MiB of memory"), bomb


def test_answers_that_were_cut_short_are_an_invalid_answer_and_no_end_of_the_node() -> None:
    """Nothing forbids a served model to resize such a file; a map of it would be a trap."""
    with ModelServer.open(1, 4, 8, UnlinkedFiles()) as server:
        os.ftruncate(server.others[0], 4 * 8 + 5)
        with pytest.raises(InvalidAnswerError, match="cut"):
            server._accept(cast("Any", None), 0, (1, 4))


class FakeLibrary:
    """Answers as macOS's library does about one process."""

    def __init__(self, pid: int, footprint: int) -> None:
        self.pid = pid
        self.footprint = footprint

    def proc_pid_rusage(self, pid: ctypes.c_int, flavor: ctypes.c_int, info: Any) -> int:
        if pid.value != self.pid or flavor.value != 0:
            return -1
        info[72:80] = self.footprint.to_bytes(8, "little")
        return 0


def test_memory_is_asked_of_macos_where_there_is_no_procfs() -> None:
    library = FakeLibrary(77, 5 << 30)
    assert runner_memory.footprint_bytes(77, library) == 5 << 30
    assert runner_memory.footprint_bytes(78, library) == 0
