// @ts-check
// What the picture is compared with, measured of content and styles. See engine/targets.py.

import { match } from "./neighbors.js";
import { mean, settle } from "./settle.js";

/** @typedef {import("./sessions.js").Device} Device */
/** @typedef {import("./sessions.js").Graph} Graph */
/** @typedef {import("./sessions.js").Tensor} Tensor */
/** @typedef {import("./objective.js").Part} Part */
/** @typedef {Record<string, Tensor>} Statistics by their names within a part */
/** @typedef {{pixels: Tensor, share: number}} Style */

/**
 * Returns the targets of all parts, by the names that graphs take them by.
 *
 * @param {Device} device
 * @param {Graph} measure graph of the statistics of all parts
 * @param {readonly Part[]} parts
 * @param {{content: Tensor, styles: Style[]}} scene in the size to paint
 * @param {Tensor} query what styles are matched with
 * @param {AbortSignal} [signal]
 */
export async function settleTargets(device, measure, parts, { content, styles }, query, signal) {
  const { constants } = device.artifacts.facts;
  const from = (/** @type {string} */ source) => parts.filter((part) => part.source === source);
  const [kept, blended, matched] = ["content", "style", "match"].map(from);
  const seen = await measured(measure, kept, content);
  const sought = await measured(measure, matched, query);
  const found = [];
  for (const { pixels } of styles) {
    signal?.throwIfAborted();
    found.push(await measured(measure, [...blended, ...matched], pixels));
  }
  /** @type {Record<string, Tensor>} */
  const targets = {};
  const add = (/** @type {Part} */ part, /** @type {Statistics} */ own) => {
    for (const [name, value] of Object.entries(own)) targets[`target/${part.name}/${name}`] = value;
  };
  const shares = styles.map(({ share }) => share);
  for (const part of kept) add(part, settle(part.term, seen[part.name], constants.gaussian));
  for (const part of blended) {
    const own = mean(found.map((one) => one[part.name]), shares);
    add(part, settle(part.term, own, constants.gaussian));
  }
  for (const part of matched) {
    const own = found.filter((_, index) => shares[index] > 0).map((one) => one[part.name]);
    add(part, await match(sought[part.name], own, device, constants.neighbors, signal));
  }
  return targets;
}

/**
 * Returns what parts measure of a picture, by their names.
 *
 * @param {Graph} graph @param {readonly Part[]} parts @param {Tensor} picture
 */
async function measured(graph, parts, picture) {
  /** @type {Record<string, Statistics>} */
  const own = Object.fromEntries(parts.map((part) => [part.name, {}]));
  const split = (/** @type {string} */ output) => {
    const end = output.lastIndexOf("/");
    return [output.slice(0, end), output.slice(end + 1)];
  };
  const names = graph.outputs.filter((output) => split(output)[0] in own);
  if (!names.length) return own;
  const found = await graph.run(names, { image: picture });
  for (const output of names) {
    const [part, name] = split(output);
    own[part][name] = found[output];
  }
  return own;
}
