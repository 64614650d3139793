// @ts-check
// The costs of the steps of a job.

/** @typedef {import("./api.js").Step} Step */

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
   * @param {string[]} names of costs
   * @returns {[number, number]} the powers of ten around all that are above 0
   */
  decades(names) {
    const all = this.steps.flatMap(({ costs }) => names.map((name) => costs[name])).filter((cost) => cost > 0);
    const low = all.reduce((one, other) => Math.min(one, other), Infinity);
    const high = all.reduce((one, other) => Math.max(one, other), 0);
    if (!high) return [0, 1];
    const floor = Math.floor(Math.log10(low));
    return [floor, Math.max(floor + 1, Math.ceil(Math.log10(high)))];
  }
}
