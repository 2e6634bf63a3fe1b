"""An annotated hex listing of a statement: the worked example of `docs/protocol.md`.

    python -m tests.protocol.annotate

It reads the bytes by itself, without the codec, and knows only the heads that the example has.
"""

import sys
from collections.abc import Iterator
from typing import Final

from tests.protocol.samples import ADMIT

_HEX_WIDTH: Final = 64

Row = tuple[bytes, str]


def annotate(envelope: bytes) -> str:
    """One line per item: its bytes in hex, then what they are."""
    rows = [
        (envelope[:32], "signature, first half"),
        (envelope[32:64], "signature, second half"),
    ]
    cursor = _Cursor(envelope, 64)
    rows.extend(cursor.value(0))
    assert cursor.position == len(envelope)
    return "\n".join(f"{data.hex():<{_HEX_WIDTH}}  {words}".rstrip() for data, words in rows)


class _Cursor:
    """Where in the envelope the next item begins."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def _take(self, count: int) -> bytes:
        self.position += count
        return self._data[self.position - count : self.position]

    def value(self, level: int) -> Iterator[Row]:
        """Rows of the value that begins here, a map's items further in."""
        indent = "  " * level
        head = self._data[self.position]
        if head & 0xF0 == 0x80:
            count = head & 0x0F
            yield self._take(1), f"{indent}map of {count}"
            for _ in range(count):
                yield from self.value(level + 1)
                yield from self.value(level + 2)
        elif head & 0xE0 == 0xA0:
            data = self._take(1 + (head & 0x1F))
            yield data, f'{indent}text "{data[1:].decode()}"'
        elif head == 0xC4:
            data = self._take(2)
            yield data, f"{indent}bytes, {data[1]} of them:"
            yield self._take(data[1]), ""
        elif head in {0xC2, 0xC3}:
            yield self._take(1), f"{indent}{'true' if head == 0xC3 else 'false'}"
        elif head == 0xCF:
            data = self._take(9)
            yield data, f"{indent}integer {int.from_bytes(data[1:], 'big')}"
        else:
            assert head < 0x80, f"head {head:#x} is not in the example"
            yield self._take(1), f"{indent}integer {head}"


if __name__ == "__main__":
    sys.stdout.write(annotate(ADMIT.envelope) + "\n")
