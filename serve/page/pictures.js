// @ts-check
// Pictures that the user chose. What is too large is refused here, before it is sent.

import { bytes, megapixels } from "./text.js";

/**
 * @typedef {{file: Blob, name: string, url: string, width: number, height: number}} Picture
 *   width and height are 0 if this browser cannot show it (the server may be able to read it)
 */

/** The user's picture is refused, and why. */
export class PictureError extends Error {}

/**
 * @param {File|Blob} file
 * @param {import("./api.js").Limits} limits
 * @param {string} [name]
 * @returns {Promise<Picture>}
 */
export async function readPicture(file, limits, name = file instanceof File ? file.name : "picture") {
  if (file.type && !file.type.startsWith("image/")) throw new PictureError(`${name} is not a picture.`);
  if (!file.size) throw new PictureError(`${name} is empty.`);
  if (file.size > limits.upload_bytes) {
    throw new PictureError(`${name} has ${bytes(file.size)}, accepted are up to ${bytes(limits.upload_bytes)}.`);
  }
  const url = URL.createObjectURL(file);
  const { width, height } = await sides(url);
  if (width * height > limits.picture_pixels) {
    URL.revokeObjectURL(url);
    throw new PictureError(`${name} has ${megapixels(width * height)}, accepted are up to ${megapixels(limits.picture_pixels)}.`);
  }
  return { file, name, url, width, height };
}

/** @param {string} url @returns {Promise<{width: number, height: number}>} as it is seen, turned upright */
function sides(url) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => resolve({ width: 0, height: 0 });
    image.src = url;
  });
}

/** @param {Picture|null} picture */
export function release(picture) {
  if (picture) URL.revokeObjectURL(picture.url);
}

/** @param {Picture} picture @returns {Promise<HTMLImageElement>} ready to be drawn */
export async function toImage(picture) {
  const image = new Image();
  image.src = picture.url;
  await image.decode();
  return image;
}

/** @param {DataTransfer|null} data @returns {File[]} */
export function filesOf(data) {
  return data ? [...data.files] : [];
}
