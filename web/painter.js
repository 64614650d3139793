// @ts-check
// Has pictures painted in a thread of their own, so that the page stays awake.

/** @typedef {import("./worker.js").Order} Order */
/** @typedef {import("./worker.js").Told} Told */

const MOST_THREADS = 8;

/** How many threads there are to compute with: one, unless the page is isolated from all others. */
export function threadsHere() {
  return globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
}

/** A painting under way. */
export class Painter {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });

  /**
   * @param {Omit<Order, "threads">} order
   * @param {(told: Told) => void} listener told of what happens, until the painting has ended
   */
  constructor(order, listener) {
    this.#worker.addEventListener("message", ({ data }) => {
      if (data.type === "done" || data.type === "failed") this.cancel();
      listener(data);
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.cancel();
      listener({ type: "failed", message: event.message || "the browser ended the painting" });
    });
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
    this.#worker.terminate();
  }
}
