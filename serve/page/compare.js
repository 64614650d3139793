// @ts-check
// The painting, large; and beside it, under a slider, what it was made of.

import { el, icon } from "./dom.js";

const NUDGE = 2;
/** A small painting may be enlarged to fill the stage, but not beyond this. */
const LARGEST = 2;

/** @typedef {{url: string, label: string, scale: number|null}} Other scale: its sides relative to a painting of the same area; null covers the painting */

/** Shows a painting in a room of any size, or at 100 %. */
export class Compare {
  #painting = el("img", { class: "painting", alt: "", draggable: "false" });
  #other = el("img", { class: "other", alt: "", draggable: "false" });
  #clip = el("div", { class: "clip" }, this.#other);
  #handle = el("div", { class: "handle", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": "100", "aria-orientation": "horizontal" },
    el("span", { class: "grip" }, icon("compare")));
  #frame = el("div", { class: "frame" }, this.#painting, this.#clip, this.#handle);
  /** @type {Other|null} */
  #shown = null;
  #position = 50;
  #actual = false;
  #size = { width: 1, height: 1 };
  #watcher = new ResizeObserver(() => this.#layOut());

  constructor() {
    this.element = el("div", { class: "viewer" }, this.#frame);
    this.#watcher.observe(this.element);
    this.#listen();
    this.compareWith(null);
  }

  /** Stops watching its size. */
  end() {
    this.#watcher.disconnect();
  }

  /** @param {number} width @param {number} height of the painting when it is done */
  setSize(width, height) {
    this.#size = { width, height };
    this.element.style.setProperty("--aspect", String(width / height));
    this.#layOut();
  }

  /** @param {string} url @param {string} label @param {boolean} faint whether it only holds the place */
  show(url, label, faint) {
    this.#painting.src = url;
    this.#painting.alt = label;
    this.#frame.classList.toggle("faint", faint);
  }

  /** @param {Other|null} other */
  compareWith(other) {
    this.#shown = other;
    this.#clip.hidden = this.#handle.hidden = !other;
    if (!other) return this.#other.removeAttribute("src");
    this.#other.src = other.url;
    this.#other.alt = other.label;
    this.#other.onload = () => this.#layOut();
    this.#handle.setAttribute("aria-label", `${other.label} to the left, painting to the right`);
    this.#move(this.#position);
  }

  /** @param {boolean} actual one pixel of the painting for each of the screen */
  setActual(actual) {
    this.#actual = actual;
    this.element.classList.toggle("actual", actual);
    if (actual) {
      this.element.tabIndex = 0;
      this.element.setAttribute("aria-label", "Painting at 100 %, to be scrolled");
    } else this.element.removeAttribute("tabindex");
    this.#layOut();
    // Strokes are looked at in the middle first.
    this.element.scrollTo((this.#frame.offsetWidth - this.element.clientWidth) / 2, (this.#frame.offsetHeight - this.element.clientHeight) / 2);
  }

  #layOut() {
    const { width, height } = this.#size;
    const room = { width: this.element.clientWidth, height: this.element.clientHeight };
    const fit = Math.min(room.width / width, room.height / height, LARGEST);
    const factor = this.#actual ? 1 / devicePixelRatio : fit;
    this.#frame.style.width = `${Math.round(width * factor)}px`;
    this.#frame.style.height = `${Math.round(height * factor)}px`;
    this.#placeOther(width * factor, height * factor);
  }

  /** A style is shown at the size at which its strokes count. @param {number} width @param {number} height */
  #placeOther(width, height) {
    const scale = this.#shown?.scale;
    const { naturalWidth, naturalHeight } = this.#other;
    this.#other.classList.toggle("scaled", Boolean(scale));
    if (!scale || !naturalWidth) {
      this.#other.style.width = this.#other.style.height = "";
      return;
    }
    const factor = scale * Math.sqrt((width * height) / (naturalWidth * naturalHeight));
    this.#other.style.width = `${naturalWidth * factor}px`;
    this.#other.style.height = `${naturalHeight * factor}px`;
  }

  /** @param {number} position in percent from the left */
  #move(position) {
    this.#position = Math.max(0, Math.min(100, position));
    this.#clip.style.clipPath = `inset(0 ${100 - this.#position}% 0 0)`;
    this.#handle.style.left = `${this.#position}%`;
    this.#handle.setAttribute("aria-valuenow", String(Math.round(this.#position)));
    this.#handle.setAttribute("aria-valuetext", `${Math.round(this.#position)} % from the left`);
  }

  #listen() {
    this.#handle.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const far = event.shiftKey ? 10 : NUDGE;
      const to = { ArrowLeft: this.#position - far, ArrowDown: this.#position - far, ArrowRight: this.#position + far,
        ArrowUp: this.#position + far, Home: 0, End: 100 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.#move(to);
    });
    this.#frame.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (event.button !== 0) return;
      const onHandle = this.#handle.contains(/** @type {Node} */ (event.target));
      // At 100 % the picture itself is dragged about, which touch does by scrolling.
      if (this.#shown && (onHandle || !this.#actual)) this.#drag(event, (at) => this.#moveTo(at));
      else if (this.#actual && event.pointerType === "mouse") this.#drag(event, (at) => this.element.scrollBy(-at.movementX, -at.movementY));
    });
  }

  /** @param {PointerEvent} event */
  #moveTo(event) {
    const box = this.#frame.getBoundingClientRect();
    this.#move((100 * (event.clientX - box.left)) / box.width);
  }

  /** @param {PointerEvent} event @param {(event: PointerEvent) => void} onMove */
  #drag(event, onMove) {
    const dragging = new AbortController();
    const { signal } = dragging;
    this.#frame.setPointerCapture(event.pointerId);
    this.#frame.classList.add("dragging");
    const end = () => {
      dragging.abort();
      this.#frame.classList.remove("dragging");
    };
    onMove(event);
    this.#frame.addEventListener("pointermove", onMove, { signal });
    this.#frame.addEventListener("pointerup", end, { signal });
    this.#frame.addEventListener("pointercancel", end, { signal });
  }
}
