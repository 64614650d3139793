// @ts-check
// Finds out where one can paint: a server answers to v1/limits, and web/ has what paints here.

import { answerHere, ApiError, ConnectionLost, json } from "./api.js";
import { Here } from "./here.js";
import { knownIds } from "./history.js";
import { Kept } from "./kept.js";
import { Studio } from "./studio.js";

/** @typedef {import("./places.js").Told} Told */

const RETRY = 3;
const TRIES = 3;
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
    const here = facts && ABLE ? await openHere(facts, notice).catch(() => null) : null;
    const found = { here, server: server.told };
    if (server.passing) {
      notice("The server does not answer, trying again");
      await new Promise((resolve) => setTimeout(resolve, RETRY * 1000));
      continue;
    }
    if (found.here || found.server) {
      notice("");
      return found;
    }
    if (facts && ABLE) notice("What paints in the browser cannot be loaded, trying again");
    else if (facts) notice("To paint in the browser, this page must come by https, and the browser be a current one");
    else notice(server.refused ? "A token is needed; reload to give one" : "The server does not answer, trying again");
    if (server.refused) throw server.refused;
    await new Promise((resolve) => setTimeout(resolve, RETRY * 1000));
  }
}

/**
 * What there is of a server: an answer that is none, as of a server of files, says that there is none.
 * @returns {Promise<{told: Told|null, refused: ApiError|null, passing: boolean}>}
 */
async function findServer() {
  try {
    // First one alone: where there is no server, it is not asked for the others.
    const limits = await json("v1/limits");
    const [recipes, schema] = await Promise.all([json("v1/recipes"), json("v1/options")]);
    return { told: { limits, recipes, schema, against: () => [] }, refused: null, passing: false };
  } catch (error) {
    const absent = error instanceof ApiError || error instanceof ConnectionLost || error instanceof SyntaxError;
    if (!absent) throw error;
    const status = error instanceof ApiError ? error.status : 0;
    const refused = error instanceof ApiError && status === 401 ? error : null;
    return { told: null, refused, passing: status === 429 || status >= 500 };
  }
}

/** @returns {Promise<any>} what there is to paint with, or null */
async function findFacts() {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await fetch(new URL("ortist.json", FOLDER), { cache: "no-cache" });
      if (response.ok) return await response.json();
      if (response.status < 500) return null;
    } catch (error) {
      if (error instanceof SyntaxError) return null; // a page, of a server that has one for all that is not there
    }
    if (attempt === TRIES) return null;
    await new Promise((resolve) => setTimeout(resolve, 500));
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
  const kept = new Kept((full) => notice(`This browser ${full ? "has no room for more paintings: remove some, and" : "does not keep paintings:"} save those that you want to keep`));
  const studio = new Studio({ Painter, planOf, hasGraphs, withOptions, facts }, kept);
  studio.tidy(knownIds()).catch(() => {});
  const here = new Here(studio);
  answerHere((path, init) => here.answer(path, init));
  return here.told;
}
