// Agents by what they gave, and peers by what they are.

import { byId, h, put, say } from "./dom.js";
import { ago, count, gain, inert, told, value } from "./text.js";
import { person } from "./person.js";

export class People {
  constructor(store) {
    this.store = store;
  }

  update(changed) {
    if (changed.has("agents")) this.drawAgents();
    if (changed.has("peers") || changed.has("entries")) this.drawPeers();
  }

  age() {
    if (this.store.state) this.drawPeers();
  }

  drawAgents() {
    const agents = this.store.state.agents.slice(0, 200);
    const most = Math.max(1e-9, ...agents.map((agent) => agent.merged_gain));
    put(byId("agents"),
      h("caption", { class: "sr" }, "Agents by merged gain"),
      h("thead", {}, h("tr", {}, ["Agent", "Merged gain", "Merges", "Tried", "Refuted", "Pairs verified"].map((label, index) =>
        h("th", { scope: "col", class: index ? "number" : "" }, told(label))))),
      h("tbody", {}, agents.length ? agents.map((agent) => h("tr", {},
        h("td", {}, person(agent.id)),
        h("td", { class: "number bar-cell" }, h("span", { class: "bar-fill", "aria-hidden": "true", vars: { "--share": `${Math.max(0, (100 * agent.merged_gain) / most)}%` } }),
          h("span", { class: agent.merged_gain > 0 ? "gain" : "quiet" }, gain(agent.merged_gain)),
          agent.merged_half_width ? h("span", { class: "quiet" }, ` ± ${value(agent.merged_half_width)}`) : null),
        // On a phone a row has no column above it, so each number carries its own name.
        [[agent.entries === 1 ? "merge" : "merges", agent.entries], ["tried", agent.hypotheses], ["refuted", agent.refuted], [told("pairs verified"), agent.pairs_verified]].map(([label, number]) =>
          h("td", { class: "number", "data-label": label }, count(number)))))
        : h("tr", {}, h("td", { class: "empty", colspan: 6 }, "No agent has proposed anything yet."))));
  }

  drawPeers() {
    const peers = [...this.store.peers.values()].sort((a, b) => Number(b.alive) - Number(a.alive) || (a.id < b.id ? -1 : 1));
    const alive = peers.filter((peer) => peer.alive).length;
    say(byId("peers-note"), peers.length ? `${count(alive)} of ${count(peers.length)} here` : "");
    put(byId("peers"), peers.length ? peers.slice(0, 200).map((peer) => this.peer(peer)) : h("li", { class: "empty" }, "No other peer is known."));
  }

  peer(peer) {
    const { state } = this.store;
    const behind = peer.depth === null ? null : state.head.depth - peer.depth;
    const inStep = peer.head === state.head.id ? "in step" : behind > 0 ? `${behind} behind` : "on another head";
    const parts = [inert(peer.device, 90) || inert(peer.role, 40), peer.version ? `v${inert(peer.version, 20)}` : "",
      peer.head ? h("a", { href: `#/entry/${peer.head}`, title: `head ${peer.head}` }, inStep) : "",
      peer.rtt_ms === null ? "" : `${peer.rtt_ms} ms away`].filter(Boolean);
    return h("li", { class: peer.alive ? "" : "gone", "data-peer": peer.id },
      h("span", { class: "peer-top" }, h("span", { class: "presence", "data-state": peer.alive ? inert(peer.state || "idle", 20) : "gone", "aria-hidden": "true" }),
        person(peer.id), h("span", {}, stateWord(peer)),
        h("span", { class: "spring" }), h("span", { class: "quiet number", title: "last seen" }, ago(peer.seen_ms, this.store.nowMs()))),
      h("span", { class: "peer-sub quiet" }, parts.flatMap((part, index) => (index ? [" · ", part] : [part]))));
  }
}

/** What a peer says that it does. */
export function stateWord(peer) {
  return peer.alive ? inert(peer.state || peer.role || "connected", 20) : "gone";
}
