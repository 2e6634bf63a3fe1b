// A unified diff as lines of code, coloured a little.

import { h } from "./dom.js";
import { inert } from "./text.js";

const LINES_MAX = 4000;
const LINE_MAX = 600;
const TOKEN = /(#.*$)|("""|'''|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\b(\d[\d_.eE]*)\b|\b(def|class|return|import|from|for|in|if|else|elif|while|with|as|not|and|or|None|True|False|lambda|yield|raise|try|except|pass|self)\b/g;
const KINDS = ["comment", "string", "numeral", "keyword"];

/** Show a diff; says so when there is none. */
export function diffView(lines) {
  if (!lines.length) return h("p", { class: "quiet" }, "The scripts are not here yet, or nothing differs.");
  const shown = lines.slice(0, LINES_MAX).filter((line) => !line.startsWith("--- ") && !line.startsWith("+++ "));
  return h("div", { class: "diff", tabindex: "0", role: "region", "aria-label": "Diff" }, h("pre", {}, shown.map((line) => {
    const kind = line.startsWith("@@") ? "place" : { "+": "added", "-": "removed" }[line[0]] ?? "same";
    if (kind === "place") return h("span", { class: "place" }, inert(line, LINE_MAX));
    return h("span", { class: kind }, h("span", { class: "sign" }, line[0] ?? " "), ...coloured(inert(line.slice(1), LINE_MAX)));
  })), lines.length > LINES_MAX ? h("p", { class: "quiet" }, `${lines.length - LINES_MAX} more lines are not shown.`) : null);
}

function coloured(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    if (match.index > end) parts.push(text.slice(end, match.index));
    const kind = KINDS[match.slice(1).findIndex((group) => group !== undefined)];
    parts.push(h("span", { class: kind }, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(`${text.slice(end)}\n`);
  return parts;
}
