"""The progress chart as a picture: every hypothesis, the lineage's steps, the merges by name.

Drawn at several times its size and made small, which smooths every edge.
"""

import math
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

from node.web.board import Board
from node.web.routes import static_files
from node.web.rows import Row
from node.words import verdict_word
from trainer.job import printable_line

WIDTH: Final = 1600
HEIGHT: Final = 900
_SCALE: Final = 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 104, 56, 164, 118
_LABEL_MAX: Final = 34
_TICKS: Final = 7
_CLAIMS_ROOM: Final = 4
"""How far claims may stretch the picture beyond the line; what lies further stands at its edge."""

_PAPER, _INK, _SOFT, _RULE = "#fffefb", "#1b1c20", "#5a5d66", "#e6e3d9"
_ACCENT, _GREY, _AMBER, _RED, _PLUM = "#3850d4", "#b4b3ad", "#a66300", "#c4302b", "#93377f"

_KINDS: Final = (
    ("Merged", _ACCENT, ("merged",)),
    ("Verified", "#0f7a63", ("verified",)),
    ("Claimed", _AMBER, ("claimed", "undecided", "stale", "proposed")),
    ("Refuted", _RED, ("refuted", "parked")),
    ("Screened out", _GREY, ("screened_out",)),
    ("Crashed", _PLUM, ("crashed",)),
)
_FILLED: Final = frozenset({"Merged", "Verified", "Screened out"})


class _Canvas:
    """Drawing in the picture's own coordinates."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._fonts: dict[tuple[int, int], ImageFont.FreeTypeFont] = {}

    def font(self, size: int, weight: int) -> ImageFont.FreeTypeFont:
        key = (size, weight)
        if key not in self._fonts:
            data = BytesIO(static_files()["vendor/inter.woff2"])
            font = ImageFont.truetype(data, size * _SCALE)
            font.set_variation_by_axes([weight])
            self._fonts[key] = font
        return self._fonts[key]

    def width(self, text: str, size: int, weight: int = 400) -> float:
        return self.font(size, weight).getlength(text) / _SCALE

    def text(
        self, x: float, y: float, text: str, *, size: int = 15, weight: int = 400,
        colour: str = _INK, anchor: str = "ls", halo: bool = False,
    ) -> None:  # fmt: skip
        self._draw.text(
            (x * _SCALE, y * _SCALE), text, fill=colour, font=self.font(size, weight),
            anchor=anchor, stroke_width=3 * _SCALE if halo else 0, stroke_fill=_PAPER,
        )  # fmt: skip

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * _SCALE), joint="curve")

    def dot(self, x: float, y: float, radius: float, colour: str, *, filled: bool) -> None:
        box = [(x - radius) * _SCALE, (y - radius) * _SCALE, (x + radius) * _SCALE,
               (y + radius) * _SCALE]  # fmt: skip
        self._draw.ellipse(
            box, fill=colour if filled else _PAPER, outline=colour, width=round(1.5 * _SCALE)
        )

    def cross(self, x: float, y: float, colour: str) -> None:
        self.line([(x - 4, y - 4), (x + 4, y + 4)], colour, 1.6)
        self.line([(x - 4, y + 4), (x + 4, y - 4)], colour, 1.6)


def progress_png(board: Board) -> bytes:
    """Draw the chart.

    Args:
        board: Filled.

    Returns:
        A PNG file's bytes.
    """
    canvas = _Canvas()
    state = board.state()
    rows = board.ordered()
    path = [row for row in board.lineage() if row["on_path"] and row["val_bpb"] is not None]
    smaller_is_better = state["swarm"]["metric"]["direction"] == "min"
    low, high = _value_range(rows, path, smaller_is_better=smaller_is_better)
    count = max(1, len(rows))

    def px(index: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * index / (count * 1.02)

    def py(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - min(high, max(low, value))) / (high - low)

    _draw_frame(canvas, state, count, (low, high), (px, py))
    created = [row["created_ms"] for row in rows]
    steps = [
        (px(sum(at <= entry["merged_ms"] for at in created) if entry["hypothesis"] else 0),
         py(entry["val_bpb"]), entry)
        for entry in path
    ]  # fmt: skip
    merged = {entry["hypothesis"]: (x, y) for x, y, entry in steps}
    for label, colour, statuses in reversed(_KINDS):
        if label == "Merged":
            _draw_steps(canvas, steps)
        for index, row in enumerate(rows, start=1):
            if row["status"] not in statuses:
                continue
            if row["val_bpb"] is None:
                canvas.cross(px(index), HEIGHT - _BOTTOM - 10, colour)
                continue
            x, y = merged.get(row["id"], (px(index), py(row["val_bpb"])))
            radius = 6.5 if label == "Merged" else 3.2 if label == "Screened out" else 4.6
            canvas.dot(x, y, radius, colour, filled=label in _FILLED)
    _draw_labels(canvas, steps)
    small = canvas.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    out = BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def _value_range(
    rows: Sequence[Row], path: Sequence[Row], *, smaller_is_better: bool
) -> tuple[float, float]:
    """Around the lineage, with room for what was tried on the worse side of it.

    Claims on the better side are what one hopes for: they get more room, and whole.
    """
    line = [entry["val_bpb"] for entry in path]
    seen = [row["val_bpb"] for row in rows if row["val_bpb"] is not None]
    if not line and not seen:
        return 0.0, 1.0
    low, high = min(line or seen), max(line or seen)
    room = 0.12 * (high - low) or 0.05
    if smaller_is_better:
        best = max(min([low, *seen]), low - _CLAIMS_ROOM * room)
        return best - room, min(max([high, *seen]), high + 2 * room) + room / 3
    best = min(max([high, *seen]), high + _CLAIMS_ROOM * room)
    return max(min([low, *seen]), low - 2 * room) - room / 3, best + room


def _draw_frame(
    canvas: _Canvas,
    state: dict[str, Any],
    count: int,
    value_range: tuple[float, float],
    place: tuple[Callable[[float], float], Callable[[float], float]],
) -> None:
    swarm, head = state["swarm"], state["head"]
    low, high = value_range
    px, py = place
    canvas.text(_LEFT - 56, 66, printable_line(swarm["name"]), size=30, weight=650)
    held = verdict_word("verified", swarm["scorer"])
    merges = f"{head['depth']} {held} merge{'' if head['depth'] == 1 else 's'}"
    story = f"{state['counts']['proposed']} hypotheses, {merges}"
    if head["val_bpb"] is not None and state["baseline_val_bpb"] is not None:
        story += (
            f"; {swarm['metric']['name']} {state['baseline_val_bpb']:.4f} to {head['val_bpb']:.4f}"
        )
    canvas.text(_LEFT - 56, 98, printable_line(story), size=17, colour=_SOFT)
    step = _nice_step((high - low) / _TICKS)
    tick = math.ceil(low / step) * step
    while tick <= high:
        canvas.line([(_LEFT, py(tick)), (WIDTH - _RIGHT, py(tick))], _RULE, 1)
        canvas.text(_LEFT - 14, py(tick), f"{tick:.{max(1, -math.floor(math.log10(step)))}f}",
                    size=15, colour=_SOFT, anchor="rm")  # fmt: skip
        tick += step
    across = max(1, round(_nice_step(count / 10)))
    for index in range(0, count + 1, across):
        canvas.text(px(index), HEIGHT - _BOTTOM + 28, str(index), colour=_SOFT, anchor="ms")
    canvas.text(
        _LEFT - 56, _TOP - 26, printable_line(swarm["metric"]["unit"]), size=15, colour=_SOFT
    )
    x = float(_LEFT)
    for label, colour, _ in _KINDS:
        if label == "Crashed":
            canvas.cross(x + 5, HEIGHT - 40, colour)
        else:
            canvas.dot(x + 5, HEIGHT - 40, 5, colour, filled=label in _FILLED)
        shown = verdict_word(label.lower(), swarm["scorer"]).capitalize()
        canvas.text(x + 18, HEIGHT - 35, shown, size=15)
        x += 46 + canvas.width(shown, 15)
    canvas.text(WIDTH - _RIGHT, HEIGHT - 35, "hypotheses in order", colour=_SOFT, anchor="rs")


def _draw_steps(canvas: _Canvas, steps: Sequence[tuple[float, float, Row]]) -> None:
    if not steps:
        return
    corners = [steps[0][:2]]
    for x, y, _ in steps[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    corners.append((WIDTH - _RIGHT, corners[-1][1]))
    canvas.line(corners, _ACCENT, 2.6)


def _draw_labels(canvas: _Canvas, steps: Sequence[tuple[float, float, Row]]) -> None:
    """Name the merges, the largest gains first, wherever there is room."""
    taken: list[tuple[float, float, float]] = []
    named = [step for step in steps if step[2]["hypothesis"] is not None]
    for x, y, entry in sorted(named, key=lambda step: -(step[2]["gain"] or 0)):
        title = printable_line(entry["title"])
        text = title if len(title) <= _LABEL_MAX else title[: _LABEL_MAX - 1] + "…"
        width = canvas.width(text, 14, 500)
        spots = [(x - width - 14, y + 5), (x + 12, y + 22), (x - width - 14, y + 24)]
        for left, base in spots:
            free = all(
                left > other + wide + 6 or left + width + 6 < other or abs(base - level) > 17
                for other, level, wide in taken
            )
            if free and left > _LEFT and left + width < WIDTH - 8 and base < HEIGHT - _BOTTOM - 18:
                canvas.text(left, base, text, size=14, weight=500, halo=True)
                taken.append((left, base, width))
                break


def _nice_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next((nice * power for nice in (1, 2, 5, 10) if rough <= nice * power), 10 * power)
