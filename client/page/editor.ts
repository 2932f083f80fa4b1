// The plain-text editor: CodeMirror 6 on one side, Delta operations on the other.

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { Annotation, Compartment, EditorState, Transaction, type ChangeSet } from "@codemirror/state";
import { drawSelection, EditorView, keymap, placeholder } from "@codemirror/view";
import Delta from "quill-delta";

/** On a transaction that another's operation made: it is not sent back. */
const fromOutside = Annotation.define<boolean>();

const looks = EditorView.theme({
  "&": { height: "100%", fontSize: "16px", color: "var(--ink)" },
  ".cm-scroller": { fontFamily: "var(--sans)", lineHeight: "1.65", overflow: "auto" },
  ".cm-content": {
    padding: "clamp(18px, 4vw, 40px) 0 30vh",
    caretColor: "var(--accent)",
  },
  ".cm-line": { padding: "0 clamp(16px, 5vw, 52px)" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
    background: "var(--selection)",
  },
  ".cm-selectionBackground": { background: "var(--line)" },
  ".cm-placeholder": { color: "var(--soft)" },
});

export class Editor {
  private readonly view: EditorView;
  private readonly editable = new Compartment();

  /** `edited` hears what the user did, in the units of the text before it. */
  constructor(parent: HTMLElement, edited: (delta: Delta) => void) {
    this.view = new EditorView({
      parent,
      state: EditorState.create({
        extensions: [
          // The document's text is what it is; \r is a character like others.
          EditorState.lineSeparator.of("\n"),
          // Half a surrogate pair cannot be sent; a paste may hold one.
          EditorState.transactionFilter.of(wellFormed),
          EditorView.clipboardInputFilter.of((text) => text.replace(/\r\n?/g, "\n")),
          history(),
          keymap.of([...defaultKeymap, ...historyKeymap]),
          drawSelection(),
          EditorView.lineWrapping,
          placeholder("Write something. Whoever has the link writes along."),
          EditorView.contentAttributes.of({
            "aria-label": "Document",
            "aria-multiline": "true",
            "data-testid": "editor",
            spellcheck: "true",
            autocapitalize: "sentences",
          }),
          looks,
          this.editable.of(readOnly(true)),
          EditorView.updateListener.of((update) => {
            if (!update.docChanged) return;
            // An update may hold several transactions; each is told as it was made.
            for (const transaction of update.transactions) {
              if (!transaction.docChanged || transaction.annotation(fromOutside)) continue;
              const delta = deltaOf(transaction.changes);
              if (delta.ops.length > 0) edited(delta);
            }
          }),
        ],
      }),
    });
  }

  get text(): string {
    return this.view.state.doc.sliceString(0, undefined, "\n");
  }

  focus(): void {
    this.view.focus();
  }

  setEditable(editable: boolean): void {
    if (this.view.state.readOnly === !editable) return;
    this.view.dispatch({ effects: this.editable.reconfigure(readOnly(!editable)) });
  }

  /** What another did. The caret stays where it was in the text; undo does not touch it. */
  apply(delta: Delta): void {
    const { state } = this.view;
    const changes: { from: number; to?: number; insert?: string }[] = [];
    let at = 0;
    for (const op of delta.ops) {
      if (typeof op.retain === "number") at += op.retain;
      else if (op.delete !== undefined) {
        changes.push({ from: at, to: at + op.delete });
        at += op.delete;
      } else {
        changes.push({ from: at, insert: typeof op.insert === "string" ? op.insert : "\uFFFC" });
      }
    }
    const set = state.changes(changes);
    // Side 1 would carry the caret along with what another inserts right at it.
    const selection = state.selection.map(set, -1);
    this.view.dispatch({
      changes: set,
      selection,
      annotations: [
        fromOutside.of(true),
        Transaction.remote.of(true),
        Transaction.addToHistory.of(false),
      ],
    });
  }
}

function readOnly(on: boolean) {
  return [EditorState.readOnly.of(on), EditorView.editable.of(!on)];
}

function deltaOf(changes: ChangeSet): Delta {
  const delta = new Delta();
  let at = 0;
  changes.iterChanges((from, to, _fromAfter, _toAfter, inserted) => {
    delta.retain(from - at);
    if (inserted.length > 0) delta.insert(inserted.sliceString(0, undefined, "\n"));
    delta.delete(to - from);
    at = to;
  });
  return delta.chop();
}

/** Puts U+FFFD for each half of a surrogate pair that a change would insert. */
function wellFormed(transaction: Transaction) {
  if (!transaction.docChanged || transaction.annotation(fromOutside)) return transaction;
  let broken = false;
  const changes: { from: number; to: number; insert: string }[] = [];
  transaction.changes.iterChanges((from, to, _fromAfter, _toAfter, inserted) => {
    const text = inserted.sliceString(0, undefined, "\n");
    const insert = text.replace(LONE_SURROGATE, "\uFFFD");
    broken ||= insert !== text;
    changes.push({ from, to, insert });
  });
  if (!broken) return transaction;
  return { changes, selection: transaction.selection, scrollIntoView: true };
}

const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;
