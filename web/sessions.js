// @ts-check
// The one place that knows ONNX Runtime.

import { layout } from "./blocks.js";
import { PROCESSOR } from "./runtime.js";
import { turn } from "./turn.js";
import { transformKernel, transformedLayer } from "./winograd.js";

/** @typedef {typeof import("onnxruntime-web")} Runtime */
/** @typedef {import("./artifacts.js").Artifacts} Artifacts */
/** @typedef {import("./artifacts.js").GraphFile} GraphFile */
/** @typedef {{data: Float32Array | Int32Array | BigInt64Array, dims: readonly number[]}} Value */
/** @typedef {{data: Float32Array, dims: number[]}} Tensor */
/** @typedef {Record<string, Value>} Values */

const DTYPES = new Map(/** @type {[Function, "float32" | "int32" | "int64"][]} */ ([
  [Float32Array, "float32"],
  [Int32Array, "int32"],
  [BigInt64Array, "int64"],
]));

/** Loads graphs. */
export class Device {
  /** @type {Promise<Graph> | null} */
  #product = null;
  /** @type {Map<string, Value>} */
  #kernels = new Map();

  /**
   * @param {Runtime} runtime
   * @param {Artifacts} artifacts
   * @param {number} [graphicsPixels] most pixels of a picture to evaluate on graphics
   */
  constructor(runtime, artifacts, graphicsPixels = 0) {
    this.runtime = runtime;
    this.artifacts = artifacts;
    this.graphicsPixels = graphicsPixels;
  }

  /** Returns the block size of graphs for a picture of so many pixels. @param {number} pixels */
  block(pixels) {
    const { block, least_pixels: least } = this.artifacts.facts.winograd;
    return pixels >= least ? block : 0;
  }

  /**
   * Returns a graph that is ready to run, to be released when it is not needed any more.
   *
   * @param {string} kind
   * @param {import("./artifacts.js").Choice & {block: number}} key
   * @param {string} [provider] an execution provider of the runtime
   */
  async graph(kind, key, provider = PROCESSOR) {
    const found = this.artifacts.graph(kind, key);
    const weights = await this.artifacts.weights(found.file.layers);
    const path = this.artifacts.facts.weights.file;
    return this.#load(await found.model, {
      provider,
      externalData: [{ path, data: weights }],
      constants: (names) => this.#transformed(names, weights, found.file.block),
    });
  }

  /**
   * Returns a matrix product, (m, n), of (m, k) and (k, n).
   *
   * @param {Tensor} first @param {Tensor} second @returns {Promise<Tensor>}
   */
  async multiply(first, second) {
    const load = async () => this.#load(await this.artifacts.product(), { constants: () => ({}) });
    await turn();
    this.#product ??= load();
    return (await (await this.#product).run(["product"], { first, second })).product;
  }

  /**
   * @param {Uint8Array} model
   * @param {{constants: (names: readonly string[]) => Values, provider?: string,
   *   externalData?: {path: string, data: Uint8Array}[]}} more
   */
  async #load(model, { constants, provider = PROCESSOR, externalData = [] }) {
    const session = await this.runtime.InferenceSession.create(model, {
      executionProviders: [provider],
      externalData,
      // Sizes change from run to run.
      enableMemPattern: false,
      logSeverityLevel: 3,
    });
    return new Graph(this.runtime, session, constants(session.inputNames), provider);
  }

  /** Lets go of the memory of what was loaded. */
  async release() {
    const product = this.#product;
    this.#product = null;
    this.#kernels.clear();
    await (await product)?.release();
  }

  /** @param {readonly string[]} names @param {Uint8Array} weights @param {number} block */
  #transformed(names, weights, block) {
    /** @type {Values} */
    const found = {};
    for (const name of names) {
      const layer = transformedLayer(name);
      if (!layer) continue;
      let kernel = this.#kernels.get(name);
      if (!kernel) {
        const plain = this.artifacts.kernel(weights, layer);
        kernel = transformKernel(plain, this.artifacts.facts.winograd.kernel[block]);
        this.#kernels.set(name, kernel);
      }
      found[name] = kernel;
    }
    return found;
  }
}

/** A graph that is ready to run. */
export class Graph {
  #placed = /** @type {Record<string, any>} */ ({});
  #size = "";

  /** @param {Runtime} runtime @param {import("onnxruntime-web").InferenceSession} session
   * @param {Values} constants inputs that are the same at every run @param {string} provider */
  constructor(runtime, session, constants, provider) {
    this.runtime = runtime;
    this.session = session;
    this.provider = provider;
    this.inputs = session.inputNames;
    this.outputs = session.outputNames;
    this.constants = this.placed(constants);
  }

  /**
   * Returns inputs for several runs.
   *
   * @param {Values} values
   */
  placed(values) {
    /** @type {Record<string, import("onnxruntime-web").Tensor>} */
    const placed = {};
    for (const [name, { data, dims }] of Object.entries(values)) {
      const dtype = /** @type {"float32"} */ (DTYPES.get(data.constructor));
      placed[name] = new this.runtime.Tensor(dtype, /** @type {any} */ (data), dims);
    }
    return placed;
  }

  /**
   * Returns some outputs.
   *
   * @param {readonly string[]} outputs
   * @param {Values} feeds
   * @param {Record<string, import("onnxruntime-web").Tensor>} [placed] further ones
   * @returns {Promise<Record<string, Tensor>>}
   */
  async run(outputs, feeds, placed = {}) {
    const own = { ...this.#layout(feeds.image), ...this.placed(feeds) };
    const found = await this.session.run({ ...this.constants, ...placed, ...own }, [...outputs]);
    /** @type {Record<string, Tensor>} */
    const results = {};
    for (const name of outputs) {
      const { data, dims } = found[name];
      results[name] = { data: /** @type {Float32Array} */ (data), dims: [...dims] };
    }
    return results;
  }

  /** Lets go of its memory, which is not freed otherwise. */
  async release() {
    await this.session.release();
  }

  /** Returns the inputs that follow from the size of an image. @param {Value} [image] */
  #layout(image) {
    if (!image) return {};
    const [height, width] = image.dims.slice(2);
    const size = `${height} ${width}`;
    if (size !== this.#size) {
      this.#placed = this.placed(layout(this.inputs, height, width));
      this.#size = size;
    }
    return this.#placed;
  }
}
