"""What sandboxed runs printed: kept for this node's owner, bounded, and never sent anywhere."""

from pathlib import Path
from typing import Final

from protocol.schema import printable

_FILES_MAX: Final = 200
_LOG_BYTES_MAX: Final = 32 * 1024


class TrialLogs:
    """The latest log tails, one file a run.

    Args:
        directory: Where they go; made on first use.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, name: str, tail: str) -> None:
        """Store a run's log tail, and delete the oldest beyond the bound.

        A full disk costs the log and nothing else.

        Args:
            name: File name without ending, made of safe characters by the caller.
            tail: What the script printed, as it came: control characters become spaces.
        """
        if not tail:
            return
        assert name.replace("-", "").isalnum()
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            path = self._directory / f"{name}.log"
            path.write_text(printable(tail, _LOG_BYTES_MAX, lines=True), encoding="utf-8")
            files = sorted(self._directory.glob("*.log"), key=lambda item: item.stat().st_mtime_ns)
            for old in files[:-_FILES_MAX]:
                old.unlink()
        except OSError:
            return
