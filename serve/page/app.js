// @ts-check
// Puts the page together: what is set up on one side, an open painting on the other, never both.

import { openJob, showJob } from "./address.js";
import { allOptions } from "./all-options.js";
import { button, el, iconButton } from "./dom.js";
import { Draft } from "./draft.js";
import { easel } from "./easel.js";
import { findPlaces } from "./find-places.js";
import { mainControls } from "./form.js";
import { History } from "./history.js";
import { JobView } from "./job.js";
import { Options } from "./options.js";
import { paintButton } from "./paint.js";
import { placeOf, Places } from "./places.js";
import { regions } from "./regions.js";
import { repeat } from "./repeat.js";
import { stem } from "./text.js";
import { nextTheme, theme } from "./theme.js";
import { keepToken } from "./token.js";

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
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
    this.places = draft.places;
    this.history = new History(byId("history"), this.places, { onOpen: (id) => this.go(id), onNew: () => this.go(null) });
    this.setUp = {
      stage: easel(draft, () => !this.#view),
      panel: el("div", { class: "form" }, ...mainControls(draft), regions(draft), allOptions(draft)),
      foot: paintButton(draft, (job) => this.#began(job, draft)),
    };
    /** @type {import("./job.js").Surroundings} */
    this.around = {
      history: this.history,
      places: this.places,
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
    if (id && !this.places.has(placeOf(id))) return this.go(null);
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
const told = await findPlaces((text) => {
  byId("notice").textContent = text;
});
// A server's options are all that there are.
const { schema, recipes } = /** @type {import("./places.js").Told} */ (told.server ?? told.here);
new App(new Draft(new Options(schema, recipes), new Places(told)));
