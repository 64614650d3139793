// @ts-check
// Paints one picture in a thread of its own, and tells of it in messages. Its maker ends it by
// terminating it, also amid an evaluation, which nothing else ends.

import { Artifacts, ArtifactError } from "./artifacts.js";
import { withOptions } from "./options.js";
import { decoded } from "./decode.js";
import { InputError } from "./errors.js";
import { Pictures } from "./pictures.js";
import { toPixels } from "./picture.js";
import { Run, NonFiniteCostError } from "./run.js";
import { loadRuntime } from "./runtime.js";
import { Device } from "./sessions.js";
import { turn } from "./turn.js";

/**
 * What to paint: pictures as files that the browser can read. `folder` has what `ortist web` writes
 * into `web/`; by default it is that of the scripts.
 * @typedef {{content: Blob, styles: Blob[], start: Blob | null, recipe: string,
 *   options: Record<string, any>, threads: number, folder?: string, emulated?: boolean}} Order
 */
/** RGB, row by row. @typedef {{pixels: Uint8ClampedArray, width: number, height: number}} Shown */
/** @typedef {import("./artifacts.js").Fetcher} Fetcher */
/** @typedef {import("./objective.js").Costs} Costs */
/** @typedef {{width: number, height: number, steps: number}} Scale */
/**
 * What is told. What failed may have a picture that is better than the last one.
 * @typedef {{type: "loading", loaded: number, total: number}
 *   | {type: "plan", width: number, height: number, steps: number, scales: Scale[], threads: number}
 *   | Shown & {type: "step", iteration: number, scale: number, scales: number, costs: Costs,
 *       seconds: number}
 *   | {type: "done"}
 *   | {type: "failed", message: string, picture?: Shown}} Told
 */

const NO_MEMORY = "there is not enough memory for a picture of this size: choose a smaller one";

/** @type {Promise<void> | null} resolved when the run may go on */
let pause = null;
let goOn = () => {};

addEventListener("message", ({ data }) => {
  if (data.type === "pause") {
    pause ??= new Promise((resolve) => (goOn = resolve));
  } else if (data.type === "resume") {
    pause = null;
    goOn();
  } else {
    paint(data.order).catch(fail);
  }
});

/** @param {Told} message @param {Transferable[]} [transferred] */
function tell(message, transferred = []) {
  postMessage(message, { transfer: transferred });
}

/** @param {Order} order */
async function paint(order) {
  const folder = new URL(order.folder ?? "./", import.meta.url);
  const progress = (/** @type {number} */ loaded, /** @type {number} */ total) =>
    tell({ type: "loading", loaded, total });
  const artifacts = await Artifacts.open(fetcherOf(folder), progress);
  const { facts } = artifacts;
  const start = order.start && { init: await decoded(order.start, "start") };
  const options = withOptions(order.recipe, { ...order.options, ...start }, facts);
  const content = await decoded(order.content, "content");
  const styles = [];
  for (const style of order.styles) styles.push(await decoded(style, `style ${styles.length + 1}`));
  const pictures = new Pictures({ content, styles }, options, facts.constants);
  const own = (/** @type {string} */ name) => artifacts.runtime(name);
  const { runtime, graphicsPixels } = await loadRuntime(folder, order.threads, order.emulated, own);
  const run = new Run(new Device(runtime, artifacts, graphicsPixels), pictures, options);
  const { width, height } = pictures;
  tell({ type: "plan", width, height, steps: run.steps, scales: run.scales, threads: order.threads });
  for await (const { pixels, iteration, scale, scales, seconds, ...costs } of run) {
    const picture = asShown(pixels);
    const about = { iteration, scale, scales, costs, seconds };
    tell({ type: "step", ...about, ...picture }, [picture.pixels.buffer]);
    await turn();
    await pause;
  }
  tell({ type: "done" });
}

/** Gets files, each as it was when the page was written. @param {URL} folder @returns {Fetcher} */
function fetcherOf(folder) {
  return (file, version) =>
    fetch(new URL(version ? `${file}?${version}` : file, folder), {
      cache: version ? "default" : "no-cache",
    });
}

/** @param {import("./picture.js").Picture} picture @returns {Shown} */
function asShown(picture) {
  const { data: pixels, dims: [height, width] } = toPixels(picture);
  return { pixels, width, height };
}

/** @param {unknown} error */
function fail(error) {
  const picture = error instanceof NonFiniteCostError ? asShown(error.picture) : undefined;
  tell({ type: "failed", message: reason(error), ...(picture && { picture }) });
}

/** Says what went wrong, as the user is told. @param {any} error */
function reason(error) {
  const message = String(error?.message ?? error);
  if ([ArtifactError, InputError, NonFiniteCostError].some((kind) => error instanceof kind)) {
    return message;
  }
  // The runtime throws numbers where its memory ends.
  const ended = /alloc|out of memory|memory access|OOM|enlarge|array length|^\d+$/i.test(message);
  return ended ? NO_MEMORY : message;
}
