// @ts-check
// The options of a run: those of a recipe, but for those that are chosen.

import { InputError, shown } from "./errors.js";
import { parseSchedule } from "./schedule.js";

/**
 * @typedef {object} Schema what of JSON schemas options have
 * @property {string} [type]
 * @property {unknown[]} [enum]
 * @property {Schema[]} [anyOf]
 * @property {string[]} [examples]
 * @property {number} [minimum]
 * @property {number} [exclusiveMinimum]
 * @property {number} [maximum]
 * @property {number} [exclusiveMaximum]
 * @property {Schema} [items]
 * @property {number} [minItems]
 * @property {boolean} [uniqueItems]
 * @property {Schema} [propertyNames]
 * @property {Schema} [additionalProperties]
 */
/** @typedef {Schema & {default: unknown, "x-needs"?: Record<string, string>}} OptionSchema */
/** @typedef {Record<string, any>} Values by the names of options, as JSON has them */
/**
 * @typedef {object} Facts
 * @property {{properties: Record<string, OptionSchema>}} options
 * @property {Record<string, {about: string, options: Values}>} recipes
 * @property {string[]} sizes options of which any replaces all
 * @property {string[]} sized_by options that say how large costs are, unless they are normalized
 */

/**
 * Returns all options of a recipe, but for those that are chosen.
 *
 * Any of the sizes replaces them all. The recipe's `alpha`, `beta` and `tv` suit the size of its
 * costs: they are left out with another `normalize` and, unless that makes all costs of a size,
 * with what else changes it. So is what needs another option to be otherwise than it is chosen.
 *
 * @param {string} recipe its name
 * @param {Values} chosen `init` may also be pixels
 * @param {Facts} facts
 * @returns {any} an object with a value for each option
 */
export function withOptions(recipe, chosen, facts) {
  const { recipes, options: { properties } } = facts;
  if (!Object.hasOwn(recipes, recipe)) {
    throw new InputError(`recipe is ${shown(recipe)}, accepted are ${list(Object.keys(recipes))}`);
  }
  const values = merged(recipes[recipe].options, chosen ?? {}, facts);
  const unknown = Object.keys(values).find((name) => !Object.hasOwn(properties, name));
  if (unknown !== undefined) {
    const known = list(Object.keys(properties));
    throw new InputError(`there is no option ${shown(unknown)}, accepted are ${known}`);
  }
  const options = mapped(properties, (name, schema) =>
    accepted(name, Object.hasOwn(values, name) ? values[name] : schema.default, schema));
  checkTogether(options, properties);
  return options;
}

/** @param {Values} own @param {Values} chosen @param {Facts} facts @returns {Values} */
function merged(own, chosen, facts) {
  const { properties } = facts.options;
  const isChosen = (/** @type {string} */ name) => Object.hasOwn(chosen, name);
  const differs = (/** @type {string} */ name) =>
    isChosen(name) && chosen[name] !== (own[name] ?? properties[name].default);
  /** @type {string[]} */
  const leftOut = [];
  if (facts.sizes.some(isChosen)) leftOut.push(...facts.sizes);
  const balanced = { ...own, ...chosen }.normalize === true;
  if (differs("normalize") || (!balanced && facts.sized_by.some(differs))) {
    leftOut.push("alpha", "beta", "tv");
  }
  for (const [name, { "x-needs": needs = {} }] of Object.entries(properties)) {
    const unmet = Object.entries(needs).some(([other, needed]) =>
      isChosen(other) && chosen[other] !== needed);
    if (unmet) leftOut.push(name);
  }
  const kept = Object.entries(own).filter(([name]) => !leftOut.includes(name));
  return { ...Object.fromEntries(kept), ...chosen };
}

/**
 * Returns a value as it is kept; throws an InputError if the option may not have it.
 *
 * @param {string} name @param {any} value @param {OptionSchema} schema
 */
function accepted(name, value, schema) {
  if (name === "init" && ArrayBuffer.isView(value?.data)) return value;
  if (isSchedule(schema)) {
    scheduleOf(name, value, schema);
  } else if (!fits(value, schema)) {
    throw new InputError(`${name} is ${shown(value)}, accepted are ${described(schema)}`);
  }
  if (name === "style_weights" && value) checkSum(name, value);
  return name === "style_scale" && value.length === 1 ? value[0] : value;
}

/** @param {string} name @param {number[]} weights */
function checkSum(name, weights) {
  const sum = weights.reduce((total, weight) => total + weight);
  if (sum > 0 && sum < Infinity) return;
  throw new InputError(`${name} are ${shown(weights)}, accepted is a finite sum above 0`);
}

/**
 * Throws an InputError for options that mean nothing next to each other.
 *
 * @param {Values} options @param {Record<string, OptionSchema>} properties
 */
function checkTogether(options, properties) {
  for (const [name, schema] of Object.entries(properties)) {
    for (const [other, needed] of Object.entries(schema["x-needs"] ?? {})) {
      if (options[other] !== needed && isSet(name, options[name], schema)) {
        const actual = shown(options[other]);
        throw new InputError(`${name} is for ${needed}, but ${other} is ${actual}`);
      }
    }
  }
  for (const name of ["alpha", "beta"]) {
    if (options.optimizer === "lbfgs" && !parseSchedule(name, options[name]).isConstant) {
      throw new InputError(`${name} changes over the run, for which optimizer must be adam`);
    }
  }
  const layers = [options.content_layers, options.style_layers].flatMap(Object.keys);
  if (!layers.length) {
    throw new InputError("content_layers and style_layers are both empty");
  }
}

/** @param {string} name @param {unknown} value @param {OptionSchema} schema */
function isSet(name, value, schema) {
  const meant = (/** @type {unknown} */ each) =>
    JSON.stringify(isSchedule(schema) ? scheduleOf(name, each, schema) : each);
  return meant(value) !== meant(schema.default);
}

/** Whether texts are accepted, which schedules are. @param {Schema} schema */
function isSchedule(schema) {
  return schema.anyOf?.some(({ type }) => type === "string") ?? false;
}

/** @param {string} name @param {unknown} value @param {Schema} schema */
function scheduleOf(name, value, schema) {
  const positive = schema.anyOf?.some(({ exclusiveMinimum }) => exclusiveMinimum === 0);
  return parseSchedule(name, value, { positive });
}

/** @param {any} value @param {Schema} schema @returns {boolean} */
function fits(value, schema) {
  if (schema.anyOf) return schema.anyOf.some((each) => fits(value, each));
  if (schema.enum) return schema.enum.includes(value);
  switch (schema.type) {
    case "null":
      return value === null;
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return Number.isInteger(value) && isWithin(value, schema);
    case "number":
      return Number.isFinite(value) && isWithin(value, schema);
    case "array":
      return Array.isArray(value) && areItems(value, schema);
    case "object":
      return isObject(value) && areMembers(value, schema);
    default:
      throw new TypeError(`the schema ${shown(schema)} is unknown`);
  }
}

/** @param {number} value @param {Schema} schema */
function isWithin(value, schema) {
  const { minimum = -Infinity, exclusiveMinimum = -Infinity } = schema;
  const { maximum = Infinity, exclusiveMaximum = Infinity } = schema;
  return minimum <= value && value <= maximum
    && exclusiveMinimum < value && value < exclusiveMaximum;
}

/** @param {unknown[]} values @param {Schema} schema */
function areItems(values, { items = {}, minItems = 0, uniqueItems = false }) {
  const repeats = uniqueItems && new Set(values).size < values.length;
  return values.length >= minItems && !repeats && values.every((value) => fits(value, items));
}

/** @param {unknown} value @returns {value is object} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {object} value @param {Schema} schema */
function areMembers(value, { propertyNames = {}, additionalProperties = {} }) {
  return Object.entries(value).every(([name, member]) =>
    fits(name, propertyNames) && fits(member, additionalProperties));
}

/** @param {Schema} schema @returns {string} what it accepts, in words */
function described(schema) {
  if (schema.anyOf) return schema.anyOf.map(described).join(", or ");
  if (schema.enum) return list(schema.enum);
  switch (schema.type) {
    case "boolean":
      return "true and false";
    case "integer":
      return `whole numbers${bounds(schema)}`;
    case "number":
      return `numbers${bounds(schema)}`;
    case "array":
      return `lists of ${described(schema.items ?? {})}`;
    case "object":
      return `objects that give these ${described(schema.additionalProperties ?? {})}`;
    default:
      return String(schema.type);
  }
}

/** @param {Schema} schema */
function bounds({ minimum, exclusiveMinimum, maximum, exclusiveMaximum }) {
  const told = Object.entries({
    from: minimum, above: exclusiveMinimum, "up to": maximum, below: exclusiveMaximum,
  });
  return told.map(([word, bound]) => (bound === undefined ? "" : ` ${word} ${bound}`)).join("");
}

/** @param {unknown[]} words */
function list(words) {
  return words.join(", ");
}

/**
 * @template T, U
 * @param {Record<string, T>} object @param {(name: string, value: T) => U} change
 * @returns {Record<string, U>}
 */
function mapped(object, change) {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => [name, change(name, value)]));
}
