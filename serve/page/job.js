// @ts-check
// One painting, open: its picture on the stage, its progress and what can be done with it in the panel.

import { ApiError, isFinal, jobPath, request } from "./api.js";
import { Compare } from "./compare.js";
import { confirmed } from "./confirm.js";
import { Costs } from "./costs.js";
import { Curve } from "./curve.js";
import { button, el, icon, newId, refill } from "./dom.js";
import { download, formatsOf } from "./download.js";
import { follow } from "./events.js";
import { segments } from "./fields.js";
import { input, LoadedPicture, preview } from "./loaded.js";
import { toText } from "./options.js";
import { inWords, placeOf } from "./places.js";
import { Progress } from "./progress.js";
import { bytes, clock } from "./text.js";

/** The server's previews are not larger than this. */
const PREVIEW_SIDE = 1024;

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {import("./api.js").Step} Step
 * @typedef {{history: import("./history.js").History, places: import("./places.js").Places, onLeave: () => void, onRepeat: (job: Job) => Promise<void>,
 *   titles: (name: string) => string}} Surroundings titles: of options
 */

export class JobView {
  /** @type {Job|null} */
  #job = null;
  /** @type {Map<string, LoadedPicture>} */
  #inputs = new Map();
  #costs = new Costs();
  #progress = new Progress();
  #compare = new Compare();
  /** @type {Curve|null} */
  #curve = null;
  #closed = false;
  /** The step of the preview that is wanted, and of the one that is shown. */
  #wanted = /** @type {number|null} */ (null);
  #shown = /** @type {number|null} */ (null);
  #loading = false;
  /** @type {string|null} */
  #comparing = null;
  #bar = el("div", { class: "stage-bar" });
  #actions = el("div", { class: "actions" });
  #message = el("p", { class: "error", role: "alert" });
  #curvePlace = el("div");
  #facts = el("dl", { class: "facts" });

  /** @param {string} id @param {Surroundings} surroundings */
  constructor(id, surroundings) {
    this.id = id;
    this.around = surroundings;
    this.place = placeOf(id);
    this.name = surroundings.history.entry(id)?.name ?? "Painting";
    this.preview = preview(id);
    this.full = new LoadedPicture(`${jobPath(id)}/result?format=jpg&quality=95`);
    this.stage = el("div", { class: "job-stage" }, this.#compare.element, this.#bar);
    this.panel = el("div", { class: "job-panel" },
      el("p", { class: "job-name" }, surroundings.history.called(id)), this.#progress.element, this.#actions, this.#message, this.#curvePlace, this.#facts);
    this.stop = follow(id, {
      onJob: (job) => this.#onJob(job),
      onStep: (step) => this.#onStep(step),
      onConnection: (seconds) => this.#progress.connection(seconds),
      onEnd: (error) => this.#onEnd(error),
    });
  }

  /** Lets go of the connection and of all pictures. */
  close() {
    this.#closed = true;
    this.stop();
    this.#progress.end();
    this.#compare.end();
    this.#curve?.end();
    for (const picture of [this.preview, this.full, ...this.#inputs.values()]) picture.release();
  }

  /** @param {Job} job */
  #onJob(job) {
    if (this.#closed) return;
    const first = !this.#job;
    this.#job = job;
    if (first) this.#begin(job);
    this.around.history.update(job);
    this.#progress.show(job, this.#lastStep());
    refill(this.#actions, this.#actionsFor(job));
    this.#showFacts(job);
    this.#want(job.preview);
    if (job.result && isFinal(job)) this.#showFull(job);
  }

  /** @param {Job} job */
  #begin(job) {
    this.#compare.setSize(job.plan.width, job.plan.height);
    this.#curve = new Curve(this.#costs, job.plan);
    this.#curvePlace.replaceChildren(this.#curve.element);
    this.#drawCosts();
    this.#bar.replaceChildren(...this.#viewControls(job));
    if (job.preview === null && job.inputs.includes("content")) {
      this.#input("content").load().then((url) => {
        if (url && this.#shown === null) this.#compare.show(url, "The content, until there is a painting", true);
      }, () => {});
    }
  }

  #drawCosts() {
    this.#curvePlace.hidden = !this.#costs.steps.length;
    if (this.#costs.steps.length) this.#curve?.draw();
  }

  #lastStep() {
    const { steps } = this.#costs;
    return steps[steps.length - 1] ?? this.#job?.progress ?? null;
  }

  /** @param {Step} step */
  #onStep(step) {
    if (this.#closed) return;
    this.#costs.add(step);
    if (!this.#job) return; // of a job that has ended: its state comes last
    this.#job.progress = step;
    // Its first picture, and how far it is; more often would fetch each preview twice.
    this.#job.preview ??= step.preview;
    this.around.history.update(this.#job);
    this.#progress.show(this.#job, step);
    this.#drawCosts();
    // Steps of the past come again on opening; their previews do not.
    if (!isFinal(this.#job)) this.#want(step.preview);
  }

  /** @param {ApiError|null} error */
  #onEnd(error) {
    if (!error || this.#closed) return;
    if (error.status !== 404) return this.#refuse(error.message);
    this.around.history.lost(this.id, this.name);
    this.around.onLeave();
  }

  /** @param {number|null} number of the step whose preview is wanted; on its way there is one at a time */
  async #want(number) {
    if (number !== null) this.#wanted = number;
    if (this.#loading) return;
    this.#loading = true;
    try {
      while (!this.#closed && this.#wanted !== this.#shown) {
        const wanted = this.#wanted;
        const url = await this.preview.load();
        if (url && !this.#closed && !this.full.url) this.#compare.show(url, `${this.name}, painting at step ${wanted}`, false);
        this.#shown = wanted;
      }
    } catch {
      // The next step asks again.
    } finally {
      this.#loading = false;
    }
  }

  /** Shows the pixels themselves where the preview is smaller. @param {Job} job */
  async #showFull({ plan }) {
    if (this.place === "here") return;
    if (Math.max(plan.width, plan.height) <= PREVIEW_SIDE) return;
    const url = await this.full.load().catch(() => "");
    if (url && !this.#closed) this.#compare.show(url, this.name, false);
  }

  /** @param {string} name @returns {LoadedPicture} */
  #input(name) {
    const picture = this.#inputs.get(name) ?? input(this.id, name);
    this.#inputs.set(name, picture);
    return picture;
  }

  /** @param {Job} job @returns {Node[]} */
  #viewControls(job) {
    const id = newId();
    const styles = job.inputs.filter((name) => /^style-\d+$/.test(name));
    const names = ["content", ...styles].filter((name) => job.inputs.includes(name));
    const others = names.map((name) => /** @type {[string, string]} */ ([name,
      name === "content" ? "Content" : styles.length > 1 ? `Style ${name.slice(6)}` : "Style"]));
    const choice = segments({ name: newId(), labelledBy: id, choices: [[null, "Painting"], ...others], onChoose: (name) => this.#compareWith(name) });
    choice.show(null);
    const actual = el("button", { type: "button", class: "button quiet", "aria-pressed": "false", title: "One pixel of the painting for each of the screen" }, "100 %");
    actual.addEventListener("click", () => {
      const on = actual.getAttribute("aria-pressed") === "false";
      actual.setAttribute("aria-pressed", String(on));
      this.#compare.setActual(on);
    });
    return [el("span", { class: "unseen", id }, "Compare with"), choice.group, actual];
  }

  /** @param {string|null} name of an input */
  async #compareWith(name) {
    this.#comparing = name;
    if (!name || !this.#job) return this.#compare.compareWith(null);
    const url = await this.#input(name).load().catch(() => "");
    if (!url || this.#comparing !== name || this.#closed) return;
    this.#compare.compareWith({ url, label: name === "content" ? "Content" : "Style", scale: this.#scaleOf(name) });
  }

  /** @param {string} name of an input @returns {number|null} at which a style counts */
  #scaleOf(name) {
    if (name === "content") return null;
    const scales = [this.#job?.options.style_scale ?? 1].flat();
    return Number(scales[Number(name.slice(6)) - 1] ?? scales[0]) || 1;
  }

  /** @param {Job} job @returns {(Node|false)[]} */
  #actionsFor(job) {
    const final = isFinal(job);
    // Only the tab that paints it can be told.
    const ours = !job.elsewhere;
    const act = (/** @type {string} */ what) => () => this.#act(() => this.#command(what));
    return [
      final && job.result && this.#downloads(),
      el("div", { class: "row wrap" },
        ours && (job.state === "running" || job.state === "queued") && button("Pause", act("pause"), { icon: "pause", "data-key": "pause" }),
        ours && job.state === "paused" && button("Resume", act("resume"), { icon: "play", class: "primary", "data-key": "pause" }),
        ours && !final && button("Cancel", act("cancel"), { icon: "stop", "data-key": "cancel" }),
        button(job.state === "failed" ? "Paint again" : "Repeat with these options", () => this.#act(() => this.around.onRepeat(job)), { icon: "repeat", "data-key": "repeat" }),
        final && button("Remove", () => this.#act(() => this.#remove()), { icon: "clear", class: "quiet", "data-key": "remove" })),
    ];
  }

  #downloads() {
    const [first, ...others] = formatsOf(this.id);
    const save = (/** @type {typeof first} */ format) => () => this.#act(() => download(this.id, format, this.name));
    return el("div", { class: "stack tight" },
      button(`Download ${first.label}`, save(first), { icon: "download", class: "primary wide", "data-key": "download" }),
      el("div", { class: "row thirds" }, ...others.map((format) =>
        button(format.label, save(format), { "data-key": `download-${format.query}`, "aria-label": `Download ${format.label}` }))),
      this.place === "here" && el("p", { class: "hint" }, this.around.places.both
        ? "For 16 bits repeat it and paint on the server." : "Files with 16 bits are made by a server only."));
  }

  /** @param {string} what */
  async #command(what) {
    const path = jobPath(this.id);
    // The events tell what comes of it. They may overtake the answer, which would bring an older state back.
    await (what === "cancel" ? request(path, { method: "DELETE" }) : request(`${path}/${what}`, { method: "POST" }));
  }

  async #remove() {
    const sure = await confirmed("Remove this painting?", `The painting and the pictures it was made of are deleted ${this.place === "here" ? "from this browser" : "from the server"}.`, "Remove");
    if (!sure) return;
    await request(`${jobPath(this.id)}?purge=true`, { method: "DELETE" });
    this.around.history.forget(this.id);
    this.around.onLeave();
  }

  /** Runs what a button does; its error is told beside the buttons. @param {() => Promise<void>} what */
  async #act(what) {
    this.#message.replaceChildren();
    this.#actions.setAttribute("aria-busy", "true");
    try {
      await what();
    } catch (error) {
      this.#refuse(error instanceof Error ? error.message : String(error));
    } finally {
      this.#actions.removeAttribute("aria-busy");
    }
  }

  /** @param {string} message */
  #refuse(message) {
    this.#message.replaceChildren(icon("warning"), el("span", {}, message));
  }

  /** @param {Job} job */
  #showFacts(job) {
    const options = Object.entries(job.options).map(([name, value]) => [this.around.titles(name), toText(value)]);
    const { peak_bytes: memory } = job.plan;
    const facts = [["Recipe", job.recipe], ...options,
      ...(this.around.places.both ? [["Painted", inWords(this.place)]] : []),
      ...(memory ? [["Memory", bytes(memory)]] : []),
      ...(job.threads ? [["Threads", String(job.threads)]] : []),
      [this.place === "here" ? "Begun" : "Sent", clock(job.created)]];
    this.#facts.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }
}
