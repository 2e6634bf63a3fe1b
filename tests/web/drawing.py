"""Reads back what the main chart drew: its texts, its plot's edges, and what its axes say.

A canvas tells nothing of what is on it, so every text is noted as it is drawn, with the ink that it
puts down. Positions come from the axes' own ticks: the tests ask no code of the chart where
something ought to be. Lengths are in CSS pixels from the canvas's upper left corner.
"""

import io
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from PIL import Image
from playwright.sync_api import Page

NOTE_TEXTS = """() => {
  const drawing = CanvasRenderingContext2D.prototype;
  const { clearRect, fillText } = drawing;
  drawing.clearRect = function (...area) {
    window.drawnTexts = [];
    return clearRect.apply(this, area);
  };
  drawing.fillText = function (text, x, y, ...rest) {
    const at = this.getTransform().transformPoint(new DOMPoint(x, y));
    const ink = this.measureText(text);
    window.drawnTexts?.push({
      text, whole: text.isWellFormed(), x: at.x, y: at.y,
      left: at.x - ink.actualBoundingBoxLeft, right: at.x + ink.actualBoundingBoxRight,
      top: at.y - ink.actualBoundingBoxAscent, bottom: at.y + ink.actualBoundingBoxDescent,
    });
    return fillText.call(this, text, x, y, ...rest);
  };
}"""

READ = """() => {
  const canvas = document.querySelector("#chart canvas");
  const scale = canvas.width / canvas.getBoundingClientRect().width;
  const from = canvas.getBoundingClientRect();
  const plot = document.querySelector("#chart .u-over").getBoundingClientRect();
  const texts = window.drawnTexts.map((drawn) => Object.fromEntries(Object.entries(drawn).map(
    ([name, value]) => [name, typeof value === "number" ? value / scale : value])));
  return { texts, plot: [plot.left - from.left, plot.top - from.top,
    plot.right - from.left, plot.bottom - from.top] };
}"""


@dataclass(frozen=True)
class Text:
    """One text on the canvas: where its ink is, and the point that it was drawn at."""

    text: str
    whole: bool
    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Axis:
    """Where an axis has a value: `pixel = at + slope * value`."""

    at: float
    slope: float

    def pixel(self, value: float) -> float:
        return self.at + self.slope * value


@dataclass(frozen=True)
class Drawing:
    """What is on the chart.

    Attributes:
        left, top, right, bottom: The plot's edges.
        x, y: The axes.
        ticks: What the vertical axis says, from one end to the other.
        labels: Every text that stands on no axis.
    """

    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis
    ticks: tuple[str, ...]
    labels: tuple[Text, ...]


def note_texts(page: Page) -> None:
    """Note every text that the page draws from its start on."""
    page.add_init_script(f"({NOTE_TEXTS})()")


def read_drawing(page: Page) -> Drawing:
    """What the chart drew last; its horizontal axis is by order."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    read: dict[str, Any] = page.evaluate(READ)
    left, top, right, bottom = read["plot"]
    texts = [Text(**drawn) for drawn in read["texts"]]
    beside = [text for text in texts if text.x < left - 2]
    under = [text for text in texts if text.x >= left - 2 and text.y >= bottom]
    return Drawing(
        left, top, right, bottom,
        x=_axis([(text.x, text.text) for text in under]),
        y=_axis([(text.y, text.text) for text in beside]),
        ticks=tuple(text.text for text in beside),
        labels=tuple(text for text in texts if text not in beside and text not in under),
    )  # fmt: skip


def _axis(ticks: list[tuple[float, str]]) -> Axis:
    numbers = [(at, float(re.sub("\\s", "", text).replace("−", "-"))) for at, text in ticks]
    (first, low), (last, high) = min(numbers), max(numbers)
    slope = (last - first) / (high - low)
    return Axis(first - slope * low, slope)


def picture(page: Page) -> Image.Image:
    """The chart's canvas as it is, without what the page lays over it."""
    data: str = page.evaluate("document.querySelector('#chart canvas').toDataURL()")
    return Image.open(io.BytesIO(b64decode(data.partition(",")[2]))).convert("RGB")
