"""The OpenAPI document of the leaderboard's API."""

from typing import Any, Final

from node.hardware import software_version
from node.web.rows import POINT_COLUMNS

_ID: Final = {"type": "string", "pattern": "^[0-9a-f]{4,64}$"}
_CURSOR: Final = {
    "cursor": {"type": "string", "description": "Where `/api/v1/events?after=` goes on from here."},
    "as_of_ms": {"type": "integer", "description": "The node's wall clock."},
}
_NUMBER: Final = {"type": ["number", "null"]}
_COLUMN_TYPES: Final[dict[str, dict[str, Any]]] = {
    "id": {"type": "string"},
    "title": {"type": "string"},
    "author": {"type": "string"},
    "parent": {"type": "string"},
    "entry": {"type": "string"},
    "status": {"type": "string"},
    "pairs": {"type": "integer"},
    "verifiers": {"type": "integer"},
    "self_verified": {"type": "boolean"},
    "category": {"type": "string"},
    "proposer": {"type": "string"},
    "device": {"type": "string"},
    "created_ms": {"type": "integer"},
}


def _parameter(name: str, description: str, schema: dict[str, Any], where: str = "query") -> Any:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": schema,
    }


def _get(
    summary: str,
    schema: dict[str, Any] | None = None,
    *,
    parameters: tuple[Any, ...] = (),
    media: str = "application/json",
    refusals: tuple[int, ...] = (),
) -> dict[str, Any]:
    answers: dict[str, Any] = {
        "200": {
            "description": summary,
            "content": {media: {"schema": schema or {"type": "string"}}},
        }
    }
    answers |= {
        str(status): {
            "description": "Refused; `error` says why.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status in refusals
    }
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": answers}}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


def openapi_document() -> dict[str, Any]:
    """The whole document; JSON values."""
    row = _object(**{name: _COLUMN_TYPES.get(name, _NUMBER) for name in POINT_COLUMNS})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "swarm-node leaderboard",
            "version": software_version(),
            "description": "Read-only: GET and HEAD. Text in answers was written by peers; show it"
            " as text. Metrics are in the task's unit; gains are positive when better.",
        },
        "paths": {**_swarm_paths(), **_hypothesis_paths(), **_other_paths()},
        "components": {"schemas": {"Hypothesis": row, "Error": _object(error={"type": "string"})}},
    }


def _swarm_paths() -> dict[str, Any]:
    """What tells of the swarm as a whole."""
    return {
        "/api/v1/state": _get(
            "The swarm, its head, counts, peers and agents. `agent` and `cost` are this node's own:"
            " who proposes on it, and what its language model has cost. Others' is unknown.",
            _object(
                **_CURSOR,
                agent={"type": "string"},
                cost={"type": ["object", "null"]},
                swarm={"type": "object"},
                head={"type": "object"},
                counts={"type": "object"},
                peers={"type": "array"},
                agents={"type": "array"},
            ),
        ),
        "/api/v1/points": _get(
            "Every hypothesis by columns, oldest first.",
            _object(**_CURSOR, columns={"type": "array"}, rows={"type": "array"}),
        ),
        "/api/v1/lineage": _get(
            "Every entry of the lineage, side branches included, by depth.",
            _object(**_CURSOR, entries={"type": "array"}),
        ),
        "/api/v1/events": _get(
            "Changes as server-sent events: `change` (changed rows), `live` (peers, counts,"
            " head), `heartbeat`, and `reset` when everything has to be loaded again.",
            parameters=(
                _parameter("after", "A cursor; Last-Event-ID goes before.", {"type": "string"}),
            ),
            media="text/event-stream",
            refusals=(503,),
        ),
    }


def _hypothesis_paths() -> dict[str, Any]:
    """What tells of some hypotheses, or one."""
    identity = _parameter("id", "The start of a hypothesis's or an entry's id.", _ID, "path")
    page = _object(
        **_CURSOR,
        total={"type": "integer"},
        offset={"type": "integer"},
        items=_list_of("Hypothesis"),
    )
    whole = {"type": "integer", "minimum": 0}
    return {
        "/api/v1/hypotheses": _get(
            "Hypotheses, filtered, sorted and paged.",
            page,
            parameters=(
                _parameter("status", "Statuses, separated by commas.", {"type": "string"}),
                _parameter("author", "Start of the author's key.", {"type": "string"}),
                _parameter("parent", "Start of the parent entry's id.", {"type": "string"}),
                _parameter("category", "The kind of change.", {"type": "string"}),
                _parameter("q", "Text in the title.", {"type": "string"}),
                _parameter(
                    "sort",
                    "created, val_bpb, gain or cpu; - in front for descending.",
                    {"type": "string", "default": "-created"},
                ),
                _parameter("offset", "Rows to leave out.", whole),
                _parameter("limit", "Rows at most, up to 1000.", whole | {"default": 100}),
            ),
            refusals=(400,),
        ),
        "/api/v1/hypotheses/{id}": _get(
            "One hypothesis with rationale and trials.",
            {"$ref": "#/components/schemas/Hypothesis"},
            parameters=(identity,),
            refusals=(404,),
        ),
        "/api/v1/entries/{id}/diff": _get(
            "What an entry changes in its first parent's script, as a unified diff.",
            _object(
                id={"type": "string"},
                entry={"type": "string"},
                available={"type": "boolean"},
                lines={"type": "array", "items": {"type": "string"}},
            ),
            parameters=(identity,),
            refusals=(404,),
        ),
    }


def _other_paths() -> dict[str, Any]:
    """What other programs ask for."""
    return {
        "/api/v1/openapi.json": _get("This document.", {"type": "object"}),
        "/results.tsv": _get("autoresearch's table.", media="text/tab-separated-values"),
        "/metrics": _get("Prometheus' text format.", media="text/plain"),
        "/healthz": _get("`ok` once the records have been read.", media="text/plain"),
    }
