// @ts-check
// Every option that has no control of its own, made from the server's schema.

import { el, newId } from "./dom.js";
import { disclosure, errorNote, heading } from "./fields.js";
import { choicesOf, fromText, toText, typesOf } from "./options.js";

/** These have better controls elsewhere. */
const ELSEWHERE = ["size", "style_scale", "color", "steps", "seed", "style_weights"];

/** @typedef {import("./draft.js").Draft} Draft */

/** @param {Draft} draft @returns {HTMLElement} */
export function allOptions(draft) {
  /** @type {Map<string, HTMLElement[]>} */
  const panels = new Map();
  for (const [name, property] of Object.entries(draft.options.schema.properties)) {
    if (ELSEWHERE.includes(name)) continue;
    const panel = property["x-panel"] ?? "Other";
    panels.set(panel, [...(panels.get(panel) ?? []), optionField(draft, name, property)]);
  }
  const count = document.createTextNode("");
  const groups = [...panels].map(([title, fields]) => el("section", { class: "group" }, el("h3", {}, title), ...fields));
  const fold = disclosure("All options", count, ...groups);
  const update = () => {
    const changed = Object.keys(draft.options.sent()).filter((name) => !ELSEWHERE.includes(name)).length;
    count.textContent = changed ? `${changed} changed` : "";
  };
  draft.addEventListener("options", update);
  draft.addEventListener("errors", () => {
    const named = [...draft.errors.keys()].some((place) => place.startsWith("option:") && !ELSEWHERE.includes(place.slice(7)));
    if (named) fold.open = true;
  });
  update();
  return fold;
}

/** @param {Draft} draft @param {string} name @param {import("./options.js").Property} property */
function optionField(draft, name, property) {
  const id = newId();
  const { control, show } = controlFor(draft, name, property, id);
  const hint = property.description && el("p", { class: "hint", id: `${id}-hint` }, property.description);
  if (hint) control.setAttribute("aria-describedby", hint.id);
  const needs = el("p", { class: "hint" });
  const head = heading({ label: property.title ?? name.replaceAll("_", " "), for: id, onReset: () => draft.setOption(name, null) });
  const update = () => {
    show(draft.options.value(name));
    needs.textContent = needed(draft, property);
    needs.hidden = !needs.textContent;
    head.setChanged(draft.options.isChanged(name));
  };
  draft.addEventListener("options", update);
  update();
  return el("div", { class: "field" }, head.row, control, hint, needs, errorNote(draft, `option:${name}`, control));
}

/** Says which other options must be set for this one to count. @param {Draft} draft @param {import("./options.js").Property} property */
function needed({ options }, property) {
  const missing = Object.entries(property["x-needs"] ?? {}).filter(([name, value]) => options.value(name) !== value);
  const words = missing.map(([name, value]) => `${options.schema.properties[name]?.title ?? name} is ${value}`);
  return words.length ? `Only if ${words.join(" and ")}.` : "";
}

/**
 * @param {Draft} draft
 * @param {string} name
 * @param {import("./options.js").Property} property
 * @param {string} id
 * @returns {{control: any, show: (value: any) => void}}
 */
function controlFor(draft, name, property, id) {
  const set = (/** @type {any} */ value) => draft.setOption(name, value);
  const choices = choicesOf(property);
  const types = typesOf(property);
  types.delete("null");
  if (choices) return select(id, choices, set);
  if (types.has("boolean") && types.size === 1) {
    const control = el("input", { id, type: "checkbox", class: "switch", role: "switch" });
    control.addEventListener("change", () => set(control.checked));
    return { control, show: (value) => { control.checked = Boolean(value); } };
  }
  const plain = [...types].every((type) => type === "number" || type === "integer");
  const control = el("input", {
    id, class: "text", type: plain ? "number" : "text", step: types.has("number") ? "any" : 1,
    min: property.minimum, max: property.maximum, placeholder: "automatic", spellcheck: "false", autocomplete: "off",
  });
  control.addEventListener("change", () => set(fromText(control.value, property)));
  return { control, show: (value) => { control.value = toText(value); } };
}

/** @param {string} id @param {any[]} choices @param {(value: any) => void} set */
function select(id, choices, set) {
  const control = el("select", { id, class: "text" },
    ...choices.map((choice, at) => el("option", { value: at }, choice === null ? "automatic" : String(choice))));
  control.addEventListener("change", () => set(choices[control.selectedIndex]));
  return { control, show: (/** @type {any} */ value) => { control.selectedIndex = choices.indexOf(value); } };
}
