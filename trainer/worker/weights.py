"""How trained weights travel from one sandboxed process to the next.

This file decides the byte format: a length, a JSON table of (name, dtype, shape, offset), then raw
tensors. There is no pickle in it and no code. The node carries the bytes in a sealed memfd and
never parses them; the serving process reads them back into a model that it has rebuilt itself.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any, Final

import torch

_LENGTH: Final = struct.Struct("<Q")
_ALIGNMENT: Final = 64
TABLE_BYTES_MAX: Final = 16 << 20


class WeightsError(Exception):
    """Weights do not fit their room, or do not belong to the model that reads them."""


def _tensors(model: Any) -> dict[str, Any]:
    return {name: t.detach() for name, t in model.state_dict().items() if torch.is_tensor(t)}


def all_finite(model: Any) -> bool:
    """Says whether every weight of the model is a finite number."""
    return all(
        bool(torch.isfinite(t).all()) for t in _tensors(model).values() if t.is_floating_point()
    )


def write(model: Any, descriptor: int, room_bytes: int) -> int:
    """Writes a model's parameters and buffers; returns the number of bytes.

    Raises:
        WeightsError: they take more than room_bytes.
    """
    table: list[list[Any]] = []
    tensors = []
    offset = 0
    for name, tensor in _tensors(model).items():
        raw = tensor.to("cpu").contiguous().reshape(-1).view(torch.uint8)
        table.append([name, str(tensor.dtype), list(tensor.shape), offset])
        tensors.append((offset, raw))
        offset += -(-raw.numel() // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps(table).encode()
    start = _LENGTH.size + len(header)
    if start + offset > room_bytes or len(header) > TABLE_BYTES_MAX:
        raise WeightsError(f"the weights take {start + offset:,} of {room_bytes:,} bytes allowed")
    _write_all(descriptor, _LENGTH.pack(len(header)) + header, 0)
    for place, raw in tensors:
        _write_all(descriptor, raw.numpy(), start + place)
    return start + offset


def read(model: Any, descriptor: int) -> None:
    """Fills a freshly built model with written weights.

    Raises:
        WeightsError: names, types or shapes are not those of the model.
    """
    (length,) = _LENGTH.unpack(_read_all(descriptor, _LENGTH.size, 0))
    if length > TABLE_BYTES_MAX:
        raise WeightsError("the table of weights is too long")
    try:
        table = json.loads(_read_all(descriptor, length, _LENGTH.size))
    except ValueError as error:
        raise WeightsError("the table of weights cannot be read") from error
    state = _tensors(model)
    expected = [[name, str(t.dtype), list(t.shape)] for name, t in state.items()]
    if not isinstance(table, list) or not all(isinstance(row, list) and row for row in table):
        raise WeightsError("the table of weights cannot be read")
    if [row[:-1] for row in table] != expected or not all(type(r[-1]) is int for r in table):
        raise WeightsError("build_model gives another model when it is called again")
    with torch.no_grad():
        for name, _, _, offset in table:
            target = state[name]
            size = target.numel() * target.element_size()
            raw = _read_all(descriptor, size, _LENGTH.size + length + offset)
            flat = torch.frombuffer(raw, dtype=target.dtype) if size else target.reshape(-1)
            target.copy_(flat.reshape(target.shape))


def _write_all(descriptor: int, content: Any, offset: int) -> None:
    view = memoryview(content).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _read_all(descriptor: int, size: int, offset: int) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        got = os.preadv(descriptor, [view], offset)
        if not got:
            raise WeightsError("the weights end early")
        view, offset = view[got:], offset + got
    return content
