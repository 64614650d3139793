// @ts-check
// What is known beforehand of the curvature of style transfer's costs, by color and frequency.

import { mix } from "./color.js";
import { Fourier } from "./fourier.js";

/**
 * @typedef {object} Known
 * @property {number[]} frequencies in cycles per pixel
 * @property {number[][]} curvatures at these, of gray and of color differences
 * @property {number} power how much of it is made up for
 * @property {number[][]} colors orthonormal rows: gray, and two differences of colors
 */

/** An approximation of the inverse Hessian, up to a factor: a filter for gray and for color. */
export class Preconditioner {
  #fourier;
  #colors;
  #back;
  #gains;
  #re;
  #im;

  /** @param {number} height of the pictures @param {number} width @param {Known} known */
  constructor(height, width, { frequencies, curvatures, power, colors }) {
    this.#fourier = new Fourier(height, width);
    this.#colors = colors;
    this.#back = colors[0].map((_, column) => colors.map((row) => row[column]));
    const [gray, color] = curvatures.map((row) =>
      gainsOf(this.#fourier, (frequency) => interpolated(frequency, frequencies, row) ** -power));
    this.#gains = [gray, color, color];
    this.#re = new Float32Array(gray.length);
    this.#im = new Float32Array(gray.length);
  }

  /** Filters a gradient in place. @param {Float32Array} gradient (1, 3, height, width) */
  apply(gradient) {
    mix(this.#colors, gradient, gradient);
    this.#planes(gradient).forEach((plane, at) => {
      this.#fourier.forward(plane, this.#re, this.#im);
      multiply(this.#gains[at], this.#re, this.#im);
      this.#fourier.inverse(this.#re, this.#im, plane);
    });
    mix(this.#back, gradient, gradient);
  }

  /**
   * Returns the product of a gradient with what it would be filtered to: by Parseval's theorem it
   * is that of their spectra, which saves the way back.
   *
   * @param {Float32Array} gradient
   */
  square(gradient) {
    const mixed = new Float32Array(gradient.length);
    mix(this.#colors, gradient, mixed);
    const powers = this.#planes(mixed).map((plane, at) => {
      this.#fourier.forward(plane, this.#re, this.#im);
      return this.#power(this.#gains[at]);
    });
    return powers.reduce((total, power) => total + power) / (gradient.length / 3);
  }

  /** @param {Float32Array} gradient */
  #planes(gradient) {
    const size = gradient.length / 3;
    return [0, 1, 2].map((plane) => gradient.subarray(plane * size, (plane + 1) * size));
  }

  /** @param {Float32Array} gains */
  #power(gains) {
    const { columns, width } = this.#fourier;
    let [total, single] = [0, 0];
    for (let at = 0; at < gains.length; at++) {
      const power = gains[at] * (this.#re[at] ** 2 + this.#im[at] ** 2);
      total += power;
      const column = at % columns;
      if (!column || 2 * column === width) single += power;
    }
    return 2 * total - single; // the other half is that of -frequency
  }
}

/** @param {Fourier} fourier @param {(frequency: number) => number} gain */
function gainsOf({ height, width, columns }, gain) {
  const gains = new Float32Array(height * columns);
  for (let row = 0, at = 0; row < height; row++) {
    const down = Math.min(row, height - row) / height;
    for (let column = 0; column < columns; column++, at++) {
      gains[at] = gain(Math.hypot(down, column / width));
    }
  }
  return gains;
}

/** @param {number} x @param {number[]} xs ascending @param {number[]} ys */
function interpolated(x, xs, ys) {
  const next = xs.findIndex((other) => other > x);
  if (next <= 0) return ys[next ? ys.length - 1 : 0];
  const share = (x - xs[next - 1]) / (xs[next] - xs[next - 1]);
  return ys[next - 1] + share * (ys[next] - ys[next - 1]);
}

/** @param {Float32Array} factors @param {Float32Array} re @param {Float32Array} im */
function multiply(factors, re, im) {
  for (let at = 0; at < factors.length; at++) {
    re[at] *= factors[at];
    im[at] *= factors[at];
  }
}
