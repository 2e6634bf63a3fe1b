// Numbers, times and peers' text as people read them.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;
// Accents upon accents grow over the lines around them; no script needs more than these on a letter.
const PILED = /(\p{M}{4})\p{M}+/gu;

const STATUS_WORDS = {
  merged: "merged", verified: "verified", refuted: "refuted", parked: "parked",
  crashed: "crashed", screened_out: "screened out", claimed: "claimed",
  undecided: "verifying", stale: "stale", proposed: "proposed",
};

/** Names what holds: “verified” where nodes compute the metric, “reproduced” where runs report it. */
export function nameVerdicts(scorer) {
  STATUS_WORDS.verified = scorer === "reported" ? "reproduced" : "verified";
}

/** A sentence of ours, never a peer's, in the word that the swarm's scorer allows. */
export function told(text) {
  if (STATUS_WORDS.verified === "verified") return text;
  return text.replaceAll("verified", "reproduced").replaceAll("Verified", "Reproduced");
}

/** Where a hypothesis stands, in words. */
export function statusWord(row) {
  return row.self_verified ? told("self-verified") : STATUS_WORDS[row.status] ?? row.status;
}

/** The start of a text, whose last character is whole. */
export function start(text, length) {
  return text.slice(0, length).replace(/[\ud800-\udbff]$/, "");
}

/** A peer's text with characters that could hide, reorder or bury it made visible, cut at `limit`. */
export function inert(text, limit = 400) {
  const whole = String(text);
  const cut = whole.length > limit ? `${start(whole, limit)}… (${whole.length - limit} more characters)` : whole;
  return cut.replace(HIDDEN, (character) =>
    `‹U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`).replace(PILED, "$1‹…›");
}

/** The start of an id. */
export function short(id, digits = 8) {
  return id ? id.slice(0, digits) : "–";
}

/** A metric's value. */
export function value(number, digits = 4) {
  return number === null || number === undefined ? "–" : number.toFixed(digits).replace("-", "−");
}

/** A gain with its sign; positive is better. */
export function gain(number, digits = 4) {
  if (number === null || number === undefined) return "–";
  const rounded = Math.abs(number).toFixed(digits);
  return `${number < 0 ? "−" : "+"}${rounded}`;
}

/** Half of an interval as people write it: “± 0.0066”; empty without one. */
export function half(low, high, digits = 4) {
  return typeof low === "number" && typeof high === "number" ? `± ${((high - low) / 2).toFixed(digits)}` : "";
}

/** A gain with half of its interval, where others have measured it. */
export function gainAndHalf(row) {
  return row.gain === null || row.gain === undefined ? gain(row.screened_gain) : `${gain(row.gain)} ${half(row.gain_low, row.gain_high)}`.trim();
}

/** Money in US dollars. */
export function dollars(amount) {
  return amount >= 100 ? `$${count(amount)}` : `$${amount.toFixed(2)}`;
}

/** A whole number with thin spaces between thousands. */
export function count(number) {
  return String(Math.round(number)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** Seconds of computing as people say them. */
export function spent(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  return hours < 100 ? `${hours.toFixed(1)} h` : `${count(hours)} h`;
}

/** How long ago, roughly. */
export function ago(thenMs, nowMs) {
  const seconds = Math.max(0, (nowMs - thenMs) / 1000);
  if (seconds < 10) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/** A moment, in full. */
export function moment(ms) {
  const date = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `
    + `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The time of day. */
export function clock(ms) {
  return moment(ms).slice(11);
}

/** A colour that stays with one peer, as a hue in degrees. */
export function hue(id) {
  return (parseInt(id.slice(0, 6), 16) || 0) % 360;
}
