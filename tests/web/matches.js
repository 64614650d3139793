// Calls what matches are made of, for tests/test_web_matches.py.
import { eigh, power, product, strongest, transposed } from "../../web/linear.js";
import { match } from "../../web/neighbors.js";

export function decompose({ data, dims: [n] }) {
  const { values, vectors } = eigh(data, n);
  return { values: { data: values, dims: [n] }, vectors: { data: vectors, dims: [n, n] } };
}

export const mostOf = ({ data, dims: [n] }, k) => ({ data: strongest(data, n, k), dims: [k, n] });

export const raised = ({ data, dims }, exponent) => ({ data: power(data, dims[0], exponent), dims });

export const rowProducts = ({ data: a, dims: [m, k] }, { data: b, dims: [n] }) => (
  { data: product(a, b, m, k, n), dims: [m, n] });

export const turned = ({ data, dims: [m, n] }) => ({ data: transposed(data, m, n), dims: [n, m] });

async function multiply({ data: a, dims: [m, k] }, { data: b, dims: [, n] }) {
  const columns = transposed(Float64Array.from(b), k, n);
  return { data: Float32Array.from(product(Float64Array.from(a), columns, m, k, n)), dims: [m, n] };
}

export const matched = (sought, styles, constants) => (
  match(sought, styles, { multiply }, constants));

/** Returns what was thrown after a number of products, and how many there were. */
export async function canceled(sought, styles, constants, most) {
  const controller = new AbortController();
  let count = 0;
  const products = {
    multiply(a, b) {
      count += 1;
      if (count === most) controller.abort();
      return multiply(a, b);
    },
  };
  try {
    await match(sought, styles, products, constants, controller.signal);
  } catch (error) {
    return [error.name, count];
  }
  return ["nothing", count];
}
