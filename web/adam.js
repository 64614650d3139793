// @ts-check
// The Adam optimizer (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1).

import { resizePicture } from "./resample.js";

/** @typedef {import("./picture.js").Picture} Picture */
/**
 * @typedef {object} Known
 * @property {number} beta1 decay of the mean of the gradient
 * @property {number} beta2 decay of the mean of its square
 * @property {number} epsilon added to the root of the second moment
 */

/** Adam with bias correction, and the mean of its iterates. */
export class Adam {
  accepted = true;
  done = false;
  #averaging;
  #known;
  #steps = 0;
  #mean;
  #square;
  /** @type {Picture | null} */
  #average;

  /**
   * @param {Picture} start kept as it is
   * @param {number} learningRate step size, in pixel values; may be changed between steps
   * @param {number} averaging decay of the mean of the iterates that is the result; with 0 it is
   *   the last iterate
   * @param {{adam: Known}} constants
   */
  constructor(start, learningRate, averaging, constants) {
    /** Where the function is to be evaluated next; never written to. */
    this.point = start;
    this.learningRate = learningRate;
    this.#averaging = averaging;
    this.#known = constants.adam;
    this.#mean = zeros(start);
    this.#square = zeros(start);
    this.#average = averaging ? zeros(start) : null;
  }

  /** The mean of the iterates, or the last one. @returns {Picture} */
  get picture() {
    if (!this.#average || !this.#steps) return this.point;
    // Divided by this, as the moments are, the mean does not remember the start.
    const weight = 1 - this.#averaging ** this.#steps;
    const { data, dims } = this.#average;
    return { data: data.map((sum) => sum / weight), dims };
  }

  /**
   * Moves `point` by one step.
   *
   * @param {number} value only looked at for being finite
   * @param {Float32Array} gradient at `point`
   * @returns {boolean} false if there is no finite point to go on from
   */
  step(value, gradient) {
    this.#steps++;
    this.point = this.#moved(gradient);
    if (this.#average) moveTowards(this.#average.data, this.point.data, 1 - this.#averaging);
    return Number.isFinite(value) && this.point.data.every(Number.isFinite);
  }

  /**
   * Goes on with a picture of another size: its moments are enlarged as it is. Costs are means over
   * positions, so a pixel's derivative goes down with their number.
   *
   * @param {number} width @param {number} height
   */
  resize(width, height) {
    const ratio = this.point.data.length / (3 * width * height);
    this.point = resizePicture(this.point, width, height);
    if (this.#average) this.#average = resizePicture(this.#average, width, height);
    const mean = resizePicture(this.#mean, width, height);
    this.#mean = { data: mean.data.map((slope) => ratio * slope), dims: mean.dims };
    // Linear weights are positive, unlike cubic ones: a square must not get negative.
    const square = resizePicture(this.#square, width, height, { linear: true });
    this.#square = { data: square.data.map((power) => ratio ** 2 * power), dims: square.dims };
  }

  /** @param {Float32Array} gradient @returns {Picture} */
  #moved(gradient) {
    const { beta1, beta2, epsilon } = this.#known;
    const { data, dims } = this.point;
    const [means, squares] = [this.#mean.data, this.#square.data];
    // With m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ) the step is -lr·m̂/(√v̂ + ε).
    const scale = this.learningRate / (1 - beta1 ** this.#steps);
    const weight = 1 - beta2 ** this.#steps;
    const moved = new Float32Array(data.length);
    for (let at = 0; at < data.length; at++) {
      const slope = gradient[at];
      means[at] += (1 - beta1) * (slope - means[at]);
      squares[at] += (1 - beta2) * (slope * slope - squares[at]);
      moved[at] = data[at] - (scale * means[at]) / (Math.sqrt(squares[at] / weight) + epsilon);
    }
    return { data: moved, dims };
  }
}

/** @param {Picture} picture @returns {Picture} */
function zeros({ data, dims }) {
  return { data: new Float32Array(data.length), dims };
}

/** @param {Float32Array} array @param {Float32Array} other @param {number} share of the way */
function moveTowards(array, other, share) {
  for (let at = 0; at < array.length; at++) array[at] += share * (other[at] - array[at]);
}
