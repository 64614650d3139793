// @ts-check
// A question before what cannot be undone.

import { button, el, newId } from "./dom.js";

/**
 * @param {string} question
 * @param {string} text
 * @param {string} yes what the button that does it says
 * @returns {Promise<boolean>}
 */
export function confirmed(question, text, yes) {
  return new Promise((resolve) => {
    const id = newId();
    const dialog = el("dialog", { class: "dialog", "aria-labelledby": id },
      el("h2", { id }, question), el("p", { class: "hint" }, text),
      el("div", { class: "row end" },
        button("Keep it", () => dialog.close()),
        button(yes, () => dialog.close("yes"), { class: "danger" })));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
