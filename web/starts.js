// @ts-check
// Where the optimization starts. The noise is not NumPy's: the same seed gives another picture.

import { mix, moments, power } from "./color.js";
import { clipped, sizeOf, toPicture } from "./picture.js";
import { Random } from "./random.js";
import { resizePixels } from "./resample.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").Pixels} Pixels */
/** @typedef {{init: string | Pixels, noise_ratio: number, seed: number}} Options */
/** @typedef {{noise_range: number, normal_deviation: number}} Known */

/** Whether the start is a picture and no word. @param {{init: unknown}} options */
export function startsFromPicture(options) {
  return typeof options.init !== "string";
}

/**
 * Returns the picture that the optimization starts from.
 *
 * @param {{content: Picture, styles: Picture[]}} scene in the size to paint
 * @param {Options} options
 * @param {number[]} mean color that the network subtracts
 * @param {{starts: Known}} constants
 * @returns {Picture}
 */
export function startingPicture({ content, styles }, options, mean, { starts }) {
  const { init, noise_ratio: ratio } = options;
  if (typeof init !== "string") return toPicture(resizePixels(init, ...sizeOf(content)));
  const random = new Random(options.seed);
  const range = starts.noise_range;
  switch (init) {
    case "content":
      return content;
    case "blank":
      return filled(content, (color) => color, mean);
    case "uniform":
      return filled(content, () => random.uniform(0, 255), mean);
    case "normal":
      return filled(content, (color) => color + random.normal(starts.normal_deviation), mean);
    case "style":
      return colored(content, styles, random);
    default: // Zero noise is the mean color, from which the network counts.
      return filled(content, (color, own) =>
        ratio * (color + random.uniform(-range, range)) + (1 - ratio) * own, mean);
  }
}

/**
 * Returns a new picture with gray noise, within 0..255, from which detail grows in all directions.
 *
 * @param {Picture} picture @param {number} seed
 * @param {{starts: {grain: number}}} constants its standard deviation, in pixel values
 * @returns {Picture}
 */
export function grained({ data, dims }, seed, { starts: { grain } }) {
  const random = new Random(seed);
  const count = data.length / 3;
  const noise = Float32Array.from({ length: count }, () => random.normal(grain));
  return { data: data.map((value, at) => clipped(value + noise[at % count], 0, 255)), dims };
}

/**
 * Returns a picture of the size of another one.
 *
 * @param {Picture} picture
 * @param {(color: number, own: number) => number} value of a channel, given that of a color and of
 *   the picture
 * @param {number[]} color
 */
function filled({ data, dims }, value, color) {
  const count = data.length / 3;
  const values = data.map((own, at) => value(color[Math.floor(at / count)], own));
  return { data: values, dims };
}

/**
 * Returns normal noise with the mean and covariance of the styles' colors.
 *
 * @param {Picture} content whose size it has @param {Picture[]} styles @param {Random} random
 */
function colored({ data, dims }, styles, random) {
  const { mean, covariance } = moments(joined(styles));
  const root = power(covariance, 0.5, 0);
  const values = data.map(() => random.normal(1));
  mix(root, values, values, mean);
  return { data: values, dims };
}

/** Returns all pixels of pictures in a row. @param {Picture[]} pictures @returns {Picture} */
function joined(pictures) {
  const sizes = pictures.map(({ data }) => data.length / 3);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const data = new Float32Array(3 * total);
  for (const channel of [0, 1, 2]) {
    let to = channel * total;
    pictures.forEach((picture, at) => {
      data.set(picture.data.subarray(channel * sizes[at], (channel + 1) * sizes[at]), to);
      to += sizes[at];
    });
  }
  return { data, dims: [1, 3, 1, total] };
}
