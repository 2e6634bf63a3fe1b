"""Looking at a home whose node is not running: the records, folded read-only."""

from node.errors import NotRunningError, StoreError
from node.founding import load_genesis
from node.home import Home
from node.store import RecordStore
from protocol.envelope import open_envelope
from protocol.errors import WireError
from swarm.ledger import Ledger


def fold_home(home: Home) -> Ledger:
    """Fold the stored records of a home into a ledger.

    Raises:
        NotRunningError: There is no swarm in this home yet.
        StoreError: The store cannot be read, or a stored record is damaged.
    """
    if not home.database.exists():
        raise NotRunningError(
            f"{home.root} belongs to no swarm; found one with swarm-node init,"
            " or join one with swarm-node join --bootstrap ADDRESS"
        )
    store = RecordStore(home.database, read_only=True)
    try:
        genesis = load_genesis(store)
        if genesis is None:
            raise NotRunningError(f"{home.root} has not reached its swarm yet")
        ledger = Ledger(genesis)
        for envelope in store:
            try:
                ledger.add(open_envelope(envelope, swarm=genesis.id))
            except WireError as error:
                raise StoreError(f"a stored record is damaged: {error}") from error
        return ledger
    finally:
        store.close()
