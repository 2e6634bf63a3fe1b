"""Words for people: what holds under a reported scorer is *reproduced*, not *verified*.

The wire and JSON keep one word for a verdict; this file decides what a person reads. A trusted
scorer computes the metric itself, so its verdict vouches for it. A reported metric is the run's own
word, which others have seen again and nobody has looked behind.
"""

from typing import Final

from swarm.hypotheses import HypothesisView

_REPRODUCED: Final = {"verified": "reproduced"}


SELF_VERIFIED: Final = "self-verified"
"""What is an entry on its author's own verification alone, until others confirm it."""


_AUTHORS_OWN: Final = {
    "crashed": "its author's run did not end well",
    "screened_out": "its author measured too little gain to ask others to verify it",
    "proposed": "its author has not run it yet",
}


def standing_reason(item: HypothesisView) -> str:
    """Why a hypothesis stands where it does; before others ran it, what its author's runs say."""
    if item.self_verified:
        return "verified by its author alone; it counts as verified once others confirm it"
    if item.absent_for:
        who = item.absentees
        return f"verified by its author alone, and {who} cannot get its script to test it"
    verdict = item.standing
    return verdict.reason if verdict.pairs else _AUTHORS_OWN.get(item.status, verdict.reason)


def verdict_word(status: str, scorer: str) -> str:
    """The word for a verdict or status under a scorer."""
    return _REPRODUCED.get(status, status) if scorer == "reported" else status
