// Runs graphs in Node with files of a folder.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

import { Artifacts } from "../../web/artifacts.js";
import { Device } from "../../web/sessions.js";

const DIST = new URL("../../web/node_modules/onnxruntime-web/dist/", import.meta.url);

/** Gets files of a folder as fetch does. */
export const filesOf = (folder) => async (file) => new Response(await readFile(join(folder, file)));

let device;

/** Returns what runs graphs of a folder, the same as long as it is the same folder. */
export async function deviceOf(folder, threads = 2) {
  if (device?.folder !== folder || device.threads !== threads) {
    const runtime = await import(new URL("ort.node.min.mjs", DIST));
    runtime.env.wasm.numThreads = threads;
    runtime.env.wasm.wasmPaths = DIST.href;
    const artifacts = await Artifacts.open(filesOf(folder));
    device = { folder, threads, made: new Device(runtime, artifacts) };
  }
  return device.made;
}
