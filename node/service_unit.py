"""What systemd and launchd need to keep a node running for one user, as text.

Pure: paths and arguments go in, a file's text comes out. Nothing is written, started or asked here.
No secret is put into a unit, which others may read: systemd takes the API key from a file in the
home, launchd from the user's own launchd environment.
"""

import plistlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

Manager: TypeAlias = Literal["systemd", "launchd"]

UNIT_NAME: Final = "swarm-node.service"
LAUNCHD_LABEL: Final = "org.swarm-node.node"
_RESTART_S: Final = 10
_STOP_S: Final = 60
"""A node ends within seconds; a machine that is short of memory may need longer."""


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A file that makes a node a service.

    Attributes:
        path: Where the service manager looks for it.
        text: What it holds.
        starting: Commands that a person runs to start it now and after every login.
        removing: Commands that undo all of it.
    """

    path: Path
    text: str
    starting: tuple[str, ...]
    removing: tuple[str, ...]


def manager_of(platform: str) -> Manager | None:
    """The service manager of a platform as `sys.platform` names it; None where none is known."""
    if platform.startswith("linux"):
        return "systemd"
    return "launchd" if platform == "darwin" else None


def service_file(
    manager: Manager, *, command: Sequence[str], home: Path, user_home: Path
) -> ServiceFile:
    """The file of one node.

    Args:
        manager: Which service manager shall keep it.
        command: The whole command with its arguments, absolute.
        home: The node's home.
        user_home: The user's home directory.
    """
    if manager == "systemd":
        return ServiceFile(
            path=user_home / ".config/systemd/user" / UNIT_NAME,
            text=systemd_unit(command, home),
            starting=(
                "systemctl --user daemon-reload",
                f"systemctl --user enable --now {UNIT_NAME}",
                "loginctl enable-linger   # to keep it running when you are logged out",
            ),
            removing=(
                f"systemctl --user disable --now {UNIT_NAME}",
                f"rm ~/.config/systemd/user/{UNIT_NAME}",
            ),
        )
    path = user_home / "Library/LaunchAgents" / f"{LAUNCHD_LABEL}.plist"
    return ServiceFile(
        path=path,
        text=launchd_plist(command, user_home),
        starting=(f"launchctl bootstrap gui/$(id -u) {_shell(str(path))}",),
        removing=(
            f"launchctl bootout gui/$(id -u)/{LAUNCHD_LABEL}",
            f"rm {_shell(str(path))}",
        ),
    )


def systemd_unit(command: Sequence[str], home: Path) -> str:
    """A systemd user unit.

    A usage error (exit code 2) is not tried again: it would fail in the same way for ever.
    """
    return "\n".join(
        [
            "[Unit]",
            "Description=swarm-node: a peer of a research swarm",
            "",
            "[Service]",
            "Type=exec",
            f"ExecStart={' '.join(_systemd_word(word) for word in command)}",
            "# ANTHROPIC_API_KEY=... may stand in this file; make it readable by you alone.",
            f"EnvironmentFile=-{_systemd_path(home / 'environment')}",
            "Restart=on-failure",
            f"RestartSec={_RESTART_S}",
            "RestartPreventExitStatus=2",
            f"TimeoutStopSec={_STOP_S}",
            "Nice=10",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def launchd_plist(command: Sequence[str], user_home: Path) -> str:
    """A launchd agent: started at login, and again when it fails.

    launchd starts nothing whose directories are not there, and the node's home is there only after
    its first start; so what is printed before logging begins goes to where every user's logs go.
    """
    printed = str(user_home / "Library/Logs/swarm-node.log")
    return plistlib.dumps(
        {
            "Label": LAUNCHD_LABEL,
            "ProgramArguments": list(command),
            "WorkingDirectory": str(user_home),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": _RESTART_S,
            "ExitTimeOut": _STOP_S,
            "ProcessType": "Background",
            "StandardOutPath": printed,
            "StandardErrorPath": printed,
        },
        sort_keys=False,
    ).decode()


def _systemd_word(word: str) -> str:
    """One argument, quoted as systemd.service(5) says: `%` and `$` would be replaced."""
    assert "\n" not in word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    plain = escaped and all(letter.isalnum() or letter in "-_./:=@,+%$" for letter in escaped)
    return escaped if plain else f'"{escaped}"'


def _systemd_path(path: Path) -> str:
    """A path in a setting that takes one: nothing is split there, and `%` begins a specifier."""
    return str(path).replace("%", "%%")


def _shell(word: str) -> str:
    import shlex

    return shlex.quote(word)
