"""What a replay at another scale found, in words."""

from collections.abc import Mapping
from typing import Any, Final

from node.cli.table import gain_text

STATUS_WORDS: Final = {
    "carried": "carries over",
    "lost": "lost",
    "failed": "failed",
    "undecided": "undecided",
}


def transfer_text(item: Mapping[str, Any]) -> str:
    """What one replay says of an entry, in a line.

    Args:
        item: One of the `transfer` of an entry.
    """
    gain = gain_text(item["gain"], item["gain_low"], item["gain_high"])
    pairs = f"{item['pairs']} pair{'' if item['pairs'] == 1 else 's'}"
    status = STATUS_WORDS[item["status"]]
    return f"transfer to {item['scale']}: {status}, {gain} over {pairs}, by {item['author'][:8]}"
