// @ts-check
// Which of ONNX Runtime's builds computes: for the processor, or for graphics where there are.

/** @typedef {typeof import("onnxruntime-web")} Runtime */

export const PROCESSOR = "wasm";
export const GRAPHICS = "webgpu";
/** Channels of the largest maps, which have the size of the picture. */
const WIDEST = 64;

/**
 * Loads the runtime. The build for graphics, twice as large, is loaded only where they are of use.
 *
 * @param {URL} folder with its files
 * @param {number} threads
 * @param {boolean} forced whether graphics that are emulated will do, for tests
 * @returns {Promise<{runtime: Runtime, graphicsPixels: number}>} and how many pixels a picture may
 *   have for graphics, 0 if there are none
 */
export async function loadRuntime(folder, threads, forced = false) {
  const adapter = await /** @type {any} */ (navigator).gpu?.requestAdapter().catch(() => null);
  const useful = adapter && (forced || !adapter.info.isFallbackAdapter);
  const build = useful ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs";
  const runtime = await import(new URL(build, folder).href);
  runtime.env.wasm.numThreads = threads;
  runtime.env.wasm.wasmPaths = folder.href;
  const bytes = useful ? adapter.limits.maxStorageBufferBindingSize : 0;
  return { runtime, graphicsPixels: Math.floor(bytes / (4 * WIDEST)) };
}
