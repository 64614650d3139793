// @ts-check
// What this browser keeps of what is painted in it, in IndexedDB: values and files by names as
// "id/name". Where it cannot, as in some private windows, they last as long as the page.

const DATABASE = "ortist";
const STORE = "kept";

export class Kept {
  /** @type {Promise<IDBDatabase>|null} */
  #database = null;
  /** @type {Map<string, any>} what could not be kept */
  #memory = new Map();
  #onProblem;

  /** @param {(full: boolean) => void} onProblem told when something could not be kept */
  constructor(onProblem) {
    this.#onProblem = onProblem;
  }

  /**
   * Throws if it cannot be read, which says nothing of whether it is there.
   * @param {string} id @param {string} name @returns {Promise<any>} undefined if there is none
   */
  async get(id, name) {
    const key = `${id}/${name}`;
    if (this.#memory.has(key)) return this.#memory.get(key);
    return this.#do("readonly", (store) => store.get(key));
  }

  /** @returns {Promise<Set<string>>} of all that is kept */
  async ids() {
    const keys = await this.#do("readonly", (store) => store.getAllKeys());
    return new Set(keys.map((key) => String(key).split("/")[0]));
  }

  /** @param {string} id @param {string} name @param {any} value */
  async put(id, name, value) {
    const key = `${id}/${name}`;
    try {
      await this.#do("readwrite", (store) => store.put(value, key));
      this.#memory.delete(key);
    } catch (error) {
      this.#memory.set(key, value);
      this.#onProblem(error instanceof DOMException && error.name === "QuotaExceededError");
    }
  }

  /** Removes all that is kept of an id. @param {string} id */
  async remove(id) {
    for (const key of this.#memory.keys()) {
      if (key.startsWith(`${id}/`)) this.#memory.delete(key);
    }
    // From "id/" to what comes after all that begin with it.
    const all = IDBKeyRange.bound(`${id}/`, `${id}0`, false, true);
    await this.#do("readwrite", (store) => store.delete(all)).catch(() => {});
  }

  /**
   * @template T
   * @param {IDBTransactionMode} mode
   * @param {(store: IDBObjectStore) => IDBRequest<T>} what
   * @returns {Promise<T>}
   */
  async #do(mode, what) {
    this.#database ??= opened(() => (this.#database = null));
    let transaction;
    try {
      transaction = (await this.#database).transaction(STORE, mode);
    } catch (error) {
      this.#database = null; // so that the next try opens it anew
      throw error;
    }
    const request = what(transaction.objectStore(STORE));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

/** @param {() => void} onClose called when the browser closes it @returns {Promise<IDBDatabase>} */
function opened(onClose) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => {
      request.result.onclose = onClose;
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
}
