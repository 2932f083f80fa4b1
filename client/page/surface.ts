// What the page needs of an editor, whatever the kind of document.

import type Delta from "quill-delta";

export interface Surface {
  focus(): void;
  setEditable(editable: boolean): void;
  /** What another did to the document. */
  apply(delta: Delta): void;
}
