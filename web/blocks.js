// @ts-check
// The maps that graphs in block layout take, for pictures of a size: what models/blocks.py makes,
// where the layout is explained. A map is named by what it holds, as in
// "layout:rows.blocks.neighborhoods:4:0:image".

const PREFIX = "layout:";
const INT32_MAX = 2 ** 31 - 1;

/** @typedef {{data: Int32Array | Float32Array | BigInt64Array, dims: number[]}} Map */
/** Coordinates along one axis, (quads, places in a quad, blocks). @typedef {number[][][]} Corners */

/**
 * Returns those inputs of a graph that follow from the size of its image.
 *
 * @param {readonly string[]} names inputs of the graph
 * @param {number} height of the image
 * @param {number} width
 * @returns {Record<string, Map>}
 */
export function layout(names, height, width) {
  /** @type {Record<string, Map>} */
  const maps = {};
  for (const name of names) {
    if (!name.startsWith(PREFIX)) continue;
    const [content, block, halvings] = name.slice(PREFIX.length).split(":");
    const [what, ...by] = content.split(".");
    const grid = new Layout(height, width, Number(halvings), Number(block));
    if (what === "rows") maps[name] = grid.rows(by[0], by[1]);
    else if (what === "patches") maps[name] = grid.patches(by[0], by[1]);
    else if (what === "taps") maps[name] = grid.taps(by[0]);
    else if (what === "inside") maps[name] = grid.inside(by[0]);
    else if (what === "real") maps[name] = grid.real();
    else if (what === "parts") maps[name] = grid.parts(Number(by[0]));
    else throw new Error(`the map ${name} is unknown`);
  }
  return maps;
}

class Layout {
  /** @param {number} height @param {number} width @param {number} halvings @param {number} block */
  constructor(height, width, halvings, block) {
    this.edge = block;
    this.size = [height >> halvings, width >> halvings];
    this.blocks = this.size.map((side) => Math.ceil(side / block));
    // The same for the picture of twice the size; without halvings nothing asks for it.
    const finer = Math.max(halvings - 1, 0);
    this.finerBlocks = [height >> finer, width >> finer].map((side) => Math.ceil(side / block));
  }

  /** @param {string} order @param {string} places */
  rows(order, places) {
    const { data, dims } = this.#lookUp(order, places, [0]);
    return { data, dims: dims.slice(0, 2) };
  }

  /** @param {string} order @param {string} places */
  patches(order, places) {
    return this.#lookUp(order, places, [-1, 0, 1]);
  }

  /** @param {string} order */
  taps(order) {
    const { data, dims } = this.patches(order, "everywhere");
    return { data: data.map((row, index) => row * 9 + (index % 9)), dims: dims.slice(1) };
  }

  /** @param {string} order */
  inside(order) {
    const inside = new Float32Array(this.#rowCount(order));
    for (const row of this.rows(order, "everywhere").data) inside[row] = 1;
    return { data: inside, dims: [inside.length, 1] };
  }

  real() {
    const real = new Float32Array(this.blocks[0] * this.blocks[1] + 1).fill(1);
    real[real.length - 1] = 0;
    return { data: real, dims: [real.length, 1] };
  }

  /** @param {number} count */
  parts(count) {
    const blocks = this.blocks[0] * this.blocks[1] + 1;
    const end = (/** @type {number} */ index) => Math.floor((index * blocks) / count);
    const sizes = Array.from({ length: count }, (_, part) => BigInt(end(part + 1) - end(part)));
    return { data: BigInt64Array.from(sizes), dims: [count] };
  }

  /** @param {string} order @param {string} places @param {number[]} taps */
  #lookUp(order, places, taps) {
    const last = this.#rowCount(order) - 1;
    if (last > INT32_MAX / 2) throw new RangeError("the picture is too large for block layout");
    const [down, across] = [0, 1].map((axis) =>
      this.#share(order, axis, this.#corners(places, axis), taps, last),
    );
    const extra = places === "everywhere" ? 0 : 1;
    const blocks = down[0][0].length * across[0][0].length + extra;
    const around = taps.length ** 2;
    const count = down.length * across.length * down[0].length * across[0].length;
    const rows = new Int32Array(count * blocks * around);
    let end = 0;
    for (const rowQuad of down) {
      for (const columnQuad of across) {
        for (const rowShares of rowQuad) {
          for (const columnShares of columnQuad) {
            end = combine(rows, end, rowShares, columnShares, last);
            rows.fill(last, end, (end += extra * around));
          }
        }
      }
    }
    return { data: rows, dims: [count, blocks, around] };
  }

  /** Returns one axis' coordinates of places. @param {string} places @param {number} axis */
  #corners(places, axis) {
    const edge = this.edge;
    const pairs = (/** @type {number} */ k) => [2 * k, 2 * k + 1];
    const single = (/** @type {number} */ k) => [k];
    const upTo = (/** @type {number} */ n) => Array.from({ length: n }, (_, k) => k);
    /** @type {[number[][], number, number]} */
    const [offsets, stride, blocks] =
      places === "positions"
        ? [upTo(edge / 2).map(pairs), edge, this.blocks[axis]]
        : places === "neighborhoods"
          ? [upTo(edge + 2).map((k) => single(k - 1)), edge, this.blocks[axis]]
          : places === "quads"
            ? [upTo(edge / 2).map(single), edge / 2, this.finerBlocks[axis]]
            : [[[0]], 1, this.size[axis]];
    return offsets.map((quad) =>
      quad.map((offset) => upTo(blocks).map((block) => offset + stride * block)),
    );
  }

  /**
   * Returns one axis' share of rows, by quad, place, block and tap; that of the last row where it
   * leaves the picture.
   *
   * @param {string} order @param {number} axis @param {Corners} corners @param {number[]} taps
   * @param {number} last
   */
  #share(order, axis, corners, taps, last) {
    const [edge, blocks] = this.#cut(order);
    const perPlace = blocks[0] * blocks[1] + 1;
    const perBlock = axis ? 1 : blocks[1];
    const place = (/** @type {number} */ k) =>
      order !== "blocks"
        ? k * (axis ? 1 : edge)
        : (k >> 1) * (axis ? 4 : 2 * edge) + (k & 1) * (axis ? 1 : 2);
    const side = this.size[axis];
    const share = (/** @type {number} */ center, /** @type {number} */ tap) => {
      const at = center + tap;
      if (at < 0 || at >= side || center >= side) return last;
      return place(at % edge) * perPlace + Math.floor(at / edge) * perBlock;
    };
    return corners.map((quad) =>
      quad.map((centers) => centers.map((center) => taps.map((tap) => share(center, tap)))),
    );
  }

  /** Returns the side of a block and the numbers of blocks along the axes. @param {string} order
   * @returns {[number, number[]]} */
  #cut(order) {
    if (order === "reading") return [1, this.size];
    return order === "blocks" ? [this.edge, this.blocks] : [this.edge / 2, this.finerBlocks];
  }

  /** @param {string} order */
  #rowCount(order) {
    const [edge, blocks] = this.#cut(order);
    return edge ** 2 * (blocks[0] * blocks[1] + 1);
  }
}

/**
 * Writes the rows of all blocks of a place, and returns where the next are to stand.
 *
 * @param {Int32Array} rows @param {number} end
 * @param {number[][]} down by block and tap @param {number[][]} across @param {number} last
 */
function combine(rows, end, down, across, last) {
  for (const rowTaps of down) {
    for (const columnTaps of across) {
      for (const row of rowTaps) {
        for (const column of columnTaps) rows[end++] = Math.min(row + column, last);
      }
    }
  }
  return end;
}
