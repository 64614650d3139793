// @ts-check

/**
 * Random numbers by a seed: xoshiro128** (Blackman & Vigna 2018), its state made of the seed by
 * SplitMix32. They are not NumPy's: the same seed gives another picture there.
 */
export class Random {
  #state;
  /** @type {number | null} */
  #spare = null;

  /** @param {number} seed a whole number from 0 */
  constructor(seed) {
    const words = splitMix(seed % 2 ** 32, Math.floor(seed / 2 ** 32) % 2 ** 32);
    this.#state = Uint32Array.from({ length: 4 }, () => words());
  }

  /** Returns a number from `low` to below `high`. @param {number} low @param {number} high */
  uniform(low, high) {
    return low + (high - low) * this.#share();
  }

  /**
   * Returns one of a normal distribution with mean 0, by Marsaglia's polar method.
   *
   * @param {number} deviation
   */
  normal(deviation) {
    if (this.#spare !== null) {
      const spare = this.#spare;
      this.#spare = null;
      return deviation * spare;
    }
    let x, y, square;
    do {
      x = this.uniform(-1, 1);
      y = this.uniform(-1, 1);
      square = x * x + y * y;
    } while (square >= 1 || square === 0);
    const length = Math.sqrt((-2 * Math.log(square)) / square);
    this.#spare = y * length;
    return deviation * x * length;
  }

  /** Returns a number from 0 to below 1. */
  #share() {
    const state = this.#state;
    const word = Math.imul(rotated(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotated(state[3], 11);
    return word / 2 ** 32;
  }
}

/** @param {number} word @param {number} bits */
function rotated(word, bits) {
  return (word << bits) | (word >>> (32 - bits));
}

/** @param {number} low @param {number} high @returns {() => number} */
function splitMix(low, high) {
  let state = low ^ Math.imul(high, 0x85ebca6b);
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let word = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
    return (word ^ (word >>> 15)) >>> 0;
  };
}
