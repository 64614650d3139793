// @ts-check
// From a draft to a job: what is sent, and again if the connection is lost, and whose fault an error is.

import { ApiError, ConnectionLost, paintHere, sendJob } from "./api.js";
import { maskFile } from "./masks.js";
import { duration } from "./text.js";

/** Seconds between tries while the server cannot be reached. */
const WAITS = [1, 2, 4, 8];

/** @returns {string} not crypto.randomUUID, which is only there over https */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What was asked for when the connection got lost: if it is asked for again, it is the same request. */
let lost = { version: -1, key: "" };

/**
 * @param {import("./draft.js").Draft} draft
 * @param {(text: string, share: number|null) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<import("./api.js").Job>}
 */
export async function submit(draft, onProgress, signal) {
  const { version } = draft;
  const key = lost.version === version ? lost.key : newKey();
  const form = await toForm(draft);
  if (draft.places.now === "here") return paintHere(form);
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await sendJob(form, key, (share) => onProgress(share < 1 ? "Sending" : "Starting", share), signal);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
      lost = { version, key };
      if (attempt === WAITS.length) throw error;
      onProgress("Connection lost, trying again", null);
      await wait(WAITS[attempt], signal);
    }
  }
}

/** @param {number} seconds @param {AbortSignal} signal @returns {Promise<void>} */
function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** @param {import("./draft.js").Draft} draft @returns {Promise<FormData>} */
async function toForm(draft) {
  const content = /** @type {import("./pictures.js").Picture} */ (draft.content);
  /** @type {[string, Blob, string][]} */
  const parts = [];
  const picture = (/** @type {string} */ name, /** @type {import("./pictures.js").Picture|null} */ chosen) => {
    if (!chosen) return null;
    parts.push([name, chosen.file, chosen.name]);
    return name;
  };
  const mask = async (/** @type {string} */ name, /** @type {HTMLCanvasElement|null} */ drawn, /** @type {any} */ base) => {
    if (!drawn || !base) return null;
    parts.push([name, await maskFile(drawn, base.width ? base : drawn), `${name}.png`]);
    return name;
  };
  const job = {
    recipe: draft.options.recipe,
    options: withWeights(draft),
    content: picture("content", content),
    styles: draft.styles.map((style, at) => picture(`style-${at + 1}`, style.picture)),
    regions: await Promise.all(draft.regions.map(async (region, at) => ({
      mask: await mask(`region-${at + 1}-mask`, region.mask, content),
      style: region.kept ? null : picture(`region-${at + 1}-style`, region.style),
      style_mask: region.kept ? null : await mask(`region-${at + 1}-style-mask`, region.styleMask, region.style),
    }))),
    protect: await mask("protect", draft.protect, content),
    start: picture("start", draft.start),
  };
  const form = new FormData();
  form.append("job", JSON.stringify(job));
  for (const [name, file, filename] of parts) form.append(name, file, filename);
  return form;
}

/** @param {import("./draft.js").Draft} draft */
function withWeights({ options, styles }) {
  const sent = options.sent();
  const weights = styles.map(({ weight }) => weight);
  if (weights.some((weight) => weight !== weights[0])) sent.style_weights = weights;
  return sent;
}

/**
 * Finds where a message belongs.
 * @param {unknown} error
 * @param {import("./draft.js").Draft} draft
 * @returns {{place: string, message: string}}
 */
export function placed(error, draft) {
  if (!(error instanceof ApiError)) {
    const known = error instanceof ConnectionLost;
    return { place: "paint", message: known ? "The server cannot be reached. Nothing is lost; try again." : String(error) };
  }
  if (error.retryAfter !== null) {
    return { place: "paint", message: `${sentence(error.message)} Try again in ${duration(error.retryAfter)}.` };
  }
  return { place: place(error.message, draft), message: sentence(error.message) };
}

/** @param {string} message @param {import("./draft.js").Draft} draft */
function place(message, draft) {
  const properties = draft.options.schema.properties;
  const option = (message.match(/\w+/g) ?? []).find((word) => word in properties);
  if (message.startsWith(option ?? "\0")) return `option:${option}`;
  const region = /region[^0-9a-z]*(\d+)/i.exec(message);
  if (region && draft.regions[Number(region[1]) - 1]) return `region-${region[1]}`;
  const style = /style[^0-9a-z]*(\d+)/i.exec(message);
  if (style && draft.styles[Number(style[1]) - 1]) return `style-${style[1]}`;
  const named = /\b(content|styles?|protect|start)\b/i.exec(message);
  if (named) return named[1].toLowerCase().replace(/^style$/, "styles");
  return option ? `option:${option}` : "paint";
}

/** @param {string} text */
function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
