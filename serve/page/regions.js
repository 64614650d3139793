// @ts-check
// Regions with styles of their own, what is protected, and a picture to start from.

import { button, el, icon, iconButton, newId, refill } from "./dom.js";
import { picker } from "./drop.js";
import { read } from "./easel.js";
import { disclosure, fixedError, segments } from "./fields.js";
import { editMask } from "./mask-editor.js";
import { fits, showMask } from "./masks.js";
import { release } from "./pictures.js";
import { several } from "./text.js";
import { toServer } from "./way-out.js";

/**
 * @typedef {import("./draft.js").Draft} Draft
 * @typedef {import("./draft.js").Region} Region
 * @typedef {import("./pictures.js").Picture} Picture
 * @typedef {import("./masks.js").Mask} Mask
 */

const THUMB = 144;

/** @param {Draft} draft @returns {HTMLElement} */
export function regions(draft) {
  const list = el("div", { class: "stack" });
  const count = document.createTextNode("");
  const fold = disclosure("Regions and masks", count, list);
  const update = () => {
    count.textContent = summary(draft);
    refill(list, content(draft));
  };
  draft.addEventListener("regions", update);
  draft.addEventListener("errors", () => {
    if (places(draft).some((place) => draft.errors.has(place))) fold.open = true;
    update();
  });
  update();
  return fold;
}

/** @param {Draft} draft */
function places({ regions: all }) {
  return ["regions", "protect", "start", ...all.map((_, at) => `region-${at + 1}`)];
}

/** @param {Draft} draft */
function summary({ regions: all, protect, start }) {
  return [all.length && several(all.length, "region"), protect && "protected", start && "start"].filter(Boolean).join(", ");
}

/** @param {Draft} draft @returns {(Node|false)[]} */
function content(draft) {
  if (!draft.content?.width) {
    const first = el("p", { class: "hint" }, "Add a photo first: masks are painted over it.");
    return [draft.limits.regions ? first : notHere(draft), startRow(draft)];
  }
  const { length } = draft.regions;
  const most = draft.limits.regions;
  return [
    ...draft.regions.map((region, at) => regionRow(draft, region, at)),
    fixedError(draft, "regions"),
    most === 0 && !draft.errors.has("regions") && notHere(draft),
    most > 0 && length >= most && el("p", { class: "hint" }, `Up to ${several(most, "region")} are accepted.`),
    length < most && button("Add a region", () => addRegion(draft), { icon: "add", class: "quiet wide", "data-key": "region-add" }),
    (most > 0 || draft.protect) && protectRow(draft),
    startRow(draft),
  ];
}

/** @param {Draft} draft */
function notHere({ places: { both }, places }) {
  return el("p", { class: "hint" }, "Regions and masks are painted by a server only. ", both && toServer(places));
}

/** @param {Draft} draft */
async function addRegion(draft) {
  const mask = await paint(draft, "Region", null);
  if (!mask) return;
  const region = draft.addRegion();
  region.mask = mask;
  draft.changed("regions");
}

/** @param {Draft} draft @param {string} title @param {Mask|null} mask */
function paint(draft, title, mask) {
  return editMask({ title, picture: /** @type {Picture} */ (draft.content), mask, limits: draft.limits });
}

/** @param {Draft} draft @param {Region} region @param {number} at */
function regionRow(draft, region, at) {
  const number = at + 1;
  const place = `region-${number}`;
  const changed = () => draft.changed("regions", place);
  const nameId = newId();
  const kind = segments({
    name: region.key, labelledBy: nameId, choices: [[false, "Own style"], [true, "Leave as it is"]],
    onChoose: (kept) => {
      region.kept = kept;
      changed();
    },
  });
  kind.show(region.kept);
  kind.group.querySelectorAll("input").forEach((input, which) => { input.dataset.key = `${region.key}-kind-${which}`; });
  const edit = async () => {
    const mask = await paint(draft, `Region ${number}`, region.mask);
    if (!mask) return;
    region.mask = mask;
    changed();
  };
  return el("div", { class: "region", role: "group", "aria-labelledby": nameId },
    maskButton(`Paint the mask of region ${number}`, draft.content, region.mask, edit, `${region.key}-mask`),
    el("div", { class: "region-body" },
      el("div", { class: "heading" },
        el("span", { class: "label", id: nameId }, `Region ${number}`),
        iconButton("close", `Remove region ${number}`, () => draft.removeRegion(region), { "data-key": `${region.key}-remove` })),
      kind.group,
      !region.kept && regionStyle(draft, region, number),
      stretched(draft, region.mask),
      fixedError(draft, place)));
}

/** @param {Draft} draft @param {Region} region @param {number} number */
function regionStyle(draft, region, number) {
  const place = `region-${number}`;
  const take = (/** @type {File[]} */ files) => read(draft, files[0], place, (picture) => {
    release(region.style);
    region.style = picture;
    region.styleMask = null;
    draft.changed("regions", place);
  });
  const { style } = region;
  const choose = picker({ label: `Style of region ${number}`, class: "small-zone", key: `${region.key}-style`, onFiles: take },
    style ? el("img", { src: style.url, alt: style.name }) : icon("brush"), el("span", {}, style ? style.name : "Choose a style"));
  if (!style?.width) return choose;
  const edit = async () => {
    const mask = await editMask({ title: `What of the style counts in region ${number}`, picture: style, mask: region.styleMask, limits: draft.limits });
    if (!mask) return;
    region.styleMask = mask;
    draft.changed("regions", place);
  };
  const drop = () => {
    region.styleMask = null;
    draft.changed("regions", place);
  };
  return el("div", { class: "stack tight" }, choose, el("div", { class: "row" },
    button(region.styleMask ? "Part of the style" : "Use a part of it", edit, { icon: "mask", class: "quiet small", "data-key": `${region.key}-part` }),
    region.styleMask && button("Use all", drop, { class: "quiet small", "data-key": `${region.key}-all` })));
}

/** @param {Draft} draft @param {Mask|null} mask @returns {Node|false} */
function stretched({ content: picture }, mask) {
  if (!mask || !picture?.width || fits(mask, picture)) return false;
  return el("p", { class: "hint" }, "Painted over a picture of another shape; it is stretched to this one.");
}

/**
 * @param {string} label
 * @param {Picture|null} picture
 * @param {Mask|null} mask
 * @param {() => void} edit
 * @param {string} key
 */
function maskButton(label, picture, mask, edit, key) {
  // With the picture's proportions, so that both are cropped alike.
  const height = mask ? Math.round((THUMB * mask.height) / mask.width) : THUMB;
  const canvas = el("canvas", { width: THUMB, height });
  if (mask) showMask(canvas.getContext("2d"), mask);
  return el("button", { type: "button", class: "mask-thumb", "aria-label": label, title: label, onclick: edit, "data-key": key },
    picture && el("img", { src: picture.url, alt: "" }), canvas);
}

/** @param {Draft} draft */
function protectRow(draft) {
  const edit = async () => {
    const mask = await paint(draft, "Protected", draft.protect);
    if (!mask) return;
    draft.protect = mask;
    draft.changed("regions", "protect");
  };
  const drop = () => {
    draft.protect = null;
    draft.changed("regions", "protect");
  };
  return optional(draft, "Protected", "Where the content counts more, such as a face.", "protect",
    draft.protect ? maskButton("Paint what is protected", draft.content, draft.protect, edit, "protect")
      : button("Paint a mask", edit, { icon: "mask", class: "quiet", "data-key": "protect" }),
    draft.protect && drop, stretched(draft, draft.protect));
}

/** @param {Draft} draft */
function startRow(draft) {
  const set = (/** @type {Picture|null} */ picture) => {
    release(draft.start);
    draft.start = picture;
    draft.changed("regions", "start");
  };
  const choose = picker({ label: "Picture to start from", class: "small-zone", key: "start", onFiles: (files) => read(draft, files[0], "start", set) },
    draft.start ? el("img", { src: draft.start.url, alt: draft.start.name }) : icon("picture"),
    el("span", {}, draft.start ? draft.start.name : "Choose"));
  return optional(draft, "Start", "A picture to paint on, such as an earlier painting.", "start", choose, draft.start && (() => set(null)), false);
}

/**
 * @param {Draft} draft
 * @param {string} title
 * @param {string} hint
 * @param {string} key the place of its message, too
 * @param {Node} control
 * @param {(() => void)|null} drop
 * @param {Node|false} note
 */
function optional(draft, title, hint, key, control, drop, note) {
  return el("div", { class: "optional" },
    el("div", { class: "optional-text" }, el("span", { class: "label" }, title), el("p", { class: "hint" }, hint), note, fixedError(draft, key)),
    el("div", { class: "row" }, control, drop && iconButton("close", `Remove: ${title.toLowerCase()}`, drop, { "data-key": `${key}-remove` })));
}
