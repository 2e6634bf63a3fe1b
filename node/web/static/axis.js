// Where the chart's horizontal axis has its ticks, and what they say.

import { count } from "./text.js";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const FINE = [1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE];
const ROUND = [1, 2, 5].flatMap((nice) => [1, 10, 100, 1e3, 1e4, 1e5, 1e6].map((power) => nice * power)).sort((a, b) => a - b);

/** Steps between ticks, in hypotheses or seconds: such that people count in them. */
export const INCREMENTS = {
  order: ROUND,
  time: [...FINE, ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR), ...ROUND.map((days) => days * DAY)],
  compute: [...FINE, ...ROUND.map((hours) => hours * HOUR)],
};

/** Digits after the point that tell values apart which lie `step` apart. */
export function digitsFor(step) {
  return Math.min(6, Math.max(2, Math.ceil(-Math.log10(step) - 1e-9)));
}

/** What a tick says, where ticks lie `step` apart. */
export function tickText(mode, tick, step) {
  if (mode === "order") return count(tick);
  if (tick === 0) return "0";
  if (mode === "time" && step >= 12 * HOUR) return `${tick / DAY} d`;
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(tick / HOUR), minutes = Math.floor(tick / MINUTE) % 60, seconds = tick % 60;
  if (step < MINUTE) {
    if (tick < MINUTE) return `${tick} s`;
    return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
  }
  if (!hours) return `${minutes} min`;
  return minutes ? `${hours} h ${two(minutes)}` : `${count(hours)} h`;
}
