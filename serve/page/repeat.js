// @ts-check
// From a job back to a draft: what it was made of is fetched again.

import { jobPath, request } from "./api.js";
import { maskOf } from "./masks.js";
import { readPicture, release } from "./pictures.js";
import { stem } from "./text.js";

/**
 * @param {import("./api.js").Job} job
 * @param {import("./draft.js").Draft} draft stays as it is if something cannot be fetched
 * @param {Record<string, string>} files what the pictures were called, as far as that is known
 */
export async function repeat(job, draft, files) {
  const fetched = new Map(await Promise.all(job.inputs.map(async (name) => {
    const response = await request(`${jobPath(job.id)}/inputs/${encodeURIComponent(name)}`);
    return /** @type {[string, import("./pictures.js").Picture]} */ ([name, await readPicture(await response.blob(), draft.limits, `${stem(files[name] ?? name)}.png`)]);
  })));
  const picture = (/** @type {string|null} */ name) => (name && fetched.get(name)) || null;
  const content = picture("content");
  const mask = async (/** @type {string|null} */ name, base = content) => {
    const source = picture(name);
    if (!source || !base) return null;
    const made = await maskOf(source, base);
    release(source);
    return made;
  };
  const regions = await Promise.all(job.regions.map(async (region, at) => ({
    key: `${job.id}-${at}`, mask: await mask(region.mask), kept: !region.style, style: picture(region.style),
    styleMask: await mask(region.style_mask, picture(region.style)),
  })));
  const protect = await mask("protect");
  const { style_weights: weights, ...options } = job.options;
  draft.empty();
  draft.content = content;
  draft.styles = job.inputs.filter((name) => /^style-\d+$/.test(name)).map((name, at) => ({
    picture: /** @type {import("./pictures.js").Picture} */ (picture(name)), weight: weights?.[at] ?? 1,
  }));
  draft.regions = regions;
  draft.protect = protect;
  draft.start = picture("start");
  draft.options.replace(job.recipe, options);
  draft.everythingChanged();
}
