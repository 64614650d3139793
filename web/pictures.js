// @ts-check
// The pictures that a run starts from, as they are given and in the size to paint. See
// engine/pictures.py.

import { Canvas } from "./canvas.js";
import { gray, matchedLuma, recolored } from "./color.js";
import { InputError } from "./errors.js";
import { toPicture } from "./picture.js";
import { resizePixels } from "./resample.js";
import { checkSize, fitArea, fitSize, rounded } from "./size.js";
import { startsFromPicture } from "./starts.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").Pixels} Pixels with three channels */
/**
 * All that a picture is painted of, in one size.
 * @typedef {{content: Picture, styles: {pixels: Picture, share: number}[], canvas: Canvas}} Scene
 */
/** @typedef {{content: Pixels, styles: Pixels[]}} Given */

/** All pictures as they were read, and the size to paint. */
export class Pictures {
  #styles;

  /**
   * @param {Given} given
   * @param {any} options
   * @param {any} constants
   */
  constructor({ content, styles }, options, constants) {
    this.content = content;
    this.color = options.color;
    this.constants = constants;
    const most = options.max_pixels;
    const [height, width] = content.dims;
    const read = (/** @type {Pixels} */ pixels, /** @type {string} */ name) => {
      checkPixels(pixels, name);
      checkSize(pixels.dims[1], pixels.dims[0], name, most, constants);
    };
    read(content, "content image");
    if (startsFromPicture(options)) read(options.init, "init image");
    if (!styles.length) throw new InputError("no style image given");
    for (const style of styles) read(style, "style image");
    const [fittedWidth, fittedHeight] = fitSize(width, height, options, constants);
    this.width = fittedWidth;
    this.height = fittedHeight;
    const weights = forEach(options.style_weights ?? 1, styles.length, "style_weights", "weights");
    const scales = forEach(options.style_scale, styles.length, "style_scale", "scales");
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    this.#styles = styles.map((pixels, index) => ({
      pixels: cropped(pixels, options.style_crop, constants.size.min_side),
      share: weights[index] / total,
      scale: scales[index],
    }));
    for (const { pixels, scale } of this.#styles) {
      const [own, tall] = this.#fitted(pixels, this.width * this.height * scale ** 2);
      checkSize(own, tall, "scaled style image", most, constants);
    }
  }

  /**
   * Returns them in the size of a scale.
   *
   * @param {number} width @param {number} height @returns {Scene}
   */
  at(width, height) {
    const original = toPicture(resizePixels(this.content, width, height));
    const content = this.color === "luminance" ? gray(original, this.constants) : original;
    const styles = this.#styles.map(({ pixels, share, scale }) => {
      const fitted = resizePixels(pixels, ...this.#fitted(pixels, width * height * scale ** 2));
      return { pixels: this.#colored(toPicture(fitted), content), share };
    });
    return { content, styles, canvas: new Canvas(original, this.color, null, this.constants) };
  }

  /** Returns width and height with so many pixels. @param {Pixels} pixels @param {number} area */
  #fitted({ dims: [rows, columns] }, area) {
    return fitArea(columns, rows, area, this.constants);
  }

  /** Returns a style in the colors to paint with. @param {Picture} style @param {Picture} content */
  #colored(style, content) {
    if (this.color === "match") return recolored(style, content, [null, null], this.constants);
    if (this.color !== "luminance") return style;
    return matchedLuma(gray(style, this.constants), content, [null, null]);
  }
}

/** Throws an InputError unless pixels are bytes of three channels. @param {any} pixels @param {string} name */
function checkPixels({ data, dims }, name) {
  const bytes = data instanceof Uint8Array || data instanceof Uint8ClampedArray;
  if (bytes && dims.length === 3 && dims[2] === 3 && data.length === dims[0] * dims[1] * 3) return;
  throw new InputError(`${name} is an array of ${dims}; bytes (height, width, 3) are accepted`);
}

/**
 * Returns a value for each style; one alone is for all.
 *
 * @param {number | number[]} values @param {number} count @param {string} name
 * @param {string} what they are
 */
function forEach(values, count, name, what) {
  if (!Array.isArray(values)) return Array(count).fill(values);
  if (values.length === count) return values;
  throw new InputError(`${name} has ${values.length} ${what} for ${count} style images`);
}

/**
 * Returns a picture without a share of its sides at each edge, but no less than it must have.
 *
 * @param {Pixels} pixels @param {number} share @param {number} least
 * @returns {Pixels}
 */
function cropped({ data, dims: [height, width, channels] }, share, least) {
  const margin = (/** @type {number} */ side) =>
    Math.min(rounded(side * share), Math.floor((side - least) / 2));
  const [top, left] = [margin(height), margin(width)];
  const [rows, columns] = [height - 2 * top, width - 2 * left];
  const kept = new Uint8Array(rows * columns * channels);
  for (let row = 0; row < rows; row++) {
    const start = ((top + row) * width + left) * channels;
    kept.set(data.subarray(start, start + columns * channels), row * columns * channels);
  }
  return { data: kept, dims: [rows, columns, channels] };
}
