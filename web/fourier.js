// @ts-check
// Fourier transforms of real pictures of any size.
//
// Lines are transformed several at a time, by Stockham's algorithm. Which of the lines it is runs
// fastest in memory: so each pass goes through it in order, and takes a root of unity for all.

/** Lines that are transformed at once, few enough to stay in a core's cache. */
const LANES = 16;
/** Lengths with larger prime factors take less time by way of a longer one, see `ChirpLines`. */
const LARGEST_RADIX = 19;

/**
 * @typedef {object} Pass
 * @property {(pass: Pass, re: Float64Array, im: Float64Array,
 *   toRe: Float64Array, toIm: Float64Array) => void} run
 * @property {number} radix
 * @property {number} count lengths that are left, after it
 * @property {number} stride of neighbors in a sequence
 * @property {Float64Array} cos of the roots of unity
 * @property {Float64Array} sin likewise
 */

/** Transforms real planes of one size as NumPy's rfft2 does, and back. */
export class Fourier {
  #across;
  #down;

  /** @param {number} height of the planes @param {number} width */
  constructor(height, width) {
    this.height = height;
    this.width = width;
    /** Frequencies across; those that are left out are the conjugates of theirs. */
    this.columns = Math.floor(width / 2) + 1;
    this.#across = linesOf(width, LANES);
    this.#down = width === height ? this.#across : linesOf(height, LANES);
  }

  /**
   * @param {Float32Array} plane (height, width)
   * @param {Float32Array} re where the real parts go, (height, columns)
   * @param {Float32Array} im likewise the imaginary ones
   */
  forward(plane, re, im) {
    for (let top = 0; top < this.height; top += 2 * LANES) {
      this.#loadRows(plane, top);
      this.#across.run();
      this.#storeSpectra(re, im, top);
    }
    this.#transformColumns(re, im);
  }

  /**
   * The inverse of `forward`.
   *
   * @param {Float32Array} re real parts, overwritten
   * @param {Float32Array} im imaginary ones, overwritten
   * @param {Float32Array} plane where the values go
   */
  inverse(re, im, plane) {
    // Exchanging real and imaginary parts before and after makes a transform the inverse one.
    this.#transformColumns(im, re);
    for (let top = 0; top < this.height; top += 2 * LANES) {
      this.#loadSpectra(re, im, top);
      this.#across.run();
      this.#storeRows(plane, top);
    }
  }

  /**
   * Takes two rows for the real and the imaginary part of each line.
   *
   * @param {Float32Array} plane @param {number} top
   */
  #loadRows(plane, top) {
    const { re, im } = this.#across;
    for (let row = 0; row < 2 * LANES; row++) {
      const to = row % 2 ? im : re;
      const from = (top + row) * this.width;
      const inside = top + row < this.height;
      for (let x = 0, at = row >> 1; x < this.width; x++, at += LANES) {
        to[at] = inside ? plane[from + x] : 0;
      }
    }
  }

  /** @param {Float32Array} plane @param {number} top */
  #storeRows(plane, top) {
    const { re, im } = this.#across;
    const scale = 1 / (this.width * this.height);
    for (let row = 0; row < Math.min(2 * LANES, this.height - top); row++) {
      const from = row % 2 ? re : im;
      const to = (top + row) * this.width;
      for (let x = 0, at = row >> 1; x < this.width; x++, at += LANES) {
        plane[to + x] = scale * from[at];
      }
    }
  }

  /**
   * Takes the spectra of both rows out of that of their line: of a real row, that of -frequency is
   * the conjugate.
   *
   * @param {Float32Array} toRe @param {Float32Array} toIm @param {number} top
   */
  #storeSpectra(toRe, toIm, top) {
    const { re, im } = this.#across;
    for (let lane = 0; top + 2 * lane < this.height && lane < LANES; lane++) {
      const first = (top + 2 * lane) * this.columns;
      const hasSecond = top + 2 * lane + 1 < this.height;
      for (let k = 0; k < this.columns; k++) {
        const at = k * LANES + lane;
        const opposite = (k && this.width - k) * LANES + lane;
        toRe[first + k] = (re[at] + re[opposite]) / 2;
        toIm[first + k] = (im[at] - im[opposite]) / 2;
        if (hasSecond) {
          toRe[first + this.columns + k] = (im[at] + im[opposite]) / 2;
          toIm[first + this.columns + k] = (re[opposite] - re[at]) / 2;
        }
      }
    }
  }

  /**
   * Joins the spectra of two rows, real and imaginary parts exchanged.
   *
   * @param {Float32Array} fromRe @param {Float32Array} fromIm @param {number} top
   */
  #loadSpectra(fromRe, fromIm, top) {
    const { re: im, im: re } = this.#across;
    for (let lane = 0; top + 2 * lane < this.height && lane < LANES; lane++) {
      const first = (top + 2 * lane) * this.columns;
      const hasSecond = top + 2 * lane + 1 < this.height;
      for (let k = 0; k < this.columns; k++) {
        const at = k * LANES + lane;
        const opposite = (k && this.width - k) * LANES + lane;
        // What is its own conjugate is real.
        const paired = at !== opposite;
        const aRe = fromRe[first + k];
        const aIm = paired ? fromIm[first + k] : 0;
        const bRe = hasSecond ? fromRe[first + this.columns + k] : 0;
        const bIm = hasSecond && paired ? fromIm[first + this.columns + k] : 0;
        re[at] = aRe - bIm;
        im[at] = aIm + bRe;
        re[opposite] = aRe + bIm;
        im[opposite] = bRe - aIm;
      }
    }
  }

  /** @param {Float32Array} re @param {Float32Array} im */
  #transformColumns(re, im) {
    for (let left = 0; left < this.columns; left += LANES) {
      const lanes = Math.min(LANES, this.columns - left);
      copyColumns(re, left, this.columns, this.#down.re, 0, LANES, lanes, this.height);
      copyColumns(im, left, this.columns, this.#down.im, 0, LANES, lanes, this.height);
      this.#down.run();
      copyColumns(this.#down.re, 0, LANES, re, left, this.columns, lanes, this.height);
      copyColumns(this.#down.im, 0, LANES, im, left, this.columns, lanes, this.height);
    }
  }
}

/**
 * @param {Float32Array | Float64Array} from @param {number} begin @param {number} stride
 * @param {Float32Array | Float64Array} to @param {number} toBegin @param {number} toStride
 * @param {number} count of columns @param {number} rows
 */
function copyColumns(from, begin, stride, to, toBegin, toStride, count, rows) {
  for (let row = 0; row < rows; row++, begin += stride, toBegin += toStride) {
    for (let column = 0; column < count; column++) to[toBegin + column] = from[begin + column];
  }
}

/** @param {number} length @param {number} lanes */
function linesOf(length, lanes) {
  return factorsOf(length).some((factor) => factor > LARGEST_RADIX)
    ? new ChirpLines(length, lanes) : new Lines(length, lanes);
}

/** Complex lines of one length, to be put into `re` and `im`, where their transforms are then. */
class Lines {
  /** @type {Pass[]} */
  #passes = [];
  #otherRe;
  #otherIm;

  /** @param {number} length @param {number} lanes how many lines; which one runs fastest */
  constructor(length, lanes) {
    this.re = new Float64Array(length * lanes);
    this.im = new Float64Array(length * lanes);
    this.#otherRe = new Float64Array(length * lanes);
    this.#otherIm = new Float64Array(length * lanes);
    let [rest, stride] = [length, lanes];
    for (const radix of factorsOf(length)) {
      this.#passes.push(passOf(radix, rest, stride));
      rest /= radix;
      stride *= radix;
    }
  }

  run() {
    for (const pass of this.#passes) {
      pass.run(pass, this.re, this.im, this.#otherRe, this.#otherIm);
      [this.re, this.#otherRe] = [this.#otherRe, this.re];
      [this.im, this.#otherIm] = [this.#otherIm, this.im];
    }
  }
}

/** The same for any length, as a convolution with a chirp (Bluestein 1970). */
class ChirpLines {
  #length;
  #lanes;
  #inner;
  #cos;
  #sin;
  #filter;

  /** @param {number} length @param {number} lanes */
  constructor(length, lanes) {
    this.re = new Float64Array(length * lanes);
    this.im = new Float64Array(length * lanes);
    this.#length = length;
    this.#lanes = lanes;
    const padded = smoothFrom(2 * length - 1);
    this.#inner = new Lines(padded, lanes);
    // By the square's remainder, as angles are exact only while they are small.
    const angles = Float64Array.from({ length }, (_, at) => (at * at) % (2 * length))
      .map((square) => Math.PI * square / length);
    this.#cos = angles.map(Math.cos);
    this.#sin = angles.map(Math.sin);
    this.#filter = new Lines(padded, 1);
    for (let at = 0; at < length; at++) {
      for (const place of [at, (padded - at) % padded]) {
        this.#filter.re[place] = this.#cos[at] / padded;
        this.#filter.im[place] = this.#sin[at] / padded;
      }
    }
    this.#filter.run();
  }

  run() {
    this.#turn(this.re, this.im, this.#inner.re, this.#inner.im);
    this.#inner.re.fill(0, this.re.length);
    this.#inner.im.fill(0, this.re.length);
    this.#inner.run();
    this.#convolve();
    this.#inner.run();
    this.#turn(this.#inner.im, this.#inner.re, this.re, this.im);
  }

  /**
   * Multiplies by the chirp.
   *
   * @param {Float64Array} re @param {Float64Array} im
   * @param {Float64Array} toRe @param {Float64Array} toIm
   */
  #turn(re, im, toRe, toIm) {
    for (let line = 0, at = 0; line < this.#length; line++) {
      const [c, s] = [this.#cos[line], this.#sin[line]];
      for (const end = at + this.#lanes; at < end; at++) {
        const [x, y] = [re[at], im[at]];
        toRe[at] = x * c + y * s;
        toIm[at] = y * c - x * s;
      }
    }
  }

  /** Multiplies spectra, and exchanges their parts, for the inverse transform. */
  #convolve() {
    const { re, im } = this.#inner;
    const filter = this.#filter;
    for (let line = 0, at = 0; line < filter.re.length; line++) {
      const [c, s] = [filter.re[line], filter.im[line]];
      for (const end = at + this.#lanes; at < end; at++) {
        const [x, y] = [re[at], im[at]];
        im[at] = x * c - y * s;
        re[at] = y * c + x * s;
      }
    }
  }
}

/** @param {number} length @returns {number[]} what it is the product of: 4 and primes */
function factorsOf(length) {
  const factors = [];
  for (let factor = 4; length > 1; factor = next(factor)) {
    // A prime is left where the square of the next is larger.
    if (factor > 4 && factor * factor > length) factor = length;
    for (; length % factor === 0; length /= factor) factors.push(factor);
  }
  return factors;
}

/** @param {number} factor */
function next(factor) {
  return factor === 4 ? 2 : factor === 2 ? 3 : factor + 2;
}

/** @param {number} least @returns {number} the first length from it on that is quick */
function smoothFrom(least) {
  while (factorsOf(least).some((factor) => factor > 5)) least++;
  return least;
}

/** @param {number} radix @param {number} length of what is left @param {number} stride */
function passOf(radix, length, stride) {
  const count = length / radix;
  const run = new Map([[2, pass2], [3, pass3], [4, pass4], [5, pass5]]).get(radix);
  const powers = run ? rootPowers(radix, count) : Array.from({ length }, (_, at) => at);
  const angles = Float64Array.from(powers, (power) => (-2 * Math.PI * power) / length);
  const [cos, sin] = [angles.map(Math.cos), angles.map(Math.sin)];
  return { run: run ?? passOfAny, radix, count, stride, cos, sin };
}

/**
 * @param {number} radix @param {number} count of places
 * @returns {number[]} of each place, 1 .. radix - 1 times it
 */
function rootPowers(radix, count) {
  const times = Array.from({ length: radix - 1 }, (_, at) => at + 1);
  return Array.from({ length: count }, (_, place) => times.map((factor) => factor * place)).flat();
}

/** @type {Pass["run"]} */
function pass2({ count, stride, cos, sin }, re, im, toRe, toIm) {
  const apart = count * stride;
  for (let place = 0, at = 0, to = 0; place < count; place++, to += stride) {
    const [c, s] = [cos[place], sin[place]];
    for (const end = at + stride; at < end; at++, to++) {
      const x = re[at] - re[at + apart];
      const y = im[at] - im[at + apart];
      toRe[to] = re[at] + re[at + apart];
      toIm[to] = im[at] + im[at + apart];
      toRe[to + stride] = x * c - y * s;
      toIm[to + stride] = x * s + y * c;
    }
  }
}

/** @type {Pass["run"]} */
function pass3({ count, stride, cos, sin }, re, im, toRe, toIm) {
  const apart = count * stride;
  const height = Math.sqrt(3) / 2;
  for (let place = 0, at = 0, to = 0; place < count; place++, to += 2 * stride) {
    const c1 = cos[2 * place], c2 = cos[2 * place + 1];
    const s1 = sin[2 * place], s2 = sin[2 * place + 1];
    for (const end = at + stride; at < end; at++, to++) {
      const b = at + apart;
      const c = b + apart;
      const sumRe = re[b] + re[c];
      const sumIm = im[b] + im[c];
      const middleRe = re[at] - sumRe / 2;
      const middleIm = im[at] - sumIm / 2;
      const sideRe = height * (im[b] - im[c]);
      const sideIm = height * (re[c] - re[b]);
      toRe[to] = re[at] + sumRe;
      toIm[to] = im[at] + sumIm;
      const x1 = middleRe + sideRe;
      const y1 = middleIm + sideIm;
      toRe[to + stride] = x1 * c1 - y1 * s1;
      toIm[to + stride] = x1 * s1 + y1 * c1;
      const x2 = middleRe - sideRe;
      const y2 = middleIm - sideIm;
      toRe[to + 2 * stride] = x2 * c2 - y2 * s2;
      toIm[to + 2 * stride] = x2 * s2 + y2 * c2;
    }
  }
}

/** @type {Pass["run"]} */
function pass4({ count, stride, cos, sin }, re, im, toRe, toIm) {
  const apart = count * stride;
  for (let place = 0, at = 0, to = 0; place < count; place++, to += 3 * stride) {
    const c1 = cos[3 * place], c2 = cos[3 * place + 1], c3 = cos[3 * place + 2];
    const s1 = sin[3 * place], s2 = sin[3 * place + 1], s3 = sin[3 * place + 2];
    for (const end = at + stride; at < end; at++, to++) {
      const b = at + apart;
      const c = b + apart;
      const d = c + apart;
      const evenRe = re[at] + re[c];
      const evenIm = im[at] + im[c];
      const oddRe = re[b] + re[d];
      const oddIm = im[b] + im[d];
      const lessRe = re[at] - re[c];
      const lessIm = im[at] - im[c];
      const turnedRe = im[b] - im[d];
      const turnedIm = re[d] - re[b];
      toRe[to] = evenRe + oddRe;
      toIm[to] = evenIm + oddIm;
      const x1 = lessRe + turnedRe;
      const y1 = lessIm + turnedIm;
      toRe[to + stride] = x1 * c1 - y1 * s1;
      toIm[to + stride] = x1 * s1 + y1 * c1;
      const x2 = evenRe - oddRe;
      const y2 = evenIm - oddIm;
      toRe[to + 2 * stride] = x2 * c2 - y2 * s2;
      toIm[to + 2 * stride] = x2 * s2 + y2 * c2;
      const x3 = lessRe - turnedRe;
      const y3 = lessIm - turnedIm;
      toRe[to + 3 * stride] = x3 * c3 - y3 * s3;
      toIm[to + 3 * stride] = x3 * s3 + y3 * c3;
    }
  }
}

/** @type {Pass["run"]} */
function pass5({ count, stride, cos, sin }, re, im, toRe, toIm) {
  const apart = count * stride;
  const [near, far] = [Math.cos(2 * Math.PI / 5), Math.cos(4 * Math.PI / 5)];
  const [high, low] = [Math.sin(2 * Math.PI / 5), Math.sin(4 * Math.PI / 5)];
  for (let place = 0, at = 0, to = 0; place < count; place++, to += 4 * stride) {
    const c1 = cos[4 * place], c2 = cos[4 * place + 1],
      c3 = cos[4 * place + 2], c4 = cos[4 * place + 3];
    const s1 = sin[4 * place], s2 = sin[4 * place + 1],
      s3 = sin[4 * place + 2], s4 = sin[4 * place + 3];
    for (const end = at + stride; at < end; at++, to++) {
      const b = at + apart;
      const c = b + apart;
      const d = c + apart;
      const e = d + apart;
      const outerRe = re[b] + re[e];
      const outerIm = im[b] + im[e];
      const innerRe = re[c] + re[d];
      const innerIm = im[c] + im[d];
      const outerX = im[b] - im[e];
      const outerY = re[e] - re[b];
      const innerX = im[c] - im[d];
      const innerY = re[d] - re[c];
      toRe[to] = re[at] + outerRe + innerRe;
      toIm[to] = im[at] + outerIm + innerIm;
      const firstRe = re[at] + near * outerRe + far * innerRe;
      const firstIm = im[at] + near * outerIm + far * innerIm;
      const firstX = high * outerX + low * innerX;
      const firstY = high * outerY + low * innerY;
      const secondRe = re[at] + far * outerRe + near * innerRe;
      const secondIm = im[at] + far * outerIm + near * innerIm;
      const secondX = low * outerX - high * innerX;
      const secondY = low * outerY - high * innerY;
      const x1 = firstRe + firstX;
      const y1 = firstIm + firstY;
      toRe[to + stride] = x1 * c1 - y1 * s1;
      toIm[to + stride] = x1 * s1 + y1 * c1;
      const x2 = secondRe + secondX;
      const y2 = secondIm + secondY;
      toRe[to + 2 * stride] = x2 * c2 - y2 * s2;
      toIm[to + 2 * stride] = x2 * s2 + y2 * c2;
      const x3 = secondRe - secondX;
      const y3 = secondIm - secondY;
      toRe[to + 3 * stride] = x3 * c3 - y3 * s3;
      toIm[to + 3 * stride] = x3 * s3 + y3 * c3;
      const x4 = firstRe - firstX;
      const y4 = firstIm - firstY;
      toRe[to + 4 * stride] = x4 * c4 - y4 * s4;
      toIm[to + 4 * stride] = x4 * s4 + y4 * c4;
    }
  }
}

/** By the definition. @type {Pass["run"]} */
function passOfAny({ radix, count, stride, cos, sin }, re, im, toRe, toIm) {
  toRe.fill(0);
  toIm.fill(0);
  for (let place = 0, to = 0; place < count; place++) {
    for (let times = 0; times < radix; times++, to += stride) {
      for (let index = place; index < radix * count; index += count) {
        const power = (times * index) % (radix * count);
        addTurned(re, im, index * stride, toRe, toIm, to, stride, cos[power], sin[power]);
      }
    }
  }
}

/**
 * @param {Float64Array} re @param {Float64Array} im @param {number} at
 * @param {Float64Array} toRe @param {Float64Array} toIm @param {number} to
 * @param {number} count @param {number} cos @param {number} sin
 */
function addTurned(re, im, at, toRe, toIm, to, count, cos, sin) {
  for (let index = 0; index < count; index++) {
    toRe[to + index] += re[at + index] * cos - im[at + index] * sin;
    toIm[to + index] += re[at + index] * sin + im[at + index] * cos;
  }
}
