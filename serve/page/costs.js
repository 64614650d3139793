// @ts-check
// The costs of the steps of a job.

/** @typedef {import("./api.js").Step} Step */

/** A curve that hardly moves is not blown up to more than this. */
const LEAST_SPAN = 1.5;
const MOST_TICKS = 3;

export class Costs {
  /** @type {Step[]} */
  steps = [];

  /** @param {Step} step replaces what was known from it on: a run may go on from a checkpoint */
  add(step) {
    while (this.steps.length && this.steps[this.steps.length - 1].step >= step.step) this.steps.pop();
    this.steps.push(step);
  }

  /** @returns {Step[][]} the steps of each scale, between which costs jump */
  byScale() {
    /** @type {Step[][]} */
    const segments = [];
    for (const step of this.steps) {
      const last = segments[segments.length - 1];
      if (last && last[0].scale === step.scale) last.push(step);
      else segments.push([step]);
    }
    return segments;
  }

  /**
   * @param {string} name of a cost
   * @returns {[number, number]} its least and largest value above 0, somewhat apart
   */
  range(name) {
    const values = this.steps.map(({ costs }) => costs[name]).filter((cost) => cost > 0);
    if (!values.length) return [1, 10];
    const low = values.reduce((one, other) => Math.min(one, other));
    const high = values.reduce((one, other) => Math.max(one, other));
    const missing = Math.max(1, LEAST_SPAN / (high / low));
    return [low / Math.sqrt(missing), high * Math.sqrt(missing)];
  }
}

/**
 * @param {number} low
 * @param {number} high
 * @returns {number[]} a few round numbers between
 */
export function ticks(low, high) {
  /** @type {number[]} */
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) powers.push(power);
  const among = (/** @type {number[]} */ digits) => powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)))
    .filter((value) => value >= low && value <= high);
  const choices = [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map(among);
  const found = choices.find((values) => values.length <= MOST_TICKS);
  if (found) return found;
  const every = Math.ceil(choices[3].length / MOST_TICKS);
  return choices[3].filter((_, at) => at % every === 0);
}
