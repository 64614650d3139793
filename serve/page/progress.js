// @ts-check
// How far a job is, in words and as a bar with a part for each scale.

import { isFinal } from "./api.js";
import { announce, el, icon } from "./dom.js";
import { bytes, duration, pixels, several } from "./text.js";

/** @typedef {import("./api.js").Job} Job */
/** @typedef {import("./api.js").Step} Step */

/** Shows state, steps and connection. */
export class Progress {
  #title = el("h2", { class: "state" });
  #bar = el("div", { class: "progress", role: "progressbar", "aria-label": "Steps", "aria-valuemin": "0" });
  #text = el("p", { class: "progress-text" });
  #left = el("p", { class: "progress-left" });
  #line = el("p", { class: "connection", role: "status" });
  #quarter = 0;
  #timer = 0;
  element = el("div", { class: "job-progress" }, el("div", { class: "heading" }, this.#title, this.#left), this.#bar, this.#text, this.#line);

  /** @param {Job} job @param {Step|null} step the last that is known */
  show(job, step) {
    const title = titleOf(job);
    if (title !== this.#title.textContent) announce(title);
    this.#title.textContent = title;
    const done = job.state === "done" ? job.plan.steps : step?.step ?? 0;
    this.#fill(job, done);
    this.#text.textContent = words(job, step);
    this.#left.textContent = job.state === "running" && step?.seconds_left != null ? `${duration(step.seconds_left)} left` : "";
    this.#tell(job, done);
  }

  /** @param {Job} job @param {number} done */
  #fill(job, done) {
    const { scales, steps } = job.plan;
    if (this.#bar.childElementCount !== scales.length) {
      this.#bar.replaceChildren(...scales.map((scale) => {
        const part = el("span", { class: "part" }, el("span", { class: "part-done" }));
        part.style.flexGrow = String(scale.steps);
        return part;
      }));
    }
    let before = 0;
    scales.forEach((scale, at) => {
      const share = Math.max(0, Math.min(1, (done - before) / scale.steps));
      this.#bar.children[at].firstElementChild.style.transform = `scaleX(${share})`;
      before += scale.steps;
    });
    this.#bar.setAttribute("aria-valuemax", String(steps));
    this.#bar.setAttribute("aria-valuenow", String(done));
    this.#bar.hidden = isFinal(job);
  }

  /** Now and then, since nobody wants to hear each step. @param {Job} job @param {number} done */
  #tell(job, done) {
    const quarter = Math.floor((4 * done) / job.plan.steps);
    if (quarter > this.#quarter && job.state === "running" && quarter < 4) announce(`${quarter * 25} %, step ${done} of ${job.plan.steps}`);
    this.#quarter = quarter;
  }

  /** @param {number|null} seconds until the next try, null if there is a connection */
  connection(seconds) {
    clearInterval(this.#timer);
    if (seconds === null) return this.#line.replaceChildren();
    const until = Date.now() + seconds * 1000;
    const when = el("span", { "aria-hidden": "true" });
    const tick = () => {
      const left = Math.round((until - Date.now()) / 1000);
      when.textContent = left > 0 ? ` in ${left} s` : "";
    };
    tick();
    this.#timer = setInterval(tick, 500);
    if (this.#line.textContent.startsWith("Connection lost")) this.#line.querySelector("[aria-hidden=true]:not(svg)")?.replaceWith(when);
    else this.#line.replaceChildren(icon("warning"), el("span", {}, "Connection lost, trying again", when));
  }

  /** Stops the clock. */
  end() {
    clearInterval(this.#timer);
  }
}

/** @param {Job} job */
function isLoading({ loading }) {
  return Boolean(loading && loading.loaded < loading.total);
}

/** @param {Job} job */
function titleOf(job) {
  const { state, position, progress } = job;
  if (state === "queued") return position ? `In the queue, ${position} before it` : "Next in the queue";
  if (state === "running") return progress ? "Painting" : isLoading(job) ? "Loading" : job.threads ? "Measuring the pictures" : "Starting";
  return { paused: "Paused", done: "Done", canceled: "Canceled", failed: "Failed" }[state];
}

/** @param {Job} job @param {Step|null} step */
function words(job, step) {
  const { plan, state, started, ended } = job;
  if (state === "done") {
    const took = started && ended ? ` in ${duration((Date.parse(ended) - Date.parse(started)) / 1000)}` : "";
    return `${pixels(plan.width, plan.height)}, ${several(plan.steps, "step")}${took}`;
  }
  if (state === "failed") return job.error ?? "It is not known why.";
  if (job.loading && isLoading(job)) return `${bytes(job.loading.loaded)} of ${bytes(job.loading.total)} that painting takes`;
  if (!step) return `${pixels(plan.width, plan.height)}, ${several(plan.steps, "step")}`;
  const at = `Step ${step.step} of ${step.steps}`;
  if (state === "canceled") return job.result ? `${at}; the last picture is kept.` : at;
  const scale = step.scales > 1 ? `, scale ${step.scale} of ${step.scales}` : "";
  return `${at}${scale}, ${pixels(step.width, step.height)}${job.elsewhere ? ", painted in another tab" : ""}`;
}
