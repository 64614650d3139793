import { withOptions } from "../../web/options.js";

/** The options, or the message of what is refused. */
export function tried(recipe, chosen, facts) {
  try {
    return { options: withOptions(recipe, chosen, facts) };
  } catch (error) {
    if (error.name !== "InputError") throw error;
    return { refused: error.message };
  }
}
