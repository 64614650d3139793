// @ts-check
// Follows a job. By fetch, since EventSource can send no token.

import { ApiError, isFinal, jobPath, request } from "./api.js";

const FIRST_WAIT = 1;
const LONGEST_WAIT = 30;
/** The server says something at least every 15 s; after this a connection counts as dead. */
const SILENCE = 40;
/** A connection that held this long was a good one: the next wait is short again. */
const GOOD = 5;

/**
 * @typedef {{onJob: (job: import("./api.js").Job) => void, onStep: (step: import("./api.js").Step) => void,
 *   onConnection: (seconds: number|null) => void, onEnd: (error: ApiError|null) => void}} Listeners
 *   onConnection tells the seconds until the next try, or null when there is a connection; onEnd comes
 *   once, with the reason if the server refuses.
 */

/**
 * @param {string} id of the job
 * @param {Listeners} listeners
 * @returns {() => void} ends it
 */
export function follow(id, listeners) {
  const stop = new AbortController();
  keepConnected(id, listeners, stop.signal);
  return () => stop.abort();
}

/** @param {string} id @param {Listeners} listeners @param {AbortSignal} stop */
async function keepConnected(id, listeners, stop) {
  const place = { last: "" };
  let wait = FIRST_WAIT;
  while (!stop.aborted) {
    await seen(stop);
    const begun = performance.now();
    let told = null;
    try {
      if (await connection(id, place, listeners, stop)) return listeners.onEnd(null);
    } catch (error) {
      if (stop.aborted) return;
      if (document.hidden) continue;
      if (error instanceof ApiError) {
        if (!isPassing(error)) return listeners.onEnd(error);
        told = error.retryAfter;
      }
    }
    if (performance.now() - begun > GOOD * 1000) wait = FIRST_WAIT;
    listeners.onConnection(told ?? wait);
    await pause(told ?? wait, stop);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

/** @param {ApiError} error */
function isPassing(error) {
  return error.status === 429 || error.status >= 500;
}

/**
 * One connection, from where the last one ended.
 * @param {string} id
 * @param {{last: string}} place
 * @param {Listeners} listeners
 * @param {AbortSignal} stop
 * @returns {Promise<boolean>} whether the job ended
 */
async function connection(id, place, listeners, stop) {
  const cut = new AbortController();
  const silence = watchdog(() => cut.abort());
  const leave = () => document.hidden && cut.abort();
  document.addEventListener("visibilitychange", leave);
  try {
    const response = await request(`${jobPath(id)}/events`, {
      headers: { Accept: "text/event-stream", ...(place.last ? { "Last-Event-ID": place.last } : {}) },
      signal: AbortSignal.any([stop, cut.signal]),
    });
    listeners.onConnection(null);
    const chunks = /** @type {ReadableStream<BufferSource>} */ (response.body);
    let ended = false;
    for await (const event of parse(chunks, silence.reset)) {
      if (stop.aborted) return false;
      if (event.id) place.last = event.id;
      ended = take(event, listeners, ended);
    }
    return ended;
  } finally {
    silence.end();
    document.removeEventListener("visibilitychange", leave);
  }
}

/**
 * Waits until the page is seen: browsers have six connections to a server, and many tabs would take them all.
 * @param {AbortSignal} stop
 */
function seen(stop) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !stop.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve(undefined);
    };
    document.addEventListener("visibilitychange", look);
    stop.addEventListener("abort", look, { once: true });
    look();
  });
}

/**
 * @param {{name: string, data: string}} event
 * @param {Listeners} listeners
 * @param {boolean} ended whether the job has; its steps may still follow, until the server ends the stream
 * @returns {boolean} whether it has now
 */
function take(event, listeners, ended) {
  if (event.name === "step") listeners.onStep(JSON.parse(event.data));
  if (event.name !== "state") return ended;
  const job = JSON.parse(event.data);
  listeners.onJob(job);
  return isFinal(job);
}

/**
 * @param {ReadableStream<BufferSource>} stream
 * @param {() => void} onChunk
 * @returns {AsyncGenerator<{id: string, name: string, data: string}>}
 */
async function* parse(stream, onChunk) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onChunk();
      text += value.replaceAll("\r", "");
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) yield fields(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @param {string} block */
function fields(block) {
  const event = { id: "", name: "", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? ["", "", ""];
    if (field === "id") event.id = value;
    if (field === "event") event.name = value;
    if (field === "data") event.data += event.data ? `\n${value}` : value;
  }
  return event;
}

/** @param {() => void} bite */
function watchdog(bite) {
  let timer = setTimeout(bite, SILENCE * 1000);
  const end = () => clearTimeout(timer);
  const reset = () => {
    end();
    timer = setTimeout(bite, SILENCE * 1000);
  };
  return { reset, end };
}

/** Waits; less if the browser finds that it is online again. @param {number} seconds @param {AbortSignal} stop */
function pause(seconds, stop) {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      removeEventListener("online", finish);
      resolve(undefined);
    };
    const timer = setTimeout(finish, seconds * 1000);
    addEventListener("online", finish);
    stop.addEventListener("abort", finish, { once: true });
  });
}
