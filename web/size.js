// @ts-check
// Sizes of pictures: what is accepted, and what is painted.

import { InputError } from "./errors.js";

/** @typedef {{size: {min_side: number}}} Constants */

/** @param {number} value @returns {number} rounded as Python does: halves to even */
export function rounded(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2 ? 1 : 0) : Math.round(value);
}

/**
 * Throws an InputError unless a picture has neither too few nor too many pixels.
 *
 * @param {number} width @param {number} height
 * @param {string} name what messages call it
 * @param {number} maxPixels
 * @param {Constants} constants
 */
export function checkSize(width, height, name, maxPixels, { size: { min_side: least } }) {
  const told = `${name} is ${width}x${height} pixels`;
  if (Math.min(width, height) < least) {
    throw new InputError(`${told}; each side needs at least ${least}`);
  }
  if (width * height > maxPixels) {
    throw new InputError(`${told}; at most ${maxPixels} in all are accepted (raise max_pixels)`);
  }
}

/**
 * Returns the size to paint a picture in, which is accepted.
 *
 * Width and height together are taken as they are; one of them alone keeps the aspect ratio;
 * otherwise the longer side becomes the size.
 *
 * @param {number} width of the picture @param {number} height
 * @param {{size: number, width: number | null, height: number | null, max_pixels: number}} options
 * @param {Constants} constants
 * @returns {[number, number]}
 */
export function fitSize(width, height, options, constants) {
  const scale = options.width ? options.width / width
    : options.height ? options.height / height : options.size / Math.max(width, height);
  const toWidth = options.width ?? rounded(width * scale);
  const toHeight = options.height ?? rounded(height * scale);
  checkSize(toWidth, toHeight, "the picture", options.max_pixels, constants);
  return [toWidth, toHeight];
}

/**
 * Returns width and height with the same aspect ratio and `area` pixels, up to rounding.
 *
 * @param {number} width @param {number} height @param {number} area @param {Constants} constants
 * @returns {[number, number]}
 */
export function fitArea(width, height, area, { size: { min_side: least } }) {
  const scale = Math.sqrt(area / (width * height));
  return [Math.max(least, rounded(width * scale)), Math.max(least, rounded(height * scale))];
}
