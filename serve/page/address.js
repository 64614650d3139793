// @ts-check
// What the address says behind its #: a token, and which painting is open.

/** @returns {URLSearchParams} */
function fragment() {
  return new URLSearchParams(location.hash.slice(1));
}

/** @returns {string|null} a token, which is no longer in the address afterwards */
export function takeToken() {
  const parts = fragment();
  const token = parts.get("token");
  if (token === null) return null;
  parts.delete("token");
  const rest = parts.toString();
  history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
  return token;
}

/** @returns {string|null} the painting that the address is of */
export function openJob() {
  const id = fragment().get("job");
  return id && /^(here-)?[0-9a-f]{32}$/.test(id) ? id : null;
}

/** @param {string|null} id */
export function showJob(id) {
  if (id === openJob()) return;
  history.pushState(null, "", location.pathname + location.search + (id ? `#job=${id}` : ""));
}
