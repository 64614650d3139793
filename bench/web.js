// Seconds per evaluation in Node, for bench/web.py: a line of JSON for each order on standard input.
import { createInterface } from "node:readline";

import { weightedParts } from "../web/objective.js";
import { settleTargets } from "../web/targets.js";
import { deviceOf } from "../tests/web/files.js";

/** Returns a tensor of smooth noise, 0..255. */
function picture(width, height) {
  const data = new Float32Array(3 * width * height);
  for (let at = 0; at < data.length; at++) {
    const [row, column] = [Math.floor(at / width) % height, at % width];
    data[at] = 128 + 60 * Math.sin(row / 7 + column / 5) + 40 * (Math.random() - 0.5);
  }
  return { data, dims: [1, 3, height, width] };
}

async function timed({ folder, threads, options, block, width, height, runs }) {
  const begin = performance.now();
  const device = await deviceOf(folder, threads);
  const parts = weightedParts(options, device.artifacts.facts);
  const key = { pooling: "average", parts: parts.map(({ name }) => name), block, rescaled: false };
  const content = picture(width, height);
  const styles = [{ pixels: picture(width, height), share: 1 }];
  const measure = await device.graph("measure", key);
  const targets = await settleTargets(device, measure, parts, { content, styles }, content);
  await measure.release();
  const graph = await device.graph("gradient", key);
  const placed = graph.placed(targets);
  const weights = { data: new Float32Array(parts.length).fill(1), dims: [parts.length] };
  const ready = (performance.now() - begin) / 1000;
  const seconds = [];
  for (let run = 0; run <= runs; run++) {
    const start = performance.now();
    await graph.run(["costs", "gradient"], { image: picture(width, height), weights }, placed);
    seconds.push((performance.now() - start) / 1000);
  }
  return { ready, seconds: seconds.slice(1), bytes: 1024 * process.resourceUsage().maxRSS };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await timed(JSON.parse(line)))}\n`);
  process.exit();
}
