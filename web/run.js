// @ts-check
// A run: from a start over all scales to the last step, one evaluation at a time. See
// engine/run.py.

import { Adam } from "./adam.js";
import { Evaluator } from "./evaluator.js";
import { LBFGS } from "./lbfgs.js";
import { choiceOf, Objective, weightedParts } from "./objective.js";
import { Random } from "./random.js";
import { resizePicture } from "./resample.js";
import { checkGraphs } from "./plan.js";
import { planScales } from "./scales.js";
import { parseSchedule } from "./schedule.js";
import { grained, startingPicture } from "./starts.js";
import { settleTargets } from "./targets.js";
import { turn } from "./turn.js";

/** @typedef {import("./sessions.js").Device} Device */
/** @typedef {import("./sessions.js").Tensor} Tensor */
/** @typedef {import("./objective.js").Costs} Costs */
/** @typedef {import("./pictures.js").Pictures} Pictures */
/** @typedef {import("./scales.js").Scale} Scale */
/**
 * @typedef {Costs & {iteration: number, seconds: number, scale: number, scales: number,
 *   pixels: Tensor}} Step `pixels` is the picture arrived at, nominally 0..255, not clipped
 */

/** The cost or the gradient is not finite; `picture` is the last good one. */
export class NonFiniteCostError extends Error {
  name = "NonFiniteCostError";

  /** @param {string} message @param {Tensor} picture */
  constructor(message, picture) {
    super(message);
    this.picture = picture;
  }
}

/** An asynchronous iterator over the steps of a run. */
export class Run {
  /** @type {Evaluator | null} */
  #evaluator = null;
  /** @type {Objective | null} */
  #objective = null;
  /** @type {number[] | null} */
  #factors = null;
  /** @type {Costs | null} */
  #last = null;
  #iteration = 0;
  #index = 0;
  #left;
  #lastGood;
  #scene;
  #start;
  #optimizer;

  /**
   * @param {Device} device
   * @param {Pictures} pictures
   * @param {any} options all of them
   * @param {AbortSignal} [signal] ends it between evaluations
   */
  constructor(device, pictures, options, signal) {
    this.device = device;
    this.pictures = pictures;
    this.options = options;
    this.signal = signal;
    this.facts = device.artifacts.facts;
    this.constants = this.facts.constants;
    checkGraphs(options, this.facts);
    this.parts = weightedParts(options, this.facts);
    this.choice = choiceOf(options, this.parts);
    this.scales = planScales(pictures.width, pictures.height, options, this.constants);
    this.steps = this.scales.reduce((total, { steps }) => total + steps, 0);
    this.schedules = {
      alpha: parseSchedule("alpha", options.alpha),
      beta: parseSchedule("beta", options.beta),
      rate: parseSchedule("learning_rate", options.learning_rate, { positive: true }),
    };
    this.#left = this.scales[0].steps;
    this.#scene = pictures.at(this.scales[0].width, this.scales[0].height);
    const { content, styles } = this.#scene;
    const pixels = styles.map((style) => style.pixels);
    const given = { content, styles: pixels };
    this.#start = startingPicture(given, options, this.facts.mean, this.constants);
    this.#lastGood = { picture: this.#start, step: 0 };
    this.#optimizer = options.optimizer === "lbfgs" ? new LBFGS(this.#start, this.constants)
      : new Adam(this.#start, this.schedules.rate.at(0), options.averaging, this.constants);
  }

  /** The picture so far, not clipped. */
  get picture() {
    return this.#scene.canvas.picture(this.#optimizer.picture);
  }

  get done() {
    return !this.#left && this.#index + 1 === this.scales.length;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Evaluates once and lets the optimizer step. @returns {Promise<IteratorResult<Step>>} */
  async next() {
    if (this.done) return { done: true, value: undefined };
    try {
      return { done: false, value: await this.#step() };
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  /** Ends it, as who leaves a loop over the steps does. @returns {Promise<IteratorResult<Step>>} */
  async return() {
    await this.#release();
    return { done: true, value: undefined };
  }

  /** @returns {Promise<Step>} */
  async #step() {
    if (!this.#left) this.#grow();
    await turn();
    this.signal?.throwIfAborted();
    const objective = await this.#reached();
    const begin = performance.now();
    const costs = await this.#advance(objective);
    const seconds = (performance.now() - begin) / 1000;
    this.#left = this.#optimizer.done ? 0 : this.#left - 1;
    if (!this.#left) await this.#release();
    return {
      ...costs,
      iteration: this.#iteration,
      seconds,
      scale: this.#index + 1,
      scales: this.scales.length,
      pixels: this.picture,
    };
  }

  /** Lets go of the memory that evaluations take. */
  async #release() {
    const evaluator = this.#evaluator;
    this.#evaluator = null;
    this.#objective = null;
    await evaluator?.release();
  }

  /** Goes on to the next scale. */
  #grow() {
    this.#index += 1;
    const { width, height, steps } = this.scales[this.#index];
    this.#left = steps;
    this.#scene = this.pictures.at(width, height);
    this.#optimizer.resize(width, height);
    const { starts } = this.constants;
    if (this.#optimizer instanceof LBFGS && steps >= starts.grain_steps) {
      // The picture stays without it until the first step.
      this.#optimizer.point = grained(this.#optimizer.point, this.options.seed, this.constants);
    }
    this.#start = this.#optimizer.picture;
    this.#lastGood = { picture: this.#start, step: this.#iteration };
  }

  /** Returns what is minimized at this scale. */
  async #reached() {
    if (this.#objective) return this.#objective;
    const { width, height } = this.scales[this.#index];
    const pixels = width * height;
    const targets = await this.#targets(pixels);
    this.#evaluator = new Evaluator(this.device, this.choice, targets, pixels);
    const objective = new Objective(this.#evaluator, this.parts, this.options.tv, this.#scene.canvas);
    if (this.options.normalize) {
      this.#factors ??= await objective.balancingFactors(this.#shaken());
      objective.factors = this.#factors;
    }
    this.#objective = objective;
    return objective;
  }

  /** Returns what a picture of so many pixels is compared with. @param {number} pixels */
  async #targets(pixels) {
    const key = { ...this.choice, block: this.device.block(pixels) };
    const measure = await this.device.graph("measure", key);
    const { device, parts, signal } = this;
    try {
      return await settleTargets(device, measure, parts, this.#scene, this.#query(), signal);
    } finally {
      await measure.release();
    }
  }

  /** Returns what styles are matched with: the content, later with a share of what was painted. */
  #query() {
    const { content, canvas } = this.#scene;
    const matches = this.parts.some(({ source }) => source === "match");
    if (!this.#index || !matches) return content;
    const before = this.scales[this.#index - 1];
    const { width, height } = this.scales[this.#index];
    const small = resizePicture(content, before.width, before.height);
    const mixture = resizePicture(small, width, height);
    const painted = canvas.seen(this.#start).data;
    const share = this.constants.targets.painted;
    const data = mixture.data.map((value, at) => content.data[at] + share * (painted[at] - value));
    return { data, dims: content.dims };
  }

  /** Returns a picture with noise: at the content itself the content cost has no derivative. */
  #shaken() {
    const { data, dims } = this.#start;
    const random = new Random(this.options.seed);
    const deviation = this.constants.run.shaking;
    return { data: data.map((value) => value + random.normal(deviation)), dims };
  }

  /** Evaluates once and lets the optimizer step; returns the costs of what it took last.
   *
   * @param {Objective} objective */
  async #advance(objective) {
    const optimizer = this.#optimizer;
    const progress = this.#iteration / Math.max(1, this.steps - 1);
    const { alpha, beta, rate } = this.schedules;
    optimizer.learningRate = rate.at(progress);
    const before = optimizer.picture;
    const found = await objective.evaluate(optimizer.point, alpha.at(progress), beta.at(progress));
    const finite = Number.isFinite(found.value);
    if (finite) this.#lastGood = { picture: before, step: this.#iteration };
    this.#iteration += 1;
    if (!optimizer.step(found.value, found.gradient.data)) throw this.#failure(finite);
    // A trial that went wrong tells nothing of the picture.
    if (optimizer.accepted || !this.#last) this.#last = found.costs;
    return this.#last;
  }

  /** @param {boolean} finite whether the cost is */
  #failure(finite) {
    const { picture, step } = this.#lastGood;
    const what = finite ? "the gradient or a pixel is not finite after" : "the cost is not finite at";
    const message = `${what} step ${this.#iteration}; the picture is that of step ${step}: try a smaller`;
    const advice = `${message} learning rate or smaller weights`;
    return new NonFiniteCostError(advice, this.#scene.canvas.picture(picture));
  }
}
