// @ts-check
// Columns of the styles that match those of a picture best, as in export/costs/neighbors.py.

import { power, product, strongest, transposed } from "./linear.js";

/** @typedef {import("./settle.js").Tensor} Tensor */
/** @typedef {import("./settle.js").Statistics} Statistics */
/** @typedef {{multiply: (a: Tensor, b: Tensor) => Promise<Tensor>}} Products new ones each time */
/** @typedef {{number: number, mean: Float64Array, covariance: Float64Array}} Moments */
/** @typedef {{data: Float32Array, offsets: Float64Array}} Projection K × C, and what to subtract */

/**
 * @typedef {object} Constants those of the Python module
 * @property {Record<string, number>} layers channels by layer, the coarsest last
 * @property {string} coarsest
 * @property {readonly (readonly [number, number])[]} places
 * @property {number} directions
 * @property {number} transported
 * @property {number} ridge
 * @property {number} candidates
 * @property {number} block
 * @property {number} pairs
 * @property {number} epsilon
 */

/**
 * Returns targets: at each position the column of the styles, of length 1, that matches best.
 *
 * @param {Statistics} sought
 * @param {readonly Statistics[]} styles
 * @param {Products} products multiplies large matrices
 * @param {Constants} constants
 * @param {AbortSignal} [signal] asked between products; it is heard if multiply() lets events in
 * @returns {Promise<Statistics>}
 */
export async function match(sought, styles, products, constants, signal) {
  return new Matcher(products, constants, signal).match(sought, styles);
}

/** How matches are looked for. */
class Matcher {
  #products;
  #constants;
  #signal;

  /** @param {Products} products @param {Constants} constants @param {AbortSignal} [signal] */
  constructor(products, constants, signal) {
    this.#products = products;
    this.#constants = constants;
    this.#signal = signal;
  }

  /** @param {Statistics} sought @param {readonly Statistics[]} styles */
  async match(sought, styles) {
    const grids = styles.map((style) => sides(style, this.#constants));
    const chosen = candidates(grids.map(({ count }) => count), this.#constants.candidates);
    const found = new Columns(styles, chosen, this.#constants);
    const { height, width, count } = sides(sought, this.#constants);
    const own = new Columns([sought], candidates([count], count), this.#constants);

    const source = await this.#moments(own);
    const target = await this.#moments(found);
    const [moved, kept] = comparable(source, target, this.#constants);
    const { others, lengths } = await this.#units(found, kept);
    const best = await this.#best(own, moved, others);
    return lookups(found, lengths, { best, height, width }, this.#constants);
  }

  /** @param {Columns} columns @returns {Promise<Moments>} */
  async #moments(columns) {
    const { size, count } = columns;
    const mean = new Float64Array(size);
    const covariance = new Float64Array(size * size);
    for (const [start, end] of this.#blocks(count)) {
      const block = columns.block(start, end);
      const across = { data: transposed(block.data, size, end - start), dims: [end - start, size] };
      const second = await this.#multiply(block, across);
      for (let at = 0; at < covariance.length; at++) covariance[at] += second.data[at] / count;
      sums(block).forEach((sum, row) => {
        mean[row] += sum / count;
      });
    }
    // Not of what is left without the mean, which is known at the end.
    for (let row = 0; row < size; row++) {
      for (let at = 0; at < size; at++) covariance[row * size + at] -= mean[row] * mean[at];
    }
    return { number: count, mean, covariance };
  }

  /**
   * Returns projections of length 1 of all columns, K × Q, and how long each column was.
   *
   * @param {Columns} columns
   * @param {Projection} projection
   */
  async #units(columns, projection) {
    const { count } = columns;
    const rows = projection.offsets.length;
    const others = { data: new Float32Array(rows * count), dims: [rows, count] };
    const lengths = new Float64Array(count);
    for (const [start, end] of this.#blocks(count)) {
      const block = columns.block(start, end);
      lengths.set(lengthsOf(block, this.#constants.epsilon), start);
      const { data } = await this.#projected(block, projection);
      for (let row = 0; row < rows; row++) {
        const part = data.subarray(row * (end - start), (row + 1) * (end - start));
        others.data.set(part, row * count + start);
      }
    }
    return { others, lengths };
  }

  /**
   * Returns which of the others has the largest cosine with each column.
   *
   * @param {Columns} columns
   * @param {Projection} projection
   * @param {Tensor} others units, K × Q
   */
  async #best(columns, projection, others) {
    const [size, number] = others.dims;
    const best = new Int32Array(columns.count);
    const step = Math.max(1, Math.floor(this.#constants.pairs / number));
    for (const [start, end] of this.#blocks(columns.count)) {
      const { data } = await this.#projected(columns.block(start, end), projection);
      const rows = transposed(data, size, end - start);
      for (let first = start; first < end; first += step) {
        const last = Math.min(first + step, end);
        const some = rows.subarray((first - start) * size, (last - start) * size);
        const cosines = await this.#multiply({ data: some, dims: [last - first, size] }, others);
        best.set(largest(cosines), first);
      }
    }
    return best;
  }

  /**
   * Returns projections of length 1 of columns, K × P.
   *
   * @param {Tensor} block
   * @param {Projection} projection
   */
  async #projected(block, { data, offsets }) {
    const projected = await this.#multiply({ data, dims: [offsets.length, block.dims[0]] }, block);
    const count = block.dims[1];
    offsets.forEach((offset, row) => {
      for (let at = row * count; at < (row + 1) * count; at++) projected.data[at] -= offset;
    });
    const lengths = lengthsOf(projected, this.#constants.epsilon);
    for (let at = 0; at < projected.data.length; at++) projected.data[at] /= lengths[at % count];
    return projected;
  }

  /** @param {number} count @returns {Generator<[number, number]>} starts and ends */
  * #blocks(count) {
    const { block } = this.#constants;
    for (let start = 0; start < count; start += block) {
      yield [start, Math.min(start + block, count)];
    }
  }

  /** @param {Tensor} a @param {Tensor} b */
  async #multiply(a, b) {
    this.#signal?.throwIfAborted();
    return this.#products.multiply(a, b);
  }
}

/** Hypercolumns at some positions of several pictures, 0 where they are not finite. */
class Columns {
  #layers;
  /** @type {{picture: Statistics, fine: Int32Array, coarse: Int32Array}[]} */
  #parts;
  #coarsest;

  /**
   * @param {readonly Statistics[]} pictures
   * @param {readonly Int32Array[]} positions of each picture
   * @param {Constants} constants
   */
  constructor(pictures, positions, constants) {
    this.#layers = Object.entries(constants.layers);
    this.#coarsest = constants.coarsest;
    this.size = this.#layers.reduce((sum, [, channels]) => sum + channels, 0);
    this.count = positions.reduce((sum, { length }) => sum + length, 0);
    this.#parts = pictures.map((picture, index) => {
      const { width } = sides(picture, constants);
      const fine = positions[index];
      const coarse = fine.map((at) => (
        Math.floor(at / (2 * width)) * (width / 2) + Math.floor((at % width) / 2)));
      return { picture, fine, coarse };
    });
  }

  /**
   * Returns those of some numbers, C × P.
   *
   * @param {number} start
   * @param {number} end
   */
  block(start, end) {
    const count = end - start;
    const data = new Float32Array(this.size * count);
    let row = 0;
    for (const [layer, channels] of this.#layers) {
      for (let channel = 0; channel < channels; channel++, row++) {
        this.fill(data.subarray(row * count, (row + 1) * count), layer, channel, start);
      }
    }
    return { data, dims: [this.size, count] };
  }

  /**
   * Fills a row with what columns, from one on, have of a channel.
   *
   * @param {Float32Array} row
   * @param {string} layer
   * @param {number} channel
   * @param {number} start
   */
  fill(row, layer, channel, start) {
    let first = -start;
    for (const { picture, fine, coarse } of this.#parts) {
      const where = layer === this.#coarsest ? coarse : fine;
      const { data, dims } = picture[layer];
      const plane = channel * dims[2] * dims[3];
      const end = Math.min(row.length, first + where.length);
      for (let at = Math.max(0, first); at < end; at++) {
        const value = data[plane + where[at - first]];
        // What is painted may have run away; the cost will say so.
        row[at] = value - value === 0 ? value : 0;
      }
      first += where.length;
    }
  }
}

/**
 * Returns the sides of the grid of columns, and how many those are.
 *
 * @param {Statistics} statistics
 * @param {Constants} constants
 */
function sides(statistics, { coarsest }) {
  const [, , height, width] = statistics[coarsest].dims;
  return { height: 2 * height, width: 2 * width, count: 4 * height * width };
}

/**
 * Returns the positions of each picture that may be matches: all, or so many of all, evenly spread.
 *
 * @param {readonly number[]} counts of positions
 * @param {number} most
 */
function candidates(counts, most) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const number = Math.min(total, most);
  const chosen = Int32Array.from({ length: number }, (_, at) => Math.floor((at * total) / number));
  let start = 0;
  return counts.map((count) => {
    const [first, end] = [start, start + count];
    start = end;
    return chosen.filter((at) => first <= at && at < end).map((at) => at - first);
  });
}

/**
 * Returns by what the columns of the source, moved, and of the target are projected to be compared.
 *
 * @param {Moments} source
 * @param {Moments} target
 * @param {Constants} constants
 */
function comparable(source, target, constants) {
  const { ridge, epsilon, transported } = constants;
  const size = source.mean.length;
  const count = Math.min(constants.directions, size);
  const together = source.covariance.map((value, at) => (
    source.number * value + target.number * target.covariance[at]));
  const directions = strongest(together, size, count);

  const [a, s] = [source, target].map(({ covariance }) => {
    const projected = product(directions, covariance, count, size, size);
    const matrix = product(projected, directions, count, size, count);
    // A ridge makes it positive definite.
    addToDiagonal(matrix, count, (ridge * trace(matrix, count)) / count + epsilon);
    return matrix;
  });
  const moved = transport(a, s, count).map((value) => value * transported);
  addToDiagonal(moved, count, (1 - transported) * Math.sqrt(trace(s, count) / trace(a, count)));
  const turned = product(moved, transposed(directions, count, size), count, count, size);

  const projection = (/** @type {Float64Array} */ rows, /** @type {Float64Array} */ mean) => (
    { data: Float32Array.from(rows), offsets: product(rows, mean, count, size, 1) });
  return [projection(turned, source.mean), projection(directions, target.mean)];
}

/**
 * Returns A^-½·(A^½·S·A^½)^½·A^-½, the optimal map between Gaussians of covariances A and S.
 *
 * @param {Float64Array} source positive definite, n × n
 * @param {Float64Array} target likewise
 * @param {number} n
 */
function transport(source, target, n) {
  // All are symmetric, so that products with transposed ones are those with themselves.
  const between = (/** @type {Float64Array} */ outer, /** @type {Float64Array} */ inner) => (
    product(product(outer, inner, n, n, n), outer, n, n, n));
  const [root, inverse] = [power(source, n, 0.5), power(source, n, -0.5)];
  return between(inverse, power(between(root, target), n, 0.5));
}

/** @param {Float64Array} matrix @param {number} n @param {number} value */
function addToDiagonal(matrix, n, value) {
  for (let at = 0; at < n; at++) matrix[at * n + at] += value;
}

/** @param {Float64Array} matrix @param {number} n */
function trace(matrix, n) {
  let sum = 0;
  for (let at = 0; at < n; at++) sum += matrix[at * n + at];
  return sum;
}

/** @param {Tensor} matrix @returns {Float64Array} the sum of each row */
function sums({ data, dims: [rows, count] }) {
  return Float64Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let at = row * count; at < (row + 1) * count; at++) sum += data[at];
    return sum;
  });
}

/** @param {Tensor} matrix @param {number} least @returns {Float64Array} that of each column */
function lengthsOf({ data, dims: [, count] }, least) {
  const squares = new Float64Array(count);
  for (let start = 0; start < data.length; start += count) {
    for (let at = 0; at < count; at++) squares[at] += data[start + at] ** 2;
  }
  return squares.map((square) => Math.max(Math.sqrt(square), least));
}

/** @param {Tensor} matrix @returns {Int32Array} where each row has its largest element */
function largest({ data, dims: [rows, count] }) {
  return Int32Array.from({ length: rows }, (_, row) => {
    const start = row * count;
    let best = start;
    for (let at = start; at < start + count; at++) if (data[at] > data[best]) best = at;
    return best - start;
  });
}

/**
 * Returns targets by name: units of the columns found, each where it is the best.
 *
 * @param {Columns} found
 * @param {Float64Array} lengths of the columns
 * @param {{best: Int32Array, height: number, width: number}} grid
 * @param {Constants} constants
 * @returns {Statistics}
 */
function lookups(found, lengths, { best, height, width }, { layers, coarsest, places }) {
  const whole = { suffix: "", dims: [height, width], best };
  const quarters = places.map(([row, column]) => ({
    suffix: `:${row}${column}`,
    dims: [height / 2, width / 2],
    best: best.filter((_, at) => Math.floor(at / width) % 2 === row && at % width % 2 === column),
  }));
  /** @type {Statistics} */
  const targets = {};
  const values = new Float32Array(found.count);
  for (const [layer, channels] of Object.entries(layers)) {
    const parts = (layer === coarsest ? quarters : [whole]).map(({ suffix, dims, best: own }) => {
      const data = new Float32Array(channels * own.length);
      targets[layer + suffix] = { data, dims: [1, channels, ...dims] };
      return { data, own };
    });
    for (let channel = 0; channel < channels; channel++) {
      found.fill(values, layer, channel, 0);
      for (let at = 0; at < values.length; at++) values[at] /= lengths[at];
      for (const { data, own } of parts) {
        const start = channel * own.length;
        for (let at = 0; at < own.length; at++) data[start + at] = values[own[at]];
      }
    }
  }
  return targets;
}
