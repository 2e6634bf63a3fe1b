"""The wall clock. No other module reads it; everything else takes the time as an argument."""

import time


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
