// The drawer: everything about one hypothesis, entry or peer. Its address can be shared.

import { byId, h, put, svg } from "./dom.js";
import { ago, count, gain, half, inert, moment, short, spent, told, value } from "./text.js";
import { person, standing } from "./person.js";
import { diffView } from "./diff.js";
import { stateWord } from "./people.js";

export class Detail {
  constructor(store) {
    this.store = store;
    this.dialog = byId("detail");
    this.shown = "";
    this.stamp = "";
    this.routed = false;
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
  }

  update(changed) {
    if (!this.routed && this.store.rows.size + this.store.entries.size > 0) { this.routed = true; this.route(); return; }
    const row = this.current();
    if (changed.has("rows") && row && JSON.stringify(row) !== this.stamp) this.route(true);
    else if (changed.has("peers") && this.shown.startsWith("peer/")) this.route(true);
  }

  current() {
    const [kind, id] = this.shown.split("/");
    return kind === "hypothesis" ? this.store.rows.get(id) : null;
  }

  closed() {
    this.shown = "";
    if (location.hash.startsWith("#/")) history.pushState(null, "", `${location.pathname}${location.search}`);
  }

  /** Show what the address names. */
  async route(again = false) {
    const match = /^#\/(hypothesis|entry|peer)\/([0-9a-f]{4,64})$/.exec(location.hash);
    if (!match) { if (this.dialog.open) this.dialog.close(); return; }
    let [, kind, id] = match;
    if (kind === "entry") {
      const entry = this.store.entries.get(id) ?? [...this.store.entries.values()].find((item) => item.id.startsWith(id));
      if (entry?.hypothesis) { kind = "hypothesis"; id = entry.hypothesis; }
      else if (entry) { this.shown = `entry/${entry.id}`; this.show(this.genesis(entry)); return; }
    }
    if (kind === "hypothesis") id = this.store.rows.has(id) ? id : ([...this.store.rows.keys()].find((name) => name.startsWith(id)) ?? id);
    this.shown = `${kind}/${id}`;
    if (kind === "peer") this.show(this.peer(id));
    else if (!this.store.rows.has(id)) this.showMissing("Nothing here has this id.");
    else {
      if (!again) this.show(this.frame("Loading…", []));
      await this.showHypothesis(id);
    }
  }

  show(content) {
    const scroll = this.dialog.scrollTop;
    put(this.dialog, content);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = scroll;
  }

  frame(title, content) {
    return [
      h("div", { class: "drawer-head" },
        h("h2", { id: "detail-title", dir: "auto" }, title),
        h("button", { type: "button", class: "icon-button", "aria-label": "Close", on: { click: () => this.dialog.close() } }, "✕")),
      ...content,
    ];
  }

  showMissing(why) {
    this.show(this.frame("Not found", [h("p", { class: "quiet" }, why)]));
  }

  async showHypothesis(id) {
    const wanted = this.shown;
    let about;
    try {
      about = await this.store.detail(id);
    } catch (error) {
      if (this.shown === wanted) this.showMissing(error.message);
      return;
    }
    if (this.shown !== wanted) return;
    this.stamp = JSON.stringify(this.store.rows.get(id));
    this.show(this.frame(inert(about.title, 200), this.hypothesis(about)));
  }

  hypothesis(about) {
    const parent = this.store.entries.get(about.parent);
    const parentLink = h("a", { href: `#/entry/${about.parent}`, dir: "auto" }, parent?.hypothesis ? inert(parent.title, 200) : "the genesis script");
    const { policy } = this.store.state.swarm;
    const facts = [
      ["Gain", gain(about.gain ?? about.screened_gain), about.gain_low === null ? (about.pairs ? "" : "by its author") : `${gain(about.gain_low)} to ${gain(about.gain_high)}`],
      ["Value", value(about.val_bpb), this.store.state.swarm.metric.unit],
      ["Evidence", about.evidence >= 1e6 ? "> 10⁶" : about.evidence >= 100 ? count(about.evidence) : about.evidence.toFixed(2), `${about.pairs} pairs; ${count(1e6 / policy.alpha_ppm)} verifies`],
      ["Cost", spent(about.cpu_s), "CPU, both arms"],
    ];
    return [
      h("p", { class: "drawer-line" }, standing(about, this.store), person(about.author),
        h("span", { class: "quiet" }, `${about.proposer === "offline" ? "offline agent" : inert(about.proposer, 20)}${about.model ? ` · ${inert(about.model, 60)}` : ""} · ${inert(about.category, 40)} · ${ago(about.created_ms, this.store.nowMs())}`)),
      factList(facts),
      h("p", { class: "reason" }, `${sentence(inert(about.reason, 300))}. On top of `, parentLink, "."),
      about.rationale ? h("section", {}, h("h3", {}, "Why"), inert(about.rationale, 4000).split(/\n+/).map((text) => h("p", { class: "prose", dir: "auto" }, text))) : null,
      h("section", {}, h("h3", {}, "What changes"), diffView(about.diff ?? [])),
      about.trials.length ? h("section", {}, h("h3", {}, "Trials"), this.forest(about), this.trials(about)) : null,
      idList([["Hypothesis", about.id], ["Entry", about.entry], ["Script", about.source], ["Proposed", moment(about.created_ms)]]),
    ];
  }

  /** The entry that everything began with; nobody proposed it, so it has no diff and no trials. */
  genesis(entry) {
    const { state } = this.store;
    const on = this.store.ordered().filter((row) => row.parent === entry.id);
    return this.frame("Genesis script", [
      h("p", { class: "drawer-line" }, person(entry.author), h("span", { class: "quiet" }, `founded the swarm ${ago(entry.merged_ms, this.store.nowMs())}`)),
      factList([
        ["Value", value(entry.val_bpb), state.swarm.metric.unit],
        ["Tried on it", count(on.length), `${count(on.filter((row) => row.status === "merged").length)} merged`],
        ["Since then", gain(state.gain), state.gain_half_width ? `± ${value(state.gain_half_width)}` : ""],
      ]),
      idList([["Entry", entry.id], ["Script", entry.source], ["Founded", moment(entry.merged_ms)]]),
    ]);
  }

  /** Every pair's gain as a dot, the verdict's interval as a bar, zero and tau as lines. */
  forest(about) {
    const gains = about.trials.filter((trial) => trial.gain !== null);
    if (!gains.length) return null;
    const tau = this.store.state.swarm.policy.tau;
    const values = [0, tau, ...gains.map((trial) => trial.gain), about.gain_low, about.gain_high].filter((number) => number !== null);
    const low = Math.min(...values), high = Math.max(...values);
    const pad = 0.06 * (high - low || 1);
    const at = (number) => (600 * (number - low + pad)) / (high - low + 2 * pad);
    const line = (number, name) => svg("line", { class: name, x1: at(number), x2: at(number), y1: 6, y2: 66 });
    return h("figure", { class: "forest" }, svg("svg", { viewBox: "0 0 600 72", role: "img", "aria-label": `Gains of ${gains.length} trials` },
      line(0, "zero"), line(tau, "tau"),
      about.gain_low === null || about.gain_high === null ? null : svg("line", { class: "interval-line", x1: at(about.gain_low), x2: at(about.gain_high), y1: 54, y2: 54 }),
      about.gain === null ? null : svg("circle", { class: "interval-dot", cx: at(about.gain), cy: 54, r: 5 }),
      gains.map((trial, index) => svg("circle", { class: trial.counted ? "dot counted" : "dot", cx: at(trial.gain), cy: 16 + ((index * 7) % 24), r: 4.5 }))),
    h("figcaption", { class: "quiet" }, "Filled: counted pairs by verifiers. Hollow: the author’s own. Lines: no gain, and the smallest gain that matters."));
  }

  trials(about) {
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Trials" }, h("table", {},
      h("thead", {}, h("tr", {}, [["By", ""], ["Purpose", ""], ["Pair", "number"], ["Seed", "seed"], ["Parent", "number"], ["Child", "number"], ["Gain", "number"], ["CPU", "number"]].map(([label, kind]) => h("th", { scope: "col", class: kind }, label)))),
      h("tbody", {}, about.trials.map((trial) => h("tr", { title: `seed ${trial.seed} on ${inert(trial.device, 200)}` },
        h("td", {}, person(trial.author)),
        h("td", {}, `${trial.purpose}${trial.counted ? ", counted" : ""}`),
        h("td", { class: "number" }, String(trial.pair + 1)),
        h("td", { class: "seed quiet" }, `${trial.seed.slice(0, 8)}${trial.seed.length > 8 ? "…" : ""}`),
        h("td", { class: "number" }, trial.parent.val_bpb === null ? trial.parent.status : value(trial.parent.val_bpb)),
        h("td", { class: "number" }, trial.child.val_bpb === null ? trial.child.status : value(trial.child.val_bpb)),
        h("td", { class: "number" }, h("span", { class: trial.gain > 0 ? "gain" : "" }, gain(trial.gain))),
        h("td", { class: "number" }, spent(trial.cpu_s)))))));
  }

  peer(id) {
    const peer = this.store.peers.get(id) ?? [...this.store.peers.values()].find((item) => item.id.startsWith(id));
    const agent = this.store.state.agents.find((item) => item.id.startsWith(id));
    const whole = peer?.id ?? agent?.id ?? id;
    const facts = [];
    if (agent) facts.push(["Merged gain", gain(agent.merged_gain), `${agent.merged_half_width ? `± ${value(agent.merged_half_width)}, ` : ""}${agent.entries} merges`], ["Tried", count(agent.hypotheses), `${agent.refuted} refuted`], [told("Verified"), count(agent.pairs_verified), "pairs for others"]);
    if (peer) facts.push(["State", stateWord(peer), `last seen ${ago(peer.seen_ms, this.store.nowMs())}`]);
    const own = this.store.ordered().filter((row) => row.author === whole).reverse().slice(0, 50);
    return this.frame(`Peer ${short(whole)}`, [
      h("p", { class: "drawer-line" }, h("code", {}, whole)),
      peer ? h("p", { class: "reason" }, [inert(peer.device, 200), peer.version ? `version ${inert(peer.version, 32)}` : "", peer.sandbox ? `sandbox ${inert(peer.sandbox, 32)}` : ""].filter(Boolean).join(" · "),
        peer.head ? [" · head ", h("a", { href: `#/entry/${peer.head}` }, short(peer.head))] : null) : null,
      facts.length ? factList(facts) : h("p", { class: "quiet" }, "Nothing is known of this peer here."),
      own.length ? h("section", {}, h("h3", {}, "Latest hypotheses"), h("ul", { class: "plain" }, own.map((row) => h("li", {},
        standing(row, this.store), h("a", { href: `#/hypothesis/${row.id}`, dir: "auto" }, inert(row.title, 120)), h("span", { class: "number quiet" }, gain(row.gain ?? row.screened_gain), h("span", { class: "half" }, ` ${half(row.gain_low, row.gain_high)}`)))))) : null,
    ]);
  }
}

/** A few numbers side by side: label, number, and what belongs to it. */
function factList(facts) {
  return h("dl", { class: "facts" }, facts.map(([label, big, small]) =>
    h("div", {}, h("dt", {}, label), h("dd", {}, big), h("dd", { class: "quiet" }, inert(small, 60)))));
}

function idList(ids) {
  return h("dl", { class: "ids" }, ids.map(([label, text]) => h("div", {}, h("dt", {}, label), h("dd", {}, h("code", {}, text)))));
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
