// @ts-check
// Saves a painting. By fetch, since a link can send no token.

import { jobPath, request } from "./api.js";
import { placeOf } from "./places.js";

/** @typedef {{label: string, query: string, ending: string}} Format */

/** @type {Format[]} */
const BOTH = [
  { label: "PNG", query: "format=png", ending: "png" },
  { label: "JPEG", query: "format=jpg&quality=95", ending: "jpg" },
];
/** @type {Format[]} */
const SERVER = [
  { label: "PNG, 16 bits", query: "format=png&bits=16", ending: "png" },
  { label: "TIFF, 16 bits", query: "format=tiff&bits=16", ending: "tiff" },
];

/** @type {Format[]} */
const HERE = [{ label: "WebP", query: "format=webp&quality=95", ending: "webp" }];

/** @param {string} id of the job @returns {Format[]} the best first */
export function formatsOf(id) {
  return [...BOTH, ...(placeOf(id) === "here" ? HERE : SERVER)];
}

/**
 * @param {string} id of the job
 * @param {Format} format
 * @param {string} name of the file, without its ending
 */
export async function download(id, { query, ending }, name) {
  const response = await request(`${jobPath(id)}/result?${query}`);
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
