// @ts-check
// The limited-memory BFGS method (Liu & Nocedal 1989), within the range of pixel values.

import { clipped, sizeOf } from "./picture.js";
import { Preconditioner } from "./preconditioner.js";
import { resizePicture } from "./resample.js";

/** @typedef {import("./picture.js").Picture} Picture */
/**
 * @typedef {object} Known
 * @property {number} lowest value of a pixel
 * @property {number} highest likewise
 * @property {number} history pairs of steps and changes of the gradient that are remembered
 * @property {number} first_step mean change of a pixel, when nothing is known of the curvature
 * @property {number} sufficient share of the decrease that the slope promises to be reached
 * @property {number} most_trials shorter and shorter steps tried before the memory is dropped
 */
/** @typedef {{moved: Float32Array, change: Float32Array, inverse: number}} Pair */

/**
 * L-BFGS with projection to the range, a preconditioner and a backtracking line search.
 *
 * Points where the function is not finite or has not decreased enough are never accepted. Nearly
 * every evaluation is an accepted step, since the full step is tried first. Arrays that it keeps
 * are not written to any more once they are made.
 */
export class LBFGS {
  /** Steps find their own length. */
  learningRate = 0;
  /** Whether the point evaluated last was taken. */
  accepted = false;
  /** Whether no further step would lower the function. */
  done = false;
  #known;
  #constants;
  #preconditioner;
  #best;
  #value = Infinity;
  /** Of values and gradients, so that no product of two leaves the floats. */
  #unit = 1;
  #promised = 0;
  /** @type {Float32Array | null} */
  #gradient = null;
  /** @type {Float32Array} */
  #direction = new Float32Array();
  #trials = 0;
  #length = 1;
  /** @type {Pair[]} */
  #pairs = [];

  /**
   * @param {Picture} start kept as it is
   * @param {{lbfgs: Known, preconditioner: import("./preconditioner.js").Known}} constants
   */
  constructor(start, constants) {
    this.#known = constants.lbfgs;
    this.#constants = constants.preconditioner;
    this.#best = this.#withinRange(start);
    this.#preconditioner = this.#ofItsSize();
    /** Where the function is to be evaluated next. @type {Picture} */
    this.point = this.#best;
  }

  /** The last accepted point, which has the lowest value so far. */
  get picture() {
    return this.#best;
  }

  /**
   * Accepts `point` or not, and moves it: on, or back towards the last accepted one.
   *
   * @param {number} value of the function at `point`
   * @param {Float32Array} gradient likewise
   * @returns {boolean} false if there is no finite point to go on from
   */
  step(value, gradient) {
    const largest = largestOf(gradient);
    const finite = Number.isFinite(value) && Number.isFinite(largest);
    const last = this.#gradient;
    if (!last) this.#unit = finite ? powerOfTwo(largest) : 1;
    value /= this.#unit;
    const sufficient = this.#value + this.#known.sufficient * this.#promised;
    this.accepted = finite && (!last || value <= sufficient);
    if (this.accepted) {
      const scaled = gradient.map((slope) => slope / this.#unit);
      if (last) {
        this.#remember(difference(this.point.data, this.#best.data), difference(scaled, last));
      }
      this.#accept(value, scaled);
    } else if (last) {
      this.#shorten(value);
    }
    return this.accepted || last !== null;
  }

  /**
   * Goes on with a picture of another size; what is known of the curvature is dropped.
   *
   * @param {number} width @param {number} height
   */
  resize(width, height) {
    this.#best = this.#withinRange(resizePicture(this.#best, width, height));
    this.#preconditioner = this.#ofItsSize();
    this.point = this.#best;
    this.accepted = this.done = false;
    this.#gradient = null;
    this.#value = Infinity;
    this.#promised = 0;
    this.#pairs = [];
  }

  #ofItsSize() {
    const [width, height] = sizeOf(this.#best);
    return new Preconditioner(height, width, this.#constants);
  }

  /** @param {Picture} picture @returns {Picture} */
  #withinRange({ data, dims }) {
    const { lowest, highest } = this.#known;
    return { data: data.map((value) => clipped(value, lowest, highest)), dims };
  }

  /** @param {number} value @param {Float32Array} gradient at `point` */
  #accept(value, gradient) {
    this.#best = this.point;
    this.#value = value;
    this.#gradient = gradient;
    this.#trials = 0;
    this.#length = 1;
    this.#direction = this.#descent(gradient);
    this.#try(gradient);
  }

  /** @param {Float32Array} moved @param {Float32Array} change */
  #remember(moved, change) {
    const curvature = dot(moved, change);
    // Without positive curvature the approximated Hessian would not stay positive definite.
    const least = 1e-8 * Math.sqrt(dot(moved, moved) * dot(change, change));
    if (!(curvature > least)) return;
    this.#pairs.push({ moved, change, inverse: 1 / curvature });
    if (this.#pairs.length > this.#known.history) this.#pairs.shift();
  }

  /**
   * Returns a direction of descent that does not leave the range where the point is at it.
   *
   * @param {Float32Array} gradient @returns {Float32Array}
   */
  #descent(gradient) {
    const direction = gradient.map((slope) => -slope);
    this.#stayInside(direction, gradient);
    this.#newton(direction);
    const slope = this.#stayInside(direction, gradient);
    if (!this.#pairs.length || slope < 0) return direction;
    this.#pairs = [];
    return this.#descent(gradient);
  }

  /**
   * Sets to 0 what descends out of the range where the point is at it; returns the slope.
   *
   * @param {Float32Array} direction @param {Float32Array} gradient
   */
  #stayInside(direction, gradient) {
    const { lowest, highest } = this.#known;
    const places = this.#best.data;
    let total = 0;
    for (let at = 0; at < places.length; at++) {
      const slope = gradient[at];
      if (slope > 0 ? places[at] <= lowest : slope < 0 && places[at] >= highest) direction[at] = 0;
      total += direction[at] * slope;
    }
    return total;
  }

  /**
   * Multiplies by the approximated inverse Hessian, in place: the two-loop recursion.
   *
   * @param {Float32Array} rest
   */
  #newton(rest) {
    const last = this.#pairs[this.#pairs.length - 1];
    if (!last) {
      this.#preconditioner.apply(rest);
      const size = meanSize(rest);
      scale(rest, size && this.#known.first_step / size);
      return;
    }
    const shares = [];
    for (const { moved, change, inverse } of [...this.#pairs].reverse()) {
      const share = inverse * dot(moved, rest);
      shares.push(share);
      add(rest, -share, change);
    }
    this.#preconditioner.apply(rest);
    scale(rest, 1 / (last.inverse * this.#preconditioner.square(last.change)));
    for (const { moved, change, inverse } of this.#pairs) {
      const share = /** @type {number} */ (shares.pop());
      add(rest, share - inverse * dot(change, rest), moved);
    }
  }

  /**
   * Proposes the point at the present length along the direction.
   *
   * @param {Float32Array} gradient
   */
  #try(gradient) {
    const { lowest, highest } = this.#known;
    const { data, dims } = this.#best;
    const point = new Float32Array(data.length);
    this.#promised = 0;
    for (let at = 0; at < data.length; at++) {
      point[at] = clipped(data[at] + this.#length * this.#direction[at], lowest, highest);
      this.#promised += gradient[at] * (point[at] - data[at]);
    }
    this.point = { data: point, dims };
    // What the range cuts off can turn a long step uphill, but not a short one.
    if (!(this.#promised < 0)) this.#shorten(Infinity);
  }

  /** @param {number} value where it was tried last */
  #shorten(value) {
    const gradient = /** @type {Float32Array} */ (this.#gradient);
    if (++this.#trials > this.#known.most_trials) {
      this.#giveUpDirection(gradient);
      return;
    }
    // The minimum of the parabola through the value and slope here and the value there.
    const excess = value - this.#value - this.#promised;
    const best = Number.isFinite(value) && excess > 0 ? -this.#promised / (2 * excess) : 0;
    this.#length *= clipped(best, 0.1, 0.5);
    this.#try(gradient);
  }

  /**
   * Starts again with the gradient alone; if it was that already, nothing is left to do.
   *
   * @param {Float32Array} gradient
   */
  #giveUpDirection(gradient) {
    this.point = this.#best;
    this.done = !this.#pairs.length;
    if (this.done) return;
    this.#pairs = [];
    this.#accept(this.#value, gradient);
  }
}

/** @param {number} value a float32 @returns {number} the power of two above it; 1 for 0 */
function powerOfTwo(value) {
  let power = value ? 2 ** -149 : 1;
  while (power <= value) power *= 2;
  return power;
}

/** @param {Float32Array} array @returns {number} the largest absolute value; NaN if there is one */
function largestOf(array) {
  let largest = 0;
  for (const value of array) {
    const size = Math.abs(value);
    if (size > largest) largest = size;
    else if (Number.isNaN(size)) return NaN;
  }
  return largest;
}

/** @param {Float32Array} array */
function meanSize(array) {
  let total = 0;
  for (let at = 0; at < array.length; at++) total += Math.abs(array[at]);
  return total / array.length;
}

/** @param {Float32Array} first @param {Float32Array} second */
function dot(first, second) {
  let total = 0;
  for (let at = 0; at < first.length; at++) total += first[at] * second[at];
  return total;
}

/** @param {Float32Array} first @param {Float32Array} second */
function difference(first, second) {
  return first.map((value, at) => value - second[at]);
}

/** @param {Float32Array} array @param {number} factor */
function scale(array, factor) {
  for (let at = 0; at < array.length; at++) array[at] *= factor;
}

/** @param {Float32Array} array @param {number} factor @param {Float32Array} other */
function add(array, factor, other) {
  for (let at = 0; at < array.length; at++) array[at] += factor * other[at];
}
