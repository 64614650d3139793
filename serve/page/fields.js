// @ts-check
// Form controls with what belongs to each: a label, a way back, a message.

import { el, icon, iconButton, newId } from "./dom.js";
import { toServer } from "./way-out.js";

/**
 * The message that belongs to a place; it is read out when it comes.
 * @param {import("./draft.js").Draft} draft
 * @param {string} place
 * @param {HTMLElement} [control] is marked as invalid while there is one
 * @returns {HTMLElement}
 */
export function errorNote(draft, place, control) {
  const id = newId();
  const note = el("p", { class: "error", id, role: "alert" });
  let shown = "";
  const update = () => {
    const message = draft.errors.get(place) ?? "";
    const now = `${message} ${draft.isForServer(place)}`;
    if (now === shown) return;
    shown = now;
    note.replaceChildren(...(message ? said(draft, place, message) : []));
    if (message) control?.setAttribute("aria-invalid", "true");
    else control?.removeAttribute("aria-invalid");
  };
  control?.setAttribute("aria-describedby", [control.getAttribute("aria-describedby"), id].filter(Boolean).join(" "));
  draft.addEventListener("errors", update);
  update();
  return note;
}

/**
 * @param {import("./draft.js").Draft} draft
 * @param {string} place
 * @returns {HTMLElement|false} the message of a place, in what is made anew for each
 */
export function fixedError(draft, place) {
  const message = draft.errors.get(place);
  return message ? el("p", { class: "error", role: "alert" }, ...said(draft, place, message)) : false;
}

/** @param {import("./draft.js").Draft} draft @param {string} place @param {string} message @returns {Node[]} */
function said(draft, place, message) {
  const text = el("span", {}, message);
  if (draft.isForServer(place)) text.append(" ", toServer(draft.places));
  return [icon("warning"), text];
}

/**
 * A label with its value on the right and, once that is changed, a way back.
 * @param {{label: string, for?: string, id?: string, value?: Node, onReset?: () => void}} what
 * @returns {{row: HTMLElement, setChanged: (changed: boolean) => void}}
 */
export function heading({ label, for: target, id, value, onReset }) {
  const back = onReset && iconButton("reset", `${label}: as the recipe has it`, onReset, { class: "icon-button small" });
  const name = target
    ? el("label", { class: "label", for: target, id })
    : el("span", { class: "label", id });
  name.append(label);
  const row = el("div", { class: "heading" }, name, back, value);
  const setChanged = (/** @type {boolean} */ changed) => {
    if (!back) return;
    // Before it is hidden the focus is moved on, which would else be lost.
    if (!changed && document.activeElement === back) row.parentElement?.querySelector("input, select")?.focus();
    back.hidden = !changed;
  };
  setChanged(false);
  return { row, setChanged };
}

/**
 * A slider on a logarithmic scale around 1, which shows how far it is from there.
 * @param {{id: string, from: number, to: number, describe: (value: number) => string, onInput: (value: number) => void,
 *   label?: string, labelledBy?: string, describedBy?: string, steps?: number}} what steps: per doubling
 * @returns {{input: HTMLInputElement, show: (value: number) => void}}
 */
export function logSlider({ id, from, to, describe, onInput, label, labelledBy, describedBy, steps = 8 }) {
  const input = el("input", {
    id, type: "range", class: "slider", min: Math.log2(from), max: Math.log2(to), step: 1 / steps,
    "aria-label": label, "aria-labelledby": labelledBy, "aria-describedby": describedBy,
  });
  const show = (/** @type {number} */ value) => {
    input.value = String(Math.log2(value));
    input.setAttribute("aria-valuetext", describe(value));
    fillFrom(input, 0);
  };
  input.addEventListener("input", () => {
    const value = Number((2 ** Number(input.value)).toPrecision(2));
    onInput(value);
    show(value);
  });
  input.addEventListener("dblclick", () => {
    onInput(1);
    show(1);
  });
  return { input, show };
}

/** Colors a slider's track from a value to where it is. @param {HTMLInputElement} input @param {number} origin */
export function fillFrom(input, origin) {
  const [low, high] = [Number(input.min), Number(input.max)];
  const share = (/** @type {number} */ value) => Math.max(0, Math.min(1, (value - low) / (high - low)));
  const ends = [share(origin), share(Number(input.value))].sort((one, other) => one - other);
  input.style.setProperty("--from", `${ends[0]}`);
  input.style.setProperty("--to", `${ends[1]}`);
}

/**
 * Some choices of which one is taken, as radio buttons that look like one piece.
 * @param {{name: string, labelledBy: string, describedBy?: string, choices: [any, string][], onChoose: (value: any) => void}} what
 * @returns {{group: HTMLElement, show: (value: any) => void}}
 */
export function segments({ name, labelledBy, describedBy, choices, onChoose }) {
  const inputs = choices.map(([value, label]) => {
    const input = el("input", { type: "radio", class: "unseen", name, value: String(value) });
    input.addEventListener("change", () => onChoose(value));
    return { value, input, node: el("label", { class: "segment" }, input, el("span", {}, label)) };
  });
  const group = el("div", { class: "segments", role: "radiogroup", "aria-labelledby": labelledBy, "aria-describedby": describedBy },
    ...inputs.map(({ node }) => node));
  const show = (/** @type {any} */ value) => {
    for (const one of inputs) one.input.checked = one.value === value;
  };
  return { group, show };
}

/**
 * A section that opens.
 * @param {string} title
 * @param {Node|string|null} note beside the title
 * @param {...Node} children
 * @returns {HTMLDetailsElement}
 */
export function disclosure(title, note, ...children) {
  return el("details", { class: "fold" },
    el("summary", {}, el("span", { class: "fold-title" }, title), el("span", { class: "fold-note" }, note), icon("down")),
    el("div", { class: "fold-body" }, ...children));
}
