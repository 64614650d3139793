// @ts-check
// The costs as curves, and as a table for those who do not see them. Each cost has a strip of its
// own: they are of different sizes, and on one scale all would be flat.

import { ticks } from "./costs.js";
import { el, svg } from "./dom.js";
import { disclosure } from "./fields.js";
import { compact, pixels, short } from "./text.js";

const LINES = ["total", "content", "style"];
const LEFT = 38;
const RIGHT = 4;
const TOP = 20;
const STRIP = { title: 20, height: 48, gap: 10 };
const BOTTOM = 18;
const HEIGHT = TOP + LINES.length * (STRIP.title + STRIP.height + STRIP.gap) + BOTTOM;
const ROWS = 12;
/** A label of a scale needs this much. */
const LABEL = 44;

/** @typedef {import("./costs.js").Costs} Costs */
/** @typedef {import("./api.js").Job["plan"]} Plan */

/** Draws the costs of one job. */
export class Curve {
  #picture = /** @type {SVGElement} */ (svg("svg", { class: "curve", role: "img" }));
  #step = el("span", { class: "amount" });
  #rows = el("tbody");
  #due = 0;
  #pointed = -1;
  #width = 0;
  #watcher = new ResizeObserver(() => this.draw());

  /** @param {Costs} costs @param {Plan} plan */
  constructor(costs, plan) {
    this.costs = costs;
    this.plan = plan;
    const head = ["Step", "Size", ...LINES].map((name) => el("th", { scope: "col" }, name));
    const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), this.#rows);
    this.element = el("section", { class: "costs", "aria-label": "Costs" },
      el("div", { class: "heading" }, el("h3", {}, "Costs"), this.#step),
      this.#picture, disclosure("Costs as a table", null, table));
    this.#picture.addEventListener("pointermove", (event) => this.#point(event));
    this.#picture.addEventListener("pointerleave", () => this.#point(null));
    this.#watcher.observe(this.element);
  }

  /** Draws at the next frame, once for all steps that came until then. */
  draw() {
    cancelAnimationFrame(this.#due);
    this.#due = requestAnimationFrame(() => this.#draw());
  }

  /** Stops watching its size. */
  end() {
    this.#watcher.disconnect();
    cancelAnimationFrame(this.#due);
  }

  #draw() {
    const { steps } = this.costs;
    this.#width = Math.max(240, this.element.clientWidth);
    this.#picture.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#picture.setAttribute("aria-label", this.#inWords());
    this.#picture.replaceChildren(...this.#scales(), ...LINES.flatMap((name, at) => this.#strip(name, at)), ...this.#axis());
    this.#step.textContent = this.#read() ? `step ${this.#read()?.step}` : "";
    this.#rows.replaceChildren(...sample(steps).map(row));
  }

  /** @returns {import("./api.js").Step|undefined} the step whose costs are told: that under the pointer, or the last */
  #read() {
    const { steps } = this.costs;
    return steps[this.#pointed] ?? steps[steps.length - 1];
  }

  /** @param {number} step */
  #x(step) {
    const room = this.#width - LEFT - RIGHT;
    return LEFT + room * ((step - 1) / Math.max(1, this.plan.steps - 1));
  }

  /** @param {string} name @param {number} at */
  #strip(name, at) {
    const [low, high] = this.costs.range(name);
    const top = TOP + at * (STRIP.title + STRIP.height + STRIP.gap) + STRIP.title;
    const y = (/** @type {number} */ cost) => top + STRIP.height * (1 - Math.log(cost / low) / Math.log(high / low));
    const value = this.#read()?.costs[name];
    const right = this.#width - RIGHT;
    return [
      text(name, { class: "strip-name", x: LEFT, y: top - 7 }),
      text(value === undefined ? "" : compact(value), { class: "strip-value", x: right, y: top - 7, "text-anchor": "end" }),
      ...ticks(low, high).flatMap((cost) => [
        svg("line", { class: "grid", x1: LEFT, x2: right, y1: y(cost), y2: y(cost) }),
        text(compact(cost), { class: "tick", x: LEFT - 6, y: y(cost) + 4, "text-anchor": "end" }),
      ]),
      ...this.costs.byScale().map((steps) => this.#line(name, steps, y)),
    ];
  }

  /** @param {string} name @param {import("./api.js").Step[]} steps of one scale @param {(cost: number) => number} y */
  #line(name, steps, y) {
    const points = steps.filter(({ costs }) => costs[name] > 0)
      .map(({ step, costs }) => `${this.#x(step).toFixed(1)},${y(costs[name]).toFixed(1)}`);
    // A single point is no line yet; twice it is a dot.
    return svg("polyline", { class: `line ${name}`, points: (points.length === 1 ? [points[0], points[0]] : points).join(" ") });
  }

  #scales() {
    let first = 1;
    return this.plan.scales.flatMap(({ width, height, steps }, at) => {
      const left = this.#x(first);
      first += steps;
      const border = svg("line", { class: "border", x1: left, x2: left, y1: 2, y2: HEIGHT - BOTTOM });
      const label = text(`${Math.max(width, height)} px`, { class: "tick", x: left + (at ? 5 : 0), y: 10 });
      return [...(at ? [border] : []), ...(this.#x(first) - left > LABEL ? [label] : [])];
    });
  }

  #axis() {
    const y = HEIGHT - 4;
    const ends = [
      text("1", { class: "tick", x: LEFT, y }),
      text(`${this.plan.steps} steps`, { class: "tick", x: this.#width - RIGHT, y, "text-anchor": "end" }),
    ];
    const step = this.costs.steps[this.#pointed];
    if (!step) return ends;
    const x = this.#x(step.step);
    return [...ends, svg("line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM })];
  }

  /** @param {PointerEvent|null} event */
  #point(event) {
    const share = event ? (event.offsetX - LEFT) / (this.#width - LEFT - RIGHT) : -1;
    const wanted = Math.max(1, Math.round(1 + share * (this.plan.steps - 1)));
    this.#pointed = event ? this.costs.steps.findLastIndex(({ step }) => step <= wanted) : -1;
    this.draw();
  }

  #inWords() {
    const [first] = this.costs.steps;
    const last = this.costs.steps[this.costs.steps.length - 1];
    if (!first) return "Costs: no steps yet";
    const told = LINES.map((name) => `${name} from ${short(first.costs[name])} to ${short(last.costs[name])}`);
    return `Costs on logarithmic scales, until step ${last.step} of ${this.plan.steps}: ${told.join(", ")}`;
  }
}

/** @param {string} words @param {Record<string, string|number>} attributes */
function text(words, attributes) {
  return svg("text", attributes, document.createTextNode(words));
}

/** @param {import("./api.js").Step[]} steps @returns {import("./api.js").Step[]} a dozen of them, the last among them */
function sample(steps) {
  const every = Math.ceil(steps.length / ROWS);
  return steps.filter((_, at) => at % every === 0 || at === steps.length - 1);
}

/** @param {import("./api.js").Step} step */
function row({ step, width, height, costs }) {
  const cells = [pixels(width, height), ...LINES.map((name) => short(costs[name] ?? 0))];
  return el("tr", {}, el("th", { scope: "row" }, String(step)), ...cells.map((words) => el("td", {}, words)));
}
