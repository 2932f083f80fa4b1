// What the page needs of an editor, whatever the kind of document.

import type Delta from "quill-delta";

import type { Person, Span } from "../src/presence.js";

export interface Surface {
  focus(): void;
  setEditable(editable: boolean): void;
  /** What another did to the document. */
  apply(delta: Delta): void;
  /** Where the user is in the text; null: not in it yet. */
  readonly selection: Span | null;
  /** Where others are. */
  people(others: readonly Person[]): void;
}

/** What an editor says of the user. */
export interface Hears {
  /** What was done to the document as `apply` left it. */
  edited(delta: Delta): void;
  /** Where the user is now. */
  moved(selection: Span | null): void;
}
