// @ts-check
// The costs as curves, and as a table for those who do not see them.

import { el, svg } from "./dom.js";
import { disclosure } from "./fields.js";
import { pixels, short } from "./text.js";

const LINES = ["total", "content", "style"];
const HEIGHT = 168;
const MARGIN = { left: 34, right: 6, top: 18, bottom: 20 };
const ROWS = 12;
const LABELS = 4;

/** @typedef {import("./costs.js").Costs} Costs */
/** @typedef {import("./api.js").Job["plan"]} Plan */

/** Draws the costs of one job. */
export class Curve {
  #picture = /** @type {SVGElement} */ (svg("svg", { class: "curve", role: "img" }));
  #reading = el("p", { class: "reading" });
  #rows = el("tbody");
  #due = 0;
  #pointed = -1;
  #watcher = new ResizeObserver(() => this.draw());

  /** @param {Costs} costs @param {Plan} plan */
  constructor(costs, plan) {
    this.costs = costs;
    this.plan = plan;
    const legend = el("p", { class: "legend", "aria-hidden": "true" }, ...LINES.map((name) => el("span", { class: `key ${name}` }, name)));
    this.element = el("section", { class: "costs", "aria-label": "Costs" },
      el("div", { class: "heading" }, el("h3", {}, "Costs"), legend),
      this.#picture, this.#reading,
      disclosure("Costs as a table", null, this.#table()));
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

  #table() {
    const head = ["Step", "Size", ...LINES].map((name) => el("th", { scope: "col" }, name));
    return el("table", {}, el("thead", {}, el("tr", {}, ...head)), this.#rows);
  }

  #draw() {
    const width = Math.max(240, this.element.clientWidth);
    const frame = this.#frame(width);
    this.#picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#picture.setAttribute("height", String(HEIGHT));
    this.#picture.setAttribute("aria-label", this.#inWords());
    this.#picture.replaceChildren(...this.#grid(frame, width), ...this.#scales(frame), ...this.#lines(frame), ...this.#cursor(frame));
    this.#rows.replaceChildren(...sample(this.costs.steps).map(row));
    this.#read();
  }

  /** @param {number} width */
  #frame(width) {
    const [low, high] = this.costs.decades(LINES);
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const x = (/** @type {number} */ step) => MARGIN.left + inner.width * ((step - 1) / Math.max(1, this.plan.steps - 1));
    const y = (/** @type {number} */ cost) => MARGIN.top + inner.height * (1 - (Math.log10(cost) - low) / (high - low));
    return { low, high, x, y };
  }

  /** @param {{low: number, high: number, y: (cost: number) => number}} frame @param {number} width */
  #grid({ low, high, y }, width) {
    const every = Math.ceil((high - low) / LABELS);
    const made = [];
    for (let power = low; power <= high; power += every) {
      const at = y(10 ** power);
      const label = svg("text", { class: "tick", x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" });
      label.append("10", svg("tspan", { dy: -4, class: "power" }, document.createTextNode(String(power))));
      made.push(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }), label);
    }
    return made;
  }

  /** @param {{x: (step: number) => number}} frame */
  #scales({ x }) {
    let first = 1;
    return this.plan.scales.flatMap(({ width, height, steps }, at) => {
      const left = x(first);
      first += steps;
      const room = x(first) - left;
      const label = svg("text", { class: "tick", x: left + (at ? 5 : 0), y: 10 }, document.createTextNode(`${Math.max(width, height)} px`));
      const border = svg("line", { class: "border", x1: left, x2: left, y1: 2, y2: HEIGHT - MARGIN.bottom });
      return [...(at ? [border] : []), ...(room > 40 ? [label] : [])];
    });
  }

  /** @param {{x: (step: number) => number, y: (cost: number) => number}} frame */
  #lines({ x, y }) {
    return this.costs.byScale().flatMap((steps) => LINES.map((name) => {
      const points = steps.filter(({ costs }) => costs[name] > 0).map(({ step, costs }) => `${x(step).toFixed(1)},${y(costs[name]).toFixed(1)}`);
      // A single point is no line yet; twice it is a dot.
      return svg("polyline", { class: `line ${name}`, points: (points.length === 1 ? [points[0], points[0]] : points).join(" ") });
    }));
  }

  /** @param {{x: (step: number) => number}} frame */
  #cursor({ x }) {
    const step = this.costs.steps[this.#pointed];
    const last = svg("text", { class: "tick", x: x(this.plan.steps), y: HEIGHT - 5, "text-anchor": "end" }, document.createTextNode(`step ${this.plan.steps}`));
    const first = svg("text", { class: "tick", x: MARGIN.left, y: HEIGHT - 5 }, document.createTextNode("1"));
    if (!step) return [first, last];
    return [first, last, svg("line", { class: "cursor", x1: x(step.step), x2: x(step.step), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom })];
  }

  /** @param {PointerEvent|null} event */
  #point(event) {
    const box = this.#picture.getBoundingClientRect();
    const share = event ? (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right) : -1;
    const wanted = 1 + share * (this.plan.steps - 1);
    this.#pointed = share < -0.05 ? -1 : this.costs.steps.findLastIndex(({ step }) => step <= Math.max(1, Math.round(wanted)));
    this.draw();
  }

  #read() {
    const { steps } = this.costs;
    const step = steps[this.#pointed] ?? steps[steps.length - 1];
    this.#reading.textContent = step ? `Step ${step.step}: ${LINES.map((name) => `${name} ${short(step.costs[name] ?? 0)}`).join(", ")}` : "No steps yet.";
  }

  #inWords() {
    const [first] = this.costs.steps;
    const last = this.costs.steps[this.costs.steps.length - 1];
    if (!first) return "Costs: no steps yet";
    return `Costs over ${this.plan.steps} steps on a logarithmic scale: total from ${short(first.costs.total)} to ${short(last.costs.total)} at step ${last.step}`;
  }
}

/** @param {import("./api.js").Step[]} steps @returns {import("./api.js").Step[]} a dozen of them, the last among them */
function sample(steps) {
  const every = Math.ceil(steps.length / ROWS);
  return steps.filter((_, at) => at % every === 0 || at === steps.length - 1);
}

/** @param {import("./api.js").Step} step */
function row({ step, width, height, costs }) {
  const cells = [pixels(width, height), ...LINES.map((name) => short(costs[name] ?? 0))];
  return el("tr", {}, el("th", { scope: "row" }, String(step)), ...cells.map((text) => el("td", {}, text)));
}
