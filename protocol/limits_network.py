"""Every bound of the network engine, with unit and reason.

Bounds on the records themselves are in `protocol.limits`.
"""

from typing import Final

BUNDLE_BYTES_MAX: Final = 128 * 1024
"""One pubsub message of records: a py-libp2p node pays about 5 ms of CPU per message, so records
travel together; two of the largest envelopes still fit."""

BUNDLE_RECORDS_MAX: Final = 256
"""Records in one bundle: bounds what one pubsub message can make the intake do."""

BUNDLE_DELAY_S: Final = 0.1
"""How long a record may wait for company before its bundle is sent."""

FRAME_BYTES_MAX: Final = 1024 * 1024
"""One length-framed message on a stream."""

HELLO_BYTES_MAX: Final = 16 * 1024
"""A hello or an answer of the peer exchange: a few addresses and counters."""

SYNC_MESSAGE_BYTES_MAX: Final = 256 * 1024
"""One reconciliation message: about 8,000 ids."""

SYNC_RANGES_MAX: Final = 1_024
"""Ranges in one reconciliation message: comparing one costs tens of microseconds, in which the
node does nothing else."""

SYNC_ROUNDS_MAX: Final = 256
"""Messages one reconciliation may take. An honest one between sets of a million records that
share all but a thousand takes four; joining from nothing takes one per 8,000 records."""

SYNC_IDS_MAX: Final = 65_536
"""Ids that one reconciliation may ask for or offer; the next one continues where it stopped."""

SYNC_GET_IDS_MAX: Final = 256
"""Records asked for, or offered, in one frame of a sync stream."""

SYNC_RECORDS_BYTES_MAX: Final = 768 * 1024
"""Envelopes in one frame of a sync stream: room for framing under `FRAME_BYTES_MAX`."""

RECORD_TIME_MAX: Final = 1 << 62
"""Sort keys of records are below this; it stands for infinity in reconciliation."""

BLOB_CHUNK_BYTES: Final = 256 * 1024
"""One chunk of a blob: large enough to be fast, small enough for a slow reader."""

PEERS_KNOWN_MAX: Final = 512
"""Nodes whose addresses the dialer remembers."""

PEER_ADDRESSES_MAX: Final = 8
"""Addresses remembered for one node."""

PEER_EXCHANGE_MAX: Final = 32
"""Addresses in one answer of the peer exchange."""

ADDRESS_CHARS_MAX: Final = 256
"""One multiaddress in text."""

SEEN_IDS_MAX: Final = 65_536
"""Message ids remembered so that nothing is relayed twice."""

SEEN_S: Final = 300
"""How long a message id is remembered."""

HANDSHAKES_PER_ORIGIN_MAX: Final = 16
"""Connections of one address that may be shaking hands at once: a cluster behind one address starts
within seconds, and one silent machine takes a quarter of the room at most."""

STREAMS_PER_PEER_MAX: Final = 2
"""Hellos, address exchanges or reconciliations, of each kind, served at once for one peer. There is
no bound over all peers but their number: with one, a few peers could keep out all others."""

BLOB_STREAMS_PER_PEER_MAX: Final = 8
"""Blob transfers served at once for one peer."""

BLOB_STREAMS_TOTAL_MAX: Final = 64
"""Blob transfers served at once: each may last long and holds a chunk in memory. A blob is to be
had from others as well."""

VALIDATIONS_MAX: Final = 256
"""Pubsub messages in validation at once; further ones are dropped and reconciled later."""

FORWARDER_RATE_BYTES_PER_S: Final = 4 * 1024 * 1024
"""Pubsub bytes accepted from one forwarding peer, sustained."""

FORWARDER_BURST_BYTES: Final = 16 * 1024 * 1024
"""Pubsub bytes accepted from one forwarding peer at once."""

AUTHOR_RATE_MESSAGES_PER_S: Final = 20.0
"""Pubsub messages accepted from one author, sustained: ten bundles a second and its notices."""

AUTHOR_BURST_MESSAGES: Final = 200.0
"""Pubsub messages accepted from one author at once."""

BUCKETS_MAX: Final = 4_096
"""Token buckets kept; the longest unused one makes room."""

HELLO_TIMEOUT_S: Final = 10.0
"""Dial, handshake and hello."""

SYNC_STALL_S: Final = 20.0
"""Longest wait for one answer in a reconciliation."""

SYNC_TIMEOUT_S: Final = 120.0
"""One reconciliation with the records that it carries."""

BLOB_TIMEOUT_S: Final = 600.0
"""One blob transfer; a cut one resumes."""

BLOB_STALL_S: Final = 20.0
"""Longest wait for one chunk of a blob."""

BLOB_RATE_BYTES_PER_S: Final = 16 * 1024
"""A peer that delivers more slowly than this is left for another: a script takes seconds."""
