import { Canvas } from "../../web/canvas.js";
import { matchedLuma, moments, recolored } from "../../web/color.js";
import { toPicture, toPixels } from "../../web/picture.js";
import { resizePicture, resizePixels } from "../../web/resample.js";
import { planScales } from "../../web/scales.js";
import { parseSchedule } from "../../web/schedule.js";
import { fitArea, fitSize } from "../../web/size.js";
import { grained, startingPicture } from "../../web/starts.js";

export { fitArea, grained, matchedLuma, moments, recolored, resizePicture, startingPicture };

/** The bridge knows no clamped arrays. */
const plain = ({ data, dims }) => ({ data: new Uint8Array(data.buffer), dims });

/** What comes of it, or the name and message of its error. */
function tried(make) {
  try {
    return make();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

export const resizedPixels = (...args) => plain(resizePixels(...args));
export const pixels = (picture) => plain(toPixels(picture));
export const picture = toPicture;
export const sizes = (requests) => requests.map((request) => tried(() => fitSize(...request)));
export const scales = (requests) => requests.map((request) => planScales(...request));
export const schedules = (requests, places) => requests.map(([value, positive]) => tried(() => {
  const schedule = parseSchedule("it", value, { positive });
  return [schedule.isConstant, ...places.map((place) => schedule.at(place))];
}));

export function through(method, content, color, painted, point, constants) {
  const canvas = new Canvas(content, color, painted, constants);
  const result = canvas[method](point);
  return [result, result === point];
}
