// The page: which part draws what, and which address shows which detail.

import { LOCALE } from "./locale.js";
import { byId } from "./dom.js";
import { Store } from "./store.js";
import { Header } from "./header.js";
import { Chart } from "./chart.js";
import { Tree } from "./tree.js";
import { Feed } from "./feed.js";
import { Records } from "./records.js";
import { People } from "./people.js";
import { Detail } from "./detail.js";
import { startTheme } from "./theme.js";

const store = new Store();
const parts = [
  new Header(store), new Chart(store), new Tree(store), new Feed(store), new Records(store),
  new People(store),
];
const detail = new Detail(store);

document.documentElement.dataset.locale = LOCALE;
startTheme(() => parts[1].recolour());
store.onChange((changed) => {
  for (const part of parts) part.update(changed);
  detail.update(changed);
});
// Words such as “3 min ago” age by themselves.
setInterval(() => { if (!document.hidden) for (const part of parts) part.age(); }, 5000);
window.addEventListener("hashchange", () => detail.route());
byId("detail").addEventListener("close", () => detail.closed());
// Canvas text drawn before the fonts are here stays in another one until it is drawn again.
document.fonts.ready.then(() => parts[1].recolour());
store.start();
