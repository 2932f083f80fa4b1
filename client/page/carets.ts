// Where others are in the text: a caret with their name, and what they have selected.

import { type Extension, type Range, StateEffect, StateField } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, WidgetType } from "@codemirror/view";

import type { Person } from "../src/presence.js";
import { colourOf, nameOf } from "./people.js";

/** What is told of people takes the place of what was told before. */
export const showPeople = StateEffect.define<readonly Person[]>();

/** The name is drawn by the style sheet: it is no text of the document. */
class Caret extends WidgetType {
  constructor(
    private readonly client: string,
    private readonly name: string,
  ) {
    super();
  }

  override eq(other: Caret): boolean {
    return other.client === this.client && other.name === this.name;
  }

  override toDOM(): HTMLElement {
    const caret = document.createElement("span");
    caret.className = "caret";
    caret.dataset["name"] = this.name;
    caret.style.setProperty("--colour", colourOf(this.client));
    caret.setAttribute("aria-hidden", "true");
    return caret;
  }
}

function decorations(people: readonly Person[], length: number): DecorationSet {
  const ranges: Range<Decoration>[] = [];
  // Nobody else keeps a client from naming a place that is not there.
  const within = (at: number): number => Math.min(at, length);
  for (const { who, cursor, selection } of people) {
    if (selection) {
      const [from, to] = [within(selection.anchor), within(selection.head)].sort((a, b) => a - b) as [number, number];
      const style = `background: color-mix(in srgb, ${colourOf(who.client)} 22%, transparent)`;
      if (from < to) ranges.push(Decoration.mark({ attributes: { style, class: "selected" } }).range(from, to));
    }
    const at = selection?.head ?? cursor;
    if (at === null) continue;
    const widget = new Caret(who.client, nameOf(who));
    ranges.push(Decoration.widget({ widget, side: -1 }).range(within(at)));
  }
  return Decoration.set(ranges, true);
}

/** Between two tellings they move with the text. */
const carets = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(shown, transaction) {
    const told = transaction.effects.filter((effect) => effect.is(showPeople)).at(-1);
    if (told) return decorations(told.value, transaction.newDoc.length);
    return shown.map(transaction.changes);
  },
  provide: (field) => EditorView.decorations.from(field),
});

export const othersCarets: Extension = carets;
