// @ts-check
// The token that some servers want. It lives as long as the tab.

import { takeToken } from "./address.js";
import { button, el, newId } from "./dom.js";

const KEY = "ortist.token";
/** @type {Promise<boolean>|null} */
let asking = null;

/** Moves a token from the address to where it is kept. */
export function keepToken() {
  const token = takeToken();
  if (token) sessionStorage.setItem(KEY, token);
}

/** @returns {Record<string, string>} the header, if there is a token */
export function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/**
 * Asks for a token, once for all requests that want one at the same time.
 * @param {Record<string, string>} refused the header that was refused
 * @returns {Promise<boolean>} whether there is one to try
 */
export async function askToken(refused) {
  const now = authorization().Authorization;
  if (now && now !== refused.Authorization) return true;
  asking ??= ask(Boolean(refused.Authorization)).finally(() => {
    asking = null;
  });
  return asking;
}

/** @param {boolean} wrong @returns {Promise<boolean>} */
function ask(wrong) {
  return new Promise((resolve) => {
    const id = newId();
    const field = el("input", { id, class: "text", type: "password", autocomplete: "off", spellcheck: "false" });
    const accept = () => {
      const token = field.value.trim();
      if (!token) return field.focus();
      sessionStorage.setItem(KEY, token);
      dialog.close("given");
    };
    const dialog = el("dialog", { class: "dialog", "aria-labelledby": `${id}-title` },
      el("h2", { id: `${id}-title` }, "This server asks for a token"),
      el("p", { class: "hint" }, wrong
        ? "The one given was not accepted. What you have set up stays as it is."
        : "Whoever runs the server has it."),
      el("label", { class: "label", for: id }, "Token"),
      field,
      el("div", { class: "row end" },
        button("Not now", () => dialog.close()),
        button("Continue", accept, { class: "primary" })));
    field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") accept();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "given");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
