export const same = (value) => value;
export const odd = () => [-Infinity, NaN];
export function fail() {
  throw new RangeError("too much");
}
