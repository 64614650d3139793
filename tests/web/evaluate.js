// J and its gradient, of pictures that are given in the size to paint.
import { deviceOf } from "./files.js";
import { Evaluator } from "../../web/evaluator.js";
import { Objective, weightedParts } from "../../web/objective.js";
import { settleTargets } from "../../web/targets.js";

const canvas = { seen: (point) => point, pulled: (gradient) => gradient };

/** Returns costs by name and the gradient at an image, given targets or what they are made of. */
export async function evaluate(folder, options, block, image, given) {
  const device = await deviceOf(folder);
  const parts = weightedParts(options, device.artifacts.facts);
  const key = { pooling: "average", parts: parts.map(({ name }) => name), block, rescaled: false };
  const targets = given.targets ?? (await settled(device, key, parts, given));
  const chosen = { graph: (kind, made) => device.graph(kind, made), block: () => block };
  const evaluator = new Evaluator(chosen, key, targets, 0);
  const objective = new Objective(evaluator, parts, options.tv, canvas);
  const found = await objective.evaluate(image, options.alpha, options.beta);
  await evaluator.release();
  return found;
}

async function settled(device, key, parts, { content, styles }) {
  const measure = await device.graph("measure", key);
  const shares = styles.map((pixels) => ({ pixels, share: 1 / styles.length }));
  const scene = { content, styles: shares };
  const targets = await settleTargets(device, measure, parts, scene, content);
  await measure.release();
  return targets;
}
