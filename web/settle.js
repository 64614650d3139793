// @ts-check
// Targets that are made of statistics of pictures, as in engine/targets.py and export/costs.

import { eigh } from "./linear.js";

/** @typedef {{data: Float32Array, dims: number[]}} Tensor */
/** @typedef {Record<string, Tensor>} Statistics by name */
/** @typedef {{noise: number, least_noise: number, directions: number}} Constants of Gaussian */

/** @type {Record<string, (statistics: Statistics, constants: Constants) => Statistics>} */
const SETTLED = { content: asTheyAre, gram: asTheyAre, w2: settleGaussian };

/**
 * Returns the targets of a term that are made of the statistics of a picture.
 *
 * @param {string} term
 * @param {Statistics} statistics
 * @param {Constants} constants
 */
export function settle(term, statistics, constants) {
  if (!Object.hasOwn(SETTLED, term)) throw new Error(`No targets are known of the term ${term}`);
  return SETTLED[term](statistics, constants);
}

/**
 * Returns the mean, a root and the variance in the directions beyond it of a Gaussian with noise.
 *
 * @param {Statistics} statistics second, E[a·aᵀ], (C, C), and mean, E[a], (C, 1)
 * @param {Constants} constants
 * @returns {Statistics} mean, (C, 1), root, (C, K), and rest, (1, 1)
 */
function settleGaussian({ second, mean }, constants) {
  const channels = mean.data.length;
  const kept = Math.min(channels, constants.directions);
  const covariance = Float64Array.from(second.data);
  let squares = 0;
  for (let row = 0; row < channels; row++) {
    squares += second.data[row * channels + row];
    for (let column = 0; column < channels; column++) {
      covariance[row * channels + column] -= mean.data[row] * mean.data[column];
    }
  }
  // Where nothing fires there is a little noise yet.
  const noise = Math.max(constants.noise * squares, constants.least_noise);
  const { values, vectors } = eigh(covariance, channels, kept);
  // Of rounding, some may be negative.
  const variances = values.map((value) => Math.max(value, 0) + noise);
  const root = new Float32Array(channels * kept);
  const beyond = channels - kept;
  for (let direction = 0; direction < kept; direction++) {
    const length = Math.sqrt(variances[beyond + direction]);
    for (let row = 0; row < channels; row++) {
      root[row * kept + direction] = vectors[direction * channels + row] * length;
    }
  }
  const rest = variances.subarray(0, beyond).reduce((sum, variance) => sum + variance, 0);
  return {
    mean: { data: mean.data.slice(), dims: [channels, 1] },
    root: { data: root, dims: [channels, kept] },
    rest: { data: Float32Array.of(rest), dims: [1, 1] },
  };
}

/**
 * Returns the weighted mean of the statistics of several pictures, rounded as numpy does.
 *
 * @param {readonly Statistics[]} statistics
 * @param {readonly number[]} shares
 * @returns {Statistics}
 */
export function mean(statistics, shares) {
  const [first, ...others] = statistics.map((own, at) => scaled(own, Math.fround(shares[at])));
  for (const own of others) {
    for (const [name, { data }] of Object.entries(first)) {
      for (let at = 0; at < data.length; at++) data[at] += own[name].data[at];
    }
  }
  return first;
}

/** @param {Statistics} statistics @param {number} share @returns {Statistics} */
function scaled(statistics, share) {
  const pairs = Object.entries(statistics).map(([name, { data, dims }]) => (
    [name, { data: data.map((value) => value * share), dims }]));
  return Object.fromEntries(pairs);
}

/** @param {Statistics} statistics */
function asTheyAre(statistics) {
  return statistics;
}
