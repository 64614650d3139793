// @ts-check
// The picture under the brush: pointers and keys become strokes.

import { el } from "./dom.js";
import { showMask } from "./masks.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PEN_ERASER = 32;

/**
 * @typedef {import("./brush.js").Brush} Brush
 * @typedef {{x: number, y: number}} Point in pixels of the mask
 */

/**
 * @param {Brush} brush
 * @param {import("./pictures.js").Picture} picture
 * @param {() => void} onChange
 * @returns {{element: HTMLElement, draw: () => void, focus: () => void, end: () => void}}
 */
export function brushSurface(brush, picture, onChange) {
  const { width, height } = brush.mask;
  const canvas = el("canvas", { width, height });
  const ring = el("div", { class: "ring" });
  const place = el("span", { class: "unseen", role: "status" });
  const sheet = el("div", { class: "sheet", tabindex: "0", role: "application", "aria-label": "Mask over the picture. Arrow keys move the brush, Space paints." },
    el("img", { src: picture.url, alt: "", draggable: "false" }), canvas, ring);
  const element = el("div", { class: "editor-stage" }, sheet, place);
  const target = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  let drawn = 0;
  const state = { at: { x: width / 2, y: height / 2 }, down: false };

  const draw = () => {
    cancelAnimationFrame(drawn);
    drawn = requestAnimationFrame(() => {
      showMask(target, brush.mask);
      showRing(ring, brush, state.at, sheet.clientWidth / width);
    });
  };
  const surface = { brush, sheet, state, draw, onChange, say: (/** @type {string} */ text) => { place.textContent = text; } };
  listenToPointers(surface);
  listenToKeys(surface);
  const watcher = new ResizeObserver(() => {
    fit(sheet, element, width / height);
    draw();
  });
  watcher.observe(element);
  return { element, draw, focus: () => sheet.focus(), end: () => watcher.disconnect() };
}

/** @param {HTMLElement} sheet @param {HTMLElement} room @param {number} aspect */
function fit(sheet, room, aspect) {
  const width = Math.min(room.clientWidth, room.clientHeight * aspect);
  sheet.style.width = `${Math.floor(width)}px`;
  sheet.style.height = `${Math.floor(width / aspect)}px`;
}

/** @param {HTMLElement} ring @param {Brush} brush @param {Point} at @param {number} scale */
function showRing(ring, brush, at, scale) {
  const side = `${2 * brush.radius * scale}px`;
  ring.style.width = side;
  ring.style.height = side;
  ring.style.transform = `translate(${at.x * scale}px, ${at.y * scale}px) translate(-50%, -50%)`;
  ring.classList.toggle("erasing", brush.erasing);
}

/**
 * @typedef {{brush: Brush, sheet: HTMLElement, state: {at: Point, down: boolean}, draw: () => void,
 *   onChange: () => void, say: (text: string) => void}} Surface
 */

/** @param {Surface} surface */
function listenToPointers({ brush, sheet, state, draw, onChange }) {
  const toMask = (/** @type {PointerEvent} */ event) => {
    const box = sheet.getBoundingClientRect();
    const factor = brush.mask.width / box.width;
    return { x: (event.clientX - box.left) * factor, y: (event.clientY - box.top) * factor };
  };
  // One pointer paints: a second finger is no second brush.
  let painting = -1;
  const stroke = (/** @type {PointerEvent} */ event) => {
    const to = toMask(event);
    const pen = event.pointerType === "pen";
    const erase = brush.erasing || (pen && (event.buttons & PEN_ERASER) !== 0);
    brush.stroke(state.at, to, { erase, pressure: pen ? 0.3 + 0.7 * event.pressure : 1 });
    state.at = to;
  };
  sheet.addEventListener("pointerdown", (event) => {
    if (painting >= 0 || (event.pointerType === "mouse" && event.button !== 0)) return;
    painting = event.pointerId;
    sheet.setPointerCapture(painting);
    brush.remember();
    state.at = toMask(event);
    stroke(event);
    draw();
  });
  sheet.addEventListener("pointermove", (event) => {
    if (event.pointerId === painting) (event.getCoalescedEvents?.() ?? [event]).forEach(stroke);
    else if (painting < 0) state.at = toMask(event);
    draw();
  });
  const lift = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId !== painting) return;
    painting = -1;
    onChange();
  };
  sheet.addEventListener("pointerup", lift);
  sheet.addEventListener("pointercancel", lift);
}

/** @param {Surface} surface */
function listenToKeys({ brush, sheet, state, draw, onChange, say }) {
  let held = false;
  const down = () => held || state.down;
  const begin = () => {
    brush.remember();
    brush.stroke(state.at, state.at);
    onChange();
  };
  sheet.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[/** @type {keyof typeof ARROWS} */ (event.key)];
    if (arrow) move(arrow, event.shiftKey);
    else if (event.key === " " && !event.repeat) {
      if (!down()) begin();
      held = true;
    } else if (event.key === "Enter" && !event.repeat) {
      state.down = !state.down;
      if (state.down) begin();
      say(state.down ? "Brush down" : "Brush up");
    } else if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
  });
  sheet.addEventListener("keyup", (event) => {
    if (event.key === " ") held = false;
  });
  sheet.addEventListener("blur", () => {
    held = false;
    state.down = false;
  });

  /** @param {number[]} direction @param {boolean} fine */
  function move([dx, dy], fine) {
    const far = fine ? 1 : Math.max(2, brush.radius / 2);
    const { width, height } = brush.mask;
    const to = { x: clamp(state.at.x + dx * far, width), y: clamp(state.at.y + dy * far, height) };
    if (down()) brush.stroke(state.at, to);
    state.at = to;
    say(`${Math.round((100 * to.x) / width)} % from the left, ${Math.round((100 * to.y) / height)} % from the top`);
    draw();
  }
}

/** @param {number} value @param {number} most */
function clamp(value, most) {
  return Math.max(0, Math.min(most, value));
}
