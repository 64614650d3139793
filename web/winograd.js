// @ts-check
// Kernels as Winograd's filtering takes them, see models/winograd.py: U = G·w·Gᵀ.

const SUFFIX = "/kernel/winograd";

/**
 * Returns the layer whose kernel, transformed, a graph input of that name takes; none for others.
 *
 * @param {string} name
 */
export function transformedLayer(name) {
  return name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : undefined;
}

/**
 * Returns a transformed kernel, (n², C, K), of a kernel (K, C, 3, 3).
 *
 * @param {{data: Float32Array, dims: number[]}} kernel
 * @param {readonly number[][]} matrix G, n rows of 3
 */
export function transformKernel(kernel, matrix) {
  const [outputs, inputs] = kernel.dims;
  const size = matrix.length;
  const transformed = new Float32Array(size * size * inputs * outputs);
  // Rounded as Python rounds them.
  const factors = matrix.flatMap((row) =>
    matrix.map((column) =>
      Float64Array.from({ length: 9 }, (_, tap) =>
        Math.fround(row[Math.floor(tap / 3)] * column[tap % 3]),
      ),
    ),
  );
  const taps = new Float64Array(9);
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const start = (output * inputs + input) * 9;
      for (let tap = 0; tap < 9; tap++) taps[tap] = kernel.data[start + tap];
      for (let product = 0; product < factors.length; product++) {
        const own = factors[product];
        let sum = 0;
        for (let tap = 0; tap < 9; tap++) sum += own[tap] * taps[tap];
        transformed[(product * inputs + input) * outputs + output] = sum;
      }
    }
  }
  return { data: transformed, dims: [size * size, inputs, outputs] };
}
