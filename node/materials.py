"""What a node needs besides records: the task, its data and the scripts, as blobs.

They come from this node's own blobs, else from peers; either way by hash. The test split is never
asked for here: nothing in a search may see it.
"""

import logging
from pathlib import Path
from typing import Final

import trio

from gossip.errors import BlobUnavailableError
from gossip.net.host import Network
from node.blobs import BlobStore
from node.errors import NodeError, StoreError
from protocol import limits
from protocol.records import Genesis
from trainer.task import BUNDLE_BYTES_MAX, Task, open_bundle

SCRIPT_FILE_BYTES_MAX: Final = 2 * limits.SOURCE_BYTES_MAX
"""A script as it is sent, comments and all; after normalisation half of that may be left."""

_RETRY_FIRST_S: Final = 0.5
_RETRY_MAX_S: Final = 10.0

_log = logging.getLogger(__name__)


class ScriptUnavailableError(NodeError):
    """No peer has the script now, or it is not text; the hypothesis has to wait."""


class Materials:
    """Blobs that the genesis and the hypotheses name."""

    def __init__(self, genesis: Genesis, blobs: BlobStore, network: Network) -> None:
        self._genesis = genesis
        self._blobs = blobs
        self._network = network
        self._fetching: dict[bytes, trio.Lock] = {}

    async def task(self) -> Task:
        """The swarm's task; waits until a peer delivers it.

        Raises:
            TaskError: The founder's bundle is not a valid task.
        """
        await self._wait_for(self._genesis.task.digest, BUNDLE_BYTES_MAX)
        raw = self._blobs.read(self._genesis.task.digest)
        assert raw is not None
        return open_bundle(raw)

    async def split(self, name: str) -> Path:
        """The file of a data split; waits until a peer delivers it.

        Raises:
            NodeError: The swarm's task has no such split.
        """
        assert name != "test", "test bytes never enter a search"
        reference = next((item for item in self._genesis.data if item.name == name), None)
        if reference is None:
            raise NodeError(f"the task has no {name} data")
        # The genesis is the founder's word; how much it may cost a joiner is not.
        size_limit = min(reference.size_bytes, limits.BLOB_BYTES_MAX)
        await self._wait_for(reference.digest, size_limit)
        return self._blobs.path(reference.digest)

    async def script(self, digest: bytes) -> str:
        """The text of a script.

        Raises:
            ScriptUnavailableError: No connected peer has it, or it is not UTF-8.
            StoreError: It cannot be written here, or its file is damaged.
        """
        if not self._blobs.has(digest):
            try:
                await self._fetch(digest, SCRIPT_FILE_BYTES_MAX)
            except BlobUnavailableError as error:
                raise ScriptUnavailableError(str(error)) from error
        raw = self._blobs.read(digest)
        assert raw is not None
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ScriptUnavailableError("the script is not UTF-8 text") from error

    def keep_script(self, text: str) -> bytes:
        """Store a script of our own and return its digest.

        Raises:
            StoreError: The disk is full.
        """
        return self._blobs.put(text.encode())

    def local_script(self, digest: bytes) -> str | None:
        """The text of a script if it is here, undamaged and readable."""
        try:
            raw = self._blobs.read(digest)
            return None if raw is None else raw.decode()
        except (StoreError, UnicodeDecodeError):
            return None

    async def _wait_for(self, digest: bytes, size_limit: int) -> None:
        delay_s = _RETRY_FIRST_S
        while not self._blobs.has(digest):
            try:
                await self._fetch(digest, size_limit)
            except BlobUnavailableError as error:
                _log.info("waiting for a blob: %s", error)
            except StoreError as error:
                _log.warning("waiting for a blob: %s", error)
            else:
                return
            await trio.sleep(delay_s)
            delay_s = min(_RETRY_MAX_S, delay_s * 2)

    async def _fetch(self, digest: bytes, size_limit: int) -> None:
        """Fetch one blob; who asks for it at the same time waits for the same download.

        Raises:
            BlobUnavailableError: No connected peer delivered it.
            StoreError: It cannot be written.
        """
        lock = self._fetching.setdefault(digest, trio.Lock())
        try:
            async with lock:
                if self._blobs.has(digest):
                    return
                partial = self._blobs.partial(digest)
                await self._network.fetch_blob(digest, size_limit, partial)
                await trio.to_thread.run_sync(self._blobs.adopt, digest, partial)
        except OSError as error:
            raise StoreError(f"cannot write a blob: {error.strerror}") from error
        finally:
            if not lock.locked():
                self._fetching.pop(digest, None)
