"""Whether a hypothesis contradicts the head, and where: both sides, for people to decide.

Nothing of it is stored: the scripts are here, so it is computed when somebody looks. Merging takes
a while, so what asks the ledger stands apart from it: the merge may run in another thread.
"""

from typing import TypeAlias

from node.blobs import BlobStore
from node.merge3 import Conflict, MergeUnavailableError
from node.merge_sources import merge_sources
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.merge_queue import plan
from swarm.source import SourceError

Sides: TypeAlias = tuple[bytes, bytes, bytes]
"""The digests of three scripts: the base, the head's, the hypothesis's."""


def sides(ledger: Ledger, item: HypothesisView) -> Sides | None:
    """What is to be merged to bring a hypothesis onto the head; None if it is to come nowhere."""
    planned = plan(ledger)
    if item.entry_id not in planned.siblings and item.id not in {it.id for it in planned.rebases}:
        return None
    base = ledger.source_of(item.body.parents[0])
    return None if base is None else (base, ledger.head.source, item.body.source)


def conflicts(blobs: BlobStore, merged_from: Sides) -> list[dict[str, str]]:
    """The places where a hypothesis contradicts the head.

    Returns:
        One entry a place: `where`, and what stands there in the `head` and in the `hypothesis`.
        Empty where a script is not here.
    """
    found = [blobs.read(digest) for digest in merged_from]
    texts = [data.decode(errors="replace") for data in found if data is not None]
    if len(texts) < len(found):
        return []
    try:
        merged = merge_sources(*texts)
    except (SourceError, MergeUnavailableError):
        return []
    if not isinstance(merged, Conflict):
        return []
    return [
        {"where": clash.where, "head": clash.ours, "hypothesis": clash.theirs}
        for clash in merged.clashes
    ]
