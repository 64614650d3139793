// @ts-check
// Loaded before the first frame, so that a chosen theme does not flash in the other one.

const KEY = "ortist.theme";
const THEMES = ["auto", "light", "dark"];

/** @returns {string} auto, light or dark */
export function theme() {
  const kept = localStorage.getItem(KEY);
  return kept && THEMES.includes(kept) ? kept : "auto";
}

/**
 * Goes on to the next theme and keeps it.
 * @returns {string} the theme now
 */
export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  localStorage.setItem(KEY, next);
  apply();
  return next;
}

function apply() {
  document.documentElement.dataset.theme = theme();
}

apply();
