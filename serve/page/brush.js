// @ts-check
// What a brush does to a mask, and back.

import { context } from "./masks.js";

const UNDOS = 20;

/** A mask that is being painted. */
export class Brush {
  /** @type {ImageData[]} */
  #past = [];
  /** @type {ImageData[]} */
  #future = [];
  erasing = false;
  /** In pixels of the mask. */
  radius = 24;

  /** @param {import("./masks.js").Mask} mask */
  constructor(mask) {
    this.mask = mask;
    this.drawing = context(mask);
  }

  /** To be called before a change, which can be undone then. */
  remember() {
    this.#past.push(this.#now());
    if (this.#past.length > UNDOS) this.#past.shift();
    this.#future = [];
  }

  /** @returns {boolean} */
  get canUndo() {
    return this.#past.length > 0;
  }

  /** @returns {boolean} */
  get canRedo() {
    return this.#future.length > 0;
  }

  /** Takes the last change back. */
  undo() {
    this.#move(this.#past, this.#future);
  }

  /** Makes it again. */
  redo() {
    this.#move(this.#future, this.#past);
  }

  /**
   * @param {{x: number, y: number}} from in pixels of the mask
   * @param {{x: number, y: number}} to
   * @param {{pressure?: number, erase?: boolean}} [pen]
   */
  stroke(from, to, { pressure = 1, erase = this.erasing } = {}) {
    const { drawing } = this;
    drawing.globalCompositeOperation = erase ? "destination-out" : "source-over";
    drawing.strokeStyle = "#fff";
    drawing.lineCap = "round";
    drawing.lineWidth = 2 * this.radius * pressure;
    drawing.beginPath();
    drawing.moveTo(from.x, from.y);
    // A line of no length is not drawn by all browsers.
    drawing.lineTo(to.x + (from.x === to.x && from.y === to.y ? 0.01 : 0), to.y);
    drawing.stroke();
  }

  /** @param {"fill"|"invert"|"clear"} how */
  all(how) {
    this.remember();
    // White where nothing was and nothing where white was is what "xor" means.
    const operation = { fill: "source-over", invert: "xor", clear: "destination-out" }[how];
    this.drawing.globalCompositeOperation = /** @type {GlobalCompositeOperation} */ (operation);
    this.drawing.fillStyle = "#fff";
    this.drawing.fillRect(0, 0, this.mask.width, this.mask.height);
  }

  /** @param {import("./masks.js").Mask} mask takes its place */
  take(mask) {
    this.remember();
    this.drawing.globalCompositeOperation = "copy";
    this.drawing.drawImage(mask, 0, 0, this.mask.width, this.mask.height);
  }

  #now() {
    return this.drawing.getImageData(0, 0, this.mask.width, this.mask.height);
  }

  /** @param {ImageData[]} from @param {ImageData[]} to */
  #move(from, to) {
    const state = from.pop();
    if (!state) return;
    to.push(this.#now());
    this.drawing.putImageData(state, 0, 0);
  }
}
