// @ts-check
// Values that change over a run.

import { InputError, shown } from "./errors.js";

/** A number as Python reads it, but for infinities, which no schedule has. */
const NUMBER = /^\s*[+-]?(\d(_?\d)*(\.(\d(_?\d)*)?)?|\.\d(_?\d)*)(e[+-]?\d(_?\d)*)?\s*$/i;

/** A value over the progress of a run, 0 at its first evaluation and 1 at its last. */
export class Schedule {
  /**
   * @param {[number, number][]} points progress and value, in order of progress
   * @param {boolean} [stepwise] whether a value holds until the next point, or goes straight to it
   */
  constructor(points, stepwise = false) {
    this.points = points;
    this.stepwise = stepwise;
  }

  /** Whether the value is the same all the time. */
  get isConstant() {
    return this.points.every(([, value]) => value === this.points[0][1]);
  }

  /** @param {number} progress 0..1 */
  at(progress) {
    const next = this.points.findIndex(([place]) => place > progress);
    if (next === 0) return this.points[0][1];
    const [begin, first] = this.points[(next < 0 ? this.points.length : next) - 1];
    if (this.stepwise || next < 0) return first;
    const [end, last] = this.points[next];
    return first + ((last - first) * (progress - begin)) / (end - begin);
  }
}

/**
 * Returns a number or a text as a schedule.
 *
 * In texts, values are separated by `,` or, to change in steps, by `|`; each may have a place, as
 * in `10@0.3`. Those without are spread evenly: the first at 0, the last at 1, or, in steps, each
 * for the same share of the run.
 *
 * @param {string} name what messages call it
 * @param {unknown} value
 * @param {{positive?: boolean}} [how] whether 0 is refused
 */
export function parseSchedule(name, value, { positive = false } = {}) {
  const schedule = typeof value === "string" ? parsed(value)
    : typeof value === "number" ? new Schedule([[0, value]]) : null;
  const accepted = schedule?.points.every(([, each]) =>
    Number.isFinite(each) && (positive ? each > 0 : each >= 0));
  if (schedule && accepted && isOrdered(schedule.points)) return schedule;
  throw new InputError(`${name} is ${shown(value)}, accepted are numbers`
    + ` ${positive ? "above" : "from"} 0, or several over the run, as in '1,10@0.3'`);
}

/** @param {string} text */
function parsed(text) {
  const stepwise = text.includes("|");
  const parts = text.split(stepwise ? "|" : ",");
  const spread = stepwise ? parts.length : Math.max(1, parts.length - 1);
  return new Schedule(parts.map((part, index) => {
    const at = part.indexOf("@");
    if (at < 0) return [index / spread, number(part)];
    return [number(part.slice(at + 1)), number(part.slice(0, at))];
  }), stepwise);
}

/** @param {[number, number][]} points */
function isOrdered(points) {
  return points.every(([place], at) =>
    0 <= place && place <= 1 && (!at || place > points[at - 1][0]));
}

/** @param {string} text @returns {number} NaN for what is none */
function number(text) {
  return NUMBER.test(text) ? Number(text.replaceAll("_", "")) : NaN;
}
