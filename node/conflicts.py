"""Whether a hypothesis contradicts the head, and where: both sides, for people to decide.

Nothing of it is stored: the scripts are here, so it is computed when somebody looks.
"""

from node.blobs import BlobStore
from node.merge3 import Conflict, MergeUnavailableError
from node.merge_sources import merge_sources
from swarm.hypotheses import HypothesisView
from swarm.ledger import Ledger
from swarm.merge_queue import plan
from swarm.source import SourceError


def conflicts_with_head(
    ledger: Ledger, blobs: BlobStore, item: HypothesisView
) -> list[dict[str, str]]:
    """The places where a hypothesis that should come onto the head contradicts it.

    Returns:
        One entry a place: `where`, and what stands there in the `head` and in the `hypothesis`.
        Empty for a hypothesis that is to come nowhere, and where a script is not here.
    """
    planned = plan(ledger)
    if item.entry_id not in planned.siblings and item.id not in {it.id for it in planned.rebases}:
        return []
    base = ledger.source_of(item.body.parents[0])
    digests = [base, ledger.head.source, item.body.source]
    found = [None if digest is None else blobs.read(digest) for digest in digests]
    texts = [data.decode(errors="replace") for data in found if data is not None]
    if len(texts) < len(digests):
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
