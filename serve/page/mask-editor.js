// @ts-check
// The dialog in which a mask is painted over a picture.

import { Brush } from "./brush.js";
import { brushSurface } from "./brush-surface.js";
import { button, el, icon, newId } from "./dom.js";
import { acceptDrops, picker } from "./drop.js";
import { fillFrom } from "./fields.js";
import { copyMask, emptyMask, fits, fitted, isEmpty, maskOf } from "./masks.js";
import { PictureError, readPicture, release } from "./pictures.js";

const HELP = "Paint with mouse, finger or pen. By keyboard: arrows move the brush, Space paints, Enter keeps it down, [ and ] change its size, E is the eraser.";

/**
 * @param {{title: string, picture: import("./pictures.js").Picture, mask: import("./masks.js").Mask|null,
 *   limits: import("./api.js").Limits}} what
 * @returns {Promise<import("./masks.js").Mask|null>} the mask as painted, or null if that is given up
 */
export function editMask({ title, picture, mask, limits }) {
  const brush = new Brush(!mask ? emptyMask(picture) : fits(mask, picture) ? copyMask(mask) : fitted(mask, picture));
  brush.radius = Math.round(Math.max(brush.mask.width, brush.mask.height) / 24);
  const message = el("p", { class: "editor-hint", role: "status" }, HELP);
  const take = (/** @type {File[]} */ files) => fromFile(files[0], { brush, picture, limits, message, shown: () => tools.update() });
  const surface = brushSurface(brush, picture, () => tools.update());
  const tools = toolbar(brush, surface, take);
  return new Promise((resolve) => {
    const id = newId();
    const dialog = el("dialog", { class: "editor", "aria-labelledby": id },
      el("div", { class: "editor-bar" },
        el("h2", { id }, title),
        button("Cancel", () => dialog.close(), { class: "quiet" }),
        button("Use this mask", () => {
          if (isEmpty(brush.mask)) message.replaceChildren(icon("warning"), "Nothing is painted yet.");
          else dialog.close("use");
        }, { class: "primary" })),
      surface.element,
      el("div", { class: "editor-foot" }, tools.element, message));
    acceptDrops(dialog, take);
    dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => shortcuts(event, brush, tools.update));
    dialog.addEventListener("cancel", (/** @type {Event} */ event) => {
      // Esc is pressed by accident too: the first one only warns if something was painted.
      if (!brush.canUndo || message.dataset.warned) return;
      event.preventDefault();
      message.dataset.warned = "yes";
      message.textContent = "Press Esc again to leave without this mask.";
    });
    dialog.addEventListener("close", () => {
      surface.end();
      dialog.remove();
      resolve(dialog.returnValue === "use" ? brush.mask : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    surface.focus();
    tools.update();
  });
}

/**
 * @param {File} file
 * @param {{brush: Brush, picture: import("./pictures.js").Picture, limits: import("./api.js").Limits,
 *   message: HTMLElement, shown: () => void}} editor
 */
async function fromFile(file, { brush, picture, limits, message, shown }) {
  try {
    const source = await readPicture(file, limits);
    brush.take(await maskOf(source, picture).finally(() => release(source)));
    message.textContent = HELP;
    shown();
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    message.replaceChildren(icon("warning"), error.message);
  }
}

/** @param {KeyboardEvent} event @param {Brush} brush @param {() => void} update */
function shortcuts(event, brush, update) {
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (command && key === "z") brush[event.shiftKey ? "redo" : "undo"]();
  else if (command && key === "y") brush.redo();
  else if (command || event.altKey) return;
  else if (key === "[") resize(brush, 1 / 1.2);
  else if (key === "]") resize(brush, 1.2);
  else if (key === "e") brush.erasing = true;
  else if (key === "b") brush.erasing = false;
  else return;
  event.preventDefault();
  update();
}

/** @param {Brush} brush @param {number} factor */
function resize(brush, factor) {
  const longer = Math.max(brush.mask.width, brush.mask.height);
  brush.radius = Math.min(longer / 4, Math.max(1, brush.radius * factor));
}

/**
 * @param {Brush} brush
 * @param {{draw: () => void}} surface
 * @param {(files: File[]) => void} take
 * @returns {{element: HTMLElement, update: () => void}}
 */
function toolbar(brush, surface, take) {
  const size = el("input", { type: "range", class: "slider", min: 0, max: Math.log2(Math.max(brush.mask.width, brush.mask.height) / 4), step: 0.1, "aria-label": "Brush size" });
  const act = (/** @type {() => void} */ change) => () => {
    change();
    update();
  };
  const tool = (/** @type {string} */ label, /** @type {import("./dom.js").IconName} */ name, /** @type {() => void} */ change, more = {}) =>
    button(label, act(change), { icon: name, class: "tool", ...more });
  const paint = tool("Brush", "brush", () => { brush.erasing = false; });
  const erase = tool("Eraser", "eraser", () => { brush.erasing = true; });
  const undo = tool("Undo", "undo", () => brush.undo());
  const redo = tool("Redo", "redo", () => brush.redo());
  size.addEventListener("input", act(() => { brush.radius = 2 ** Number(size.value); }));
  const update = () => {
    paint.setAttribute("aria-pressed", String(!brush.erasing));
    erase.setAttribute("aria-pressed", String(brush.erasing));
    undo.disabled = !brush.canUndo;
    redo.disabled = !brush.canRedo;
    size.value = String(Math.log2(brush.radius));
    fillFrom(size, 0);
    surface.draw();
  };
  const element = el("div", { class: "tools-row", role: "group", "aria-label": "Mask" },
    paint, erase,
    el("label", { class: "brush-size" }, el("span", {}, "Size"), size),
    tool("Fill", "fill", () => brush.all("fill")),
    tool("Invert", "invert", () => brush.all("invert")),
    tool("Clear", "clear", () => brush.all("clear")),
    undo, redo,
    picker({ label: "Take a picture as the mask", class: "button tool", onFiles: take }, icon("picture"), el("span", {}, "File")));
  return { element, update };
}
