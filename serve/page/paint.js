// @ts-check
// The button that starts a painting, and what is said beside it.

import { button, el, icon } from "./dom.js";
import { errorNote } from "./fields.js";
import { placed, submit } from "./submit.js";
import { where } from "./where.js";

/**
 * @param {import("./draft.js").Draft} draft
 * @param {(job: import("./api.js").Job) => void} onJob
 * @returns {HTMLElement}
 */
export function paintButton(draft, onJob) {
  const label = el("span", {}, "Paint");
  const fill = el("span", { class: "sent" });
  const paint = el("button", { type: "button", class: "button primary wide paint" }, fill, icon("brush"), label);
  let stop = /** @type {AbortController|null} */ (null);
  const cancel = button("Cancel", () => stop?.abort(), {});
  const show = (/** @type {string} */ text, /** @type {number|null} */ share) => {
    label.textContent = share !== null && share < 1 ? `${text} ${Math.round(share * 100)} %` : text;
    fill.style.transform = `scaleX(${share ?? 0})`;
    paint.setAttribute("aria-disabled", String(stop !== null));
    cancel.hidden = !stop;
  };
  const start = async () => {
    if (stop || !isReady(draft)) return;
    stop = new AbortController();
    show(draft.places.now === "here" ? "Starting" : "Sending", 0);
    try {
      onJob(await submit(draft, show, stop.signal));
    } catch (error) {
      if (!stop.signal.aborted) tell(draft, error);
    } finally {
      stop = null;
      show("Paint", null);
    }
  };
  paint.addEventListener("click", start);
  document.addEventListener("keydown", (event) => {
    const shown = paint.offsetParent !== null && !document.querySelector("dialog[open]");
    if (shown && event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
  });
  show("Paint", null);
  return el("div", { class: "foot" }, where(draft.places), errorNote(draft, "paint"), el("div", { class: "row" }, paint, cancel));
}

/** Says what is missing, each beside where it belongs. @param {import("./draft.js").Draft} draft */
function isReady(draft) {
  draft.clearErrors();
  const missing = draft.missing();
  for (const [place, message] of missing) draft.refuse(place, message);
  if (missing.length) revealError();
  return !missing.length;
}

/** @param {import("./draft.js").Draft} draft @param {unknown} error */
function tell(draft, error) {
  const { place, message } = placed(error, draft);
  draft.refuse(place, message);
  revealError();
}

function revealError() {
  // After the messages are there and their sections open.
  requestAnimationFrame(() => {
    const shown = [...document.querySelectorAll(".error")].find((note) => note.textContent);
    shown?.scrollIntoView({ block: "center" });
  });
}
