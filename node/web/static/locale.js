// Some systems report a locale that Intl refuses; the chart library would throw while it loads.

try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { get: () => "en-US" });
}

export const LOCALE = navigator.language;
