// @ts-check
// The choice of where to paint, and what each place means.

import { el, newId } from "./dom.js";
import { segments } from "./fields.js";

/** @typedef {import("./places.js").Places} Places */

const THREADS = "One thread: the server of this page does not send the headers for more.";

/** @param {Places} places @returns {HTMLElement} */
export function where(places) {
  const [id, hintId] = [newId(), newId()];
  const hint = el("p", { class: "hint", id: hintId });
  const choice = segments({
    name: newId(), labelledBy: id, describedBy: hintId, choices: [["server", "On the server"], ["here", "In this browser"]],
    onChoose: (place) => places.choose(place),
  });
  const update = () => {
    choice.show(places.now);
    hint.textContent = places.now === "here" ? told() : "";
    hint.hidden = !hint.textContent;
  };
  places.addEventListener("change", update);
  update();
  if (!places.both) return el("div", { class: "where" }, hint);
  return el("div", { class: "where" }, el("span", { class: "unseen", id }, "Where to paint"), choice.group, hint);
}

function told() {
  return `No picture leaves this browser.${crossOriginIsolated ? "" : ` ${THREADS}`}`;
}
