// The lineage as a tree: newest entry first, the path to the head lit, side branches beside it.

import { byId, h, put, say, svg } from "./dom.js";
import { ago, gain, half, inert, value } from "./text.js";
import { person } from "./person.js";

const ROW = 62;
const LANE = 20;
const LEFT = 16;
const LANES_MAX = 6;
const AT_ONCE = 60;
const STRIP = ["merged", "verified", "claimed", "undecided", "stale", "refuted", "parked", "crashed", "screened_out", "proposed"];

export class Tree {
  constructor(store) {
    this.store = store;
    this.box = byId("tree");
    this.list = h("ol", { class: "tree-rows" });
    this.made = new Map();
    this.later = 0;
  }

  update(changed) {
    if (changed.has("entries") || (changed.has("rows") && this.store.entries.size < 200)) this.draw();
  }

  age() {
    for (const time of this.box.querySelectorAll("time")) say(time, ago(Number(time.dataset.ms), this.store.nowMs()));
  }

  draw() {
    const entries = [...this.store.entries.values()].sort(
      (a, b) => b.depth - a.depth || Number(b.on_path) - Number(a.on_path) || b.merged_ms - a.merged_ms);
    const lanes = assignLanes(entries);
    const at = new Map(entries.map((entry, index) => [entry.id, {
      x: LEFT + LANE * lanes.get(entry.id), y: ROW * index + 24 }]));
    const width = LEFT + LANE * (1 + Math.max(0, ...lanes.values()));
    const tried = this.outcomes();
    const graph = svg("svg", { class: "tree-graph", width, height: ROW * entries.length, "aria-hidden": "true" });
    for (const entry of entries) {
      entry.parents.forEach((parent, index) => {
        const to = at.get(parent);
        if (to) graph.append(edge(at.get(entry.id), to, index > 0, entry.on_path && this.store.entries.get(parent).on_path));
      });
    }
    const head = entries.find((entry) => entry.on_path);
    for (const entry of entries) {
      const { x, y } = at.get(entry.id);
      if (entry === head) graph.append(svg("circle", { class: "tree-halo", cx: x, cy: y, r: 11 }));
      graph.append(svg("circle", { class: entry.on_path ? "tree-node lit" : "tree-node", cx: x, cy: y, r: 5.5 }));
    }
    this.list.style.setProperty("--indent", `${width}px`);
    const { scrollTop } = this.box;
    const focused = this.box.contains(document.activeElement) ? document.activeElement : null;
    put(this.box, h("div", { class: "tree-canvas" }, graph, this.list));
    this.fill(entries.map((entry) => [entry, entry === head, tried.get(entry.id)]));
    if (focused?.isConnected) focused.focus({ preventScroll: true });
    if (scrollTop) this.box.scrollTop = scrollTop;
    const side = entries.filter((entry) => !entry.on_path).length;
    const merges = entries.length - side - 1;
    say(byId("tree-note"), `${merges} ${merges === 1 ? "merge" : "merges"}${side ? ` · ${side} beside the path` : ""}`);
  }

  /** Shows a row for each entry, as it was made before or a new one; of many new ones a few at a time. */
  fill(wanted) {
    clearTimeout(this.later);
    const before = this.made;
    this.made = new Map();
    this.list.replaceChildren();
    const more = (from) => {
      const items = [];
      let at = from;
      for (let room = AT_ONCE; at < wanted.length; at++) {
        const stamp = JSON.stringify(wanted[at]);
        const [entry, isHead, tried] = wanted[at];
        let row = before.get(entry.id);
        if (row?.stamp !== stamp) {
          if (room-- === 0) break;
          row = { stamp, item: this.row(entry, isHead, tried) };
        }
        this.made.set(entry.id, row);
        items.push(row.item);
      }
      this.list.append(...items);
      if (at < wanted.length) this.later = setTimeout(() => more(at));
    };
    more(0);
  }

  /** Outcomes of the hypotheses on each entry. */
  outcomes() {
    const tried = new Map();
    for (const row of this.store.rows.values()) {
      if (!tried.has(row.parent)) tried.set(row.parent, {});
      const counts = tried.get(row.parent);
      counts[row.status] = (counts[row.status] ?? 0) + 1;
    }
    return tried;
  }

  row(entry, isHead, tried = {}) {
    const total = Object.values(tried).reduce((sum, number) => sum + number, 0);
    const title = entry.hypothesis ? inert(entry.title, 160) : "Genesis script";
    return h("li", { class: entry.on_path ? "lit" : "", "data-entry": entry.id },
      h("div", { class: "tree-title" },
        h("a", { href: `#/entry/${entry.id}`, dir: "auto" }, title),
        isHead ? h("span", { class: "badge" }, "head") : null,
        entry.self_verified ? h("span", { class: "badge", title: "Verified by its author alone, until others confirm it" }, "self-verified") : null),
      h("div", { class: "tree-meta" },
        entry.gain === null ? null : h("span", {}, h("span", { class: "gain" }, gain(entry.gain)), h("span", { class: "quiet number" }, ` ${half(entry.gain_low, entry.gain_high)}`)),
        h("span", { class: "number tree-value" }, value(entry.val_bpb)),
        entry.hypothesis ? person(entry.author) : null,
        h("time", { class: "quiet", "data-ms": entry.merged_ms }, ago(entry.merged_ms, this.store.nowMs())),
        total ? h("span", { class: "strip", title: `${total} tried on this entry` },
          STRIP.filter((status) => tried[status]).map((status) =>
            h("span", { "data-status": status, vars: { "--n": String(tried[status]) } })),
          h("span", { class: "strip-total" }, `${total} tried`)) : null));
  }
}

/** Lane 0 is the path to the head; a branch beside it takes the nearest lane that is free there. */
function assignLanes(entries) {
  const lanes = new Map();
  const row = new Map(entries.map((entry, index) => [entry.id, index]));
  const continued = new Set();
  const reach = new Array(LANES_MAX).fill(Infinity);
  for (const entry of [...entries].reverse()) {
    const parent = entry.parents[0];
    let lane = 0;
    if (!entry.on_path) {
      lane = continued.has(parent) ? 0 : lanes.get(parent) ?? 0;
      if (!lane) lane = reach.findIndex((top, index) => index > 0 && top >= (row.get(parent) ?? 0));
      if (lane < 0) lane = LANES_MAX - 1;
      continued.add(parent);
      reach[lane] = row.get(entry.id);
    }
    lanes.set(entry.id, lane);
  }
  return lanes;
}

function edge(from, to, further, lit) {
  const bend = Math.min(30, Math.abs(to.y - from.y) / 2);
  const d = from.x === to.x
    ? `M${from.x} ${from.y}V${to.y}`
    : `M${from.x} ${from.y}V${to.y - 2 * bend}C${from.x} ${to.y - bend} ${to.x} ${to.y - bend} ${to.x} ${to.y}`;
  return svg("path", { class: `tree-edge${further ? " further" : ""}${lit && !further ? " lit" : ""}`, d });
}
