// Light, dark, or as the system is.

import { byId } from "./dom.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const WORDS = { auto: "as the system", light: "light", dark: "dark" };
const SIGNS = { auto: "◐", light: "○", dark: "●" };

function remembered() {
  try {
    const kept = localStorage.getItem("theme");
    return kept in NEXT ? kept : "auto";
  } catch {
    return "auto";
  }
}

/** Colour the page, and call `changed` whenever its colours change. */
export function startTheme(changed) {
  const button = byId("theme");
  let theme = remembered();
  const show = () => {
    document.documentElement.dataset.theme = theme;
    button.textContent = SIGNS[theme];
    button.setAttribute("aria-label", `Colour scheme: ${WORDS[theme]}`);
    changed();
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // A copy opened from disk may not remember; it still changes.
    }
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}
