// @ts-check
// Pictures of the server as blob: URLs, since an <img> can send no token.

import { jobPath, request } from "./api.js";

/** One address whose picture may change. */
export class LoadedPicture {
  #path;
  #etag = "";
  #url = "";
  #released = false;
  /** @type {Promise<string>|null} */
  #loading = null;

  /** @param {string} path */
  constructor(path) {
    this.#path = path;
  }

  /** @returns {string} what was loaded last, or "" */
  get url() {
    return this.#url;
  }

  /** @returns {Promise<string>} a blob: URL, valid until the next is there */
  load() {
    // While one is on its way, no second is asked for: previews may come faster than the line is.
    this.#loading ??= this.#fetch().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #fetch() {
    const headers = /** @type {Record<string, string>} */ (this.#etag ? { "If-None-Match": this.#etag } : {});
    const response = await request(this.#path, { headers });
    if (response.status === 304) return this.#url;
    const blob = await response.blob();
    if (this.#released) return "";
    const url = URL.createObjectURL(blob);
    const old = this.#url;
    this.#url = url;
    this.#etag = response.headers.get("ETag") ?? "";
    // Not at once: an <img> may be about to show the old one.
    if (old) setTimeout(() => URL.revokeObjectURL(old), 2000);
    return url;
  }

  /** Lets go of the picture. */
  release() {
    this.#released = true;
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = "";
  }
}

/** @param {string} id @returns {LoadedPicture} */
export function preview(id) {
  return new LoadedPicture(`${jobPath(id)}/preview`);
}

/** @param {string} id @param {string} name in Job.inputs @returns {LoadedPicture} */
export function input(id, name) {
  return new LoadedPicture(`${jobPath(id)}/inputs/${encodeURIComponent(name)}`);
}
