// How a peer is written: a coloured dot and the start of its key.

import { h } from "./dom.js";
import { hue, short } from "./text.js";

/** A link to a peer. */
export function person(id) {
  return h("a", { class: "person", href: `#/peer/${id}`, title: id },
    h("span", { class: "avatar", "aria-hidden": "true", vars: { "--hue": String(hue(id)) } }), short(id));
}

/** A word for where a hypothesis stands, in its colour. */
export function chip(status, words) {
  return h("span", { class: "chip", "data-status": status }, words);
}
