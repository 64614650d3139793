// @ts-check
// Neural style transfer in JavaScript, on onnxruntime-web.

export { ArtifactError, Artifacts } from "./artifacts.js";
export { decoded } from "./decode.js";
export { InputError } from "./errors.js";
export { Painter, threadsHere } from "./painter.js";
export { toPixels } from "./picture.js";
export { Pictures } from "./pictures.js";
export { withOptions } from "./options.js";
export { NonFiniteCostError, Run } from "./run.js";
export { loadRuntime } from "./runtime.js";
export { Device } from "./sessions.js";
