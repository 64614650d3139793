// @ts-check
// The stage while a painting is set up: the content beside its styles.

import { el, icon, iconButton, refill } from "./dom.js";
import { acceptAnywhere, picker } from "./drop.js";
import { errorNote, fixedError, logSlider } from "./fields.js";
import { PictureError, readPicture } from "./pictures.js";
import { pixels, short } from "./text.js";

/** @typedef {import("./draft.js").Draft} Draft */

/**
 * @param {Draft} draft
 * @param {() => boolean} isShown whether pasted files are for it
 * @returns {HTMLElement}
 */
export function easel(draft, isShown) {
  const intro = el("p", { class: "intro" }, "Add a photo and a painting; the photo is painted in the painting’s style.");
  const content = el("div", { class: "slot content-slot" });
  const styles = el("div", { class: "slot style-slot" });
  const contentError = errorNote(draft, "content");
  const stylesError = errorNote(draft, "styles");
  let messages = "";
  const updateStyles = () => {
    refill(styles, stylesSlot(draft));
    showShares(draft, styles);
  };
  const update = () => {
    intro.hidden = Boolean(draft.content || draft.styles.length);
    refill(content, contentSlot(draft));
    updateStyles();
  };
  draft.addEventListener("pictures", update);
  draft.addEventListener("options", () => showShares(draft, styles));
  draft.addEventListener("errors", () => {
    const now = JSON.stringify([...draft.errors].filter(([place]) => place.startsWith("style-")));
    // Only if they are others: a slider that is being moved must not be made anew.
    if (now !== messages) updateStyles();
    messages = now;
  });
  update();
  acceptAnywhere((files) => {
    if (isShown()) takeContent(draft, files);
  });
  return el("div", { class: "easel" }, intro, el("div", { class: "slots" },
    el("section", { class: "side", "aria-label": "Content" }, content, contentError),
    el("section", { class: "side", "aria-label": "Styles" }, styles, stylesError, errorNote(draft, "option:style_weights"))));
}

/**
 * The first file is the content if there is none yet; others are styles.
 * @param {Draft} draft
 * @param {File[]} files
 */
async function takeContent(draft, files) {
  const [first, ...rest] = files;
  if (draft.content) return takeStyles(draft, files);
  await read(draft, first, "content", (picture) => draft.setContent(picture));
  await takeStyles(draft, rest);
}

/** @param {Draft} draft @param {File[]} files */
async function takeStyles(draft, files) {
  for (const file of files) {
    if (draft.styles.length >= draft.limits.styles) {
      return draft.refuse("styles", `Up to ${draft.limits.styles} styles are accepted.`);
    }
    await read(draft, file, "styles", (picture) => draft.addStyle(picture));
  }
}

/**
 * @param {Draft} draft
 * @param {File} file
 * @param {string} place where it is said if the picture is refused
 * @param {(picture: import("./pictures.js").Picture) => void} take
 */
export async function read(draft, file, place, take) {
  try {
    take(await readPicture(file, draft.limits));
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    draft.refuse(place, error.message);
  }
}

/** @param {Draft} draft @returns {(Node|null)[]} */
function contentSlot(draft) {
  const { content } = draft;
  if (!content) {
    return [picker({ label: "Content picture", class: "zone", multiple: true, key: "content", onFiles: (files) => takeContent(draft, files) },
      icon("picture"), el("span", { class: "zone-title" }, "Photo"), zoneHint())];
  }
  const replace = (/** @type {File[]} */ files) => read(draft, files[0], "content", (picture) => draft.setContent(picture));
  return [
    picker({ label: "Replace the content", class: "shown", key: "content", onFiles: replace }, shown(content)),
    el("div", { class: "caption" },
      el("span", { class: "caption-name" }, content.name), el("span", { class: "caption-size" }, measured(content)),
      iconButton("close", "Remove the content", () => draft.setContent(null), { "data-key": "content-remove" })),
  ];
}

function zoneHint() {
  const touch = matchMedia("(pointer: coarse)").matches;
  return el("span", { class: "zone-hint" }, touch ? "Tap to choose" : "Drop, paste or choose");
}

/** @param {import("./pictures.js").Picture} picture */
function shown(picture) {
  if (picture.width) return el("img", { src: picture.url, alt: picture.name, draggable: "false" });
  return el("span", { class: "blind" }, icon("picture"), "No preview in this browser");
}

/** @param {import("./pictures.js").Picture} picture */
function measured(picture) {
  return picture.width ? pixels(picture.width, picture.height) : "";
}

/** @param {Draft} draft @returns {(Node|null)[]} */
function stylesSlot(draft) {
  const add = (/** @type {File[]} */ files) => takeStyles(draft, files);
  const { styles } = draft;
  if (!styles.length) {
    return [picker({ label: "Style pictures", class: "zone", multiple: true, key: "style-add", onFiles: add },
      icon("brush"), el("span", { class: "zone-title" }, "Style"), zoneHint())];
  }
  const tiles = styles.map((_, at) => styleTile(draft, at));
  const more = styles.length < draft.limits.styles && picker(
    { label: "Add a style", class: "more", multiple: true, key: "style-add", onFiles: add }, icon("add"), el("span", {}, "Add a style"));
  return [el("div", { class: styles.length > 1 ? "tiles many" : "tiles" }, ...tiles), more || null];
}

/** @param {Draft} draft @param {number} at */
function styleTile(draft, at) {
  const style = draft.styles[at];
  const number = draft.styles.length > 1 ? `style ${at + 1}` : "the style";
  return el("div", { class: "tile" },
    el("div", { class: "shown" }, shown(style.picture)),
    el("div", { class: "caption" },
      el("span", { class: "caption-name" }, style.picture.name),
      el("span", { class: "caption-size" }, measured(style.picture)),
      iconButton("close", `Remove ${number}`, () => draft.removeStyle(at), { "data-key": `style-remove-${at}` })),
    draft.styles.length > 1 && weight(draft, style, at),
    fixedError(draft, `style-${at + 1}`));
}

/** @param {Draft} draft @param {import("./draft.js").Style} style @param {number} at */
function weight(draft, style, at) {
  const slider = logSlider({
    id: `weight-${at}`, from: 1 / 8, to: 8, label: `Weight of style ${at + 1}`, describe: (factor) => `${short(factor)} times`,
    onInput: (factor) => {
      style.weight = factor;
      draft.changed("options", "option:style_weights");
    },
  });
  slider.input.dataset.key = `weight-${at}`;
  slider.show(style.weight);
  return el("div", { class: "weight" }, slider.input, el("output", { class: "amount share" }));
}

/** Tells the share of each style, which all change with one weight. @param {Draft} draft @param {HTMLElement} slot */
function showShares({ styles }, slot) {
  const total = styles.reduce((sum, { weight: one }) => sum + one, 0);
  slot.querySelectorAll(".share").forEach((output, at) => {
    output.textContent = `${Math.round((100 * styles[at].weight) / total)} %`;
  });
}
