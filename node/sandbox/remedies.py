"""What a person can do when a backend does not work on a machine.

This file decides the advice, from a few facts about the system. It refuses to change
anything itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.sandbox.model import BackendReport

APPARMOR_PROFILE: Final = """\
sudo tee /etc/apparmor.d/bwrap >/dev/null <<'EOF'
abi <abi/4.0>,
include <tunables/global>
profile bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
  include if exists <local/bwrap>
}
EOF
sudo systemctl reload apparmor"""

INSTALL_BUBBLEWRAP: Final = (
    "install it: apt-get install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora), "
    "pacman -S bubblewrap (Arch)"
)


@dataclass(frozen=True)
class SystemFacts:
    """What advice depends on.

    Attributes:
        apparmor_restricts_userns: Ubuntu's switch that needs a profile for bubblewrap.
        userns_disabled: whether a sysctl forbids user namespaces.
        in_container: whether this is a Docker or Podman container.
        is_root: whether the node runs as root.
        wsl: ``1`` or ``2`` inside the Windows Subsystem for Linux of that version, else 0.
        wsl_interop: whether Linux programs there can start Windows programs.
    """

    apparmor_restricts_userns: bool
    userns_disabled: bool
    in_container: bool
    is_root: bool
    wsl: int = 0
    wsl_interop: bool = False

    @classmethod
    def gather(cls, root: Path, *, euid: int) -> "SystemFacts":
        """Read the facts from the file system at ``root`` (``/`` but for tests)."""

        def setting(name: str) -> str:
            try:
                return (root / "proc/sys" / name).read_text(encoding="ascii").strip()
            except OSError:
                return ""

        return cls(
            apparmor_restricts_userns=setting("kernel/apparmor_restrict_unprivileged_userns")
            == "1",
            userns_disabled="0"
            in (setting("kernel/unprivileged_userns_clone"), setting("user/max_user_namespaces")),
            in_container=any((root / p).exists() for p in (".dockerenv", "run/.containerenv")),
            is_root=euid == 0,
            wsl=wsl_version(setting("kernel/osrelease")),
            wsl_interop="enabled" in setting("fs/binfmt_misc/WSLInterop"),
        )


def wsl_version(release: str) -> int:
    """Return the version of the Windows Subsystem for Linux by the kernel's release, 0 outside."""
    if "microsoft" not in release.lower():
        return 0
    # Version 1 imitates Linux 4.4 and writes the name with a capital letter.
    return 1 if release.startswith("4.4.") or "Microsoft" in release else 2


WSL_1_REMEDY: Final = "WSL 1 imitates a kernel without sandboxes: wsl --set-version <name> 2"
WSL_INTEROP_REMEDY: Final = (
    "a sandboxed job can neither start a program nor open a socket, so it cannot reach Windows; to"
    " be safe twice over put [interop] enabled=false into /etc/wsl.conf and run: wsl --shutdown"
)


def remedy(report: BackendReport, facts: SystemFacts) -> str:
    """Return what to do about a backend that is not usable, one or more lines."""
    if report.usable:
        return ""
    if report.problem is None:
        broken = ", ".join(r.promise.key for r in report.results if not r.kept)
        if report.name == "seatbelt":
            return f"this macOS lets strangers' code break: {broken}; run the node on Linux"
        return f"this kernel lets strangers' code break: {broken}; use the other backend"
    if report.name == "bubblewrap":
        return _bubblewrap_remedy(report.problem, facts)
    if report.name == "seatbelt":
        return _seatbelt_remedy(facts)
    return _landlock_remedy(report.problem, facts)


def _bubblewrap_remedy(problem: str, facts: SystemFacts) -> str:
    if "not installed" in problem:
        return INSTALL_BUBBLEWRAP
    if facts.userns_disabled:
        where = " on the machine that runs this container" if facts.in_container else ""
        return (
            f"allow user namespaces{where}: sudo sysctl -w user.max_user_namespaces=15000 "
            "kernel.unprivileged_userns_clone=1 (the second exists on Debian only)"
        )
    if facts.in_container:
        return (
            "containers refuse the namespaces that bubblewrap needs; the Landlock backend works "
            "there on Linux 6.2 or newer, without giving the container any privilege"
        )
    if facts.apparmor_restricts_userns and not facts.is_root:
        return "AppArmor needs a profile that lets bubblewrap make namespaces:\n" + APPARMOR_PROFILE
    return "see whether `bwrap --unshare-user --ro-bind / / true` works, and what it prints"


def _seatbelt_remedy(facts: SystemFacts) -> str:
    if facts.is_root:
        return "run the node as an ordinary user, without sudo"
    return (
        "see what the system log says of it: log show --last 2m --predicate "
        "'eventMessage CONTAINS \"deny(\"'; or run the node on Linux, in a virtual machine"
    )


def _landlock_remedy(problem: str, facts: SystemFacts) -> str:
    if "Landlock version" in problem:
        return (
            "run Linux 6.2 or newer with Landlock switched on (the boot parameter lsm= must list "
            "landlock), or use bubblewrap"
        )
    if "closed to other users" in problem and facts.is_root:
        return (
            "run the node as an ordinary user, or install Python and the environment where every "
            "user can read them (such as /opt or /usr/local), or use bubblewrap"
        )
    return "use bubblewrap"
