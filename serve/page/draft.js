// @ts-check
// What the user has set up: pictures, regions, options. Nothing here is lost by an error.

import { isEmpty } from "./masks.js";
import { release } from "./pictures.js";
import { inWords } from "./places.js";
import { bytes, pixels } from "./text.js";

/**
 * @typedef {import("./pictures.js").Picture} Picture
 * @typedef {{picture: Picture, weight: number}} Style
 * @typedef {{key: string, mask: import("./masks.js").Mask|null, kept: boolean, style: Picture|null,
 *   styleMask: import("./masks.js").Mask|null}} Region kept: the content is left as it is there
 */

/** Events: "pictures", "regions" and "options" when those change, "errors" when messages do. */
export class Draft extends EventTarget {
  /** @type {Picture|null} */
  content = null;
  /** @type {Style[]} */
  styles = [];
  /** @type {Region[]} */
  regions = [];
  /** @type {import("./masks.js").Mask|null} */
  protect = null;
  /** @type {Picture|null} */
  start = null;
  /** @type {Map<string, string>} messages by where they belong: "content", "style-1", "option:size", "paint" */
  errors = new Map();
  /** Counts changes, by which one knows whether a request that got lost would still be the same. */
  version = 0;
  /** @type {string[]} places of messages that say why it cannot be painted where it is to be */
  #unfit = [];

  /**
   * @param {import("./options.js").Options} options
   * @param {import("./places.js").Places} places
   */
  constructor(options, places) {
    super();
    this.options = options;
    this.places = places;
    places.addEventListener("change", () => this.everythingChanged());
  }

  get limits() {
    return this.places.chosen.limits;
  }

  /** @param {"pictures"|"regions"|"options"} what @param {...string} mended places whose message is past */
  changed(what, ...mended) {
    this.version += 1;
    const past = [...mended, "paint"].filter((place) => this.errors.delete(place));
    this.dispatchEvent(new Event(what));
    this.#checkPlace();
    if (past.length) this.dispatchEvent(new Event("errors"));
  }

  /** @param {string} place @param {string} message */
  refuse(place, message) {
    this.errors.set(place, message);
    this.dispatchEvent(new Event("errors"));
  }

  /**
   * @param {number} side the longer one, by default as it is chosen
   * @returns {{width: number, height: number}} of the painting; 0 while it is not known
   */
  painted(side = Number(this.options.value("size"))) {
    const { content } = this;
    if (!content?.width || !(side > 0)) return { width: 0, height: 0 };
    const factor = side / Math.max(content.width, content.height);
    const scaled = (/** @type {number} */ length) => Math.max(1, Math.round(length * factor));
    return { width: scaled(content.width), height: scaled(content.height) };
  }

  /** Says at once why this cannot be painted at the chosen place, and no longer once it can. */
  #checkPlace() {
    const found = this.#against();
    if (found.length === this.#unfit.length && found.every(([place, message]) => this.errors.get(place) === message)) return;
    for (const place of this.#unfit) this.errors.delete(place);
    for (const [place, message] of found) this.errors.set(place, message);
    this.#unfit = found.map(([place]) => place);
    this.dispatchEvent(new Event("errors"));
  }

  /** @returns {[string, string][]} */
  #against() {
    const area = this.#areaMessage();
    return [...this.places.chosen.against(this), ...(area ? [/** @type {[string, string]} */ (["option:size", area])] : [])];
  }

  /** @param {string} place of a message @returns {boolean} whether the server would do what this browser cannot */
  isForServer(place) {
    return this.places.both && this.places.now === "here" && this.#unfit.includes(place);
  }

  #areaMessage() {
    const { width, height } = this.painted();
    const most = this.limits.painted_pixels;
    if (width * height <= most) return "";
    let longest = Math.floor(Math.max(width, height) * Math.sqrt(most / (width * height)));
    const area = (/** @type {{width: number, height: number}} */ sides) => sides.width * sides.height;
    // By rounding a side it may still be a row too many.
    while (area(this.painted(longest)) > most) longest -= 1;
    return `${pixels(width, height)} is too large to be painted ${inWords(this.places.now)}, accepted are up to ${longest} px.`;
  }

  /** Forgets all messages. */
  clearErrors() {
    this.errors.clear();
    this.dispatchEvent(new Event("errors"));
  }

  /** @param {string} name @param {any} value null takes the recipe's again */
  setOption(name, value) {
    this.options.set(name, value);
    this.changed("options", `option:${name}`);
  }

  /** @param {Picture|null} picture */
  setContent(picture) {
    release(this.content);
    this.content = picture;
    this.changed("pictures", "content");
    this.changed("regions");
  }

  /** @param {Picture} picture */
  addStyle(picture) {
    this.styles.push({ picture, weight: 1 });
    this.changed("pictures", "styles");
  }

  /** @param {number} index */
  removeStyle(index) {
    release(this.styles[index].picture);
    this.styles.splice(index, 1);
    // Messages go by number, which now is another picture's.
    this.changed("pictures", "styles", ...this.styles.map((_, at) => `style-${at + 1}`), `style-${this.styles.length + 1}`);
  }

  /** @returns {Region} */
  addRegion() {
    const region = { key: `region-${Date.now()}`, mask: null, kept: false, style: null, styleMask: null };
    this.regions.push(region);
    this.changed("regions");
    return region;
  }

  /** @param {Region} region */
  removeRegion(region) {
    release(region.style);
    const places = this.regions.map((_, at) => `region-${at + 1}`);
    this.regions = this.regions.filter((one) => one !== region);
    this.changed("regions", ...places);
  }

  /** Lets go of all pictures. */
  empty() {
    [this.content, this.start, ...this.styles.map(({ picture }) => picture), ...this.regions.map(({ style }) => style)].forEach(release);
    this.content = this.start = this.protect = null;
    this.styles = [];
    this.regions = [];
    this.errors.clear();
    this.everythingChanged();
  }

  /** Tells all who show something of this. */
  everythingChanged() {
    this.changed("pictures");
    this.changed("regions");
    this.changed("options");
    this.dispatchEvent(new Event("errors"));
  }

  /** @returns {[string, string][]} what is missing, by place */
  missing() {
    /** @type {[string, string][]} */
    const found = [];
    if (!this.content) found.push(["content", "Add the picture to paint."]);
    if (!this.styles.length && !this.regions.length) found.push(["styles", "Add a picture in the style to paint in."]);
    this.regions.forEach((region, at) => {
      const place = `region-${at + 1}`;
      if (!region.mask || isEmpty(region.mask)) found.push([place, "Paint where this region is."]);
      else if (!region.kept && !region.style) found.push([place, "Add a style for this region, or leave it as it is."]);
    });
    if (this.protect && isEmpty(this.protect)) found.push(["protect", "Paint what to protect, or remove it."]);
    found.push(...this.#against());
    if (this.places.unasked) {
      this.places.unasked = false;
      found.push(["paint", "It cannot be painted in this browser now. Paint again to send the pictures to the server."]);
    }
    const total = this.#uploadSize();
    const accepted = this.limits.upload_bytes;
    if (total > accepted) found.push(["paint", `The pictures have ${bytes(total)} together, accepted are up to ${bytes(accepted)}.`]);
    return found;
  }

  #uploadSize() {
    const pictures = [this.content, this.start, ...this.styles.map(({ picture }) => picture), ...this.regions.map(({ style }) => style)];
    return pictures.reduce((sum, picture) => sum + (picture?.file.size ?? 0), 0);
  }
}
