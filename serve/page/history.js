// @ts-check
// The user's own paintings. This browser knows their ids; places list nothing.

import { ApiError, isFinal, jobPath, json, request } from "./api.js";
import { el, icon, iconButton } from "./dom.js";
import { preview } from "./loaded.js";
import { inWords, placeOf } from "./places.js";
import { isOpen } from "./studio.js";
import { clock } from "./text.js";

const KEY = "ortist.jobs";
const MOST = 100;
/** Seconds between looks at those that are not open but not at their end. */
const EVERY = 4;

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {{id: string, name: string, created: string, files?: Record<string, string>, page?: string}} Entry files: what the
 *   pictures were called here, by their names in Job.inputs
 * @typedef {{button: HTMLButtonElement, frame: HTMLElement, state: HTMLElement,
 *   picture: import("./loaded.js").LoadedPicture, shown: number|null}} Tile
 */

/** @returns {Entry[]} */
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

/** @returns {Set<string>} ids of all paintings that this browser has a way to */
export function knownIds() {
  return new Set(remembered().map(({ id }) => id));
}

/** A strip of small pictures, newest first. */
export class History {
  /** @type {Map<string, Job>} */
  #jobs = new Map();
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {string|null} */
  #open = null;
  #list = el("ul", { class: "strip" });
  #note = el("p", { class: "history-note", role: "status" });

  /**
   * @param {HTMLElement} place
   * @param {import("./places.js").Places} places
   * @param {{onOpen: (id: string) => void, onNew: () => void}} listeners
   */
  constructor(place, places, { onOpen, onNew }) {
    this.place = place;
    this.places = places;
    this.onOpen = onOpen;
    this.first = el("button", { type: "button", class: "card new", onclick: onNew },
      el("span", { class: "card-picture" }, icon("add")), el("span", { class: "card-name" }, "New painting"));
    place.append(el("h2", { class: "unseen" }, "Your paintings"), this.#note, this.#list);
    addEventListener("storage", ({ key }) => {
      if (key === KEY) this.#render();
    });
    this.#render();
    this.#watch();
  }

  /** @param {string} id @returns {Entry|undefined} */
  entry(id) {
    return remembered().find((one) => one.id === id);
  }

  /** @param {Job} job @param {string} name @param {Record<string, string>} files */
  add({ id, created, page }, name, files) {
    this.#keep([{ id, name, created, files, page }, ...remembered().filter((one) => one.id !== id)]);
    const old = (/** @type {import("./places.js").Place} */ place) =>
      remembered().filter((one) => placeOf(one.id) === place).slice(MOST);
    for (const entry of old("server")) this.forget(entry.id);
    // A server removes by itself what is old; this browser would keep it for ever.
    for (const entry of old("here")) this.#purge(entry.id).catch(() => {});
  }

  /** @param {string} id of what is painted here, and has ended */
  async #purge(id) {
    if (!isFinal(await json(jobPath(id)))) return;
    await request(`${jobPath(id)}?purge=true`, { method: "DELETE" });
    this.forget(id);
  }

  /** @param {string} id @returns {string} what it is called, with where it is painted if there is a choice */
  called(id) {
    const name = this.entry(id)?.name ?? "Painting";
    return this.places.both ? `${name}, painted ${inWords(placeOf(id))}` : name;
  }

  /** @param {Job} job as it is now */
  update(job) {
    this.#jobs.set(job.id, job);
    this.#showState(job);
  }

  /** @param {string|null} id of the one that is open, or null for a new one */
  select(id) {
    this.#open = id;
    const mark = (/** @type {HTMLElement} */ button, /** @type {boolean} */ current) => {
      if (current) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    };
    mark(this.first, id === null);
    for (const [one, { button }] of this.#tiles) mark(button, one === id);
  }

  /** @param {string} id @param {string} [why] told to the user */
  forget(id, why = "") {
    this.#keep(remembered().filter((one) => one.id !== id));
    if (why) this.#tell(why);
  }

  /** Forgets what is there no more, unless another page has it that cannot keep it. @param {string} id @param {string} name */
  async lost(id, name) {
    const page = this.entry(id)?.page;
    if (!page || !await isOpen(page)) this.forget(id, gone(id, name));
  }

  /** @param {string} text */
  #tell(text) {
    this.place.hidden = false;
    this.#note.replaceChildren(el("span", {}, text), iconButton("close", "Dismiss", () => this.#note.replaceChildren(), { class: "icon-button small" }));
  }

  /** @returns {Entry[]} those whose place is there */
  #shown() {
    return remembered().filter(({ id }) => this.places.has(placeOf(id)));
  }

  /** @param {Entry[]} entries */
  #keep(entries) {
    localStorage.setItem(KEY, JSON.stringify(entries));
    this.#render();
  }

  #render() {
    const entries = this.#shown();
    this.place.hidden = !entries.length && !this.#note.textContent;
    for (const [id, { picture }] of this.#tiles) {
      if (entries.some((one) => one.id === id)) continue;
      picture.release();
      this.#tiles.delete(id);
      this.#jobs.delete(id);
    }
    const items = entries.map((entry) => el("li", {}, this.#tile(entry).button));
    this.#list.replaceChildren(el("li", {}, this.first), ...items);
    this.select(this.#open);
  }

  /** @param {Entry} entry @returns {Tile} */
  #tile({ id, name, created }) {
    const known = this.#tiles.get(id);
    if (known) return known;
    const frame = el("span", { class: "card-picture" }, icon("picture"));
    const state = el("span", { class: "card-state" }, this.#at(id, clock(created)));
    const button = el("button", { type: "button", class: "card", title: this.called(id), onclick: () => this.onOpen(id) },
      frame, el("span", { class: "card-name" }, name), state);
    /** @type {Tile} */
    const tile = { button, frame, state, picture: preview(id), shown: null };
    this.#tiles.set(id, tile);
    return tile;
  }

  /** @param {Job} job */
  #showState(job) {
    const tile = this.#tiles.get(job.id);
    if (!tile) return;
    tile.state.textContent = this.#at(job.id, stateOf(job));
    tile.button.dataset.state = job.state;
    if (job.preview === null || job.preview === tile.shown) return;
    tile.shown = job.preview;
    tile.picture.load().then((url) => {
      if (url) tile.frame.replaceChildren(el("img", { src: url, alt: "" }));
    }, () => {
      // It is asked for again when the job is next heard of.
      tile.shown = null;
    });
  }

  /** @param {string} id @param {string} state @returns {string} with where it is painted if there is a choice */
  #at(id, state) {
    return this.places.both && placeOf(id) === "here" ? `Here, ${state[0].toLowerCase()}${state.slice(1)}` : state;
  }

  async #watch() {
    for (;;) {
      if (!document.hidden) await this.#look();
      await new Promise((resolve) => setTimeout(resolve, EVERY * 1000));
    }
  }

  async #look() {
    for (const { id, name } of this.#shown()) {
      const job = this.#jobs.get(id);
      if (id === this.#open || (job && isFinal(job))) continue;
      try {
        this.update(await json(jobPath(id)));
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 404)) return;
        await this.lost(id, name);
      }
    }
  }
}

/** @param {string} id @param {string} name @returns {string} */
function gone(id, name) {
  return `${placeOf(id) === "here" ? "This browser" : "The server"} no longer has “${name}”; it was taken off this list.`;
}

/** @param {Job} job */
function stateOf({ state, position, progress, created, plan }) {
  if (state === "queued") return position ? `${position} before it` : "Next";
  if (state === "running") return progress ? `${Math.round((100 * progress.step) / plan.steps)} %` : "Starting";
  if (state === "done") return clock(created);
  return { paused: "Paused", canceled: "Canceled", failed: "Failed" }[state];
}
