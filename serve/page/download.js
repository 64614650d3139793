// @ts-check
// Saves a painting. By fetch, since a link can send no token.

import { jobPath, request } from "./api.js";

/** @type {{label: string, query: string, ending: string}[]} */
export const FORMATS = [
  { label: "PNG", query: "format=png", ending: "png" },
  { label: "JPEG", query: "format=jpg&quality=95", ending: "jpg" },
  { label: "PNG, 16 bits", query: "format=png&bits=16", ending: "png" },
  { label: "TIFF, 16 bits", query: "format=tiff&bits=16", ending: "tiff" },
];

/**
 * @param {string} id of the job
 * @param {{query: string, ending: string}} format
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
