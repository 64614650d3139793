// @ts-check
// How J and its gradient are computed: on graphics, as long as they give what the processor gives.

import { GRAPHICS, PROCESSOR } from "./runtime.js";

/** @typedef {import("./sessions.js").Device} Device */
/** @typedef {import("./sessions.js").Graph} Graph */
/** @typedef {import("./sessions.js").Tensor} Tensor */
/** @typedef {import("./artifacts.js").Choice} Choice */
/** @typedef {{values: number[], gradient: Tensor}} Found costs and dJ/dimage */

/** Relative difference of costs or gradients above which graphics are not used. */
const ACCEPTED = 1e-3;

/** Evaluates with the gradient graph for pictures of one size. */
export class Evaluator {
  /** @type {Graph | null} */
  #graph = null;
  /** Whether graphics were seen to give what the processor gives, of all costs together. */
  #tried = false;
  /** @type {Record<string, any>} */
  #placed = {};

  /**
   * @param {Device} device
   * @param {Choice} choice
   * @param {Record<string, Tensor>} targets by name
   * @param {number} pixels of the pictures
   */
  constructor(device, choice, targets, pixels) {
    this.device = device;
    this.choice = choice;
    this.targets = targets;
    this.pixels = pixels;
    this.provider = pixels <= device.graphicsPixels ? GRAPHICS : PROCESSOR;
  }

  /** Lets go of its memory. */
  async release() {
    const graph = this.#graph;
    this.#graph = null;
    // One on graphics that are lost cannot be released any more.
    await graph?.release().catch(() => {});
  }

  async #load() {
    await this.release();
    const block = this.provider === GRAPHICS ? 0 : this.device.block(this.pixels);
    this.#graph = await this.device.graph("gradient", { ...this.choice, block }, this.provider);
    this.#placed = this.#graph.placed(this.targets);
  }

  /**
   * Returns the costs and dJ/dimage, given the weight of each cost.
   *
   * @param {Tensor} image @param {Tensor} weights @returns {Promise<Found>}
   */
  async run(image, weights) {
    if (this.provider === PROCESSOR) return this.#run(image, weights);
    const found = await this.#run(image, weights).catch(() => null);
    if (found && this.#tried) return found;
    // At first, and when graphics were lost, as when another page takes them.
    this.provider = PROCESSOR;
    const right = await this.#run(image, weights);
    if (found && isNear(found, right)) {
      this.#tried = weights.data.filter((weight) => weight !== 0).length > 1;
      this.provider = GRAPHICS;
    } else {
      this.device.graphicsPixels = 0;
    }
    return right;
  }

  /** @param {Tensor} image @param {Tensor} weights @returns {Promise<Found>} */
  async #run(image, weights) {
    if (this.#graph?.provider !== this.provider) await this.#load();
    const graph = /** @type {Graph} */ (this.#graph);
    const found = await graph.run(["costs", "gradient"], { image, weights }, this.#placed);
    return { values: [...found.costs.data], gradient: found.gradient };
  }
}

/** Whether all is as good as what is right. @param {Found} found @param {Found} right */
function isNear(found, right) {
  const costs = right.values.every((value, at) => distance([found.values[at]], [value]) <= ACCEPTED);
  return costs && distance(found.gradient.data, right.gradient.data) <= ACCEPTED;
}

/** Returns |a - b|/|b|. @param {ArrayLike<number>} found @param {ArrayLike<number>} right */
function distance(found, right) {
  let [difference, square] = [0, 0];
  for (let at = 0; at < right.length; at++) {
    difference += (found[at] - right[at]) ** 2;
    square += right[at] ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / square); // what is no number is far
}
