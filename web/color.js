// @ts-check
// Colors: luma and chroma, and a style's colors matched to those of the content.

import { eigh } from "./linear.js";
import { clipped } from "./picture.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").Mask} Mask */
/** @typedef {{tensors: {luma: number[]}}} Luma shares of red, green and blue in it */
/** @typedef {{mean: number[], covariance: number[][]}} Moments of colors */

const CHANNELS = [0, 1, 2];

/**
 * Returns a picture with its luma in all channels.
 *
 * @param {Picture} picture @param {Luma} constants
 */
export function gray(picture, constants) {
  const plane = lumaOf(picture, constants);
  const data = new Float32Array(picture.data.length);
  for (const channel of CHANNELS) data.set(plane, channel * plane.length);
  return { data, dims: picture.dims };
}

/**
 * Returns the derivative by a picture, given that by `gray` of it.
 *
 * @param {Picture} gradient @param {Luma} constants
 */
export function graySlope({ data, dims }, { tensors: { luma } }) {
  const count = data.length / 3;
  const slope = new Float32Array(data.length);
  for (let at = 0; at < count; at++) {
    const sum = data[at] + data[count + at] + data[2 * count + at];
    for (const channel of CHANNELS) slope[channel * count + at] = luma[channel] * sum;
  }
  return { data: slope, dims };
}

/**
 * Returns a picture's luma with the chroma of another one of its size.
 *
 * Chroma are the differences of a color from its luma: they stay if the same is added to red, green
 * and blue. Luma goes only as far as this leads out of 0..255.
 *
 * @param {Picture} picture @param {Picture} colored @param {Luma} constants
 */
export function withChroma(picture, colored, constants) {
  const [wanted, own] = [lumaOf(picture, constants), lumaOf(colored, constants)];
  const count = own.length;
  const { data, dims } = colored;
  const shifted = new Float32Array(data.length);
  for (let at = 0; at < count; at++) {
    const [red, green, blue] = [data[at], data[count + at], data[2 * count + at]];
    const [lowest, highest] = [Math.min(red, green, blue), Math.max(red, green, blue)];
    const added = clipped(wanted[at] - own[at], -lowest, 255 - highest);
    for (const channel of CHANNELS) {
      shifted[channel * count + at] = data[channel * count + at] + added;
    }
  }
  return { data: shifted, dims };
}

/**
 * Returns a gray style with mean and deviation of the content's luma.
 *
 * Gatys et al. 2016, arXiv:1606.05897, section 5.1. Masks are those of `recolored`.
 *
 * @param {Picture} style @param {Picture} content @param {[Mask | null, Mask | null]} masks
 * @returns {Picture}
 */
export function matchedLuma(style, content, masks) {
  const [own, wanted] = [moments(style, masks[0]), moments(content, masks[1])];
  const variance = Math.max(own.covariance[0][0], 1e-12);
  const factor = Math.sqrt(wanted.covariance[0][0] / variance);
  const data = style.data.map((value) => (value - own.mean[0]) * factor + wanted.mean[0]);
  return { data, dims: style.dims };
}

/**
 * Returns a style whose colors have the mean and covariance of the content's, not clipped.
 *
 * Each color x becomes A·(x - μ_s) + μ_c, A = S_c^½·S_s^-½ with symmetric roots of the covariances
 * (Gatys et al. 2016, arXiv:1606.05897, section 5.2). Directions that the style's colors do not
 * have, as of a gray one, stay without color.
 *
 * @param {Picture} style @param {Picture} content
 * @param {[Mask | null, Mask | null]} masks how much each of their pixels counts
 * @param {{color: {least_variance: number}}} constants
 * @returns {Picture}
 */
export function recolored(style, content, masks, { color: { least_variance: least } }) {
  const [own, wanted] = [moments(style, masks[0]), moments(content, masks[1])];
  const back = power(wanted.covariance, 0.5, least);
  const away = power(own.covariance, -0.5, least);
  const matrix = back.map((row) =>
    CHANNELS.map((column) => row.reduce((sum, value, at) => sum + value * away[at][column], 0)));
  const offset = matrix.map((row, channel) =>
    row.reduce((sum, value, at) => sum - value * own.mean[at], wanted.mean[channel]));
  const data = new Float32Array(style.data.length);
  mix(matrix, style.data, data, offset);
  return { data, dims: style.dims };
}

/**
 * Multiplies the color of each pixel by a matrix, and adds another one.
 *
 * @param {number[][]} matrix @param {Float32Array} from planes
 * @param {Float32Array} to likewise, maybe the same
 * @param {number[]} [offset]
 */
export function mix([[a, b, c], [d, e, f], [g, h, i]], from, to, [red, green, blue] = [0, 0, 0]) {
  const count = from.length / 3;
  for (let x = 0, y = count, z = 2 * count; x < count; x++, y++, z++) {
    const [first, second, third] = [from[x], from[y], from[z]];
    to[x] = red + a * first + b * second + c * third;
    to[y] = green + d * first + e * second + f * third;
    to[z] = blue + g * first + h * second + i * third;
  }
}

/**
 * Returns mean and covariance of a picture's colors.
 *
 * @param {Picture} picture @param {Mask | null} mask how much each pixel counts
 * @returns {Moments}
 */
export function moments({ data }, mask = null) {
  const count = data.length / 3;
  let total = 0;
  const sums = [0, 0, 0];
  for (let at = 0; at < count; at++) {
    const weight = mask ? mask.data[at] : 1;
    total += weight;
    for (const channel of CHANNELS) sums[channel] += weight * data[channel * count + at];
  }
  const mean = sums.map((sum) => sum / total);
  const products = CHANNELS.map(() => [0, 0, 0]);
  for (let at = 0; at < count; at++) {
    const weight = mask ? mask.data[at] : 1;
    for (const row of CHANNELS) {
      const away = weight * (data[row * count + at] - mean[row]);
      for (const column of CHANNELS) {
        products[row][column] += away * (data[column * count + at] - mean[column]);
      }
    }
  }
  return { mean, covariance: products.map((row) => row.map((sum) => sum / total)) };
}

/**
 * Returns a power of a covariance, 0 in directions without variance.
 *
 * @param {number[][]} covariance @param {number} exponent
 * @param {number} least variance of directions that there are
 */
export function power(covariance, exponent, least) {
  const size = covariance.length;
  const { values, vectors } = eigh(Float64Array.from(covariance.flat()), size);
  const powers = values.map((value) => (value > least ? value ** exponent : 0));
  return covariance.map((_, row) => covariance.map((_, column) =>
    powers.reduce((sum, value, at) =>
      sum + value * vectors[at * size + row] * vectors[at * size + column], 0)));
}

/** @param {Picture} picture @param {Luma} constants */
function lumaOf({ data }, { tensors: { luma: [red, green, blue] } }) {
  const count = data.length / 3;
  const plane = new Float32Array(count);
  for (let at = 0; at < count; at++) {
    plane[at] = red * data[at] + green * data[count + at] + blue * data[2 * count + at];
  }
  return plane;
}
