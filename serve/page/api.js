// @ts-check
// Requests to the server, and to what paints here as if it were one. Addresses are relative: the app
// may be mounted anywhere.

import { placeOf } from "./places.js";
import { askToken, authorization } from "./token.js";

/**
 * @typedef {{width: number, height: number, steps: number}} Scale
 * @typedef {{step: number, steps: number, scale: number, scales: number, width: number, height: number,
 *   costs: Record<string, number>, seconds_left: number|null, preview: number|null}} Step
 * @typedef {{id: string, state: "queued"|"running"|"paused"|"done"|"canceled"|"failed", error: string|null,
 *   position: number|null, created: string, started: string|null, ended: string|null, recipe: string,
 *   options: Record<string, any>, inputs: string[],
 *   regions: {mask: string, style: string|null, style_mask: string|null}[],
 *   plan: {width: number, height: number, steps: number, peak_bytes: number|null, tile: number, scales: Scale[]},
 *   progress: Step|null, preview: number|null, result: boolean,
 *   loading?: {loaded: number, total: number}|null, threads?: number|null, page?: string,
 *   elsewhere?: boolean}} Job loading, threads, page (that of the browser that paints it) and whether that is another
 *   than this: of what is painted here, of which peak_bytes is not known
 * @typedef {{upload_bytes: number, picture_pixels: number, painted_pixels: number, styles: number,
 *   regions: number, steps: number, seconds: number, queued: number, jobs_per_client: number,
 *   kept_seconds: number}} Limits
 * @typedef {{name: string, about: string, options: Record<string, any>}} Recipe
 * @typedef {{method?: string, headers?: Record<string, string>, signal?: AbortSignal, body?: FormData}} Init
 * @typedef {(path: string, init: Init) => Promise<Response>} Service
 */

/** The server said no. */
export class ApiError extends Error {
  /** @param {number} status @param {string} detail @param {number|null} retryAfter in seconds */
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Nothing came back. */
export class ConnectionLost extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

/** @type {Service|null} */
let here = null;

/** @param {Service} answer to requests for what is painted in this browser */
export function answerHere(answer) {
  here = answer;
}

/** @param {Job} job @returns {boolean} whether nothing more will happen to it */
export function isFinal(job) {
  return ["done", "canceled", "failed"].includes(job.state);
}

/** @param {string} id @returns {string} */
export function jobPath(id) {
  return `v1/jobs/${encodeURIComponent(id)}`;
}

/**
 * Sends a request; asks for a token if the server wants one, and tries again.
 * @param {string} path
 * @param {{method?: string, headers?: Record<string, string>, signal?: AbortSignal}} [init]
 * @returns {Promise<Response>} with a status below 400
 */
export async function request(path, { headers = {}, ...init } = {}) {
  if (here && isHere(path)) return checked(await here(path, { headers, ...init }));
  const token = authorization();
  const response = await reach(path, { ...init, headers: { ...headers, ...token } });
  if (response.status === 401 && await askToken(token)) return request(path, { headers, ...init });
  return checked(response);
}

/** @param {string} path */
function isHere(path) {
  return path.startsWith("v1/jobs/") && placeOf(path.slice("v1/jobs/".length)) === "here";
}

/** @param {Response} response */
async function checked(response) {
  if (response.status >= 400) throw await refusal(response);
  return response;
}

/**
 * @param {string} path
 * @param {{method?: string, signal?: AbortSignal}} [init]
 * @returns {Promise<any>} what the server's JSON says
 */
export async function json(path, init) {
  return (await request(path, init)).json();
}

/** @param {string} path @param {RequestInit} init */
async function reach(path, init) {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ConnectionLost();
  }
}

/** @param {Response} response */
async function refusal(response) {
  const text = await response.text().catch(() => "");
  return toError(response.status, text, response.headers.get("Retry-After"));
}

/** @param {number} status @param {string} text @param {string|null} retryAfter */
function toError(status, text, retryAfter) {
  let detail = `The server answered with error ${status}.`;
  try {
    const told = JSON.parse(text).detail;
    if (typeof told === "string") detail = told;
  } catch {
    // A proxy's page: the status has to do.
  }
  const seconds = Number(retryAfter);
  return new ApiError(status, detail, retryAfter && Number.isFinite(seconds) ? seconds : null);
}

/** Has a job painted here. @param {FormData} form @returns {Promise<Job>} */
export async function paintHere(form) {
  const answer = /** @type {Service} */ (here);
  return (await checked(await answer("v1/jobs", { method: "POST", body: form }))).json();
}

/**
 * Sends a job. XMLHttpRequest, since fetch does not tell how much is sent.
 * @param {FormData} form
 * @param {string} key the same for each try, so that no try makes a second job
 * @param {(share: number) => void} onProgress 0..1
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export async function sendJob(form, key, onProgress, signal) {
  const token = authorization();
  try {
    return await upload(form, { ...token, "Idempotency-Key": key }, onProgress, signal);
  } catch (error) {
    const refused = error instanceof ApiError && error.status === 401;
    if (refused && await askToken(token)) return sendJob(form, key, onProgress, signal);
    throw error;
  }
}

/**
 * @param {FormData} form
 * @param {Record<string, string>} headers
 * @param {(share: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
function upload(form, headers, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", "v1/jobs");
    for (const [name, value] of Object.entries(headers)) sending.setRequestHeader(name, value);
    sending.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    sending.onerror = () => reject(new ConnectionLost());
    sending.onabort = () => reject(signal.reason);
    sending.onload = () => {
      if (sending.status < 400) return resolve(JSON.parse(sending.responseText));
      reject(toError(sending.status, sending.responseText, sending.getResponseHeader("Retry-After")));
    };
    signal.addEventListener("abort", () => sending.abort());
    sending.send(form);
  });
}
