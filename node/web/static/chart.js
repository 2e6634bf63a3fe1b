// The main chart: every hypothesis as a point, the lineage as a step line with its noise band.
// uPlot owns axes, zoom and cursor; the marks are drawn here, because they differ by outcome.

import uPlot from "./vendor/uPlot.js";
import { INCREMENTS, digitsFor, tickText } from "./axis.js";
import { drawLabels } from "./labels.js";
import { byId, h, put, say, segments } from "./dom.js";
import { clock, count, gainAndHalf, inert, short, statusWord, told, value } from "./text.js";

const GROUPS = [
  ["merged", "Merged", ["merged"]],
  ["verified", "Verified, not on the path", ["verified"]],
  ["claimed", "Claimed, not verified yet", ["claimed", "undecided", "stale", "proposed"]],
  ["refuted", "Refuted", ["refuted"]],
  ["parked", "Parked", ["parked"]],
  ["screened_out", "Screened out by its author", ["screened_out"]],
  ["crashed", "Crashed", ["crashed"]],
];
const GROUP_OF = Object.fromEntries(GROUPS.flatMap(([group, , statuses]) => statuses.map((status) => [status, group])));
const DRAW_ORDER = ["screened_out", "crashed", "parked", "refuted", "claimed", "verified", "merged"];
const MODES = [["order", "Order"], ["time", "Time"], ["compute", "Compute"]];
const REACH = 14;
const FONT = "Inter, system-ui, sans-serif";

export class Chart {
  constructor(store) {
    this.store = store;
    this.box = byId("chart");
    this.tip = byId("tip");
    this.mode = "order";
    this.hidden = new Set();
    this.points = [];
    this.steps = [];
    this.chosen = -1;
    this.colours = {};
    this.deviation = null;
    this.plot = null;
    this.zoomed = false;
    segments(byId("x-mode"), MODES, (mode) => { this.mode = mode; this.reset(); })("order");
    byId("reset-zoom").addEventListener("click", () => this.reset());
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("blur", () => this.choose(-1));
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  update(changed) {
    if (changed.has("rows") || changed.has("entries")) this.redraw();
    else if (changed.has("live") && this.store.state.seed_deviation !== this.deviation) {
      this.noteBand();
      this.plot?.redraw(false);
    }
  }

  age() {}

  recolour() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink", "soft", "faint", "rule", "card", "accent", "merged", "verified", "claimed", "refuted", "parked", "screened_out", "crashed"]) {
      this.colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    if (this.plot) this.plot.redraw(false);
  }

  reset() {
    this.zoomed = false;
    this.redraw();
  }

  // -- what is where ----------------------------------------------------------------------------

  layOut() {
    const rows = this.store.ordered();
    const path = this.store.path();
    const onPath = new Map(path.filter((entry) => entry.hypothesis).map((entry) => [entry.hypothesis, entry]));
    const start = rows.length ? rows[0].created_ms : 0;
    const createdAt = rows.map((row) => row.created_ms);
    const before = (ms) => {
      let low = 0, high = createdAt.length;
      while (low < high) { const middle = (low + high) >> 1; if (createdAt[middle] <= ms) low = middle + 1; else high = middle; }
      return low;
    };
    const compute = [0];
    for (const row of rows) compute.push(compute[compute.length - 1] + row.cpu_s);
    const x = { order: (index) => index, time: (index, ms) => (ms - start) / 1000, compute: (index) => compute[index] }[this.mode];
    const points = rows.map((row, index) => {
      const entry = onPath.get(row.id);
      const at = entry ? x(before(entry.merged_ms), entry.merged_ms) : x(index + 1, row.created_ms);
      return { row, x: at, y: entry ? entry.val_bpb : row.val_bpb, group: row.status === "merged" && !entry ? "verified" : GROUP_OF[row.status] ?? "claimed", labelled: Boolean(entry) };
    });
    const end = this.mode === "time" ? Math.max(1, (this.store.asOfMs - start) / 1000) : x(rows.length, 0);
    this.end = rows.length ? Math.max(end, 1) : 1;
    if (this.mode === "time" && rows.length) {
      const last = Math.max(rows[rows.length - 1].created_ms, ...path.map((entry) => entry.merged_ms));
      this.end = Math.max(1, ((last - start) / 1000) * 1.02);
    }
    this.points = points;
    this.steps = path.filter((entry) => entry.val_bpb !== null).map((entry) => ({
      x: entry.hypothesis ? x(before(entry.merged_ms), entry.merged_ms) : 0, y: entry.val_bpb, entry }));
    this.range = this.valueRange();
  }

  /** The values worth seeing: around the lineage; what lies far outside is drawn at the edge. */
  valueRange() {
    const line = this.steps.map((step) => step.y);
    const seen = this.points.map((point) => point.y).filter((y) => y !== null).sort((a, b) => a - b);
    if (!line.length && !seen.length) return [0, 1];
    const quantile = (share) => seen[Math.min(seen.length - 1, Math.floor(share * seen.length))];
    let low = Math.min(...line, ...(seen.length ? [this.store.minimises ? quantile(0) : quantile(0.05)] : []));
    let high = Math.max(...line, ...(seen.length ? [this.store.minimises ? quantile(0.93) : quantile(0.999)] : []));
    const span = Math.max(high - low, 1e-3);
    const most = Math.max(...line) - Math.min(...line) || span;
    if (this.store.minimises) high = Math.min(high, Math.max(...line, low) + 0.35 * most + 0.02);
    else low = Math.max(low, Math.min(...line, high) - 0.35 * most - 0.02);
    const pad = 0.06 * (high - low || 1);
    return [low - (this.store.minimises ? 2 * pad : pad), high + pad];
  }

  // -- drawing ----------------------------------------------------------------------------------

  redraw() {
    this.layOut();
    this.legend();
    this.noteBand();
    if (!this.plot) this.create();
    if (!this.plot) return;
    const xs = [0, ...this.points.map((point) => point.x).sort((a, b) => a - b), this.end];
    this.plot.setData([xs, xs.map(() => null)], false);
    if (!this.zoomed) {
      this.plot.batch(() => {
        this.plot.setScale("x", { min: 0, max: this.end * 1.03 });
        this.plot.setScale("y", { min: this.range[0], max: this.range[1] });
      });
    } else {
      this.plot.redraw();
    }
    byId("reset-zoom").hidden = !this.zoomed;
    this.box.classList.toggle("empty-chart", !this.points.length && !this.steps.length);
    const head = this.steps[this.steps.length - 1];
    this.box.setAttribute("aria-label",
      `Chart of ${count(this.points.length)} hypotheses. The lineage has ${Math.max(0, this.steps.length - 1)} merges`
      + (head ? ` and stands at ${value(head.y)}.` : "."));
  }

  size() {
    const width = Math.floor(this.box.clientWidth);
    return { width, height: Math.max(260, Math.min(460, Math.round(width * 0.42))) };
  }

  resize() {
    if (this.plot && this.size().width > 0) this.plot.setSize(this.size());
  }

  create() {
    if (this.size().width <= 0) return;
    this.recolour();
    const axis = {
      stroke: () => this.colours.soft, font: `12px ${FONT}`, labelFont: `12px ${FONT}`,
      grid: { stroke: () => this.colours.rule, width: 1 }, ticks: { show: false },
    };
    const narrow = this.size().width < 560;
    this.plot = new uPlot({
      ...this.size(),
      legend: { show: false },
      cursor: { points: { show: false }, x: false, y: false, drag: { x: true, y: true, uni: 24, setScale: true } },
      scales: { x: { time: false, auto: false }, y: { auto: false } },
      padding: [14, 12, 0, 0],
      axes: [
        { ...axis, grid: { show: false }, size: 34, space: 64, incrs: () => INCREMENTS[this.mode], values: (_, ticks, axis, space, step) => ticks.map((tick) => tickText(this.mode, tick, step)) },
        { ...axis, size: narrow ? 44 : 56, values: (_, ticks, axis, space, step) => ticks.map((tick) => value(tick, digitsFor(step))) },
      ],
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(plot) => this.draw(plot)],
        setCursor: [(plot) => this.hover(plot)],
        setSelect: [() => { this.zoomed = true; byId("reset-zoom").hidden = false; }],
        ready: [(plot) => {
          plot.over.addEventListener("click", () => this.open());
          plot.over.addEventListener("mouseleave", () => this.choose(-1));
          plot.over.addEventListener("dblclick", () => this.reset());
        }],
      },
    }, [[0, 1], [null, null]], this.box);
  }

  draw(plot) {
    const { ctx, bbox } = plot;
    const scale = devicePixelRatio || 1;
    const px = (x) => plot.valToPos(x, "x", true);
    const py = (y) => plot.valToPos(y, "y", true);
    // Marks may reach a little over the plot's edge, so that they are whole there; the line may not.
    const within = (reach, draw) => {
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left - reach * scale, bbox.top - 6 * scale, bbox.width + (8 + reach) * scale, bbox.height + 6 * scale);
      ctx.clip();
      draw();
      ctx.restore();
    };
    within(0, () => this.drawBand(ctx, px, py));
    const { min: low, max: high } = plot.scales.y;
    const drawn = new Map(DRAW_ORDER.map((group) => [group, []]));
    for (const point of this.points) {
      point.px = px(point.x);
      point.edge = point.y !== null && (point.y > high || point.y < low);
      point.py = point.y === null ? bbox.top + bbox.height - 7 * scale
        : py(Math.min(high, Math.max(low, point.y)));
      if (point.edge) point.py += point.y > high ? 5 * scale : -5 * scale;
      if (!this.hidden.has(point.group)) drawn.get(point.group).push(point);
    }
    within(6, () => { for (const group of DRAW_ORDER.slice(0, -1)) this.drawGroup(ctx, group, drawn.get(group), scale); });
    within(0, () => this.drawLine(ctx, px, py, scale));
    within(6, () => this.drawMerges(ctx, px, py, bbox, drawn.get("merged"), scale));
    within(9, () => { if (this.chosen >= 0) this.drawRing(ctx, this.points[this.chosen], scale); });
  }

  drawMerges(ctx, px, py, bbox, merged, scale) {
    this.drawGroup(ctx, "merged", merged, scale);
    if (!this.hidden.has("merged")) {
      const ways = this.steps.map((step, index) => {
        const from = this.steps[Math.max(0, index - 1)];
        return [px(from.x), px(step.x), py(from.y), py(step.y)];
      });
      drawLabels(ctx, merged, { bbox, scale, ways, avoid: this.points.filter((point) => !this.hidden.has(point.group)), below: this.store.minimises, colours: this.colours, font: FONT });
    }
  }

  stepPath(ctx, px, py, offset = 0) {
    const { steps } = this;
    ctx.moveTo(px(steps[0].x), py(steps[0].y + offset));
    for (let index = 1; index < steps.length; index++) {
      ctx.lineTo(px(steps[index].x), py(steps[index - 1].y + offset));
      ctx.lineTo(px(steps[index].x), py(steps[index].y + offset));
    }
    ctx.lineTo(px(this.end * 1.03), py(steps[steps.length - 1].y + offset));
  }

  drawBand(ctx, px, py) {
    const { steps, deviation } = this;
    if (!deviation || !steps.length) return;
    ctx.beginPath();
    this.stepPath(ctx, px, py, deviation);
    ctx.lineTo(px(this.end * 1.03), py(steps[steps.length - 1].y - deviation));
    for (let index = steps.length - 1; index > 0; index--) {
      ctx.lineTo(px(steps[index].x), py(steps[index].y - deviation));
      ctx.lineTo(px(steps[index].x), py(steps[index - 1].y - deviation));
    }
    ctx.lineTo(px(steps[0].x), py(steps[0].y - deviation));
    ctx.closePath();
    ctx.globalAlpha = 0.14;
    ctx.fillStyle = this.colours.accent;
    ctx.fill();
    ctx.globalAlpha = 1;
  }

  drawLine(ctx, px, py, scale) {
    if (!this.steps.length) return;
    ctx.beginPath();
    this.stepPath(ctx, px, py);
    ctx.strokeStyle = this.colours.accent;
    ctx.lineWidth = 2.25 * scale;
    ctx.lineJoin = "round";
    ctx.stroke();
  }

  drawGroup(ctx, group, points, scale) {
    const colour = this.colours[group];
    const many = this.points.length > 2500;
    const radius = (group === "merged" ? (points.length > 200 ? 3 : points.length > 60 ? 4 : 5) : group === "screened_out" ? (many ? 1.7 : 2.6) : 3.6) * scale;
    ctx.fillStyle = colour;
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.4 * scale;
    ctx.beginPath();
    for (const { px, py, y, edge } of points) {
      if (group === "crashed") {
        const arm = 2.8 * scale;
        ctx.moveTo(px - arm, py - arm); ctx.lineTo(px + arm, py + arm);
        ctx.moveTo(px + arm, py - arm); ctx.lineTo(px - arm, py + arm);
      } else if (edge) {
        ctx.moveTo(px - radius, py + radius); ctx.lineTo(px, py - radius); ctx.lineTo(px + radius, py + radius);
      } else if (many && group === "screened_out") {
        ctx.rect(px - radius, py - radius, 2 * radius, 2 * radius);
      } else {
        ctx.moveTo(px + radius, py);
        ctx.arc(px, py, radius, 0, 2 * Math.PI);
      }
    }
    if (group === "screened_out") { ctx.globalAlpha = many ? 0.55 : 0.85; ctx.fill(); ctx.globalAlpha = 1; return; }
    if (group === "merged" || group === "verified") {
      // A rim sets a mark off from the line; below all marks, or crowded ones would wipe each other out.
      ctx.strokeStyle = this.colours.card;
      ctx.lineWidth = 2 * scale;
      ctx.stroke();
      ctx.fill();
      return;
    }
    if (group !== "crashed") {
      ctx.fillStyle = this.colours.card;
      ctx.fill();
    }
    ctx.stroke();
  }

  drawRing(ctx, point, scale) {
    if (!point) return;
    ctx.beginPath();
    ctx.arc(point.px, point.py, 8.5 * scale, 0, 2 * Math.PI);
    ctx.strokeStyle = this.colours.ink;
    ctx.lineWidth = 1.75 * scale;
    ctx.stroke();
  }

  legend() {
    const totals = Object.fromEntries(GROUPS.map(([group]) => [group, 0]));
    for (const point of this.points) totals[point.group] += 1;
    const shown = GROUPS.filter(([group]) => totals[group] || group === "merged");
    const stamp = JSON.stringify([totals, [...this.hidden]]);
    if (stamp === this.legendStamp) return;
    this.legendStamp = stamp;
    put(byId("legend"), shown.map(([group, label]) => h("button", {
      type: "button", class: "legend-item", "data-status": group, "aria-pressed": String(!this.hidden.has(group)),
      on: { click: () => this.toggle(group) },
    }, h("span", { class: "mark", "data-status": group, "aria-hidden": "true" }), told(label), h("span", { class: "quiet" }, count(totals[group])))));
  }

  /** Takes the band's height, and says what it is. */
  noteBand() {
    this.deviation = this.store.state?.seed_deviation ?? null;
    const box = byId("band-note");
    box.hidden = !this.deviation;
    say(box, this.deviation ? `Band: ± ${value(this.deviation)}, one run’s standard deviation over seeds.` : "");
  }

  toggle(group) {
    if (!this.hidden.delete(group)) this.hidden.add(group);
    this.legend();
    byId("legend").querySelector(`[data-status="${group}"]`)?.focus();
    this.plot?.redraw(false);
  }

  // -- pointing ---------------------------------------------------------------------------------

  hover(plot) {
    const scale = devicePixelRatio || 1;
    const { left, top } = plot.cursor;
    if (left === null || left === undefined || left < 0) return;
    const x = left * scale + plot.bbox.left, y = top * scale + plot.bbox.top;
    let best = -1, nearest = (REACH * scale) ** 2;
    this.points.forEach((point, index) => {
      if (this.hidden.has(point.group)) return;
      // A merge lies under many others and is what one looks for.
      const distance = ((point.px - x) ** 2 + (point.py - y) ** 2) * (point.group === "merged" ? 0.4 : 1);
      if (distance < nearest) { nearest = distance; best = index; }
    });
    this.choose(best);
  }

  choose(index) {
    if (index === this.chosen) return;
    this.chosen = index;
    this.plot?.redraw(false);
    const point = this.points[index];
    this.tip.hidden = !point;
    if (!point) return;
    const { row } = point;
    put(this.tip,
      h("strong", { dir: "auto" }, inert(row.title, 120)),
      h("span", { class: "tip-line" }, h("span", { class: "mark", "data-status": point.group }), `${statusWord(row)} · ${value(row.val_bpb)}`),
      h("span", { class: "tip-line" }, `gain ${gainAndHalf(row)}${row.pairs ? ` over ${row.pairs} pairs` : ", by its author"}`),
      h("span", { class: "tip-line" }, `${short(row.author)} · ${clock(row.created_ms)}`));
    const scale = devicePixelRatio || 1;
    const area = this.box.getBoundingClientRect();
    const x = area.left + point.px / scale, y = area.top + point.py / scale;
    const right = x + 290 > document.documentElement.clientWidth;
    this.tip.style.left = `${window.scrollX + (right ? Math.max(8, x - 276) : x + 14)}px`;
    this.tip.style.top = `${window.scrollY + y - 12}px`;
  }

  open() {
    if (this.chosen >= 0) location.hash = `#/hypothesis/${this.points[this.chosen].row.id}`;
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && this.points.length) {
      event.preventDefault();
      let next = this.chosen < 0 ? (step > 0 ? 0 : this.points.length - 1) : this.chosen + step;
      while (this.points[next] && this.hidden.has(this.points[next].group)) next += step;
      if (!this.points[next]) return;
      this.choose(next);
      const { row } = this.points[next];
      say(byId("chart-live"), `${inert(row.title, 120)}: ${statusWord(row)}, ${value(row.val_bpb)}`);
    } else if (event.key === "Enter") {
      this.open();
    } else if (event.key === "Escape") {
      this.choose(-1);
      if (this.zoomed) this.reset();
    }
  }
}
