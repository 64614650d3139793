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

async function main() {
  keepToken();
  byId("tools").append(themeButton());
  const { limits, recipes, schema } = await ask();
  const draft = new Draft(new Options(schema, recipes), limits);
  /** @type {JobView|null} */
  let view = null;

  const history = new History(byId("history"), { onOpen: (id) => go(id), onNew: () => go(null) });
  const setUp = {
    stage: easel(draft, () => !view),
    panel: el("div", { class: "form" }, ...mainControls(draft), regions(draft), allOptions(draft)),
    foot: paintButton(draft, (job) => {
      history.add(job, nameOf(draft));
      history.update(job);
      go(job.id);
    }),
  };
  const back = button("New painting", () => go(null), { icon: "add", class: "quiet" });
  byId("tools").prepend(back);
  const around = {
    history,
    onLeave: () => go(null),
    titles: (/** @type {string} */ name) => schema.properties[name]?.title ?? name,
    onRepeat: async (/** @type {import("./api.js").Job} */ job) => {
      await repeat(job, draft);
      go(null);
    },
  };

  /** @param {string|null} id */
  function go(id) {
    showJob(id);
    show(id);
  }

  /** @param {string|null} id of the painting to show, null for what is set up */
  function show(id) {
    if (view && view.id === id) return;
    view?.close();
    view = id ? new JobView(id, around) : null;
    document.body.dataset.view = view ? "job" : "setup";
    byId("stage").replaceChildren(view ? view.stage : setUp.stage);
    byId("panel").replaceChildren(...(view ? [view.panel] : [setUp.panel, setUp.foot]));
    byId("panel").setAttribute("aria-label", view ? "Painting" : "Settings");
    back.hidden = !view;
    history.select(id);
    scrollTo(0, 0);
    byId("stage").focus({ preventScroll: true });
  }

  addEventListener("popstate", () => show(openJob()));
  show(openJob());
}

main();
