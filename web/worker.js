// @ts-check
// Paints one picture in a thread of its own, and tells of it in messages. Its maker ends it by
// terminating it, also amid an evaluation, which nothing else ends.

import { Artifacts, ArtifactError } from "./artifacts.js";
import { withOptions } from "./options.js";
import { decoded } from "./decode.js";
import { Pictures } from "./pictures.js";
import { toPixels } from "./picture.js";
import { Run, NonFiniteCostError } from "./run.js";
import { loadRuntime } from "./runtime.js";
import { Device } from "./sessions.js";

/**
 * What to paint: pictures as files that the browser can read.
 * @typedef {{content: Blob, styles: {picture: Blob, weight: number}[], start: Blob | null,
 *   recipe: string, options: Record<string, any>, threads: number, emulated?: boolean}} Order
 */
/** @typedef {import("./objective.js").Costs} Costs */
/** @typedef {{width: number, height: number, steps: number}} Scale */
/**
 * What is told; pixels are RGB, row by row.
 * @typedef {{type: "loading", loaded: number, total: number}
 *   | {type: "plan", width: number, height: number, steps: number, scales: Scale[], threads: number}
 *   | {type: "step", iteration: number, scale: number, scales: number, width: number,
 *       height: number, costs: Costs, seconds: number, pixels: Uint8ClampedArray}
 *   | {type: "done"}
 *   | {type: "failed", message: string}} Told
 */

const FOLDER = new URL("./", import.meta.url);

/** Resolved when the run may go on. */
let going = Promise.resolve();
let goOn = () => {};

addEventListener("message", ({ data }) => {
  if (data.type === "pause") {
    going = new Promise((resolve) => (goOn = resolve));
  } else if (data.type === "resume") {
    goOn();
  } else {
    paint(data.order).catch((error) => tell({ type: "failed", message: reason(error) }));
  }
});

/** @param {Told} message @param {Transferable[]} [transferred] */
function tell(message, transferred = []) {
  postMessage(message, { transfer: transferred });
}

/** @param {Order} order */
async function paint(order) {
  const fetcher = (/** @type {string} */ file) => fetch(new URL(file, FOLDER));
  const artifacts = await Artifacts.open(fetcher, (loaded, total) => tell({ type: "loading", loaded, total }));
  const options = withOptions(order.recipe, order.options, artifacts.facts);
  if (order.start) options.init = await decoded(order.start, "start");
  const own = (/** @type {string} */ name) => artifacts.runtime(name);
  const { runtime, graphicsPixels } = await loadRuntime(FOLDER, order.threads, order.emulated, own);
  const device = new Device(runtime, artifacts, graphicsPixels);
  const pictures = new Pictures(await read(order), options, artifacts.facts.constants);
  const run = new Run(device, pictures, options);
  const { width, height } = pictures;
  tell({ type: "plan", width, height, steps: run.steps, scales: run.scales, threads: order.threads });
  for await (const { pixels, iteration, scale, scales, seconds, ...costs } of run) {
    const [rows, columns] = pixels.dims.slice(2);
    const { data } = toPixels(pixels);
    const size = { width: columns, height: rows };
    tell({ type: "step", iteration, scale, scales, ...size, costs, seconds, pixels: data }, [data.buffer]);
    await going;
  }
  tell({ type: "done" });
}

/** @param {Order} order */
async function read({ content, styles }) {
  const painted = await decoded(content, "content");
  const pictures = [];
  for (const [index, { picture, weight }] of styles.entries()) {
    pictures.push({ pixels: await decoded(picture, `style ${index + 1}`), weight });
  }
  return { content: painted, styles: pictures };
}

/** Says what went wrong, as the user is told. @param {any} error */
function reason(error) {
  const message = String(error?.message ?? error);
  const known = error instanceof ArtifactError || error instanceof NonFiniteCostError;
  if (!known && /bad_alloc|out of memory|memory access|could not allocate|Array buffer|allocation/i.test(message)) {
    return "there is not enough memory for a picture of this size: choose a smaller one";
  }
  return message;
}
