// @ts-check
// Files of pictures to pixels, by what the browser can read.

import { InputError } from "./errors.js";

/** @typedef {import("./picture.js").Pixels} Pixels */

/** Most pixels of a canvas in all browsers; more than any picture that is painted here. */
const MOST_PIXELS = 16_000_000;

/**
 * Returns a picture as it is meant to be seen: upright, in sRGB, on white where it is transparent.
 *
 * @param {Blob} file
 * @param {string} name what messages call it
 * @returns {Promise<Pixels>} with three channels
 */
export async function decoded(file, name) {
  const bitmap = await bitmapOf(file).catch(() => {
    throw new InputError(`${name} is no picture that this browser can read, as JPEG, PNG and WebP`);
  });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new InputError(`${name} is too large for this browser: ${width}x${height} pixels`);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  canvas.width = canvas.height = 0; // whose memory some browsers keep
  const pixels = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    for (let channel = 0; channel < 3; channel++) pixels[to++] = data[from + channel];
  }
  return { data: pixels, dims: [height, width, 3] };
}

/** Returns a picture, upright, in a smaller size if it is large. @param {Blob} file */
async function bitmapOf(file) {
  const bitmap = await createImageBitmap(file);
  const factor = Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height));
  if (factor >= 1) return bitmap;
  const resizeWidth = Math.round(bitmap.width * factor);
  const resizeHeight = Math.round(bitmap.height * factor);
  const smaller = await createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: "high" });
  bitmap.close();
  return smaller;
}
