// @ts-check
// Elements are made here and nowhere from markup, so that no text can become an element.

const PATHS = {
  add: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  brush: "M20 4L10.5 13.5M8 14.5c-2.2 0-3.5 1.6-3.5 3.4 0 1-.6 1.6-1.5 2.1 3.6.5 8-.1 8-3.2 0-1.3-1.3-2.3-3-2.3z",
  eraser: "M9 19h11M5 14.5l8.5-8.5a1.8 1.8 0 0 1 2.5 0l3 3a1.8 1.8 0 0 1 0 2.5L11.5 19H8l-3-3a1.1 1.1 0 0 1 0-1.5zM9.5 10l5.5 5.5",
  fill: "M4 4h16v16H4zM8 8h8v8H8z",
  invert: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  clear: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
  undo: "M8 5L4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11h-3",
  redo: "M16 5l4 4-4 4M20 9H10a5.5 5.5 0 0 0 0 11h3",
  reset: "M5 5v5h5M5.5 10a7.5 7.5 0 1 1-1 4",
  dice: "M5 5h14v14H5zM8.7 8.7h.6v.6h-.6zM14.7 8.7h.6v.6h-.6zM8.7 14.7h.6v.6h-.6zM14.7 14.7h.6v.6h-.6z",
  pause: "M9 5v14M15 5v14",
  play: "M7 5l12 7-12 7z",
  stop: "M6 6h12v12H6z",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  repeat: "M17 3l3 3-3 3M20 6H8a4 4 0 0 0-4 4v1M7 21l-3-3 3-3M4 18h12a4 4 0 0 0 4-4v-1",
  compare: "M12 3v18M9 6H4v12h5M15 6h5v12h-5M5 12h.01",
  auto: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 4v16M12 8h6.5M12 12h8M12 16h6.5",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M19 5l-1.5 1.5M6.5 17.5L5 19",
  dark: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  down: "M6 9l6 6 6-6",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  mask: "M4 5h16v14H4zM8 15a4 4 0 0 1 8 0",
};

/** @typedef {keyof typeof PATHS} IconName */

/**
 * Makes an element. Properties are attributes; those that begin with "on" are listeners.
 * @param {string} tag
 * @param {Record<string, any>} [properties] absent ones may be null, undefined or false
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any} the element
 */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(.../** @type {(Node|string)[]} */ (children.filter((child) => child || child === "")));
  return node;
}

/**
 * @param {string} tag
 * @param {Record<string, string|number>} [attributes]
 * @param {...Node} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/**
 * @param {IconName} name
 * @returns {SVGElement} hidden from screen readers: a button says in words what it does
 */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" },
    svg("path", { d: PATHS[name] }));
}

/**
 * @param {IconName} name
 * @param {string} label what it does, for a tooltip and for screen readers
 * @param {(event: Event) => void} onclick
 * @param {Record<string, any>} [more] further attributes
 * @returns {HTMLButtonElement}
 */
export function iconButton(name, label, onclick, more = {}) {
  return el("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick, ...more },
    icon(name));
}

/**
 * @param {string} label
 * @param {(event: Event) => void} onclick
 * @param {{icon?: IconName, class?: string, [name: string]: any}} [more]
 * @returns {HTMLButtonElement}
 */
export function button(label, onclick, { icon: name, class: kind = "", ...more } = {}) {
  return el("button", { type: "button", class: `button ${kind}`, onclick, ...more },
    name && icon(name), el("span", {}, label));
}

/**
 * Fills a container anew; the focus stays on what has the same data-key.
 * @param {HTMLElement} container
 * @param {(Node|string|null|false)[]} children
 */
export function refill(container, children) {
  const active = /** @type {HTMLElement|null} */ (document.activeElement);
  const key = active && container.contains(active) ? active.dataset.key : undefined;
  container.replaceChildren(.../** @type {(Node|string)[]} */ (children.filter(Boolean)));
  if (key === undefined) return;
  const again = container.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (again instanceof HTMLElement) again.focus({ preventScroll: true });
}

/**
 * Says something to screen readers.
 * @param {string} text
 */
export function announce(text) {
  const live = /** @type {HTMLElement} */ (document.getElementById("live"));
  live.textContent = text;
}

let made = 0;

/** @returns {string} an id that no other element has */
export function newId() {
  made += 1;
  return `n${made}`;
}
