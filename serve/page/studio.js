// @ts-check
// Paints in this browser what it is asked for, one picture at a time.

import { isFinal } from "./api.js";
import { Painting, RECORD } from "./painting.js";
import { newIdHere } from "./places.js";

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {{Painter: typeof import("../../web/painter.js").Painter, facts: import("../../web/artifacts.js").Facts,
 *   planOf: typeof import("../../web/plan.js").planOf, hasGraphs: typeof import("../../web/plan.js").hasGraphs,
 *   withOptions: typeof import("../../web/options.js").withOptions}} Runtime what web/ has
 * @typedef {{recipe: string, options: Record<string, any>, content: string, styles: string[], start: string|null,
 *   files: Map<string, Blob>}} Order as sent to a server
 */

const lock = (/** @type {string} */ page) => `ortist.page.${page}`;

/** Whether a page is still there: each has a lock as long as it lives. @param {string} page */
export async function isOpen(page) {
  const { held = [] } = await navigator.locks.query();
  return held.some(({ name }) => name === lock(page));
}

export class Studio {
  /** Tells pages of this browser apart, of which several may paint. */
  #page = crypto.randomUUID();
  /** @type {Map<string, Painting>} of this page, and others that have ended */
  #paintings = new Map();
  /** @type {Map<string, import("./painting.js").Order>} of those that have not ended */
  #orders = new Map();
  /** @type {Painting[]} */
  #waiting = [];
  /** @type {Painting|null} */
  #running = null;

  /** @param {Runtime} runtime @param {import("./kept.js").Kept} kept */
  constructor(runtime, kept) {
    this.runtime = runtime;
    this.kept = kept;
    navigator.locks.request(lock(this.#page), () => new Promise(() => {}));
    addEventListener("beforeunload", (event) => {
      const busy = [...this.#paintings.values()].some((painting) => painting.busy);
      if (this.#orders.size || busy) event.preventDefault();
    });
  }

  /** Removes what is kept of paintings that nothing leads to any more. @param {Set<string>} known ids */
  async tidy(known) {
    for (const id of await this.kept.ids()) {
      const record = known.has(id) ? null : await this.kept.get(id, RECORD);
      if (known.has(id) || this.#paintings.has(id) || (record && await isOpen(record.job.page))) continue;
      await this.kept.remove(id);
    }
  }

  /**
   * Has something painted; throws an InputError of the runtime for what cannot be.
   * @param {Order} order
   * @param {import("../../web/plan.js").Plan} plan
   * @returns {Promise<Job>}
   */
  async take({ recipe, options, content, styles, start, files }, plan) {
    const id = newIdHere();
    navigator.storage?.persist?.().catch(() => {});
    /** @type {Job} */
    const job = {
      id, state: "queued", error: null, position: null, created: new Date().toISOString(), started: null, ended: null,
      recipe, options, inputs: [...files.keys()], regions: [], plan: { ...plan, peak_bytes: null, tile: 0 },
      progress: null, preview: null, result: false, loading: null, threads: null, page: this.#page,
    };
    // The record first: what has none is removed when a page opens.
    await this.kept.put(id, RECORD, { job, steps: [] });
    for (const [name, picture] of files) {
      await this.kept.put(id, name, picture);
      // What was chosen may change on the disk, or go.
      files.set(name, await this.kept.get(id, name));
    }
    const file = (/** @type {string} */ name) => /** @type {Blob} */ (files.get(name));
    const painting = new Painting({ job, steps: [] }, this.kept);
    this.#orders.set(id, {
      recipe, options, content: file(content), start: start === null ? null : file(start),
      styles: styles.map(file),
    });
    this.#paintings.set(id, painting);
    painting.addEventListener("change", () => this.#changed(painting));
    this.#queue(painting);
    return job;
  }

  /**
   * @param {string} id
   * @returns {Promise<Painting|null>} maybe one of another page, which only that page may change
   */
  async find(id) {
    const known = this.#paintings.get(id);
    if (known) return known;
    const record = await this.kept.get(id, RECORD);
    if (!record) return null;
    let painting = new Painting(record, this.kept);
    if (!isFinal(painting.job)) {
      if (await isOpen(painting.job.page ?? "")) return painting;
      // It may have ended before its page did.
      painting = new Painting((await this.kept.get(id, RECORD)) ?? record, this.kept);
    }
    if (!isFinal(painting.job)) {
      painting.end("failed", "the page was closed while this was painted");
    }
    this.#paintings.set(id, painting);
    return painting;
  }

  /** @param {Painting} painting @returns {boolean} whether another page paints it */
  isElsewhere(painting) {
    return !isFinal(painting.job) && painting.job.page !== this.#page;
  }

  /** @param {Painting} painting */
  pause(painting) {
    this.#waiting = this.#waiting.filter((one) => one !== painting);
    painting.pause();
    this.#next();
  }

  /** @param {Painting} painting */
  resume(painting) {
    this.#queue(painting);
  }

  /** @param {Painting} painting */
  cancel(painting) {
    if (!isFinal(painting.job)) painting.end("canceled");
  }

  /** @param {Painting} painting */
  async remove(painting) {
    this.cancel(painting);
    this.#paintings.delete(painting.job.id);
    await painting.remove();
  }

  /** @param {Painting} painting */
  #queue(painting) {
    this.#waiting.push(painting);
    painting.tell({ state: "queued" });
    this.#next();
  }

  /** @param {Painting} painting */
  #changed(painting) {
    const { state, id } = painting.job;
    if (isFinal(painting.job)) {
      this.#orders.delete(id);
      this.#waiting = this.#waiting.filter((one) => one !== painting);
    }
    if (painting === this.#running && state !== "running") this.#running = null;
    if (state !== "running" && state !== "queued") this.#next();
  }

  /** Paints the next one, unless one is painted. */
  #next() {
    if (!this.#running && this.#waiting.length) {
      const next = /** @type {Painting} */ (this.#waiting.shift());
      this.#running = next;
      try {
        next.paint(this.runtime.Painter, /** @type {any} */ (this.#orders.get(next.job.id)));
      } catch (error) {
        next.end("failed", `the browser did not start to paint: ${error instanceof Error ? error.message : error}`);
      }
    }
    this.#waiting.forEach((painting, position) => {
      if (painting.job.position !== position) painting.tell({ position });
    });
  }
}
