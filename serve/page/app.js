// @ts-check
// Puts the page together: what is set up on one side, an open painting on the other, never both.

import { openJob, showJob } from "./address.js";
import { allOptions } from "./all-options.js";
import { ApiError, ConnectionLost, json } from "./api.js";
import { button, el, iconButton } from "./dom.js";
import { Draft } from "./draft.js";
import { easel } from "./easel.js";
import { mainControls } from "./form.js";
import { History } from "./history.js";
import { JobView } from "./job.js";
import { Options } from "./options.js";
import { paintButton } from "./paint.js";
import { regions } from "./regions.js";
import { repeat } from "./repeat.js";
import { stem } from "./text.js";
import { nextTheme, theme } from "./theme.js";
import { keepToken } from "./token.js";

const RETRY = 3;

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** What the server can do, which is asked for until it answers. */
async function ask() {
  for (;;) {
    try {
      const [limits, recipes, schema] = await Promise.all(["v1/limits", "v1/recipes", "v1/options"].map((path) => json(path)));
      byId("notice").textContent = "";
      return { limits, recipes, schema };
    } catch (error) {
      const passing = error instanceof ConnectionLost || (error instanceof ApiError && error.status !== 401);
      byId("notice").textContent = passing ? "The server does not answer, trying again" : "A token is needed; reload to give one";
      if (!passing) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY * 1000));
    }
  }
}

function themeButton() {
  const label = () => `Theme: ${theme()}`;
  const made = iconButton(/** @type {any} */ (theme()), label(), () => {
    nextTheme();
    const fresh = themeButton();
    made.replaceWith(fresh);
    fresh.focus();
  });
  return made;
}

/** @param {Draft} draft @returns {string} what the history calls it */
function nameOf({ content, styles, regions: parts }) {
  const painted = styles.length ? styles.map(({ picture }) => picture) : parts.flatMap(({ style }) => style ?? []);
  return [stem(content?.name ?? "painting"), painted.map(({ name }) => stem(name)).join(" + ")].filter(Boolean).join(" in ");
}

/** @param {Draft} draft @returns {Record<string, string>} */
function filesOf({ content, styles, regions: parts, start }) {
  /** @type {[string, import("./pictures.js").Picture|null][]} */
  const all = [["content", content], ["start", start],
    ...styles.map(({ picture }, at) => /** @type {[string, any]} */ ([`style-${at + 1}`, picture])),
    ...parts.map(({ style }, at) => /** @type {[string, any]} */ ([`region-${at + 1}-style`, style]))];
  return Object.fromEntries(all.flatMap(([name, picture]) => (picture ? [[name, picture.name]] : [])));
}

/** Goes between what is set up and an open painting. */
class App {
  /** @type {JobView|null} */
  #view = null;
  #back = button("New painting", () => this.go(null), { icon: "add", class: "quiet" });

  /** @param {Draft} draft */
  constructor(draft) {
    this.history = new History(byId("history"), { onOpen: (id) => this.go(id), onNew: () => this.go(null) });
    this.setUp = {
      stage: easel(draft, () => !this.#view),
      panel: el("div", { class: "form" }, ...mainControls(draft), regions(draft), allOptions(draft)),
      foot: paintButton(draft, (job) => this.#began(job, draft)),
    };
    /** @type {import("./job.js").Surroundings} */
    this.around = {
      history: this.history,
      onLeave: () => this.go(null),
      titles: (name) => draft.options.schema.properties[name]?.title ?? name,
      onRepeat: async (job) => {
        await repeat(job, draft, this.history.entry(job.id)?.files ?? {});
        this.go(null);
      },
    };
    byId("tools").prepend(this.#back);
    addEventListener("popstate", () => this.show(openJob()));
    this.show(openJob());
  }

  /** @param {import("./api.js").Job} job @param {Draft} draft */
  #began(job, draft) {
    this.history.add(job, nameOf(draft), filesOf(draft));
    this.history.update(job);
    this.go(job.id);
  }

  /** @param {string|null} id as for show; the address follows */
  go(id) {
    showJob(id);
    this.show(id);
    byId("stage").focus({ preventScroll: true });
  }

  /** @param {string|null} id of the painting to show, null for what is set up */
  show(id) {
    if (this.#view && this.#view.id === id) return;
    this.#view?.close();
    const view = id ? new JobView(id, this.around) : null;
    this.#view = view;
    byId("stage").replaceChildren(view ? view.stage : this.setUp.stage);
    byId("panel").replaceChildren(...(view ? [view.panel] : [this.setUp.panel, this.setUp.foot]));
    byId("panel").setAttribute("aria-label", view ? "Painting" : "Settings");
    this.#back.hidden = !view;
    this.history.select(id);
    scrollTo(0, 0);
  }
}

keepToken();
byId("tools").append(themeButton());
const { limits, recipes, schema } = await ask();
new App(new Draft(new Options(schema, recipes), limits));
