// @ts-check
// Choosing, dropping and pasting of files.

import { el } from "./dom.js";
import { filesOf } from "./pictures.js";

/**
 * Lets files be dropped on an element.
 * @param {HTMLElement} target
 * @param {(files: File[]) => void} onFiles
 */
export function acceptDrops(target, onFiles) {
  const over = (/** @type {DragEvent} */ event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = "copy";
    target.classList.add("dropping");
  };
  target.addEventListener("dragenter", over);
  target.addEventListener("dragover", over);
  target.addEventListener("dragleave", () => target.classList.remove("dropping"));
  target.addEventListener("drop", (event) => {
    target.classList.remove("dropping");
    const files = filesOf(event.dataTransfer);
    if (!files.length) return;
    event.preventDefault();
    event.stopPropagation();
    onFiles(files);
  });
}

/**
 * A button that chooses files, and on which they can be dropped.
 * @param {{label: string, class?: string, multiple?: boolean, key?: string, onFiles: (files: File[]) => void}} what
 * @param {...(Node|string|null|false)} children what it shows
 * @returns {HTMLLabelElement}
 */
export function picker({ label, class: kind = "", multiple = false, key = label, onFiles }, ...children) {
  const input = el("input", { type: "file", class: "unseen", accept: "image/*,.tif,.tiff,.heic", multiple, "aria-label": label, "data-key": key });
  input.addEventListener("change", () => {
    const files = [...input.files];
    // Emptied, so that the same file can be chosen again.
    input.value = "";
    if (files.length) onFiles(files);
  });
  const label_ = el("label", { class: kind, title: label }, input, ...children);
  acceptDrops(label_, onFiles);
  return label_;
}

/**
 * Files that are dropped beside all targets, or pasted.
 * @param {(files: File[]) => void} onFiles
 */
export function acceptAnywhere(onFiles) {
  acceptDrops(document.body, onFiles);
  document.addEventListener("paste", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const files = filesOf(event.clipboardData).filter(({ type }) => type.startsWith("image/"));
    if (!files.length) return;
    event.preventDefault();
    onFiles(files);
  });
}
