// @ts-check
// Coarse to fine: the sizes that a picture is painted in, one after the other.

import { rounded } from "./size.js";
import { startsFromPicture } from "./starts.js";

/** @typedef {{width: number, height: number, steps: number}} Scale a size, and evaluations in it */
/**
 * @typedef {object} Known
 * @property {number} growth ratio of the sides of one scale to those of the one before
 * @property {number} single_side up to which there is one by default
 * @property {number} first_side what the longer side of the first is nearest to by default
 * @property {number} matched_side the same with neighbors
 */
/**
 * @typedef {object} Options
 * @property {number} steps
 * @property {number | null} scales
 * @property {unknown} init
 * @property {string} content_cost
 */

/**
 * Returns the scales of a picture, the last one in its full size.
 *
 * Evaluations are spread evenly. There are fewer scales than asked for where sides would become too
 * small or a scale would get no evaluation.
 *
 * @param {number} width of the full size, in pixels
 * @param {number} height likewise
 * @param {Options} options
 * @param {{scales: Known, size: {min_side: number}}} constants
 * @returns {Scale[]}
 */
export function planScales(width, height, options, { scales, size }) {
  const { steps } = options;
  const smallest = Math.min(width, height) / size.min_side;
  const possible = 1 + Math.trunc(logarithm(smallest, scales.growth) + 1e-9);
  const asked = asMany(Math.max(width, height), options, scales);
  const count = Math.max(1, Math.min(asked, possible, steps));
  // From the full size down: what is left over goes to the larger scales.
  const ends = Array.from({ length: count + 1 }, (_, index) => Math.ceil((steps * index) / count));
  return ends.slice(1).map((end, index) => {
    const factor = scales.growth ** -index;
    const size = { width: rounded(width * factor), height: rounded(height * factor) };
    return { ...size, steps: end - ends[index] };
  }).reverse();
}

/**
 * Returns how many scales are asked for, by a number or by what suits the longer side.
 *
 * @param {number} longer @param {Options} options @param {Known} known
 */
function asMany(longer, options, known) {
  if (options.scales !== null) return options.scales;
  // What is fine in that picture would be lost at the first of several.
  if (startsFromPicture(options)) return 1;
  const matched = options.content_cost === "neighbors";
  if (longer <= known.single_side && !matched) return 1;
  const first = matched ? known.matched_side : known.first_side;
  return 1 + rounded(logarithm(longer / first, known.growth));
}

/** @param {number} value @param {number} base */
function logarithm(value, base) {
  return Math.log(value) / Math.log(base);
}
