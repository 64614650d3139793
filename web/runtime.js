// @ts-check
// Which of ONNX Runtime's builds computes: for the processor, or for graphics where there are.

/** @typedef {typeof import("onnxruntime-web")} Runtime */

export const PROCESSOR = "wasm";
export const GRAPHICS = "webgpu";
const PROCESSOR_FILES = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.wasm"];
const GRAPHICS_FILES = ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
/** Channels of the largest maps, which have the size of the picture. */
const WIDEST = 64;

/**
 * Loads the runtime. The build for graphics, twice as large, is loaded only where they are of use.
 *
 * @param {URL} folder with its files
 * @param {number} threads
 * @param {boolean} [forced] whether graphics that are emulated will do, for tests
 * @param {(name: string) => Promise<Uint8Array | null>} [read] gets a file of the folder, for who
 *   wants to know how far that is; the runtime gets those that it does not
 * @returns {Promise<{runtime: Runtime, graphicsPixels: number}>} and how many pixels a picture may
 *   have for graphics, 0 if there are none
 */
export async function loadRuntime(folder, threads, forced = false, read = async () => null) {
  const load = async (/** @type {string[]} */ [build, binary]) => {
    const [made, known] = await Promise.all([import(new URL(build, folder).href), read(binary)]);
    if (known) made.env.wasm.wasmBinary = known;
    made.env.wasm.numThreads = threads;
    made.env.wasm.wasmPaths = folder.href;
    return made;
  };
  const bytes = await graphicsBytes(forced);
  const runtime = bytes ? await load(GRAPHICS_FILES).catch(() => null) : null;
  if (!runtime) return { runtime: await load(PROCESSOR_FILES), graphicsPixels: 0 };
  return { runtime, graphicsPixels: Math.floor(bytes / (4 * WIDEST)) };
}

/** Returns the largest buffer of this machine's graphics, 0 without. @param {boolean} emulated */
async function graphicsBytes(emulated) {
  const { gpu } = /** @type {any} */ (navigator);
  const adapter = await gpu?.requestAdapter().catch(() => null);
  if (!adapter) return 0;
  // Older browsers have it elsewhere.
  const isEmulated = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter;
  if (isEmulated && !emulated) return 0;
  return Math.min(adapter.limits.maxStorageBufferBindingSize, adapter.limits.maxBufferSize);
}
