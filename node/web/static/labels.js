// Names of merges beside their points: as long as there is room for, never across the line or each other.

import { inert, start } from "./text.js";

const LENGTHS = [48, 34, 22];
const MOST = 40;
const MOST_NARROW = 4;
const NARROW = 480;
const AVOIDED_MOST = 1500;

/**
 * Draw the labels of merged points, those of the largest gains first.
 *
 * `avoid`: other points, which a label leaves visible where it can, unless they are too many to look
 * at; `ways`: the line's way to each step as [from x, to x, from y, to y]; `below`: whether the better
 * side of the line is below it. All in the canvas's own pixels.
 */
export function drawLabels(ctx, points, { bbox, scale, avoid, ways, below, colours, font }) {
  ctx.font = `500 ${11.5 * scale}px ${font}`;
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "left";
  const height = 14 * scale;
  const narrow = bbox.width < NARROW * scale;
  const taken = [];
  const free = (x, y, width) => x > bbox.left && x + width < bbox.left + bbox.width
    && y > bbox.top - 4 * scale && y + height < bbox.top + bbox.height
    && taken.every((box) => x > box[0] + box[2] + 6 || x + width + 6 < box[0] || y > box[1] + height || y + height < box[1])
    && !ways.some((way) => crosses(x, y, width, height, way));
  const marks = avoid.length > AVOIDED_MOST ? [] : avoid;
  const clear = (x, y, width) => !marks.some(({ px, py }) => px > x - 5 * scale && px < x + width + 5 * scale
    && py > y - 4 * scale && py < y + height + 4 * scale);
  const wanted = points.filter((point) => point.labelled).sort((a, b) => (b.row.gain ?? 0) - (a.row.gain ?? 0));
  for (const point of wanted.slice(0, narrow ? MOST_NARROW : MOST)) {
    const title = inert(point.row.title, 200);
    const lengths = narrow ? LENGTHS.slice(-1) : LENGTHS;
    const passes = marks.length ? [true, false] : [false];
    for (const [length, strict] of passes.flatMap((strict) => lengths.map((length) => [length, strict]))) {
      const text = title.length > length ? `${start(title, length - 1)}…` : title;
      const width = ctx.measureText(text).width;
      const spot = spots(point, width, height, scale, below)
        .find(([x, y]) => free(x, y, width) && (!strict || clear(x, y, width)));
      if (!spot) continue;
      taken.push([...spot, width]);
      write(ctx, text, spot[0], spot[1] + height - 3 * scale, scale, colours);
      break;
    }
  }
}

/** Where a label may stand. Hypotheses crowd on the worse side of the line, so it is tried last. */
function spots({ px, py }, width, height, scale, below) {
  const left = px - width - 10 * scale, right = px + 8 * scale;
  const better = below ? py + 5 * scale : py - 5 * scale - height;
  return [[left, py - height / 2 + 2 * scale], [right, better], [left, better], [right, py - height - 6 * scale]];
}

function write(ctx, text, x, y, scale, colours) {
  ctx.lineWidth = 3.5 * scale;
  ctx.strokeStyle = colours.card;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colours.ink;
  ctx.fillText(text, x, y);
}

/** Whether a box lies across the line's way to a step: along at the old height, then to the new one. */
function crosses(x, y, width, height, [fromX, toX, fromY, toY]) {
  const along = y < fromY && y + height > fromY && x < toX && x + width > fromX;
  const across = x < toX && x + width > toX && y < Math.max(fromY, toY) && y + height > Math.min(fromY, toY);
  return along || across;
}
