// @ts-check
// Has pictures painted in a thread of their own, so that the page stays awake.

/** @typedef {import("./worker.js").Order} Order */
/** @typedef {import("./worker.js").Told} Told */

const MOST_THREADS = 8;
const STOPPED =
  "it did not start, or was ended: load the page again; Chrome 116, Firefox 124, Safari 17.4 can paint";

/** How many threads there are to compute with: one, unless the page is isolated from all others. */
export function threadsHere() {
  const cores = navigator.hardwareConcurrency || 1;
  return globalThis.crossOriginIsolated ? Math.min(cores, MOST_THREADS) : 1;
}

/** A painting under way. */
export class Painter {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #ended = false;

  /**
   * @param {Omit<Order, "threads">} order
   * @param {(told: Told) => void} listener told of what happens, until the painting has ended
   */
  constructor(order, listener) {
    const hear = (/** @type {Told} */ told) => {
      if (this.#ended) return;
      if (told.type === "done" || told.type === "failed") this.cancel();
      listener(told);
    };
    this.#worker.addEventListener("message", ({ data }) => hear(data));
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      hear({ type: "failed", message: event.message || STOPPED });
    });
    this.#worker.addEventListener("messageerror", () => hear({ type: "failed", message: STOPPED }));
    this.#worker.postMessage({ type: "paint", order: { ...order, threads: threadsHere() } });
  }

  pause() {
    this.#worker.postMessage({ type: "pause" });
  }

  resume() {
    this.#worker.postMessage({ type: "resume" });
  }

  /** Ends it at once, with its memory. Nothing more is told. */
  cancel() {
    this.#ended = true;
    this.#worker.terminate();
  }
}
