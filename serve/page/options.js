// @ts-check
// The options of a run: what the schema and the recipe say, and what the user changed.

/**
 * @typedef {{title?: string, description?: string, default?: any, type?: string|string[], enum?: any[],
 *   const?: any, minimum?: number, maximum?: number, exclusiveMinimum?: number, exclusiveMaximum?: number,
 *   anyOf?: Property[], oneOf?: Property[], items?: Property, "x-panel"?: string,
 *   "x-needs"?: Record<string, any>}} Property
 * @typedef {{properties: Record<string, Property>}} Schema
 */

export class Options {
  /** @type {Record<string, any>} */
  #changed = {};
  /** Times the recipe's beta; 1 leaves it as it is. */
  #balance = 1;

  /**
   * @param {Schema} schema
   * @param {import("./api.js").Recipe[]} recipes
   */
  constructor(schema, recipes) {
    this.schema = schema;
    this.recipes = recipes;
    this.recipe = recipes.some(({ name }) => name === "standard") ? "standard" : recipes[0].name;
  }

  /** @param {string} name @returns {any} what it is if the user leaves it alone */
  base(name) {
    const recipe = this.recipes.find((one) => one.name === this.recipe);
    return recipe?.options[name] ?? this.schema.properties[name]?.default ?? null;
  }

  /** @param {string} name @returns {any} */
  value(name) {
    const sent = this.sent();
    return name in sent ? sent[name] : this.base(name);
  }

  /** @param {string} name @returns {boolean} */
  isChanged(name) {
    return name in this.sent();
  }

  /** @param {string} name @param {any} value null takes the recipe's again */
  set(name, value) {
    if (name === "beta") this.#balance = 1;
    if (value === null || same(value, this.base(name))) delete this.#changed[name];
    else this.#changed[name] = value;
  }

  /** @returns {number} how many times the recipe's weight the style has */
  get balance() {
    const ratio = Number(this.#changed.beta) / Number(this.base("beta"));
    return "beta" in this.#changed && ratio > 0 && Number.isFinite(ratio) ? ratio : this.#balance;
  }

  set balance(factor) {
    delete this.#changed.beta;
    this.#balance = factor;
  }

  /** @returns {Record<string, any>} the options to send: only those that the user changed */
  sent() {
    const beta = this.#balance === 1 ? {} : { beta: times(this.base("beta"), this.#balance) };
    return { ...this.#changed, ...beta };
  }

  /** @param {string} recipe @param {Record<string, any>} changed */
  replace(recipe, changed) {
    if (this.recipes.some(({ name }) => name === recipe)) this.recipe = recipe;
    this.#changed = { ...changed };
    this.#balance = 1;
  }
}

/**
 * @param {number|string} weight a number, or a schedule as in "0,6@0.5"
 * @param {number} factor
 * @returns {number|string}
 */
function times(weight, factor) {
  const scaled = (/** @type {string|number} */ value) => Number((Number(value) * factor).toPrecision(4));
  if (typeof weight === "number") return scaled(weight);
  return weight.replace(/(^|[,|])\s*([0-9.eE+-]+)/g, (_, before, value) => before + scaled(value));
}

/** @param {any} value @param {any} other */
function same(value, other) {
  return JSON.stringify(value) === JSON.stringify(other);
}

/** @param {Property} property @returns {Set<string>} the JSON types that it may have */
export function typesOf(property) {
  const own = property.type ?? (property.enum ? "string" : []);
  const inner = [...(property.anyOf ?? []), ...(property.oneOf ?? [])];
  return new Set([...[own].flat(), ...inner.flatMap((one) => [...typesOf(one)])]);
}

/** @param {Property} property @returns {any[]|null} the values, if there are only a few */
export function choicesOf(property) {
  if (property.enum) return property.enum;
  const inner = [...(property.anyOf ?? []), ...(property.oneOf ?? [])];
  const open = inner.some((one) => !one.enum && one.const === undefined && one.type !== "null");
  if (!inner.length || open) return null;
  return inner.flatMap((one) => one.enum ?? (one.const === undefined ? [] : [one.const]));
}

/**
 * Writes a value as the command line has it: names with weights as name:weight.
 * @param {any} value
 * @returns {string}
 */
export function toText(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object") return Object.entries(value).map(([name, weight]) => `${name}:${weight}`).join(", ");
  return String(value);
}

/**
 * Reads what toText writes; what does not fit goes to the server as text, which says what is accepted.
 * @param {string} text
 * @param {Property} property
 * @returns {any}
 */
export function fromText(text, property) {
  const types = typesOf(property);
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if ((types.has("number") || types.has("integer")) && Number.isFinite(Number(trimmed))) return Number(trimmed);
  const entries = trimmed.split(",").map((entry) => entry.trim()).filter(Boolean);
  if (types.has("object") && entries.every((entry) => /^\w+\s*:\s*[\d.eE+-]+$/.test(entry))) {
    return Object.fromEntries(entries.map((entry) => {
      const [name, weight] = entry.split(":");
      return [name.trim(), Number(weight)];
    }));
  }
  if (types.has("array")) return entries.map((entry) => (Number.isFinite(Number(entry)) ? Number(entry) : entry));
  return trimmed;
}
