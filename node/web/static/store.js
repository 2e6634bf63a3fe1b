// What the page knows: a copy of the node's board, loaded once and kept up to date by events.
// Events carry whole rows, so applying one twice does no harm.

const RETRY_MS = 1000;
const RETRY_MAX_MS = 15000;
const SILENCE_MS = 25000;

export class Store {
  constructor() {
    this.state = null;
    this.rows = new Map();
    this.entries = new Map();
    this.peers = new Map();
    this.asOfMs = 0;
    this.skewMs = 0;
    this.link = "connecting";
    this.copy = null;
    this.details = new Map();
    this._listeners = [];
    this._changed = new Set();
    this._ordered = null;
    this._source = null;
    this._cursor = "";
    this._retryMs = RETRY_MS;
    this._silence = 0;
  }

  /** Call `listener(changedParts)` before the next frame after something changed. */
  onChange(listener) {
    this._listeners.push(listener);
  }

  /** Load everything and follow what happens. */
  start() {
    const copy = document.getElementById("snapshot");
    if (copy) this._openCopy(JSON.parse(copy.textContent));
    else this._load();
  }

  /** The node's clock now. */
  nowMs() {
    return this.copy ? this.asOfMs : Date.now() + this.skewMs;
  }

  /** Hypotheses, oldest first. */
  ordered() {
    if (!this._ordered) {
      this._ordered = [...this.rows.values()].sort(
        (a, b) => a.created_ms - b.created_ms || (a.id < b.id ? -1 : 1));
    }
    return this._ordered;
  }

  /** Entries from the genesis to the head. */
  path() {
    return [...this.entries.values()].filter((entry) => entry.on_path).sort((a, b) => a.depth - b.depth);
  }

  /** Whether a merged hypothesis's entry lies beside the path to the head. */
  isAside(row) {
    return row.status === "merged" && this.entries.get(row.entry)?.on_path === false;
  }

  /** Whether a smaller metric is better. */
  get minimises() {
    return !this.state || this.state.swarm.metric.direction === "min";
  }

  /** Everything about one hypothesis; throws an Error whose text is for people. */
  async detail(id) {
    if (this.copy) {
      const kept = this.details.get(id);
      if (!kept) throw new Error("This copy does not hold it.");
      return kept;
    }
    const [about, diff] = await Promise.all([
      this._get(`api/v1/hypotheses/${id}`), this._get(`api/v1/entries/${id}/diff`)]);
    return { ...about, diff: diff.lines };
  }

  async _get(path) {
    const response = await fetch(path, { cache: "no-cache", signal: AbortSignal.timeout(SILENCE_MS) });
    if (!response.ok) {
      throw new Error(response.status === 404 ? "Nothing here has this id." : `The node answered ${response.status}.`);
    }
    return response.json();
  }

  async _load() {
    this._close();
    try {
      const state = await this._get("api/v1/state");
      this._takeState(state);
      this._touch("state", "live", "agents", "peers");
      if (!state.ready) {
        this._setLink("behind");
        this._later(() => this._load());
        return;
      }
      const [points, lineage] = await Promise.all([
        this._get("api/v1/points"), this._get("api/v1/lineage")]);
      this._takeWhole(points, lineage);
      this._cursor = state.cursor;
      this._retryMs = RETRY_MS;
      this._follow();
    } catch {
      this._setLink("cut");
      this._later(() => this._load());
    }
  }

  _takeState(state) {
    this.state = state;
    this.asOfMs = state.as_of_ms;
    this.skewMs = state.as_of_ms - Date.now();
    this.peers = new Map(state.peers.map((peer) => [peer.id, peer]));
  }

  _takeWhole(points, lineage) {
    this.rows = new Map(points.rows.map((cells) => {
      const row = Object.fromEntries(points.columns.map((name, index) => [name, cells[index]]));
      return [row.id, row];
    }));
    this.entries = new Map(lineage.entries.map((entry) => [entry.id, entry]));
    this._ordered = null;
    this._touch("rows", "entries", "state", "live", "agents", "peers");
  }

  _openCopy(copy) {
    this.copy = copy.state.as_of_ms;
    this._takeState(copy.state);
    this._takeWhole(copy.points, copy.lineage);
    this.details = new Map(copy.details.map((detail) => [detail.id, detail]));
    this._setLink("copy");
  }

  _follow() {
    this._close();
    const source = new EventSource(`api/v1/events?after=${encodeURIComponent(this._cursor)}`);
    this._source = source;
    this._watch();
    const heard = (handle) => (event) => {
      if (event.lastEventId) this._cursor = event.lastEventId;
      this._heard();
      handle(event.data);
    };
    source.onopen = () => { this._retryMs = RETRY_MS; this._heard(); };
    source.addEventListener("change", heard((data) => this._change(JSON.parse(data))));
    source.addEventListener("live", heard((data) => this._live(JSON.parse(data))));
    source.addEventListener("heartbeat", heard(() => {}));
    source.addEventListener("reset", () => this._load());
    source.onerror = () => {
      this._setLink("cut");
      this._close();
      this._later(() => this._follow());
    };
  }

  _heard() {
    this.asOfMs = this.nowMs();
    this._watch();
    this._setLink("live");
  }

  /** Try again when nothing is heard for so long, not even a heartbeat: the way may be cut silently. */
  _watch() {
    clearTimeout(this._silence);
    this._silence = setTimeout(() => {
      this._setLink("cut");
      this._follow();
    }, SILENCE_MS);
  }

  _close() {
    clearTimeout(this._silence);
    if (this._source) this._source.close();
    this._source = null;
  }

  _later(action) {
    clearTimeout(this._retry);
    this._retry = setTimeout(action, this._retryMs);
    this._retryMs = Math.min(RETRY_MAX_MS, this._retryMs * 2);
  }

  _change(change) {
    for (const row of change.hypotheses ?? []) this.rows.set(row.id, row);
    for (const entry of change.entries ?? []) this.entries.set(entry.id, entry);
    if (change.hypotheses) { this._ordered = null; this._touch("rows"); }
    if (change.entries) this._touch("entries");
    if (change.agents) { this.state.agents = change.agents; this._touch("agents"); }
  }

  _live(live) {
    const { peers, gone, ...rest } = live;
    Object.assign(this.state, rest);
    for (const peer of peers ?? []) this.peers.set(peer.id, peer);
    for (const id of gone ?? []) this.peers.delete(id);
    this._touch("live");
    if (peers || gone) this._touch("peers");
  }

  _setLink(link) {
    if (this.link === link) return;
    this.link = link;
    this._touch("link");
  }

  _touch(...parts) {
    if (!this._changed.size) {
      const tell = () => {
        const changed = this._changed;
        this._changed = new Set();
        for (const listener of this._listeners) listener(changed);
      };
      // A hidden page gets no frames, but must not fall behind.
      if (document.hidden) setTimeout(tell, 200);
      else requestAnimationFrame(tell);
    }
    for (const part of parts) this._changed.add(part);
  }
}
