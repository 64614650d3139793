// @ts-check

/** A picture or an option that cannot be used. */
export class InputError extends Error {
  name = "InputError";
}

/** @param {unknown} value @returns {string} what a message says of it, in one short line */
export function shown(value) {
  const plain = typeof value === "number" || typeof value === "bigint";
  const text = plain ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}
