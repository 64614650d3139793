// @ts-check
// What a run will do, told before anything is loaded.

import { isFor } from "./artifacts.js";
import { InputError, shown } from "./errors.js";
import { choiceOf, weightedParts } from "./objective.js";
import { withOptions } from "./options.js";
import { planScales } from "./scales.js";
import { fitSize } from "./size.js";

/** @typedef {import("./artifacts.js").Facts} Facts */
/** @typedef {{width: number, height: number, steps: number, scales: import("./scales.js").Scale[]}} Plan */

/**
 * Returns the size to paint, and the steps in each scale; throws an InputError for an order that
 * cannot be painted.
 *
 * @param {{recipe: string, options: Record<string, any>, width: number, height: number,
 *   start: boolean}} order width and height are the content's; start: whether there is a picture
 *   to start from
 * @param {Facts} facts
 * @returns {Plan}
 */
export function planOf(order, facts) {
  const chosen = withOptions(order.recipe, order.options, facts);
  const options = order.start ? { ...chosen, init: null } : chosen;
  checkGraphs(options, facts);
  const [width, height] = fitSize(order.width, order.height, options, facts.constants);
  const scales = planScales(width, height, options, /** @type {any} */ (facts.constants));
  return { width, height, steps: options.steps, scales };
}

/**
 * Throws an InputError unless there are graphs to paint with by these options.
 *
 * @param {Record<string, any>} options @param {Facts} facts
 */
export function checkGraphs(options, facts) {
  if (hasGraphs(options, facts)) return;
  const named = ["pooling", "rescaled", "content_cost", "content_layers", "statistic", "style_layers"];
  const told = named.map((name) => `${name} ${shown(options[name])}`).join(", ");
  throw new InputError(`there are no graphs here for ${told} together`);
}

/**
 * Whether there are graphs to paint with by these options, all of them.
 *
 * @param {Record<string, any>} options @param {Facts} facts
 */
export function hasGraphs(options, facts) {
  const choice = choiceOf(options, weightedParts(options, facts));
  return facts.graphs.some((graph) => graph.kind === "gradient" && isFor(graph, choice));
}
