// @ts-check
// The way out where this browser cannot do something.

import { button } from "./dom.js";

/** @param {import("./places.js").Places} places @returns {HTMLElement} */
export function toServer(places) {
  return button("Paint on the server", () => {
    places.choose("server");
    // What was pressed is gone with its message.
    /** @type {HTMLElement|null} */ (document.querySelector(".where :checked"))?.focus({ preventScroll: true });
  }, { class: "small" });
}
