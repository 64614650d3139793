// @ts-check
// Finds out where one can paint: a server answers to v1/limits, and web/ has what paints here.

import { answerHere, ApiError, ConnectionLost, json } from "./api.js";
import { Here } from "./here.js";
import { Kept } from "./kept.js";
import { Studio } from "./studio.js";

/** @typedef {import("./places.js").Told} Told */

const RETRY = 3;
const FOLDER = new URL("web/", document.baseURI);
/** Without these nothing is computed, checked or turned into a file here. */
const ABLE = isSecureContext && "WebAssembly" in globalThis && "OffscreenCanvas" in globalThis && "locks" in navigator;

/**
 * Asks until there is a place.
 * @param {(text: string) => void} notice
 * @returns {Promise<{here: Told|null, server: Told|null}>}
 */
export async function findPlaces(notice) {
  for (;;) {
    const [facts, server] = await Promise.all([findFacts(), findServer()]);
    const found = { here: facts && ABLE ? await openHere(facts, notice) : null, server: server.told };
    if (found.here || found.server) {
      notice("");
      return found;
    }
    if (facts) notice("To paint in the browser, this page must come by https, and the browser be a current one");
    else notice(server.refused ? "A token is needed; reload to give one" : "The server does not answer, trying again");
    if (server.refused) throw server.refused;
    await new Promise((resolve) => setTimeout(resolve, RETRY * 1000));
  }
}

/** @returns {Promise<{told: Told|null, refused: ApiError|null}>} */
async function findServer() {
  try {
    // First one alone: where there is no server, it is not asked for the others.
    const limits = await json("v1/limits");
    const [recipes, schema] = await Promise.all([json("v1/recipes"), json("v1/options")]);
    return { told: { limits, recipes, schema, against: () => [] }, refused: null };
  } catch (error) {
    const absent = error instanceof ApiError || error instanceof ConnectionLost || error instanceof SyntaxError;
    if (!absent) throw error;
    return { told: null, refused: error instanceof ApiError && error.status === 401 ? error : null };
  }
}

/** @returns {Promise<any>} what there is to paint with, or null */
async function findFacts() {
  try {
    const response = await fetch(new URL("ortist.json", FOLDER));
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/**
 * @param {any} facts
 * @param {(text: string) => void} notice
 * @returns {Promise<Told>}
 */
async function openHere(facts, notice) {
  const [{ Painter }, { planOf, hasGraphs }, { withOptions }] = await Promise.all(
    ["painter.js", "plan.js", "options.js"].map((file) => import(new URL(file, FOLDER).href)));
  const kept = new Kept(() => notice("This browser does not keep paintings: save those that you want to keep"));
  const here = new Here(new Studio({ Painter, planOf, hasGraphs, withOptions, facts }, kept));
  answerHere((path, init) => here.answer(path, init));
  return here.told;
}
