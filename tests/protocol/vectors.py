"""The golden vectors under `tests/vectors/`, and the one command that rewrites them.

    python -m tests.protocol.vectors           compare, exit 1 when a file differs
    python -m tests.protocol.vectors --write   rewrite the files

A difference means that the wire format has changed: other versions can no longer read what this
one writes. Rewriting is right only together with a new wire version, or before the first release.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from protocol import ids
from protocol.notices import NOTICE_TYPES
from protocol.records import kind_of
from protocol.schema import to_map
from tests.protocol import samples
from tests.protocol.canonical_cases import INVALID, VALID

FOLDER: Final = Path(__file__).parent.parent / "vectors"


def to_json(value: object) -> Any:
    """Show a canonical value as JSON: bytes become `{"hex": ...}`."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def from_json(value: Any) -> Any:
    """Undo `to_json`."""
    if isinstance(value, dict):
        if value.keys() == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def load(name: str) -> Any:
    """Read one file of vectors."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def records() -> Any:
    """Every kind of record."""
    return [
        {
            "name": sample.name,
            "key_seed": sample.key.seed.hex(),
            "swarm": None if sample.swarm is None else sample.swarm.hex(),
            "created_ms": sample.created_ms,
            "kind": kind_of(sample.body),
            "body": to_json(to_map(sample.body)),
            "envelope": sample.envelope.hex(),
            "id": sample.id.hex(),
        }
        for sample in samples.RECORDS
    ]


def notices() -> Any:
    """Every kind of notice."""
    return [
        {
            "name": sample.name,
            "key_seed": sample.key.seed.hex(),
            "swarm": sample.swarm.hex(),
            "created_ms": sample.created_ms,
            "kind": next(k for k, t in NOTICE_TYPES.items() if t is type(sample.body)),
            "body": to_json(to_map(sample.body)),
            "envelope": sample.envelope.hex(),
        }
        for sample in samples.NOTICES
    ]


def hashes() -> Any:
    """Every hash that is not a record id."""
    hypothesis = samples.HYPOTHESIS.id
    proof = samples.BOB.prove_seed(hypothesis, 258)
    parents = (samples.ROOT_ENTRY, samples.SWARM)
    listed = [sample.id for sample in samples.RECORDS]
    return {
        "blob": {"bytes": b"train.py".hex(), "digest": ids.blob_digest(b"train.py").hex()},
        "entry": [
            {
                "parents": [parent.hex() for parent in chosen],
                "source": samples.SWARM.hex(),
                "id": ids.entry_id(chosen, samples.SWARM).hex(),
            }
            for chosen in (parents[:1], parents)
        ],
        "seed": {
            "key_seed": samples.BOB.seed.hex(),
            "hypothesis": hypothesis.hex(),
            "pair": 258,
            "challenge": ids.seed_challenge(hypothesis, 258).hex(),
            "seed_proof": proof.hex(),
            "seed": ids.seed_from_proof(proof),
        },
        "transfer": {
            "key_seed": samples.BOB.seed.hex(),
            "entry": samples.ROOT_ENTRY.hex(),
            "scale": "confirm",
            "challenge": ids.transfer_challenge(samples.ROOT_ENTRY, "confirm").hex(),
            "seed_proof": samples.BOB.prove_transfer(samples.ROOT_ENTRY, "confirm").hex(),
            "seeds": [
                ids.transfer_seed(samples.BOB.prove_transfer(samples.ROOT_ENTRY, "confirm"), number)
                for number in range(3)
            ],
        },
        "rendezvous": {
            "hypothesis": hypothesis.hex(),
            "member": samples.BOB.public.hex(),
            "hash": ids.rendezvous(hypothesis, samples.BOB.public).hex(),
        },
        "records_digest": {
            "ids": [item.hex() for item in listed],
            "digest": ids.records_digest(listed).hex(),
            "digest_of_none": ids.records_digest([]).hex(),
        },
    }


def canonical() -> Any:
    """The canonical subset of MessagePack."""
    return {
        "valid": [
            {"name": name, "value": to_json(value), "hex": wire} for name, value, wire in VALID
        ],
        "invalid": [{"name": name, "hex": wire} for name, wire, _ in INVALID],
    }


def build() -> dict[str, str]:
    """Every file's name and content, except the RFC's own vectors, which nothing here computes."""
    made = {
        "records.json": records(),
        "notices.json": notices(),
        "hashes.json": hashes(),
        "canonical.json": canonical(),
    }
    return {
        name: json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        for name, content in made.items()
    }


def main() -> int:
    """Compare or rewrite the files; returns the exit status."""
    parser = argparse.ArgumentParser(description="Golden vectors of the wire format.")
    parser.add_argument("--write", action="store_true", help="rewrite the files that differ")
    write = parser.parse_args().write
    status = 0
    for name, content in build().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        if write:
            path.write_text(content, encoding="utf-8")
            sys.stderr.write(f"wrote {path}\n")
        else:
            sys.stderr.write(f"{path} differs from what this version writes\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
