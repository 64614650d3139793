// @ts-check
// Pictures in other sizes, with the values that the engine has by Pillow: rows are resampled first,
// and then the columns of what that is rounded to.

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").Pixels} Pixels */
/** @typedef {{reach: number, at: (distance: number) => number}} Filter */
/** @typedef {{first: number, weights: Float64Array}} Taps what one position is the mean of */

/** @type {Filter} */
const LINEAR = { reach: 1, at: (distance) => Math.max(0, 1 - Math.abs(distance)) };
/** @type {Filter} */
const CUBIC = { reach: 2, at: (distance) => cubic(Math.abs(distance)) };
/** @type {Filter} */
const LANCZOS = {
  reach: 3,
  at: (distance) => (-3 <= distance && distance < 3 ? sinc(distance) * sinc(distance / 3) : 0),
};
/** Weights of bytes are multiples of the inverse of this. */
const FIXED_POINT = 2 ** 22;

/**
 * Returns a picture, or planes (1, n, height, width), in another size: cubic or linear, unclipped.
 * In its own size it is itself.
 *
 * @param {Picture} picture @param {number} width @param {number} height
 * @param {{linear?: boolean}} [how] @returns {Picture}
 */
export function resizePicture(picture, width, height, { linear = false } = {}) {
  const [, planes, rows, columns] = picture.dims;
  const filter = linear ? LINEAR : CUBIC;
  const across = resampled(picture.data, planes * rows, columns, 1, width, filter);
  const data = resampled(across, planes, rows, width, height, filter);
  return data === picture.data ? picture : { data, dims: [1, planes, height, width] };
}

/**
 * Returns bytes, (rows, columns, channels), in another size, by a Lanczos filter. In their own size
 * they are themselves.
 *
 * @param {Pixels} pixels @param {number} width @param {number} height @returns {Pixels}
 */
export function resizePixels(pixels, width, height) {
  const [rows, columns, channels] = pixels.dims;
  const across = resampled(pixels.data, rows, columns, channels, width, LANCZOS);
  const data = resampled(across, 1, rows, width * channels, height, LANCZOS);
  return { data, dims: [height, width, channels] };
}

/**
 * Resamples the second axis of (outer, length, inner).
 *
 * @template {Float32Array | Uint8Array | Uint8ClampedArray} T
 * @param {T} data
 * @param {number} outer @param {number} length @param {number} inner
 * @param {number} size what the length becomes
 * @param {Filter} filter
 * @returns {T}
 */
function resampled(data, outer, length, inner, size, filter) {
  if (size === length) return data;
  const bytes = !(data instanceof Float32Array);
  const taps = tapsOf(length, size, filter, bytes);
  const result = bytes
    ? new Uint8ClampedArray(outer * size * inner) : new Float32Array(outer * size * inner);
  const sums = new Float64Array(inner);
  for (let line = 0, to = 0; line < outer; line++) {
    for (let place = 0; place < size; place++, to += inner) {
      sums.fill(bytes ? 0.5 : 0);
      const { first, weights } = taps[place];
      addWeighted(sums, data, (line * length + first) * inner, weights);
      for (let at = 0; at < inner; at++) result[to + at] = bytes ? Math.floor(sums[at]) : sums[at];
    }
  }
  return /** @type {T} */ (result);
}

/**
 * @param {Float64Array} sums @param {ArrayLike<number>} data @param {number} from
 * @param {Float64Array} weights
 */
function addWeighted(sums, data, from, weights) {
  for (let tap = 0; tap < weights.length; tap++) {
    const weight = weights[tap];
    for (let at = 0; at < sums.length; at++, from++) sums[at] += weight * data[from];
  }
}

/**
 * @param {number} length @param {number} size @param {Filter} filter
 * @param {boolean} rounded whether weights are those of bytes
 * @returns {Taps[]}
 */
function tapsOf(length, size, filter, rounded) {
  const scale = length / size;
  const widened = Math.max(scale, 1);
  const reach = filter.reach * widened;
  return Array.from({ length: size }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const end = Math.min(length, Math.trunc(center + reach + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, tap) =>
      filter.at((tap + first - center + 0.5) * (1 / widened)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const shares = weights.map((weight) => weight / sum);
    return { first, weights: rounded ? shares.map(fixed) : shares };
  });
}

/** @param {number} weight */
function fixed(weight) {
  return Math.trunc(FIXED_POINT * weight + (weight < 0 ? -0.5 : 0.5)) / FIXED_POINT;
}

/** @param {number} distance not negative */
function cubic(distance) {
  const a = -0.5;
  if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  return distance < 2 ? (((distance - 5) * distance + 8) * distance - 4) * a : 0;
}

/** @param {number} distance */
function sinc(distance) {
  return distance === 0 ? 1 : Math.sin(distance * Math.PI) / (distance * Math.PI);
}
