// @ts-check
// The function that is minimized: what J is, and its value and gradient at a picture. See
// engine/objective.py.

/** @typedef {import("./evaluator.js").Evaluator} Evaluator */
/** @typedef {import("./sessions.js").Tensor} Tensor */
/** @typedef {import("./artifacts.js").Facts} Facts */
/** @typedef {"content" | "style" | "variation"} Group */
/**
 * A summand of J.
 * @typedef {{term: string, layer: string, name: string, source: string | null, group: Group,
 *   weight: number}} Part
 */
/**
 * @typedef {{total: number, content: number, style: number, total_variation: number,
 *   content_layers: Record<string, number>, style_layers: Record<string, number>}} Costs
 */
/** @typedef {{costs: Costs, value: number, gradient: Tensor}} Evaluation */

const IMAGE = "image";

/**
 * Returns what J = alpha·J_content + beta·J_style + tv·J_variation is the sum of.
 *
 * @param {Record<string, any>} options
 * @param {Facts} facts
 * @returns {Part[]}
 */
export function weightedParts(options, facts) {
  const order = [...facts.layers, IMAGE];
  /** @param {string} term @param {Group} group @param {Record<string, number>} weights */
  const atLayers = (term, group, weights) =>
    order
      .filter((layer) => layer in weights)
      .map((layer) => ({
        term,
        layer,
        name: `${term}/${layer}`,
        source: facts.terms[term].source,
        group,
        weight: weights[layer],
      }));
  const kept = options.content_cost === "content" ? options.content_layers : [IMAGE];
  return [
    ...atLayers(options.content_cost, "content", layerWeights(kept)),
    ...atLayers(options.statistic, "style", layerWeights(options.style_layers)),
    ...atLayers("variation", "variation", { [IMAGE]: 1 }),
  ];
}

/**
 * Returns what the graphs of a run are made for.
 *
 * @param {Record<string, any>} options @param {readonly Part[]} parts
 * @returns {import("./artifacts.js").Choice}
 */
export function choiceOf({ pooling, rescaled }, parts) {
  // Max pooling is what others are rescaled to.
  return { pooling, parts: parts.map(({ name }) => name), rescaled: rescaled && pooling !== "max" };
}

/**
 * Returns the weight of each layer; n names without weights get 1/n each.
 *
 * @param {string[] | Record<string, number>} layers
 * @returns {Record<string, number>}
 */
function layerWeights(layers) {
  if (!Array.isArray(layers)) return layers;
  return Object.fromEntries(layers.map((layer) => [layer, 1 / layers.length]));
}

/** J for given targets. */
export class Objective {
  /**
   * @param {Evaluator} evaluator
   * @param {readonly Part[]} parts
   * @param {number} tv weight of the variation cost
   * @param {{seen: (point: Tensor) => Tensor, pulled: (gradient: Tensor) => Tensor}} canvas
   */
  constructor(evaluator, parts, tv, canvas) {
    this.evaluator = evaluator;
    this.parts = parts;
    this.tv = tv;
    this.canvas = canvas;
    this.factors = parts.map(() => 1);
  }

  /**
   * Returns costs and gradient at a picture.
   *
   * @param {Tensor} pixels @param {number} alpha @param {number} beta
   * @returns {Promise<Evaluation>}
   */
  async evaluate(pixels, alpha, beta) {
    const groups = { content: alpha, style: beta, variation: this.tv };
    const weights = this.parts.map(
      ({ group, weight }, index) => groups[group] * weight * this.factors[index],
    );
    const { values, gradient } = await this.#run(pixels, weights);
    const costs = this.#named(values, groups);
    const plain = this.factors.every((factor) => factor === 1);
    const value = plain ? costs.total : sum(weights.map((weight, index) => weight * values[index]));
    return { costs, value, gradient };
  }

  /**
   * Returns one over the mean absolute derivative of each cost by a pixel, for `factors`.
   *
   * @param {Tensor} pixels
   */
  async balancingFactors(pixels) {
    const factors = [];
    for (const part of this.parts) {
      const { gradient } = await this.#run(pixels, this.parts.map((one) => (one === part ? 1 : 0)));
      let size = 0;
      for (const slope of gradient.data) size += Math.abs(slope);
      size /= gradient.data.length;
      factors.push(size > 0 && Number.isFinite(size) ? 1 / size : 1);
    }
    return factors;
  }

  /** @param {Tensor} pixels @param {number[]} weights */
  async #run(pixels, weights) {
    const vector = { data: Float32Array.from(weights), dims: [weights.length] };
    const { values, gradient } = await this.evaluator.run(this.canvas.seen(pixels), vector);
    return { values, gradient: this.canvas.pulled(gradient) };
  }

  /** @param {number[]} values @param {Record<Group, number>} groups @returns {Costs} */
  #named(values, groups) {
    const sums = { content: 0, style: 0, variation: 0 };
    /** @type {Record<Group, Record<string, number>>} */
    const layers = { content: {}, style: {}, variation: {} };
    this.parts.forEach(({ group, layer, weight }, index) => {
      sums[group] += weight * values[index];
      layers[group][layer] = values[index];
    });
    const { content, style, variation } = groups;
    return {
      total: content * sums.content + style * sums.style + variation * sums.variation,
      content: sums.content,
      style: sums.style,
      total_variation: sums.variation,
      content_layers: layers.content,
      style_layers: layers.style,
    };
  }
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
