// What runs now, and what happened last.

import { byId, h, put, say } from "./dom.js";
import { clock, count, gain, gainAndHalf, inert, short, told } from "./text.js";
import { person } from "./person.js";

const SHOWN = 60;
const WORKING_SHOWN = 6;
const WORK_WORDS = { screening: "tries", verifying: "verifies", rechecking: "re-runs", proposing: "thinks", starting: "gets ready" };

export class Feed {
  constructor(store) {
    this.store = store;
    this.newest = 0;
    this.oldest = 1;
  }

  update(changed) {
    if (changed.has("rows")) this.drawFeed();
    if (changed.has("peers") || changed.has("live") || changed.has("rows")) this.drawNow();
  }

  age() {}

  drawNow() {
    const working = [...this.store.peers.values()].filter((peer) => peer.alive && peer.state in WORK_WORDS);
    const own = (this.store.state?.work ?? []).filter((work) => work.state in WORK_WORDS)
      .map((work) => ({ ...work, id: this.store.state.node.id }));
    const list = byId("now");
    const all = [...own, ...working];
    const items = all.slice(0, WORKING_SHOWN);
    const rest = all.length - items.length;
    put(list, items.length ? [...items.map((work) => this.nowItem(work)), rest ? h("li", { class: "quiet" }, `and ${count(rest)} more at work`) : null] : h("li", { class: "empty" }, "Nobody is training right now."));
  }

  nowItem(work) {
    const row = work.hypothesis ? this.store.rows.get(work.hypothesis) : null;
    const title = row ? inert(row.title, 90) : inert(work.title || (work.state === "proposing" ? "" : "something not seen here yet"), 90);
    const percent = Math.round(100 * (work.progress ?? 0));
    return h("li", {},
      h("span", { class: "now-line" }, person(work.id), ` ${WORK_WORDS[work.state]} `,
        row ? h("a", { href: `#/hypothesis/${row.id}`, dir: "auto" }, title) : h("span", { dir: "auto" }, title)),
      work.state === "proposing" ? null : h("span", { class: "progress", role: "progressbar", "aria-label": `${short(work.id)} ${WORK_WORDS[work.state]}`,
        "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100, vars: { "--share": `${percent}%` } }));
  }

  drawFeed() {
    // What was too old to be shown once stays so: only newer things come.
    const happened = [];
    for (const row of this.store.rows.values()) {
      for (const [kind, at] of moments(row)) if (at >= this.oldest) happened.push({ kind, at, row });
    }
    happened.sort((a, b) => b.at - a.at);
    const shown = happened.slice(0, SHOWN);
    if (shown.length === SHOWN) this.oldest = shown[SHOWN - 1].at;
    put(byId("feed"), shown.length ? shown.map((item) => this.feedItem(item, this.newest > 0 && item.at > this.newest)) : h("li", { class: "empty" }, "Nothing has happened yet."));
    if (shown.length) this.newest = shown[0].at;
  }

  feedItem({ kind, at, row }, fresh) {
    const extra = { claimed: gain(row.screened_gain), verified: gainAndHalf(row), merged: gainAndHalf(row), refuted: gainAndHalf(row) }[kind];
    return h("li", { class: fresh ? "fresh" : "" },
      h("time", { class: "quiet number" }, clock(at)),
      h("span", { class: "feed-kind", "data-status": kind }, told(kind)),
      h("a", { href: `#/hypothesis/${row.id}`, dir: "auto", class: "feed-title" }, inert(row.title, 110)),
      extra && extra !== "–" ? h("span", { class: "number feed-gain" }, extra) : null);
  }
}

function moments(row) {
  const found = [["proposed", row.created_ms]];
  if (row.status === "crashed") found.push(["crashed", row.claimed_ms]);
  else if (row.status === "screened_out") found.push(["dropped", row.claimed_ms]);
  else if (row.claimed_ms) found.push(["claimed", row.claimed_ms]);
  if (row.verifying_ms) found.push(["verifying", row.verifying_ms]);
  if (row.decided_ms) found.push([row.status === "refuted" ? "refuted" : "verified", row.decided_ms]);
  if (row.merged_ms) found.push(["merged", row.merged_ms]);
  return found;
}
