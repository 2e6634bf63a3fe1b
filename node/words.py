"""Words for people: what holds under a reported scorer is *reproduced*, not *verified*.

The wire and JSON keep one word for a verdict; this file decides what a person reads. A trusted
scorer computes the metric itself, so its verdict vouches for it. A reported metric is the run's own
word, which others have seen again and nobody has looked behind.
"""

from typing import Final

_REPRODUCED: Final = {"verified": "reproduced"}


SELF_VERIFIED: Final = "self-verified"
"""What is an entry on its author's own verification alone, until others confirm it."""


def standing_reason(reason: str, *, self_verified: bool) -> str:
    """The reason of a verdict, or what to know of one that only its author gave."""
    if not self_verified:
        return reason
    return "verified by its author alone; it counts as verified once others confirm it"


def verdict_word(status: str, scorer: str) -> str:
    """The word for a verdict or status under a scorer."""
    return _REPRODUCED.get(status, status) if scorer == "reported" else status
