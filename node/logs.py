"""Logging: everything to a bounded file in the home, warnings to stderr.

What peers or a full disk can make this node say again and again is said a few times a minute and
then counted, so that neither buries the rest of the log.
"""

import logging
import logging.handlers
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FILE_BYTES_MAX: Final = 5 << 20
_FILES_KEPT: Final = 3
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_CONTROL: Final = dict.fromkeys((*range(32), 127, *range(128, 160)), " ")
_SAME_MAX: Final = 10
"""Lines of one place in the program that are written in one window."""
_WINDOW_S: Final = 60.0
_PLACES_MAX: Final = 1_024
"""Places remembered; libraries may put anything in the text by which they are told apart."""


class _OneLineFormatter(logging.Formatter):
    """Keeps what peers wrote from forging lines or steering a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Replace control characters in the message; tracebacks keep their lines."""
        line = super().formatMessage(record).translate(_CONTROL)
        left_out = getattr(record, "left_out", 0)
        return f"{line} ({left_out} more like this were left out)" if left_out else line


@dataclass(slots=True)
class _Window:
    """What one place in the program has said lately."""

    began_s: float
    said: int = 0
    left_out: int = 0


class RepetitionFilter(logging.Filter):
    """Lets a few lines of one place pass in a minute; the next one that does says how many did not.

    A place is a logger with a text that is not filled in yet. The filter has to sit on a handler,
    since filters of a logger do not see what other loggers pass up; the handler's formatter writes
    the number, which travels as `left_out` of the record.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one line, by the time that it carries."""
        place = (record.name, str(record.msg))
        window = self._windows.get(place)
        left_out = 0
        if window is None or not 0 <= record.created - window.began_s < _WINDOW_S:
            left_out = 0 if window is None else window.left_out
            window = self._windows[place] = _Window(record.created)
            if len(self._windows) > _PLACES_MAX:
                self._windows.popitem(last=False)
        self._windows.move_to_end(place)
        if window.said >= _SAME_MAX:
            window.left_out += 1
            return False
        window.said += 1
        record.left_out = left_out
        return True


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
    for each in (handler, console):
        each.addFilter(RepetitionFilter())
    root.handlers[:] = [handler, console]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    # A full disk must not bury the one line that says so under tracebacks of the log itself.
    logging.raiseExceptions = False
    path.chmod(0o600)
    # The engine logs each peer's every fault; what matters of them is logged by us.
    for name in ("libp2p", "multiaddr", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
