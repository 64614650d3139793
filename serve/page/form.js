// @ts-check
// The few controls that matter most.

import { el, icon, iconButton, newId } from "./dom.js";
import { errorNote, heading, logSlider, segments } from "./fields.js";
import { fromText, toText } from "./options.js";
import { pixels, short } from "./text.js";

const SIZES = [256, 512, 768, 1024];
const COLORS = [
  ["style", "Style’s", "The colors of the style."],
  ["luminance", "Photo’s", "The content’s colors; only light and dark are painted."],
  ["after", "Put back", "Painted in the style’s colors; the content’s are put back at the end."],
  ["match", "Matched", "The style’s colors, shifted first to be like those of the content."],
];

/** @typedef {import("./draft.js").Draft} Draft */

/** @param {Draft} draft @returns {HTMLElement[]} */
export function mainControls(draft) {
  return [
    recipe(draft),
    size(draft),
    styleScale(draft),
    balance(draft),
    colors(draft),
    el("div", { class: "pair" }, steps(draft), seed(draft)),
  ];
}

/** @param {Draft} draft @param {() => void} update runs now and whenever options or pictures change */
function follow(draft, update) {
  draft.addEventListener("options", update);
  draft.addEventListener("pictures", update);
  update();
}

/** @param {Draft} draft */
function recipe(draft) {
  const { options } = draft;
  const id = newId();
  const now = el("span", { class: "choice-name" });
  const about = el("span", { class: "choice-about" });
  const inputs = options.recipes.map(({ name, about: text }) => {
    const input = el("input", { type: "radio", class: "unseen", name: id, value: name });
    input.addEventListener("change", () => {
      options.recipe = name;
      draft.changed("options");
    });
    // By mouse or touch a choice is made; by arrow keys one is still looking.
    const label = el("label", { class: "choice", onpointerup: () => setTimeout(() => fold.removeAttribute("open"), 120) },
      input, el("span", { class: "choice-name" }, name), el("span", { class: "choice-about" }, text));
    return { input, label };
  });
  const fold = el("details", { class: "select" },
    el("summary", { "aria-labelledby": `${id} ${id}-now` }, el("span", { class: "select-now", id: `${id}-now` }, now, about), icon("down")),
    el("div", { class: "choices", role: "radiogroup", "aria-labelledby": id }, ...inputs.map(({ label }) => label)));
  follow(draft, () => {
    for (const { input } of inputs) input.checked = input.value === options.recipe;
    now.textContent = options.recipe;
    about.textContent = options.recipes.find(({ name }) => name === options.recipe)?.about ?? "";
  });
  return el("div", { class: "field" }, heading({ label: "Recipe", id }).row, fold, errorNote(draft, "option:recipe"));
}

/** @param {Draft} draft */
function size(draft) {
  const { options } = draft;
  const [id, labelId] = [newId(), newId()];
  const field = el("input", { id, type: "number", class: "text number", inputmode: "numeric", min: options.schema.properties.size?.minimum ?? 1, step: 1, "aria-label": "Size in pixels, longer side" });
  const hint = el("p", { class: "hint" });
  const set = (/** @type {number|null} */ value) => draft.setOption("size", value);
  field.addEventListener("change", () => set(field.value === "" ? null : Number(field.value)));
  const choices = segments({ name: newId(), labelledBy: labelId, choices: SIZES.map((side) => [side, String(side)]), onChoose: set });
  const head = heading({ label: "Size", id: labelId, onReset: () => set(null), value: el("span", { class: "unit" }, field, "px") });
  follow(draft, () => {
    const now = options.value("size");
    field.value = String(now);
    choices.show(now);
    head.setChanged(options.isChanged("size"));
    const { width, height } = draft.painted();
    hint.textContent = width ? `${pixels(width, height)}, as the content is.` : "The longer side of the painting.";
  });
  return el("div", { class: "field" }, head.row, choices.group, hint, errorNote(draft, "option:size", field));
}

/** @param {Draft} draft */
function styleScale(draft) {
  const { options } = draft;
  const id = newId();
  const property = options.schema.properties.style_scale;
  const field = el("input", { class: "text number", type: "text", inputmode: "decimal", id, spellcheck: "false" });
  field.addEventListener("change", () => draft.setOption("style_scale", fromText(field.value, property)));
  const slider = logSlider({
    id: newId(), from: 0.25, to: 4, label: "Style scale", describe: (value) => `${short(value)} times`,
    onInput: (value) => draft.setOption("style_scale", value),
  });
  const head = heading({ label: "Style scale", for: id, value: el("span", { class: "unit" }, field, "×"), onReset: () => draft.setOption("style_scale", null) });
  follow(draft, () => {
    const now = options.value("style_scale");
    field.value = toText(now);
    slider.show(Number([now].flat()[0]) || 1);
    head.setChanged(options.isChanged("style_scale"));
  });
  return el("div", { class: "field" }, head.row, slider.input,
    el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, "Fine strokes"), el("span", {}, "Broad strokes")),
    errorNote(draft, "option:style_scale", field));
}

/** @param {Draft} draft */
function balance(draft) {
  const { options } = draft;
  const id = newId();
  const value = el("span", { class: "amount" });
  const set = (/** @type {number} */ factor) => {
    options.balance = factor;
    draft.changed("options", "option:beta");
  };
  const slider = logSlider({
    id, from: 1 / 8, to: 8, onInput: set,
    describe: (factor) => (factor === 1 ? "as the recipe has it" : `${short(factor)} times the style`),
  });
  const head = heading({ label: "Content and style", for: id, value, onReset: () => set(1) });
  follow(draft, () => {
    slider.show(options.balance);
    value.textContent = options.balance === 1 ? "" : `style × ${short(options.balance)}`;
    head.setChanged(options.isChanged("beta"));
  });
  return el("div", { class: "field" }, head.row, slider.input,
    el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, "More content"), el("span", {}, "More style")));
}

/** @param {Draft} draft */
function colors(draft) {
  const { options } = draft;
  const [id, hintId] = [newId(), newId()];
  const hint = el("p", { class: "hint", id: hintId });
  const known = options.schema.properties.color?.enum ?? COLORS.map(([value]) => value);
  const choices = known.map((value) => [value, COLORS.find(([name]) => name === value)?.[1] ?? value]);
  const group = segments({ name: newId(), labelledBy: id, describedBy: hintId, choices: /** @type {[any, string][]} */ (choices), onChoose: (value) => draft.setOption("color", value) });
  const head = heading({ label: "Colors", id, onReset: () => draft.setOption("color", null) });
  follow(draft, () => {
    const now = options.value("color");
    group.show(now);
    hint.textContent = COLORS.find(([name]) => name === now)?.[2] ?? "";
    head.setChanged(options.isChanged("color"));
  });
  return el("div", { class: "field" }, head.row, group.group, hint, errorNote(draft, "option:color"));
}

/** @param {Draft} draft */
function steps(draft) {
  return wholeNumber(draft, "steps", "Steps", { min: 1, max: draft.limits.steps });
}

/** @param {Draft} draft */
function seed(draft) {
  const another = iconButton("dice", "Another seed", () => draft.setOption("seed", Math.floor(Math.random() * 1e6)));
  return wholeNumber(draft, "seed", "Seed", { min: 0 }, another);
}

/**
 * @param {Draft} draft
 * @param {string} name
 * @param {string} label
 * @param {Record<string, any>} range
 * @param {Node} [beside]
 */
function wholeNumber(draft, name, label, range, beside) {
  const id = newId();
  const field = el("input", { id, type: "number", class: "text", inputmode: "numeric", step: 1, ...range });
  field.addEventListener("change", () => draft.setOption(name, field.value === "" ? null : Number(field.value)));
  const head = heading({ label, for: id, onReset: () => draft.setOption(name, null) });
  follow(draft, () => {
    field.value = toText(draft.options.value(name));
    head.setChanged(draft.options.isChanged(name));
  });
  return el("div", { class: "field" }, head.row, el("div", { class: "beside" }, field, beside), errorNote(draft, `option:${name}`, field));
}
