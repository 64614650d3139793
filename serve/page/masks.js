// @ts-check
// Masks: canvases that are white where the mask is and transparent elsewhere.

import { PictureError, toImage } from "./pictures.js";

const LONGEST = 1024;
/** The server accepts masks whose proportions differ by this much. */
const ASPECT_TOLERANCE = 0.05;

/** @typedef {HTMLCanvasElement} Mask */

/** @param {number} width @param {number} height @returns {CanvasRenderingContext2D} */
function blank(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return context(canvas);
}

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
export function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}

/** @param {{width: number, height: number}} picture @returns {Mask} empty, with the picture's proportions */
export function emptyMask(picture) {
  const factor = Math.min(1, LONGEST / Math.max(picture.width, picture.height));
  const side = (/** @type {number} */ length) => Math.max(1, Math.round(length * factor));
  return blank(side(picture.width), side(picture.height)).canvas;
}

/** @param {Mask} mask @returns {Mask} */
export function copyMask(mask) {
  const copy = blank(mask.width, mask.height);
  copy.drawImage(mask, 0, 0);
  return copy.canvas;
}

/** @param {Mask} mask @returns {boolean} */
export function isEmpty(mask) {
  const { data } = context(mask).getImageData(0, 0, mask.width, mask.height);
  for (let at = 3; at < data.length; at += 4) if (data[at]) return false;
  return true;
}

/**
 * @param {{width: number, height: number}} one
 * @param {{width: number, height: number}} other
 * @returns {boolean} whether a mask of one is good for the other
 */
export function fits(one, other) {
  const ratio = (one.width / one.height) / (other.width / other.height);
  return Math.abs(Math.log(ratio)) < Math.log(1 + ASPECT_TOLERANCE);
}

/** @param {Mask} mask @param {{width: number, height: number}} picture @returns {Mask} stretched to it */
export function fitted(mask, picture) {
  const target = emptyMask(picture);
  context(target).drawImage(mask, 0, 0, target.width, target.height);
  return target;
}

/**
 * Makes a mask of a picture: its lightness, where it is not transparent.
 * @param {import("./pictures.js").Picture} source
 * @param {{width: number, height: number}} picture what it is a mask of
 * @returns {Promise<Mask>}
 */
export async function maskOf(source, picture) {
  if (!source.width) throw new PictureError(`${source.name} cannot be shown by this browser.`);
  if (!fits(source, picture)) {
    throw new PictureError(`${source.name} is ${source.width} × ${source.height}, accepted are the proportions of the picture, ${picture.width} × ${picture.height}.`);
  }
  const mask = emptyMask(picture);
  const drawing = context(mask);
  drawing.drawImage(await toImage(source), 0, 0, mask.width, mask.height);
  const pixels = drawing.getImageData(0, 0, mask.width, mask.height);
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    const lightness = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
    data[at + 3] *= lightness / 255;
    data[at] = data[at + 1] = data[at + 2] = 255;
  }
  drawing.putImageData(pixels, 0, 0);
  return mask;
}

/** @param {Mask} mask @param {{width: number, height: number}} picture @returns {Promise<Blob>} a PNG, white on black */
export function maskFile(mask, picture) {
  const { width, height } = emptyMask(picture);
  const drawing = blank(width, height);
  drawing.fillRect(0, 0, width, height);
  drawing.drawImage(mask, 0, 0, width, height);
  return new Promise((resolve, reject) => {
    drawing.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The mask cannot be written."))), "image/png");
  });
}

/**
 * Draws the mask in the color that shows it.
 * @param {CanvasRenderingContext2D} target
 * @param {Mask} mask
 */
export function showMask(target, mask) {
  const { width, height } = target.canvas;
  target.globalCompositeOperation = "copy";
  target.drawImage(mask, 0, 0, width, height);
  target.globalCompositeOperation = "source-in";
  target.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--mask");
  target.fillRect(0, 0, width, height);
}
