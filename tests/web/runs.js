// Whole runs, of pictures as files have them.
import { deviceOf } from "./files.js";
import { Pictures } from "../../web/pictures.js";
import { Run } from "../../web/run.js";

/** Returns J at the start of each step, the scales, and the picture at the end. */
export async function paint(folder, options, content, styles) {
  const device = await deviceOf(folder);
  const { constants } = device.artifacts.facts;
  const given = { content, styles };
  const run = new Run(device, new Pictures(given, options, constants), options);
  const totals = [];
  for await (const step of run) totals.push(step.total);
  return { totals, scales: run.scales, picture: run.picture };
}
