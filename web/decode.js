// @ts-check
// Files of pictures to pixels, by what the browser can read.

/** @typedef {import("./picture.js").Pixels} Pixels */

/**
 * Returns a picture as it is meant to be seen: upright, in sRGB, on white where it is transparent.
 *
 * @param {Blob} file
 * @param {string} name what messages call it
 * @returns {Promise<Pixels>} with three channels
 */
export async function decoded(file, name) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${name} is no picture that this browser can read`);
  });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error(`${name} has ${width}x${height} pixels, too many for this browser`);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    for (let channel = 0; channel < 3; channel++) pixels[to++] = data[from + channel];
  }
  return { data: pixels, dims: [height, width, 3] };
}
