"""Gradients by WebGPU beside those by WebAssembly, in Chromium with emulated graphics.

Usage: graphics.py [--size 64x48] [--runtime web/node_modules]

SwiftShader emulates them: that says whether they are right, and nothing of how fast graphics are.
Needs playwright and chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

from ortist.engine.artifacts import Artifacts
from ortist.serve.app import PAGE
from ortist.web.site import site_files

FLAGS = (
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--use-webgpu-adapter=swiftshader",
    "--use-vulkan=swiftshader",
    "--use-angle=swiftshader",
)
COMPARE = """async ([recipe, width, height]) => {
    const folder = new URL("web/", location.href);
    const from = (file) => import(new URL(file, folder).href);
    const [{ Artifacts, Device, loadRuntime, withOptions }, { weightedParts }, { settleTargets }] =
        await Promise.all(["index.js", "objective.js", "targets.js"].map(from));
    const artifacts = await Artifacts.open((file) => fetch(new URL(file, folder)));
    const { runtime, graphicsPixels } = await loadRuntime(folder, 1, true);
    const device = new Device(runtime, artifacts, graphicsPixels);
    const parts = weightedParts(withOptions(recipe, {}, artifacts.facts), artifacts.facts);
    const names = parts.map(({ name }) => name);
    const key = { pooling: "average", parts: names, block: 0, rescaled: false };
    const picture = (seed) => {
        const data = Float32Array.from({ length: 3 * width * height }, (_, at) =>
            128 + 60 * Math.sin(at / 7 + seed) + 40 * Math.cos(at * (13 + seed)));
        return { data, dims: [1, 3, height, width] };
    };
    const scene = { content: picture(1), styles: [{ pixels: picture(2), share: 1 }] };
    const measure = await device.graph("measure", key);
    const targets = await settleTargets(device, measure, parts, scene, scene.content);
    const weights = { data: new Float32Array(parts.length).fill(1), dims: [parts.length] };
    const found = {};
    for (const provider of ["wasm", "webgpu"]) {
        const graph = await device.graph("gradient", key, provider);
        const placed = graph.placed(targets);
        await graph.run(["costs", "gradient"], { image: picture(3), weights }, placed);
        const begin = performance.now();
        const made = await graph.run(["costs", "gradient"], { image: picture(3), weights }, placed);
        found[provider] = { ...made, seconds: (performance.now() - begin) / 1000 };
        await graph.release();
    }
    const distance = (name) => {
        const [a, b] = ["webgpu", "wasm"].map((provider) => found[provider][name].data);
        let [difference, square] = [0, 0];
        b.forEach((value, at) => {
            difference += (a[at] - value) ** 2;
            square += value ** 2;
        });
        return Math.sqrt(difference / square);
    };
    return {
        graphicsPixels, costs: distance("costs"), gradient: distance("gradient"),
        wasm: found.wasm.seconds, webgpu: found.webgpu.seconds,
    };
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that tells nothing."""

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="64x48")
    parser.add_argument("--runtime", type=Path, default=Path("web/node_modules"))
    chosen = parser.parse_args()
    width, height = map(int, chosen.size.split("x"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for name, content in site_files(PAGE, chosen.runtime, Artifacts()):
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(f"http://127.0.0.1:{server.server_port}/icon.svg")
        for recipe in ("notebook", "standard"):
            print(recipe, json.dumps(page.evaluate(COMPARE, [recipe, width, height])), flush=True)
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
