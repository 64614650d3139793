// Calls functions of modules for tests in Python, one request a line: see tests/javascript.py.
import { createInterface } from "node:readline";

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
};
const DTYPES = new Map(Object.entries(ARRAYS).map(([dtype, array]) => [array, dtype]));

function decoded(key, value) {
  if (typeof value?.base64 !== "string") return value;
  const bytes = new Uint8Array(Buffer.from(value.base64, "base64"));
  return { data: new ARRAYS[value.dtype](bytes.buffer), dims: value.dims };
}

function encoded(key, value) {
  const dtype = value?.data && DTYPES.get(value.data.constructor);
  if (dtype) {
    const { buffer, byteOffset, byteLength } = value.data;
    const base64 = Buffer.from(buffer, byteOffset, byteLength).toString("base64");
    return { dtype, base64, dims: value.dims };
  }
  return typeof value === "number" && !Number.isFinite(value) ? { number: String(value) } : value;
}

// What modules print is not a reply.
console.log = console.error;

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    const { module, name, args } = JSON.parse(line, decoded);
    reply = { value: (await (await import(module))[name](...args)) ?? null };
  } catch (error) {
    reply = { error: `${error.name}: ${error.message}`, stack: error.stack };
  }
  process.stdout.write(`${JSON.stringify(reply, encoded)}\n`);
}
