"""Logging: everything to a bounded file in the home, warnings to stderr."""

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Final

_FILE_BYTES_MAX: Final = 5 << 20
_FILES_KEPT: Final = 3
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_CONTROL: Final = dict.fromkeys((*range(32), 127, *range(128, 160)), " ")


class _OneLineFormatter(logging.Formatter):
    """Keeps what peers wrote from forging lines or steering a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Replace control characters in the message; tracebacks keep their lines."""
        return super().formatMessage(record).translate(_CONTROL)


def set_up_logging(path: Path) -> None:
    """Log to a file and, from warnings on, to stderr. Set up before libp2p is imported."""
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_FILE_BYTES_MAX, backupCount=_FILES_KEPT, encoding="utf-8"
    )
    handler.setFormatter(_OneLineFormatter(_FORMAT))
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.WARNING)
    console.setFormatter(_OneLineFormatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler, console]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    # A full disk must not bury the one line that says so under tracebacks of the log itself.
    logging.raiseExceptions = False
    path.chmod(0o600)
    # The engine logs each peer's every fault; what matters of them is logged by us.
    for name in ("libp2p", "multiaddr", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
