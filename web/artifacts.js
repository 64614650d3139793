// @ts-check
// The files that the runtime paints with, fetched when they are needed and checked before they are
// used. What there is, and all that Python tells of options, recipes and terms, is in one file.

/** @typedef {{data: Float32Array, dims: number[]}} Tensor */
/** @typedef {{dtype: string, shape: number[], offset: number}} Stored */
/** @typedef {{file: string, bytes: number, sha256: string}} File */
/** @typedef {File & {layer: string, start: number}} Piece the weights of a layer, in their file */
/**
 * What a graph is made for.
 * @typedef {{pooling: string, parts: readonly string[], rescaled: boolean}} Choice
 */
/**
 * @typedef {File & {kind: string, pooling: string, parts: string[], block: number,
 *   rescaled: boolean, layers: string[]}} GraphFile
 */
/**
 * @typedef {object} Facts
 * @property {string} version
 * @property {any} options a JSON schema
 * @property {Record<string, {about: string, options: Record<string, any>}>} recipes
 * @property {string[]} sizes options that replace one another
 * @property {string[]} sized_by options that say how large costs are
 * @property {string} recipe the one by default
 * @property {string[]} layers in network order
 * @property {Record<string, {source: string | null}>} terms
 * @property {any} constants by name, by the module that has them
 * @property {number[]} mean color that the network subtracts
 * @property {{block: number, least_pixels: number, kernel: Record<string, number[][]>}} winograd
 *   the block size, from how many pixels on it pays, and G by block size
 * @property {{file: string, tensors: Record<string, Stored>, pieces: Piece[]}} weights
 * @property {GraphFile[]} graphs
 * @property {File} product
 * @property {File[]} runtime what is known of ONNX Runtime's own files
 */
/** Told how many bytes of how many are there. @typedef {(loaded: number, total: number) => void} Progress */
/**
 * Gets a file as it was in a version, told by its checksum, or as it is.
 * @typedef {(file: string, version?: string) => Promise<Response>} Fetcher
 */

export const FACTS = "ortist.json";
/** Digits of a checksum that tell versions apart. */
const VERSION = 16;
const ARRAYS = { uint8: Uint8Array, float32: Float32Array };

/** A file that is not there or not what it should be. */
export class ArtifactError extends Error {
  name = "ArtifactError";
}

/** The files of a folder. */
export class Artifacts {
  /** @type {Map<string, Promise<Uint8Array>>} */
  #files = new Map();
  #loaded = 0;
  #total = 0;

  /**
   * @param {Facts} facts
   * @param {Fetcher} fetcher
   * @param {Progress} [progress]
   */
  constructor(facts, fetcher, progress) {
    this.facts = facts;
    this.fetcher = fetcher;
    this.progress = progress;
  }

  /**
   * Reads what there is.
   *
   * @param {Fetcher} fetcher gets a file of the folder
   * @param {Progress} [progress]
   */
  static async open(fetcher, progress) {
    const response = await answered(fetcher, FACTS);
    const facts = await response.json().catch(() => {
      throw new ArtifactError(`${FACTS} is not what it should be: is this a page of ortist web?`);
    });
    return new Artifacts(facts, fetcher, progress);
  }

  /**
   * Returns a graph, by its kind and what it is made for.
   *
   * @param {string} kind
   * @param {Choice & {block: number}} key
   * @returns {{file: GraphFile, model: Promise<Uint8Array>}}
   */
  graph(kind, key) {
    const file = this.facts.graphs.find(
      (one) => one.kind === kind && one.block === key.block && isFor(one, key),
    );
    if (!file) {
      const parts = key.parts.join(" ");
      throw new ArtifactError(`there is no ${kind} graph of ${key.pooling} pooling and ${parts}`);
    }
    return { file, model: this.#read(file) };
  }

  /** Returns a file of ONNX Runtime's, null if nothing is known of it. @param {string} name */
  async runtime(name) {
    const file = this.facts.runtime.find((one) => one.file === name);
    return file ? this.#read(file) : null;
  }

  /** Returns the graph of a matrix product. */
  product() {
    return this.#read(this.facts.product);
  }

  /**
   * Returns the content of the weights file as far as these layers need it; the rest is zeros, or
   * left out at the end.
   *
   * @param {readonly string[]} layers
   */
  async weights(layers) {
    const pieces = this.facts.weights.pieces.filter((piece) => layers.includes(piece.layer));
    const end = Math.max(...pieces.map((piece) => piece.start + piece.bytes));
    const data = new Uint8Array(end);
    const read = pieces.map(async (piece) => data.set(await this.#read(piece), piece.start));
    await Promise.all(read);
    return data;
  }

  /**
   * Returns the kernel of a layer, (K, C, 3, 3).
   *
   * @param {Uint8Array} weights @param {string} layer @returns {Tensor}
   */
  kernel(weights, layer) {
    const stored = this.facts.weights.tensors;
    if (stored[`${layer}/kernel`]) {
      const plain = stored[`${layer}/kernel`];
      return { data: /** @type {Float32Array} */ (values(weights, plain)), dims: plain.shape };
    }
    const [codes, codebook] = ["codes", "codebook"].map((part) =>
      values(weights, stored[`${layer}/${part}`]),
    );
    const data = Float32Array.from(codes, (code) => codebook[code]);
    return { data, dims: stored[`${layer}/codes`].shape };
  }

  /** @param {File} file */
  #read(file) {
    let content = this.#files.get(file.file);
    if (!content) {
      content = this.#fetch(file);
      this.#files.set(file.file, content);
      // What failed may be tried again.
      content.catch(() => this.#files.delete(file.file));
    }
    return content;
  }

  /** @param {File} file */
  async #fetch(file) {
    this.#total += file.bytes;
    const response = await answered(this.fetcher, file.file, file.sha256.slice(0, VERSION));
    const data = new Uint8Array(file.bytes);
    let length = 0;
    try {
      for await (const part of chunks(response)) {
        if (length + part.length > data.length) break;
        data.set(part, length);
        length += part.length;
        this.#loaded += part.length;
        this.progress?.(this.#loaded, this.#total);
      }
    } catch {
      throw new ArtifactError(`the file ${file.file} cannot be loaded: the connection was lost`);
    }
    if (length !== file.bytes || !(await isIntact(data, file.sha256))) {
      throw new ArtifactError(`the file ${file.file} is damaged, here or on its server`);
    }
    return data;
  }
}

/**
 * Whether a graph is made for a choice, whatever its kind and block size.
 *
 * @param {GraphFile} graph @param {Choice} choice
 */
export function isFor(graph, { pooling, parts, rescaled }) {
  return graph.pooling === pooling && graph.rescaled === rescaled &&
    graph.parts.join(" ") === parts.join(" ");
}

/** @param {Fetcher} fetcher @param {string} file @param {string} [version] */
async function answered(fetcher, file, version) {
  const response = await fetcher(file, version).catch((error) => {
    throw new ArtifactError(`the file ${file} cannot be loaded: ${error.message}`);
  });
  if (!response.ok) throw new ArtifactError(`the file ${file} cannot be loaded: status ${response.status}`);
  return response;
}

/** @param {Response} response */
async function* chunks(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @param {any} data @param {string} sha256 */
async function isIntact(data, sha256) {
  // Browsers have it for pages that come by https, or from the machine itself.
  if (!globalThis.crypto?.subtle) return true;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const digits = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0"));
  return digits.join("") === sha256;
}

/** @param {Uint8Array} weights @param {Stored} stored */
function values(weights, { dtype, shape, offset }) {
  const array = ARRAYS[/** @type {keyof typeof ARRAYS} */ (dtype)];
  const count = shape.reduce((product, side) => product * side, 1);
  return new array(/** @type {any} */ (weights.buffer), weights.byteOffset + offset, count);
}
