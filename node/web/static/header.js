// The header, the head's value and the tiles.

import { byId, h, put, say } from "./dom.js";
import { ago, clock, count, dollars, gain, inert, moment, nameVerdicts, short, spent, told, value } from "./text.js";

const LINK_WORDS = { connecting: "connecting", live: "live", behind: "catching up", cut: "cut off", copy: "copy" };
const COST_TITLE = "What the language model of the node that serves this page has cost. No record carries money, so what other nodes have spent is not known here.";
const COST_WORDS = { none: "no agent here; others’ unknown", offline: "no paid model here; others’ unknown", claude: "its book cannot be read" };

export class Header {
  constructor(store) {
    this.store = store;
  }

  update(changed) {
    if (!this.store.state) { this.showLink(); return; }
    if (changed.has("state")) this.showSwarm();
    if (this.store.copy && changed.has("link")) this.showLinks();
    if (changed.has("live") || changed.has("entries") || changed.has("state")) this.showHead();
    this.showLink();
  }

  age() {
    this.showLink();
  }

  showSwarm() {
    const { swarm } = this.store.state;
    nameVerdicts(swarm.scorer);
    say(byId("swarm-name"), inert(swarm.name, 80));
    say(byId("swarm-task"), `${inert(swarm.task, 60)} · ${inert(swarm.tier, 30)}`);
    document.title = `${inert(swarm.name, 80)} · swarm-node`;
    say(byId("headline-label"), `Head · ${inert(swarm.metric.name, 40)}`);
    say(byId("chart-unit"), `${inert(swarm.metric.name, 30)} in ${inert(swarm.metric.unit, 30)}, ${this.store.minimises ? "lower" : "higher"} is better`);
    const { policy } = swarm;
    const admission = { all: "whoever asks is admitted", ticket: "members are invited", ask: "members are admitted by hand" }[policy.admission];
    const scorer = swarm.scorer === "trusted" ? "scored outside the candidate’s reach" : "scores reported by the script itself";
    say(byId("foot-rules"),
      told(`Verified: a gain over zero with error under ${policy.alpha_ppm / 1e4} %, by at least ${policy.min_verifiers} members other than the author, `
      + `${policy.liars ? `whatever ${policy.liars} of them say` : "each taken at its word"}; gains under ${policy.tau} do not matter.`) + ` Here ${admission}; ${scorer}. Swarm ${short(swarm.id, 16)}.`);
  }

  showHead() {
    const { state } = this.store;
    const { head, counts, compute, cost } = state;
    const unit = inert(state.swarm.metric.unit, 30);
    say(byId("head-value"), value(head.val_bpb));
    byId("head-value").classList.toggle("unknown", head.val_bpb === null);
    say(byId("head-interval"), head.half_width ? `± ${value(head.half_width)}` : "");
    const story = byId("head-story");
    const share = state.gain !== null && state.baseline_val_bpb ? state.gain / Math.abs(state.baseline_val_bpb) : null;
    put(story,
      h("span", {}, head.val_bpb === null ? "The genesis script is not measured yet." : `${unit}. `),
      state.gain === null ? "" : h("strong", {}, `${gain(state.gain)}`),
      state.gain === null ? "" : `${state.gain_half_width ? ` ± ${value(state.gain_half_width)}` : ""}${share === null ? "" : ` (${(100 * share).toFixed(1)}\u202f%)`} gained since the baseline.`);
    const alive = [...this.store.peers.values()].filter((peer) => peer.alive).length;
    this.tile([
      ["Baseline", value(state.baseline_val_bpb), state.baseline_half_width ? `± ${value(state.baseline_half_width)}` : "the genesis script"],
      ["Hypotheses", count(counts.proposed), `${count(counts.screened_out)} dropped`],
      ["Merged", count(head.depth), told(`${count(counts.merged + counts.verified)} verified`), "merged"],
      ["Refuted", count(counts.refuted), `${count(counts.parked)} parked`, "refuted"],
      ["Crashed", count(counts.crashed), `of ${count(compute.trials)} trials`, "crashed"],
      ["Peers", count(alive), `${count(state.members)} members`],
      ["Compute", spent(compute.cpu_s), head.depth ? `${spent(compute.cpu_s / head.depth)} a merge` : "of CPU time"],
      ["Node’s cost", cost ? dollars(cost.usd) : "–", moneyNote(state), "", COST_TITLE],
    ]);
  }

  tile(tiles) {
    const list = byId("tiles");
    if (list.children.length !== tiles.length) {
      put(list, tiles.map(([, , , tone, title]) => h("div", { class: "tile", "data-tone": tone ?? "", title },
        h("dt"), h("dd", { class: "tile-value" }), h("dd", { class: "tile-note" }))));
    }
    tiles.forEach(([label, number, note], index) => {
      const [term, shown, small] = list.children[index].children;
      say(term, label);
      say(shown, number);
      shown.classList.toggle("nothing", number === "0");
      say(small, note);
    });
  }

  /** A copy has its data beside it, and no API. */
  showLinks() {
    put(byId("foot-links"), h("a", { href: "results.tsv" }, "results.tsv"), h("a", { href: "leaderboard.json" }, "JSON"));
  }

  showLink() {
    const { store } = this;
    let { link } = store;
    let words = LINK_WORDS[link];
    let notice = "";
    let held = "";
    if (link === "live") {
      const most = Math.max(0, ...[...store.peers.values()].filter((peer) => peer.alive).map((peer) => peer.records ?? 0));
      const here = store.state.records;
      if (most > here + 20 && here < 0.98 * most) {
        link = "behind";
        words = "catching up";
        held = `${count(here)} of ${count(most)} records, `;
      } else {
        words = "live";
      }
    } else if (link === "cut") {
      words = "cut off";
      const since = ago(store.asOfMs, store.nowMs());
      notice = store.state
        ? `The node does not answer. What you see is as of ${moment(store.asOfMs)}${since === "now" ? "" : ` (${since})`}. Trying again.`
        : "The node does not answer. Trying again.";
    } else if (link === "behind") {
      notice = "The node is still reading its records.";
    } else if (link === "copy") {
      words = `copy of ${moment(store.copy)}`;
    }
    byId("link").dataset.link = link;
    // Beside the status and not in it: a screen reader is not to read every change of it out.
    const dated = store.state && ["live", "behind"].includes(link);
    say(byId("link-time"), dated ? `${held}data as of ${clock(store.asOfMs)}` : "");
    say(byId("link-text"), words);
    const box = byId("notice");
    say(box, notice);
    box.hidden = !notice;
  }
}

/** Whose money it is, and what is known of it. */
function moneyNote({ agent, cost }) {
  if (cost) return `${dollars(cost.usd_today)} today here; others’ unknown`;
  return COST_WORDS[agent] ?? (agent ? "not known yet" : "not told in a copy");
}
