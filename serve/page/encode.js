// @ts-check
// Pixels to files, and files to other files, by what the browser can write.

/** Kinds of files by their ending. */
const KINDS = { png: "image/png", jpg: "image/jpeg", webp: "image/webp" };

/**
 * @param {{pixels: Uint8ClampedArray, width: number, height: number}} picture RGB, row by row
 * @returns {Promise<Blob>} a PNG
 */
export async function toPng({ pixels, width, height }) {
  const image = new ImageData(width, height);
  const { data } = image;
  for (let from = 0, to = 0; from < pixels.length; to += 4) {
    data[to] = pixels[from++];
    data[to + 1] = pixels[from++];
    data[to + 2] = pixels[from++];
    data[to + 3] = 255;
  }
  const { canvas, context } = sheet(width, height);
  context.putImageData(image, 0, 0);
  return canvas.convertToBlob();
}

/**
 * @param {Blob} png
 * @param {string} ending
 * @param {number} quality 1..100
 * @returns {Promise<Blob|null>} null if this browser writes no such files
 */
export async function converted(png, ending, quality) {
  if (ending === "png") return png;
  if (!(ending in KINDS)) return null;
  const type = KINDS[/** @type {keyof typeof KINDS} */ (ending)];
  const bitmap = await createImageBitmap(png);
  const { canvas, context } = sheet(bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const blob = await canvas.convertToBlob({ type, quality: quality / 100 });
  return blob.type === type ? blob : null;
}

/** @param {number} width @param {number} height */
function sheet(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  return { canvas, context: /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d")) };
}
