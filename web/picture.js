// @ts-check
// Pictures: as optimizers have them, and as screens and files do.

/**
 * @typedef {{data: Float32Array, dims: number[]}} Picture
 * float32 (1, 3, height, width): planes of red, green and blue, nominally 0..255
 */
/**
 * @typedef {{data: Uint8Array | Uint8ClampedArray, dims: number[]}} Pixels
 * uint8 (height, width, channels)
 */
/**
 * @typedef {{data: Float32Array, dims: number[]}} Mask
 * how much each pixel counts, 0..1, (height, width)
 */

/** @param {Picture} picture @returns {[number, number]} its width and height */
export function sizeOf({ dims: [, , height, width] }) {
  return [width, height];
}

/** @param {number} value @param {number} lowest @param {number} highest */
export function clipped(value, lowest, highest) {
  // Unlike Math.min and Math.max, it is quick.
  return value < lowest ? lowest : value > highest ? highest : value;
}

/** @param {Pixels} pixels with three channels @returns {Picture} with the same values */
export function toPicture({ data, dims: [height, width] }) {
  const count = height * width;
  const planes = new Float32Array(3 * count);
  for (let at = 0, from = 0; at < count; at++) {
    for (let channel = 0; channel < 3; channel++, from++) planes[channel * count + at] = data[from];
  }
  return { data: planes, dims: [1, 3, height, width] };
}

/**
 * Returns a picture rounded and clipped to 0..255.
 *
 * @param {Picture} picture @returns {{data: Uint8ClampedArray, dims: number[]}}
 */
export function toPixels(picture) {
  const [width, height] = sizeOf(picture);
  const count = width * height;
  // Which rounds halves to even and clips by itself.
  const pixels = new Uint8ClampedArray(3 * count);
  for (let at = 0, to = 0; at < count; at++) {
    for (let channel = 0; channel < 3; channel++, to++) {
      pixels[to] = picture.data[channel * count + at];
    }
  }
  return { data: pixels, dims: [height, width, 3] };
}
