// @ts-check
// One painting that is painted here: its state as a server would tell it, its steps, its picture.

import { isFinal } from "./api.js";
import { toPng } from "./encode.js";

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {import("./api.js").Step} Step
 * @typedef {Omit<import("../../web/painter.js").Order, "threads">} Order
 * @typedef {import("../../web/painter.js").Told} Told
 * @typedef {{job: Job, steps: Step[]}} Record what is kept
 * @typedef {{pixels: Uint8ClampedArray, width: number, height: number}} Picture
 */

/** Seconds between two times that a painting under way is kept. */
const EVERY = 3;
/** So many steps say nothing yet of those to come. */
const FEW = 3;
/** What is kept: a Record, and the picture, PNG. */
export const RECORD = "record";
const PICTURE = "picture";

/** Event: "change". */
export class Painting extends EventTarget {
  /** @type {import("../../web/painter.js").Painter|null} */
  #painter = null;
  /** @type {Picture|null} the last one, unless it is kept as a file already */
  #pixels = null;
  /** @type {Promise<Blob|undefined>|null} the file of the last picture */
  #file = null;
  #evaluated = { pixels: 0, seconds: 0 };
  #keptAt = 0;
  /** What is being kept, one after the other. */
  #keeping = Promise.resolve();
  #waiting = 0;
  #removed = false;

  /** @param {Record} record @param {import("./kept.js").Kept} kept */
  constructor({ job, steps }, kept) {
    super();
    this.job = job;
    this.steps = steps;
    this.kept = kept;
  }

  /**
   * Paints, or goes on after a pause.
   * @param {typeof import("../../web/painter.js").Painter} Painter
   * @param {Order} order
   */
  paint(Painter, order) {
    this.tell({ state: "running", position: null, started: this.job.started ?? new Date().toISOString() });
    if (this.#painter) return this.#painter.resume();
    this.#painter = new Painter(order, (told) => this.#hear(told));
  }

  pause() {
    this.#painter?.pause();
    this.tell({ state: "paused", position: null });
  }

  /** @param {"done"|"canceled"|"failed"} state @param {string|null} [error] */
  end(state, error = null) {
    this.#painter?.cancel();
    this.#painter = null;
    this.tell({ state, error, position: null, loading: null, ended: new Date().toISOString() });
  }

  /** @param {Partial<Job>} changes */
  tell(changes) {
    Object.assign(this.job, changes);
    this.#keep();
    this.dispatchEvent(new Event("change"));
  }

  /** @returns {Promise<Blob|undefined>} the picture so far, PNG */
  async picture() {
    const pixels = this.#pixels;
    if (pixels) {
      const made = toPng(pixels);
      this.#file = made;
      // Without memory for it, it is tried again.
      await made.catch((error) => {
        if (this.#file === made) this.#file = null;
        throw error;
      });
      if (this.#pixels === pixels) this.#pixels = null;
      return made;
    }
    return this.#file ?? this.kept.get(this.job.id, PICTURE);
  }

  /** Leaves nothing of it. */
  async remove() {
    this.#removed = true;
    await this.#keeping;
    await this.kept.remove(this.job.id);
    this.dispatchEvent(new Event("change"));
  }

  /** Whether something of it is yet to be kept. */
  get busy() {
    return this.#waiting > 0;
  }

  get removed() {
    return this.#removed;
  }

  /** @param {Told} told */
  #hear(told) {
    if (told.type === "loading") {
      this.job.loading = { loaded: told.loaded, total: told.total };
      this.dispatchEvent(new Event("change"));
    } else if (told.type === "plan") {
      const { width, height, steps, scales, threads } = told;
      this.tell({ plan: { ...this.job.plan, width, height, steps, scales }, threads });
    } else if (told.type === "step") this.#step(told);
    else if (told.type === "done") this.end("done");
    else {
      if (told.picture) {
        this.#show(told.picture);
        // By which those who show it know that it is another one.
        this.job.preview = (this.job.preview ?? 0) + 1;
      }
      this.end("failed", told.message);
    }
  }

  /** @param {Extract<Told, {type: "step"}>} told */
  #step({ iteration: step, scale, scales, width, height, costs, seconds, pixels }) {
    const { total, content, style, total_variation: variation } = costs;
    this.#evaluated.pixels += width * height;
    this.#evaluated.seconds += seconds;
    this.#show({ pixels, width, height });
    const progress = {
      step, steps: this.job.plan.steps, scale, scales, width, height, costs: { total, content, style, variation },
      seconds_left: this.#secondsLeft(step), preview: step,
    };
    this.steps.push(progress);
    Object.assign(this.job, { progress, preview: step, result: true, loading: null });
    if (performance.now() - this.#keptAt > EVERY * 1000) this.#keep();
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Picture} picture */
  #show(picture) {
    this.#pixels = picture;
    this.#file = null;
  }

  /** @param {number} done steps */
  #secondsLeft(done) {
    if (this.steps.length < FEW) return null;
    const each = this.job.plan.scales.flatMap(({ width, height, steps }) => Array(steps).fill(width * height));
    const left = each.slice(done).reduce((sum, pixels) => sum + pixels, 0);
    return (left * this.#evaluated.seconds) / this.#evaluated.pixels;
  }

  #keep() {
    this.#keptAt = performance.now();
    const { job: { id }, steps } = this;
    this.#waiting += 1;
    this.#keeping = this.#keeping.then(async () => {
      if (this.#removed) return;
      const picture = this.steps.length ? await this.picture() : undefined;
      if (picture) await this.kept.put(id, PICTURE, picture);
      await this.kept.put(id, RECORD, { job: { ...this.job, loading: null }, steps: [...steps] });
      // From then on the file is read where it is kept.
      if (isFinal(this.job) && !this.#pixels) this.#file = null;
    }).catch(() => {
      // It is kept the next time, or as it was.
    }).finally(() => {
      this.#waiting -= 1;
    });
  }
}
