"""How the record of a replay gets into the swarm, whether this home's node runs or not.

A running node is handed the sealed record over its control socket: it passes the door and is
gossiped at once. Without one the record passes the same door here, under the home's lock, into the
store; the node brings it to others by reconciliation when it starts. The scripts of entries that
this home never ran are fetched the same way, through the running node.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias

from node.author import Author
from node.control import Method, ask
from node.door import Door
from node.errors import NodeError, NotRunningError, UsageError
from node.founding import load_genesis
from node.home import Home
from node.store import RecordStore
from protocol.envelope import open_envelope
from protocol.errors import WireError
from protocol.limits import ID_BYTES
from protocol.records import Transfer

Delivery: TypeAlias = Literal["gossiped", "stored"]


def control_methods(
    author: Author, fetch_script: Callable[[bytes], Awaitable[str]]
) -> Mapping[str, Method]:
    """What a running node does for `swarm-node transfer`.

    Args:
        author: Signs and brings in this node's records.
        fetch_script: Gets a script, from peers if need be, and keeps it.
    """

    async def take_transfer(params: Mapping[str, Any]) -> Any:
        try:
            envelope = base64.b64decode(str(params.get("envelope", "")), validate=True)
            record = open_envelope(envelope, swarm=author.intake.ledger.swarm)
        except (ValueError, WireError) as error:
            raise UsageError(f"this is no record of this swarm: {error}") from error
        if not isinstance(record.body, Transfer) or record.author != author.key.public:
            raise UsageError("only this node's own transfer records are taken here")
        await author.bring_in(envelope)
        return {"id": record.id.hex()}

    async def transfer_script(params: Mapping[str, Any]) -> Any:
        try:
            digest = bytes.fromhex(str(params.get("digest", "")))
        except ValueError as error:
            raise UsageError("a digest is hexadecimal") from error
        if len(digest) != ID_BYTES:
            raise UsageError("a digest has 32 bytes")
        return {"bytes": len((await fetch_script(digest)).encode())}

    return {"take_transfer": take_transfer, "transfer_script": transfer_script}


def deliver(home: Home, envelope: bytes) -> Delivery:
    """Bring a sealed transfer record into the swarm.

    Raises:
        NodeError: It was refused, or the node is just starting or stopping.
    """
    try:
        ask(home.control, "take_transfer", {"envelope": base64.b64encode(envelope).decode()})
    except NotRunningError:
        with home.locked():
            _store(home, envelope)
        return "stored"
    return "gossiped"


def _store(home: Home, envelope: bytes) -> None:
    store = RecordStore(home.database)
    try:
        genesis = load_genesis(store)
        assert genesis is not None, "the home's records were folded before"
        judged = Door(genesis, store).judge(envelope, local=True, now_s=0.0)
        if judged.disposition not in {"accepted", "known"}:
            raise NodeError(f"this node's own record was {judged.disposition}")
        if judged.rows:
            store.append(judged.rows)
    finally:
        store.close()


def fetch_script(home: Home, digest: bytes) -> None:
    """Have the running node fetch a script from its peers.

    Raises:
        NodeError: None runs, or no peer has the script.
    """
    try:
        ask(home.control, "transfer_script", {"digest": digest.hex()})
    except NotRunningError as error:
        raise NodeError(
            f"script {digest.hex()[:16]} is not here, and no node runs that could fetch it:"
            " start one with swarm-node join, and try again"
        ) from error
