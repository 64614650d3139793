// @ts-check
// Linear algebra in float64, of matrices that lie row by row. Loops take several rows at once, as
// engines do not: most of the time goes into reading.

const { EPSILON } = Number;
/** The least number that has all its digits. */
const TINY = 2 ** -1022;
/** Of the square of a length that is rounding where elements are up to 1. */
const NOTHING = EPSILON ** 4;
/** Rows beyond those there are, all 0, so that groups of four may reach over the end. */
const SPARE = 3;
/** Distance of eigenvalues, relative to the largest, that are taken for equal otherwise. */
const APART = 4 * EPSILON;
/** Of a vector's length, if less is left, it is made orthogonal again. */
const KEPT = 0.5;
/** Solutions that each eigenvector takes. */
const ROUNDS = 3;

/** @typedef {{diagonal: Float64Array, beside: Float64Array}} Tridiagonal */

/**
 * Returns all eigenvalues of a symmetric matrix, ascending, and the eigenvectors of the largest.
 *
 * After Householder's reduction of it to three diagonals, vectors are found by inverse iteration,
 * each orthogonal to those before: it takes less time if fewer are wanted.
 *
 * @param {Float64Array} matrix n × n, of which the lower triangle counts
 * @param {number} n
 * @param {number} [count] of vectors, k
 * @returns {{values: Float64Array, vectors: Float64Array}} vectors are rows, k × n, in the order of
 *   the values, of which theirs are the last k
 */
export function eigh(matrix, n, count = n) {
  const largest = matrix.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (!Number.isFinite(largest)) throw new Error("The matrix has elements that are not finite");
  // Scaled, no square is too large or too small.
  const scale = largest || 1;
  const reflections = matrix.map((value) => value / scale);
  const reduced = tridiagonal(reflections, n);
  const values = eigenvalues(reduced);
  const vectors = eigenvectors(reduced, values, count);
  reflect(vectors, count, reflections, n);
  return { values: values.map((value) => value * scale), vectors: vectors.slice(0, count * n) };
}

/**
 * Returns the eigenvectors of the k largest eigenvalues of a symmetric matrix as rows, k × n,
 * ascending.
 *
 * @param {Float64Array} matrix n × n
 * @param {number} n
 * @param {number} k
 */
export function strongest(matrix, n, k) {
  return eigh(matrix, n, k).vectors;
}

/**
 * Returns a power of a symmetric positive definite matrix.
 *
 * @param {Float64Array} matrix n × n
 * @param {number} n
 * @param {number} exponent
 */
export function power(matrix, n, exponent) {
  const { values, vectors } = eigh(matrix, n);
  const powers = values.map((value) => Math.max(value, TINY) ** exponent);
  const columns = transposed(vectors, n, n);
  return product(columns.map((value, at) => value * powers[at % n]), columns, n, n, n);
}

/**
 * Returns A·Bᵀ, m × n, of the rows of two matrices.
 *
 * @param {Float64Array} a m × k
 * @param {Float64Array} b n × k
 * @param {number} m
 * @param {number} k
 * @param {number} n
 */
export function product(a, b, m, k, n) {
  const result = new Float64Array(m * n);
  for (let column = 0; column < n; column += 4) {
    // Beyond the end it is the last row again.
    const [start0, start1, start2, start3] = fourRows(column, k, n - 1);
    for (let row = 0; row < m; row++) {
      let [w, x, y, z] = [0, 0, 0, 0];
      for (let at = 0, from = row * k; at < k; at++) {
        const value = a[from + at];
        w += value * b[start0 + at];
        x += value * b[start1 + at];
        y += value * b[start2 + at];
        z += value * b[start3 + at];
      }
      result.set([w, x, y, z].slice(0, n - column), row * n + column);
    }
  }
  return result;
}

/**
 * Returns a matrix (n × m) whose rows are the columns of another.
 *
 * @template {Float32Array|Float64Array} T
 * @param {T} matrix m × n
 * @param {number} m
 * @param {number} n
 * @returns {T}
 */
export function transposed(matrix, m, n) {
  const result = matrix.slice();
  // In squares, so that lines of the cache are used whole.
  const side = 16;
  for (let top = 0; top < m; top += side) {
    const bottom = Math.min(top + side, m);
    for (let left = 0; left < n; left += side) {
      const right = Math.min(left + side, n);
      for (let column = left; column < right; column++) {
        for (let row = top; row < bottom; row++) {
          result[column * m + row] = matrix[row * n + column];
        }
      }
    }
  }
  return /** @type {T} */ (result);
}

/**
 * Reduces a symmetric A to three diagonals, QᵀAQ; Q = Hₙ₋₁···H₂H₁, where Hᵢ = I - u·uᵀ.
 *
 * @param {Float64Array} a n × n, no element larger than 1; row i becomes the i elements of u
 * @param {number} n
 * @returns {Tridiagonal}
 */
function tridiagonal(a, n) {
  const [diagonal, beside] = [new Float64Array(n), new Float64Array(n)];
  let [u, q, x, y] = Array.from({ length: 4 }, () => new Float64Array(n));
  for (let row = n - 1; row >= 0; row--) {
    // Of what the step before changes, this row is needed first.
    for (let at = 0; at <= row; at++) a[row * n + at] -= u[row] * q[at] + q[row] * u[at];
    diagonal[row] = a[row * n + row];
    if (!row) break;
    const own = a.subarray(row * n, row * n + row);
    beside[row - 1] = householder(own);
    x.set(own);
    changeAndMultiply({ a, n, u, q, x, y }, row);
    const half = dot(x, y, row) / 2;
    for (let at = 0; at < row; at++) y[at] -= half * x[at];
    [u, q, x, y] = [x, y, u, q];
  }
  return { diagonal, beside };
}

/**
 * Makes of a vector the u of the reflection that leaves only its last element; returns that.
 *
 * @param {Float64Array} vector
 */
function householder(vector) {
  const end = vector.length - 1;
  const last = vector[end];
  const others = dot(vector, vector, end);
  if (others < NOTHING) {
    vector.fill(0);
    return last;
  }
  const length = Math.sqrt(others + last * last);
  const left = last > 0 ? -length : length;
  vector[end] = last - left;
  const factor = 1 / Math.sqrt(length * (length + Math.abs(last)));
  for (let at = 0; at <= end; at++) vector[at] *= factor;
  return left;
}

/** @typedef {Record<"a"|"u"|"q"|"x"|"y", Float64Array> & {n: number}} Step */

/**
 * Subtracts u·qᵀ + q·uᵀ of the lower triangle of A and makes y = A·x with what is left.
 *
 * All is done while an element is at hand: each time A is read takes longer than what is computed.
 *
 * @param {Step} step
 * @param {number} size of A that is left
 */
function changeAndMultiply(step, size) {
  const { a, n, u, q, x, y } = step;
  let row = 0;
  for (; row + 1 < size; row += 2) {
    const [upper, lower] = [row * n, row * n + n];
    const [u0, u1, q0, q1, x0, x1] = [u[row], u[row + 1], q[row], q[row + 1], x[row], x[row + 1]];
    let [sum0, sum1] = [0, 0];
    for (let at = 0; at < row; at++) {
      const [uAt, qAt, xAt] = [u[at], q[at], x[at]];
      const value0 = a[upper + at] - (u0 * qAt + q0 * uAt);
      const value1 = a[lower + at] - (u1 * qAt + q1 * uAt);
      a[upper + at] = value0;
      a[lower + at] = value1;
      sum0 += value0 * xAt;
      sum1 += value1 * xAt;
      y[at] += value0 * x0 + value1 * x1;
    }
    finish(step, row, row, sum0);
    finish(step, row + 1, row, sum1);
  }
  if (row < size) finish(step, row, 0, 0);
}

/**
 * Does the same for what is left of a row, from a column on.
 *
 * @param {Step} step
 * @param {number} row
 * @param {number} from
 * @param {number} sum of the products of the columns before
 */
function finish({ a, n, u, q, x, y }, row, from, sum) {
  for (let at = from; at <= row; at++) {
    const value = a[row * n + at] - (u[row] * q[at] + q[row] * u[at]);
    a[row * n + at] = value;
    sum += value * x[at];
    if (at < row) y[at] += value * x[row];
  }
  y[row] = sum;
}

/**
 * Returns the eigenvalues of a tridiagonal matrix, ascending, by QL steps with implicit shifts.
 *
 * @param {Tridiagonal} reduced
 */
function eigenvalues(reduced) {
  const [d, e] = [reduced.diagonal.slice(), reduced.beside.slice()];
  const n = d.length;
  for (let first = 0; first < n; first++) {
    for (;;) {
      let last = first;
      while (last < n - 1 && Math.abs(e[last]) > EPSILON) last++;
      if (last === first) break;
      // The shift, Wilkinson's, is the eigenvalue of the first 2 × 2 that is nearer the first.
      const half = (d[first + 1] - d[first]) / (2 * e[first]);
      const root = Math.sqrt(half * half + 1);
      let g = d[last] - d[first] + e[first] / (half + (half < 0 ? -root : root));
      let [sine, cosine, change] = [1, 1, 0];
      let at = last - 1;
      for (; at >= first; at--) {
        const f = sine * e[at];
        const b = cosine * e[at];
        const length = Math.sqrt(f * f + g * g);
        e[at + 1] = length;
        if (length === 0) break;
        sine = f / length;
        cosine = g / length;
        g = d[at + 1] - change;
        const turned = (d[at] - g) * sine + 2 * cosine * b;
        change = sine * turned;
        d[at + 1] = g + change;
        g = cosine * turned - b;
      }
      // Where one became 0 the matrix falls into two.
      d[at + 1] -= change;
      if (at < first) e[first] = g;
      e[last] = 0;
    }
  }
  return d.sort();
}

/**
 * Returns eigenvectors of the last of the eigenvalues as rows, with SPARE.
 *
 * @param {Tridiagonal} reduced
 * @param {Float64Array} values
 * @param {number} count
 */
function eigenvectors(reduced, values, count) {
  const n = values.length;
  const vectors = new Float64Array((count + SPARE) * n);
  const distance = APART * Math.max(Math.abs(values[0]), Math.abs(values[n - 1]));
  let seed = 1;
  let shift = Infinity;
  for (let row = count - 1; row >= 0; row--) {
    // With equal shifts, vectors found would grow so much that nothing was left of others.
    shift = Math.min(values[n - count + row], shift - distance);
    const solve = solver(reduced, shift);
    const vector = vectors.subarray(row * n, row * n + n);
    for (let at = 0; at < n; at++) {
      seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
      vector[at] = seed;
    }
    for (let round = 0; round < ROUNDS; round++) {
      solve(vector);
      normalize(vector);
      // What is left of a vector is rounding the more, the less it is.
      do {
        orthogonalize(vector, vectors.subarray((row + 1) * n), count - row - 1);
      } while (normalize(vector) < KEPT);
    }
  }
  return vectors;
}

/**
 * Returns what solves (T - λ·I)·x = b, in place of b, by elimination with pivots.
 *
 * @param {Tridiagonal} reduced
 * @param {number} value
 */
function solver({ diagonal, beside }, value) {
  const n = diagonal.length;
  /** Of each row its diagonal and the two elements that may be beside it. */
  const [pivots, seconds, thirds] = Array.from({ length: 3 }, () => new Float64Array(n));
  const factors = new Float64Array(n);
  const swapped = new Uint8Array(n);
  let pivot = diagonal[0] - value;
  let second = beside[0];
  for (let row = 0; row < n; row++) {
    const below = beside[row];
    swapped[row] = Number(Math.abs(below) > Math.abs(pivot));
    if (swapped[row]) {
      const next = diagonal[row + 1] - value;
      factors[row] = pivot / below;
      pivots[row] = below;
      seconds[row] = next;
      thirds[row] = beside[row + 1];
      pivot = second - factors[row] * next;
      second = -factors[row] * beside[row + 1];
    } else {
      // What is nearly singular is made no more so than rounding allows.
      pivots[row] = Math.abs(pivot) < EPSILON ? EPSILON : pivot;
      factors[row] = below / pivots[row];
      seconds[row] = second;
      pivot = diagonal[row + 1] - value - factors[row] * second;
      second = beside[row + 1];
    }
  }
  return (/** @type {Float64Array} */ x) => {
    for (let row = 0; row < n - 1; row++) {
      const other = x[row + 1];
      const own = x[row];
      x[row] = swapped[row] ? other : own;
      x[row + 1] = (swapped[row] ? own : other) - factors[row] * x[row];
    }
    let [next, afterNext] = [0, 0];
    for (let row = n - 1; row >= 0; row--) {
      x[row] = (x[row] - seconds[row] * next - thirds[row] * afterNext) / pivots[row];
      afterNext = next;
      next = x[row];
    }
  };
}

/**
 * Takes out of a vector what it has of others, which are orthonormal rows.
 *
 * @param {Float64Array} vector
 * @param {Float64Array} rows with SPARE
 * @param {number} count
 */
function orthogonalize(vector, rows, count) {
  for (let row = 0; row < count; row += 4) {
    const [start0, start1, start2, start3] = fourRows(row, vector.length);
    let [w, x, y, z] = [0, 0, 0, 0];
    for (let at = 0; at < vector.length; at++) {
      const value = vector[at];
      w += value * rows[start0 + at];
      x += value * rows[start1 + at];
      y += value * rows[start2 + at];
      z += value * rows[start3 + at];
    }
    for (let at = 0; at < vector.length; at++) {
      vector[at] -= w * rows[start0 + at] + x * rows[start1 + at]
        + y * rows[start2 + at] + z * rows[start3 + at];
    }
  }
}

/**
 * Multiplies rows by Qᵀ: see tridiagonal().
 *
 * @param {Float64Array} rows with SPARE
 * @param {number} count
 * @param {Float64Array} reflections
 * @param {number} n
 */
function reflect(rows, count, reflections, n) {
  for (let row = 0; row < count; row += 4) {
    const [start0, start1, start2, start3] = fourRows(row, n);
    for (let size = 1; size < n; size++) {
      const u = size * n;
      let [w, x, y, z] = [0, 0, 0, 0];
      for (let at = 0; at < size; at++) {
        const value = reflections[u + at];
        w += value * rows[start0 + at];
        x += value * rows[start1 + at];
        y += value * rows[start2 + at];
        z += value * rows[start3 + at];
      }
      for (let at = 0; at < size; at++) {
        const value = reflections[u + at];
        rows[start0 + at] -= w * value;
        rows[start1 + at] -= x * value;
        rows[start2 + at] -= y * value;
        rows[start3 + at] -= z * value;
      }
    }
  }
}

/**
 * Returns where four rows start.
 *
 * @param {number} row the first
 * @param {number} length of a row
 * @param {number} [last] row there is
 */
function fourRows(row, length, last = Infinity) {
  return [0, 1, 2, 3].map((more) => Math.min(row + more, last) * length);
}

/**
 * Makes a vector of length 1; returns the length that it had.
 *
 * @param {Float64Array} vector
 */
function normalize(vector) {
  const length = Math.sqrt(dot(vector, vector, vector.length));
  for (let at = 0; at < vector.length; at++) vector[at] /= length;
  return length;
}

/**
 * @param {Float64Array} a
 * @param {Float64Array} b
 * @param {number} size
 */
function dot(a, b, size) {
  let sum = 0;
  for (let at = 0; at < size; at++) sum += a[at] * b[at];
  return sum;
}
