// @ts-check
// From what is optimized to the picture: what of the content stays.

import { gray, graySlope, withChroma } from "./color.js";
import { clipped } from "./picture.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").Mask} Mask */

/**
 * An affine map from the point that an optimizer moves to what is seen of it.
 *
 * It is in gray if only luma is painted, and the content where nothing is painted. What it returns
 * is what it was given where nothing changes, else a new picture.
 */
export class Canvas {
  #content;
  #keepsChroma;
  #painted;
  #inGray;
  #constants;

  /**
   * @param {Picture | null} content in its own colors; not needed where nothing of it stays
   * @param {string} color the option
   * @param {Mask | null} painted how much of each pixel is painted; all if null
   * @param {import("./color.js").Luma} constants
   */
  constructor(content, color, painted, constants) {
    this.#content = content;
    this.#inGray = color === "luminance";
    this.#keepsChroma = color === "luminance" || color === "after";
    this.#painted = painted;
    this.#constants = constants;
  }

  /** Returns what the network sees of a point. @param {Picture} point @returns {Picture} */
  seen(point) {
    const shown = this.#inGray ? gray(point, this.#constants) : point;
    if (!this.#painted) return shown;
    const kept = this.#inGray ? gray(this.#kept(), this.#constants) : this.#kept();
    return { data: blended(kept.data, shown.data, this.#painted.data), dims: point.dims };
  }

  /**
   * Returns the derivative by the point, given that by what is seen.
   *
   * @param {Picture} gradient @returns {Picture}
   */
  pulled(gradient) {
    const share = this.#painted?.data;
    const { data, dims } = gradient;
    const own = share ? { data: data.map((slope, at) => slope * share[at % share.length]), dims }
      : gradient;
    return this.#inGray ? graySlope(own, this.#constants) : own;
  }

  /**
   * Returns the picture that a point stands for, in color, not clipped.
   *
   * @param {Picture} point @returns {Picture}
   */
  picture(point) {
    const { data, dims } = this.seen(point);
    if (!this.#keepsChroma) return { data, dims };
    const inRange = data.map((value) => clipped(value, 0, 255));
    return withChroma({ data: inRange, dims }, this.#kept(), this.#constants);
  }

  #kept() {
    return /** @type {Picture} */ (this.#content);
  }
}

/**
 * @param {Float32Array} kept @param {Float32Array} painted
 * @param {Float32Array} share of what is painted, the same for all channels
 */
function blended(kept, painted, share) {
  return kept.map((value, at) => value + share[at % share.length] * (painted[at] - value));
}
