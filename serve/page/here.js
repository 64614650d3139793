// @ts-check
// Answers in this page what a server answers under v1/jobs, for what is painted in this browser.

import { isFinal } from "./api.js";
import { converted } from "./encode.js";
import { unfit } from "./unfit.js";

/**
 * @typedef {import("./painting.js").Painting} Painting
 * @typedef {import("./api.js").Init} Init
 */

/** Of a picture that is painted: larger ones take more memory than browsers give. */
const PAINTED_PIXELS = 1_000_000;
const NONE = Infinity;
/** @type {import("./api.js").Limits} */
const LIMITS = {
  upload_bytes: 64_000_000, picture_pixels: 40_000_000, painted_pixels: PAINTED_PIXELS, styles: 8, regions: 0, steps: 2000,
  seconds: NONE, queued: NONE, jobs_per_client: NONE, kept_seconds: NONE,
};
/** Options that mean nothing here. */
const NOT_HERE = ["max_pixels", "terms", "guides", "protection"];
/** Seconds until a stream says something although nothing happens, and until another page is asked what does. */
const PING = 15;
const LOOK = 2;

/** A request is refused. */
class Refusal extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export class Here {
  /** @param {import("./studio.js").Studio} studio */
  constructor(studio) {
    this.studio = studio;
  }

  /** What one may ask for. @returns {import("./places.js").Told} */
  get told() {
    const { runtime } = this.studio;
    const { recipes, options } = runtime.facts;
    const properties = Object.entries(options.properties).filter(([name]) => !NOT_HERE.includes(name));
    return {
      limits: LIMITS,
      recipes: Object.entries(recipes).map(([name, recipe]) => ({ name, ...recipe })),
      schema: { ...options, properties: Object.fromEntries(properties) },
      against: (draft) => unfit(draft, runtime),
    };
  }

  /** @param {string} path @param {Init} init @returns {Promise<Response>} as a server's */
  async answer(path, init) {
    try {
      const [route, query = ""] = path.split("?");
      return await this.#route(route, new URLSearchParams(query), init);
    } catch (error) {
      const refused = error instanceof Refusal;
      // What is kept cannot be read now, as when the browser closed it: it may be there all the same.
      if (!refused && !(error instanceof DOMException && error.name !== "AbortError")) throw error;
      return Response.json({ detail: error.message }, { status: refused ? error.status : 503 });
    }
  }

  /** @param {string} route @param {URLSearchParams} query @param {Init} init */
  async #route(route, query, { method = "GET", headers = {}, signal, body }) {
    const [, , id, what = "", name = ""] = route.split("/").map(decodeURIComponent);
    if (!id) return Response.json(await this.#take(/** @type {FormData} */ (body)), { status: 202 });
    const painting = await this.studio.find(id);
    if (!painting) throw new Refusal(404, "there is no such painting");
    if (method !== "GET") return this.#change(painting, method === "DELETE" ? "cancel" : what, query.has("purge"));
    if (what === "events") return stream(this.#events(id, Number(headers["Last-Event-ID"] ?? 0)), signal);
    if (what === "preview") return preview(painting, headers["If-None-Match"]);
    if (what === "result") return result(painting, query);
    if (what === "inputs") return file(await this.studio.kept.get(id, name));
    return Response.json(this.#view(painting));
  }

  /** @param {Painting} painting */
  #view(painting) {
    return { ...painting.job, elsewhere: this.studio.isElsewhere(painting) };
  }

  /** @param {FormData} form */
  async #take(form) {
    const { recipe, options, content, styles, regions, protect, start } = JSON.parse(String(form.get("job")));
    if (regions.length || protect) throw new Refusal(422, "regions and masks are not painted in this browser");
    const files = new Map([content, ...styles, ...(start ? [start] : [])].map((name) => [name, /** @type {Blob} */ (form.get(name))]));
    try {
      const size = await sizeOf(/** @type {Blob} */ (files.get(content)));
      const { facts, planOf } = this.studio.runtime;
      const plan = planOf({ recipe, options, ...size, start: Boolean(start) }, facts);
      if (plan.steps > LIMITS.steps) throw new Refusal(422, `steps is ${plan.steps}, accepted are at most ${LIMITS.steps}`);
      if (plan.width * plan.height > PAINTED_PIXELS) {
        throw new Refusal(422, `the picture would have ${plan.width}x${plan.height} pixels, here at most ${PAINTED_PIXELS}: take a smaller size`);
      }
      return await this.studio.take({ recipe, options, content, styles, start, files }, plan);
    } catch (error) {
      if (error instanceof Error && error.name === "InputError") throw new Refusal(422, error.message);
      throw error;
    }
  }

  /** @param {Painting} painting @param {string} what @param {boolean} purge */
  async #change(painting, what, purge) {
    const { studio } = this;
    const { state } = painting.job;
    if (studio.isElsewhere(painting)) throw new Refusal(409, "this is painted in another tab of this browser: change it there");
    if (purge) {
      await studio.remove(painting);
      return new Response(null, { status: 204 });
    }
    if (what === "cancel") studio.cancel(painting);
    else if (what === "pause" && (state === "running" || state === "queued")) studio.pause(painting);
    else if (what === "resume" && state === "paused") studio.resume(painting);
    else throw new Refusal(409, `the painting is ${state}`);
    return Response.json(painting.job);
  }

  /**
   * As the server's: the state whenever it changes, and all steps but for the first ones.
   * @param {string} id @param {number} sent
   */
  async *#events(id, sent) {
    let shown = "";
    for (;;) {
      const painting = await this.studio.find(id);
      if (!painting || painting.removed) return;
      const changed = next(painting, this.studio.isElsewhere(painting) ? LOOK : PING);
      const { job, steps } = painting;
      const final = isFinal(job);
      if (!shown && !final) yield event("state", 0, this.#view(painting));
      for (const step of steps.slice(sent)) yield event("step", ++sent, step);
      const { state, position, loading, threads } = job;
      const now = JSON.stringify({ state, position, loading, threads });
      if (final || (shown && now !== shown)) yield event("state", sent, this.#view(painting));
      if (final) return;
      shown = now;
      if (!await changed) yield ": ping\n\n";
    }
  }
}

/** @param {string} name @param {number} number @param {any} data */
function event(name, number, data) {
  return `event: ${name}\n${number ? `id: ${number}` : ":"}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** @param {Painting} painting @param {number} seconds @returns {Promise<boolean>} whether it changed until then */
function next(painting, seconds) {
  return new Promise((resolve) => {
    const changed = () => end(true);
    const timer = setTimeout(() => end(false), seconds * 1000);
    const end = (/** @type {boolean} */ whether) => {
      clearTimeout(timer);
      painting.removeEventListener("change", changed);
      resolve(whether);
    };
    painting.addEventListener("change", changed);
  });
}

/** @param {AsyncGenerator<string, void, void>} texts @param {AbortSignal} [signal] ends it */
function stream(texts, signal) {
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    start: (controller) => signal?.addEventListener("abort", () => controller.error(signal.reason)),
    async pull(controller) {
      const { value, done } = await texts.next();
      if (signal?.aborted) return;
      if (done) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

/** @param {Painting} painting @param {string} [known] the ETag of the one that is there */
async function preview(painting, known) {
  const tag = `"${painting.job.preview}"`;
  // A Response of status 304 has no body, as the server's.
  if (known === tag) return new Response(null, { status: 304 });
  return file(await painting.picture(), { ETag: tag });
}

/** @param {Painting} painting @param {URLSearchParams} asked */
async function result(painting, asked) {
  const png = painting.job.result ? await painting.picture() : undefined;
  if (!png) throw new Refusal(409, "there is no picture yet");
  const ending = asked.get("format") ?? "png";
  const made = asked.get("bits") === "16" ? null : await converted(png, ending, Number(asked.get("quality") ?? 95));
  if (!made) throw new Refusal(422, "this browser does not write such files");
  return file(made);
}

/** @param {Blob|undefined} blob @param {Record<string, string>} [headers] */
function file(blob, headers = {}) {
  if (!blob) throw new Refusal(404, "there is no such picture");
  return new Response(blob, { headers });
}

/** @param {Blob} picture @returns {Promise<{width: number, height: number}>} as it is seen, turned upright */
async function sizeOf(picture) {
  const bitmap = await createImageBitmap(picture).catch(() => {
    throw new Refusal(422, "content is no picture that this browser can read");
  });
  const { width, height } = bitmap;
  bitmap.close();
  return { width, height };
}
