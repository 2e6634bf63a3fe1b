"""Every bound that the wire format puts on what a peer may send, with unit and reason.

Bounds that only the network engine needs are in `protocol.limits_network`.
"""

from typing import Final

WIRE_VERSION: Final = 1
"""Version of the record format; other versions are refused."""

ENVELOPE_BYTES_MAX: Final = 64 * 1024
"""One signed record. Anything larger travels as a blob."""

NOTICE_BYTES_MAX: Final = 4 * 1024
"""One claim or presence: sent often and never stored, so it has to stay small."""

DEPTH_MAX: Final = 8
"""Nesting of a MessagePack value; our deepest record nests four levels."""

VALUES_MAX: Final = 4_096
"""Values in one MessagePack message, map keys included. Our longest record, a merge that cites
every trial it may, has 529; without this bound, lists of nothing cost .7 s per megabyte."""

ID_BYTES: Final = 32
"""SHA-256 digests: record ids, entry ids, blob names."""

KEY_BYTES: Final = 32
"""Ed25519 public keys."""

SIGNATURE_BYTES: Final = 64
"""Ed25519 signatures."""

TITLE_BYTES_MAX: Final = 200
"""A hypothesis's title: one line of a table."""

RATIONALE_BYTES_MAX: Final = 4_000
"""A hypothesis's rationale: a few paragraphs."""

NAME_BYTES_MAX: Final = 64
"""Names of swarms, tasks, tiers, metrics, data splits and categories of change."""

CHANGE_BYTES_MAX: Final = 400
"""The machine-readable description of a change."""

DEVICE_BYTES_MAX: Final = 120
"""Hardware and software descriptions in trials and presence notices."""

PARENTS_MAX: Final = 8
"""Lineage parents of one hypothesis: the paired baseline and siblings combined into it."""

DATA_SPLITS_MAX: Final = 64
"""Data files that a task may name."""

TRIALS_CITED_MAX: Final = 512
"""Trials that one merge may cite: more than any policy lets count."""

PAIR_MAX: Final = 255
"""Highest pair number of one verifier for one hypothesis."""

TRANSFER_RUNS_MAX: Final = 65
"""Scripts that one replay of a lineage may run: the genesis and 64 entries."""

TRANSFER_SEEDS_MAX: Final = 16
"""Seeds of one replay: what a larger scale makes dear, and far more than a clear gain takes."""

TIME_MS_MAX: Final = 1 << 46
"""About the year 4199. Wall clock never decides validity; this only bounds the integer."""

METRIC_MICRO_MAX: Final = 1 << 50
"""A metric's magnitude in millionths of its unit: about 10^9 units."""

COUNT_MAX: Final = 1 << 53
"""Counts and sizes: exactly representable everywhere, JavaScript included."""

ADDRESSES_MAX: Final = 8
"""Addresses that one presence notice may carry."""

ADDRESS_BYTES_MAX: Final = 256
"""One multiaddress in its text form."""

SOURCE_BYTES_MAX: Final = 48 * 1024
"""An editable source file after normalisation: what may hide in a script is bounded by it."""

SOURCE_GROWTH_BYTES_MAX: Final = 4 * 1024
"""How much one change may add to the file."""

LITERAL_BYTES_MAX: Final = 256
"""One literal in a source file: weights and text cannot be smuggled in as constants."""

BLOB_BYTES_MAX: Final = 1 << 30
"""One blob. The built-in corpus is 17 MB; data shards of other tasks are larger."""
