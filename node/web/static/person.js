// How a peer is written, and where a hypothesis stands.

import { h } from "./dom.js";
import { hue, short, statusWord } from "./text.js";

/** A link to a peer: a coloured dot and the start of its key. */
export function person(id) {
  return h("a", { class: "person", href: `#/peer/${id}`, title: id },
    h("span", { class: "avatar", "aria-hidden": "true", vars: { "--hue": String(hue(id)) } }), short(id));
}

/** Where a hypothesis stands, as a word in its colour. */
export function standing(row, store) {
  const aside = store.isAside(row);
  return h("span", { class: "chip", "data-status": aside ? "verified" : row.status }, aside ? "beside the path" : statusWord(row));
}
