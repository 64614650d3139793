// @ts-check
// Where one can paint: in this browser, on the server, or on either.

/**
 * @typedef {"here"|"server"} Place
 * @typedef {import("./draft.js").Draft} Draft
 * @typedef {{limits: import("./api.js").Limits, recipes: import("./api.js").Recipe[],
 *   schema: import("./options.js").Schema, against: (draft: Draft) => [string, string][]}} Told
 *   against: why a draft cannot be painted there, by where that is said
 */

const KEY = "ortist.place";
const HERE = "here-";

/** @param {string} id of a painting @returns {Place} */
export function placeOf(id) {
  return id.startsWith(HERE) ? "here" : "server";
}

/** @returns {string} for a painting that is painted here */
export function newIdHere() {
  return HERE + crypto.randomUUID().replaceAll("-", "");
}

/** The places that there are, and the one that is chosen. Event: "change". */
export class Places extends EventTarget {
  /** @type {Place} */
  #now;

  /** @param {{here: Told|null, server: Told|null}} told at least one of them */
  constructor(told) {
    super();
    this.told = told;
    const kept = /** @type {Place|null} */ (localStorage.getItem(KEY));
    /** Whether who chose this browser would send pictures to the server without having chosen that. */
    this.unasked = kept === "here" && !this.has("here");
    this.#now = kept && this.has(kept) ? kept : told.server ? "server" : "here";
  }

  /** @returns {Place} */
  get now() {
    return this.#now;
  }

  /** @returns {Told} of the one that is chosen */
  get chosen() {
    return /** @type {Told} */ (this.told[this.#now]);
  }

  /** @returns {boolean} whether there is a choice */
  get both() {
    return this.has("here") && this.has("server");
  }

  /** @param {Place} place @returns {boolean} */
  has(place) {
    return (place === "here" || place === "server") && this.told[place] !== null;
  }

  /** @param {Place} place */
  choose(place) {
    this.#now = place;
    this.unasked = false;
    localStorage.setItem(KEY, place);
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {Place} place @returns {string} as a part of a sentence */
export function inWords(place) {
  return place === "here" ? "in this browser" : "on the server";
}
