// @ts-check
// How quantities are told.

/** @param {number} width @param {number} height @returns {string} */
export function pixels(width, height) {
  return `${width} × ${height}`;
}

/** @param {number} count @returns {string} */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const [unit, size] = count < 1e6 ? ["KB", 1e3] : count < 1e9 ? ["MB", 1e6] : ["GB", 1e9];
  return `${short(count / Number(size))} ${unit}`;
}

/** @param {number} count of pixels @returns {string} */
export function megapixels(count) {
  return `${short(count / 1e6)} megapixels`;
}

/** @param {number} value @returns {string} with about three digits */
export function short(value) {
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) {
    return value.toExponential(2).replace("e+", "e");
  }
  return Number(value.toPrecision(3)).toString();
}

const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

/** @param {number} value @returns {string} as short as can be, as in 1.5M */
export function compact(value) {
  return value < 1e-3 ? value.toExponential() : COMPACT.format(value);
}

/** @param {number} seconds @returns {string} */
export function duration(seconds) {
  if (seconds < 1.5) return "1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {string} moment in ISO 8601 @returns {string} the time of day, before today with the date */
export function clock(moment) {
  const when = new Date(moment);
  const time = when.toLocaleTimeString("en-US", { hour: "numeric", minute: "2-digit" });
  const today = new Date().toDateString() === when.toDateString();
  return today ? time : `${when.toLocaleDateString("en-US", { month: "short", day: "numeric" })}, ${time}`;
}

/** @param {number} count @param {string} noun @returns {string} */
export function several(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {string} name of a file @returns {string} without its ending */
export function stem(name) {
  return name.replace(/\.[A-Za-z0-9]{1,5}$/, "");
}
