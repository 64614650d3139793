// What goes wrong with files, graphics and pictures.
import { Artifacts } from "../../web/artifacts.js";
import { Evaluator } from "../../web/evaluator.js";
import { Pictures } from "../../web/pictures.js";
import { Run } from "../../web/run.js";
import { withOptions } from "../../web/options.js";
import { deviceOf, filesOf } from "./files.js";

/** Gets files of a folder, but for what is wrong with one. */
function faulty(folder, wrong, fault) {
  const right = filesOf(folder);
  return async (file, version) => {
    if (file !== wrong) return right(file, version);
    const data = new Uint8Array(await (await right(file)).arrayBuffer());
    if (fault === "absent") return new Response("", { status: 404 });
    if (fault === "offline") throw new TypeError("fetch failed");
    if (fault === "page") return new Response("<!doctype html>");
    if (fault === "short") return new Response(data.subarray(1));
    if (fault === "changed") data[data.length - 1] ^= 1;
    if (fault === "lost") return new Response(cut(data));
    return new Response(data);
  };
}

function cut(data) {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(data.subarray(0, 10));
      controller.error(new TypeError("network error"));
    },
  });
}

/** Returns how many bytes the weights of a layer have, read with a fault. */
export async function weights(folder, wrong, fault) {
  const artifacts = await Artifacts.open(faulty(folder, wrong, fault));
  return (await artifacts.weights(["conv1_1"])).length;
}

/** Reads a file again after it could not be. */
export async function again(folder, wrong) {
  let fault = "absent";
  const fetcher = (file, version) => faulty(folder, wrong, fault)(file, version);
  const artifacts = await Artifacts.open(fetcher);
  const failed = await artifacts.weights(["conv1_1"]).then(() => false, () => true);
  fault = "";
  return [failed, (await artifacts.weights(["conv1_1"])).length];
}

/** Tells the versions of files that are asked for. */
export async function versions(folder) {
  const asked = {};
  const right = filesOf(folder);
  const artifacts = await Artifacts.open((file, version) => {
    asked[file] = version ?? null;
    return right(file);
  });
  await artifacts.weights(["conv1_1"]);
  return asked;
}

/**
 * Evaluates so often, by graphics that do something, and tells what was used, graph by graph, and
 * what came out.
 */
export async function graphics(doing, weights, times) {
  const log = [];
  const graph = async (kind, { block }, provider) => {
    log.push(`${provider} ${block}`);
    let runs = 0;
    return {
      provider,
      placed: () => ({}),
      async run() {
        runs += 1;
        const wrong = provider === "webgpu" && doing;
        if (wrong === "fail" || (wrong === "lost" && runs > 1)) throw new Error("device lost");
        const factor = { gradient: 1.1, nan: NaN }[wrong] ?? 1;
        const costs = { data: Float32Array.of(1, wrong === "costs" ? 2.1 : 2) };
        return { costs, gradient: { data: Float32Array.of(factor, 2), dims: [2] } };
      },
      async release() {
        if (provider === "webgpu" && doing === "lost") throw new Error("device lost");
      },
    };
  };
  const device = { graph, block: () => 4, graphicsPixels: 100 };
  const evaluator = new Evaluator(device, {}, {}, 64);
  const found = [];
  for (let run = 0; run < times; run++) {
    const given = { data: Float32Array.from(weights), dims: [2] };
    found.push(...(await evaluator.run({}, given)).gradient.data);
  }
  return { log, found, graphicsPixels: device.graphicsPixels };
}

/** Reads pictures, and returns the shares of styles. */
export function shares(content, styles, chosen, facts) {
  const options = withOptions("standard", chosen, facts);
  return new Pictures({ content, styles }, options, facts.constants).at(32, 32).styles
    .map(({ share }) => share);
}

/** Ends runs in several ways, and tells how many sessions are left, and how each ended. */
export async function endings(folder, content, styles) {
  const device = await deviceOf(folder);
  const { facts } = device.artifacts;
  let open = 0;
  const counted = Object.create(device, {
    graph: {
      value: async (...args) => {
        const graph = await device.graph(...args);
        open += 1;
        const release = graph.release.bind(graph);
        graph.release = () => {
          open -= 1;
          return release();
        };
        return graph;
      },
    },
    artifacts: { value: device.artifacts },
    multiply: { value: (...args) => device.multiply(...args) },
    block: { value: (pixels) => device.block(pixels) },
    graphicsPixels: { value: 0 },
  });
  const run = (chosen, signal) => {
    const options = withOptions("notebook", { size: 32, steps: 6, ...chosen }, facts);
    const pictures = new Pictures({ content, styles }, options, facts.constants);
    return new Run(counted, pictures, options, signal);
  };
  for await (const step of run({})) if (step.iteration === 2) break;
  const left = [open];
  const abort = new AbortController();
  const aborted = await (async () => {
    for await (const step of run({}, abort.signal)) {
      // Told by an event, as a message would.
      if (step.iteration === 1) setTimeout(() => abort.abort(), 0);
    }
  })().then(() => "done", (error) => error.name);
  left.push(open);
  const failed = await (async () => {
    for await (const _ of run({ learning_rate: "1|1e30@0.3" }));
  })().catch((error) => error);
  left.push(open);
  const largest = failed.picture.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return { left, aborted, name: failed.name, message: failed.message, largest };
}
