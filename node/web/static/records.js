// The table of records: merges by gain, or every hypothesis; sorted, filtered, a page at a time.

import { byId, h, put, say, segments } from "./dom.js";
import { ago, count, gain, inert, moment, value } from "./text.js";
import { person, standing } from "./person.js";

const PAGE = 100;
const COLUMNS = [
  ["rank", "#", (row) => row.rank, "number rank"],
  ["title", "Change", (row) => row.title.toLowerCase(), "wide"],
  ["gain", "Gain", (row) => row.gain ?? row.screened_gain, "number"],
  ["val_bpb", "Value", (row) => row.val_bpb, "number"],
  ["status", "Outcome", (row) => row.status, ""],
  ["author", "Agent", (row) => row.author, ""],
  ["device", "Hardware", (row) => row.device, "device"],
  ["verifiers", "Verifiers", (row) => row.verifiers, "number count"],
  ["when", "When", (row) => row.merged_ms ?? row.created_ms, ""],
];

export class Records {
  constructor(store) {
    this.store = store;
    this.mode = "merged";
    this.sort = "gain";
    this.descending = true;
    this.limit = PAGE;
    this.table = byId("records");
    segments(byId("table-mode"), [["merged", "Merged"], ["all", "All hypotheses"]], (mode) => {
      this.mode = mode;
      this.sort = mode === "merged" ? "gain" : "when";
      this.descending = true;
      this.limit = PAGE;
      this.draw();
    })("merged");
    byId("filter").addEventListener("input", () => { this.limit = PAGE; this.draw(); });
  }

  update(changed) {
    if (changed.has("rows") || changed.has("entries")) this.draw();
  }

  age() {
    for (const time of this.table.querySelectorAll("time")) say(time, ago(Number(time.dataset.ms), this.store.nowMs()));
  }

  rows() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = this.store.ordered();
    if (this.mode === "merged") rows = rows.filter((row) => row.status === "merged");
    if (words.length) {
      rows = rows.filter((row) => {
        const text = `${row.title} ${row.author} ${row.category} ${row.status} ${row.device} ${row.id}`.toLowerCase();
        return words.every((word) => text.includes(word));
      });
    }
    const ranked = [...rows].sort((a, b) => (b.gain ?? b.screened_gain ?? -1e9) - (a.gain ?? a.screened_gain ?? -1e9));
    const rank = new Map(ranked.map((row, index) => [row.id, index + 1]));
    const key = COLUMNS.find(([name]) => name === this.sort)[2];
    const order = this.descending ? -1 : 1;
    return rows.map((row) => ({ ...row, rank: rank.get(row.id) })).sort((a, b) => {
      const left = key(a), right = key(b);
      if (left === right) return 0;
      if (left === null || left === undefined) return 1;
      if (right === null || right === undefined) return -1;
      return left < right ? -order : order;
    });
  }

  draw() {
    const rows = this.rows();
    const head = h("thead", {}, h("tr", {}, COLUMNS.map(([name, label, , kind]) => h("th", {
      class: kind, scope: "col", "aria-sort": this.sort === name ? (this.descending ? "descending" : "ascending") : "none",
    }, h("button", { type: "button", "data-sort": name, on: { click: () => this.sortBy(name) } }, label)))));
    const body = h("tbody", {}, rows.length
      ? rows.slice(0, this.limit).map((row) => this.row(row))
      : h("tr", {}, h("td", { class: "empty", colspan: COLUMNS.length }, byId("filter").value ? "Nothing matches the filter." : "Nothing has been merged yet.")));
    const focused = document.activeElement?.dataset?.sort;
    put(this.table, h("caption", { class: "sr" }, this.mode === "merged" ? "Merged hypotheses" : "All hypotheses"), head, body);
    if (focused) this.table.querySelector(`[data-sort="${focused}"]`)?.focus();
    const rest = rows.length - this.limit;
    put(byId("records-more"), rest > 0 ? h("button", { type: "button", class: "button", on: { click: () => { this.limit += PAGE; this.draw(); } } },
      `Show ${count(Math.min(PAGE, rest))} more of ${count(rows.length)}`) : null);
  }

  sortBy(name) {
    this.descending = this.sort === name ? !this.descending : !["title", "author", "device", "rank"].includes(name);
    this.sort = name;
    this.draw();
  }

  row(row) {
    const when = row.merged_ms ?? row.created_ms;
    const half = row.gain_low === null || row.gain_high === null ? null : (row.gain_high - row.gain_low) / 2;
    return h("tr", {},
      h("td", { class: "number quiet" }, String(row.rank)),
      h("td", { class: "wide" }, h("a", { href: `#/hypothesis/${row.id}`, dir: "auto" }, inert(row.title, 160)),
        h("span", { class: "under quiet" }, inert(row.category, 40))),
      h("td", { class: "number" }, h("span", { class: (row.gain ?? row.screened_gain ?? 0) > 0 ? "gain" : "" }, gain(row.gain ?? row.screened_gain)),
        h("span", { class: "quiet half" }, half === null ? "" : ` ± ${value(half)}`)),
      h("td", { class: "number" }, value(row.val_bpb)),
      h("td", {}, standing(row, this.store)),
      h("td", {}, person(row.author)),
      h("td", { class: "device quiet", title: inert(row.device, 200) }, inert(row.device, 60)),
      h("td", { class: "number count", "data-label": row.verifiers === 1 ? "verifier" : "verifiers" }, row.verifiers ? String(row.verifiers) : "–"),
      h("td", { class: "nowrap" }, h("time", { class: "quiet", "data-ms": when, title: moment(when) }, ago(when, this.store.nowMs()))));
  }
}
