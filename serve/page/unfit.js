// @ts-check
// Why something that is set up cannot be painted in this browser, by where that is said.

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {Pick<import("./studio.js").Runtime, "facts" | "hasGraphs" | "withOptions">} Runtime */

/** @param {Draft} draft @param {Runtime} runtime @returns {[string, string][]} */
export function unfit(draft, runtime) {
  return [...parts(draft), ...pictures(draft), ...options(draft, runtime)];
}

/** @param {Draft} draft @returns {[string, string][]} */
function parts({ regions, protect }) {
  return regions.length || protect ? [["regions", "Regions and masks are not painted in this browser."]] : [];
}

/** @param {Draft} draft @returns {[string, string][]} */
function pictures({ content, styles, start }) {
  /** @type {[string, import("./pictures.js").Picture|null][]} */
  const all = [["content", content], ["start", start],
    ...styles.map(({ picture }, at) => /** @type {[string, any]} */ ([`style-${at + 1}`, picture]))];
  return all.flatMap(([place, picture]) => (picture && !picture.width ? [[place, "This browser cannot read that picture."]] : []));
}

/**
 * Options for which there are no graphs: those without which there would be some, or all that were changed.
 * @param {Draft} draft @param {Runtime} runtime @returns {[string, string][]}
 */
function options({ options: chosen }, { facts, hasGraphs, withOptions }) {
  const sent = chosen.sent();
  const fits = (/** @type {Record<string, any>} */ some) => hasGraphs(withOptions(chosen.recipe, some, facts), facts);
  const without = (/** @type {string} */ name) => Object.fromEntries(Object.entries(sent).filter(([one]) => one !== name));
  try {
    if (fits(sent)) return [];
    const names = Object.keys(sent);
    const culprits = names.filter((name) => fits(without(name)));
    const message = "That cannot be painted in this browser, only what the recipe has.";
    return (culprits.length ? culprits : names).map((name) => [`option:${name}`, message]);
  } catch (error) {
    // A value that no place accepts is told when it is sent.
    if (error instanceof Error && error.name === "InputError") return [];
    throw error;
  }
}
