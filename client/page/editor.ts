// The plain-text editor: CodeMirror 6 on one side, Delta operations on the other.

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { Annotation, Compartment, EditorState, Transaction } from "@codemirror/state";
import { drawSelection, EditorView, keymap, placeholder } from "@codemirror/view";
import type Delta from "quill-delta";

import { wellFormed } from "../src/pairs.js";
import type { Person, Span } from "../src/presence.js";
import { othersCarets, showPeople } from "./carets.js";
import { deltaOf, replacementsOf, wholePairs } from "./changes.js";
import { Held, type Range } from "./held.js";
import type { Hears, Surface } from "./surface.js";

/**
 * After a composition ended the editor still reads what it left in the page; on Android that
 * takes CodeMirror some tens of milliseconds. A change before that would undo it.
 */
const READ_MS = 60;
/**
 * On Android a composition goes on while the caret rests in a word, and CodeMirror, which edits
 * through an EditContext there, confuses positions when anything changes under it. So all is
 * held while somebody types, and after so long a rest the composition is ended.
 */
const REST_MS = 2_000;

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

export class Editor implements Surface {
  private readonly view: EditorView;
  private readonly editable = new Compartment();
  private readonly held = new Held();
  /** Our own: CodeMirror takes some deletions on Android for the end of a composition. */
  private isComposing = false;
  private reading: ReturnType<typeof setTimeout> | undefined;
  private rest: ReturnType<typeof setTimeout> | undefined;
  private isResting = false;
  private editContext: EventTarget | null = null;
  /** Whether the user was ever in the text, and so is somewhere in it. */
  private isEntered = false;
  /** What is to be shown of others, once nothing is composed. */
  private others: readonly Person[] | null = null;

  constructor(parent: HTMLElement, hears: Hears) {
    this.view = new EditorView({
      parent,
      state: EditorState.create({
        extensions: [
          // The document's text is what it is; \r is a character like others.
          EditorState.lineSeparator.of("\n"),
          // Half a surrogate pair cannot be sent; a paste may hold one.
          EditorState.transactionFilter.of(withoutHalves),
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
          othersCarets,
          this.editable.of(readOnly(true)),
          EditorView.updateListener.of((update) => {
            this.isEntered ||= this.view.hasFocus;
            if (!update.docChanged) {
              if (update.selectionSet || update.focusChanged) hears.moved(this.selection);
              return;
            }
            // An update may hold several transactions; each is told as it was made.
            for (const transaction of update.transactions) {
              if (!transaction.docChanged || transaction.annotation(fromOutside)) continue;
              const made = wholePairs(transaction.startState.doc, transaction.changes);
              const delta = this.held.typed(deltaOf(made));
              this.awaitRest();
              if (delta.ops.length > 0) hears.edited(delta);
            }
            hears.moved(this.selection);
          }),
        ],
      }),
    });
    this.listen(this.view.contentDOM);
  }

  /** Where the user is in the text; null: not in it yet. */
  get selection(): Span | null {
    const { anchor, head } = this.view.state.selection.main;
    return this.isEntered ? { anchor, head } : null;
  }

  /** Where others are. While somebody composes nothing changes around it. */
  people(others: readonly Person[]): void {
    this.others = others;
    this.showOthers();
  }

  private showOthers(): void {
    if (!this.others || !this.held.isEmpty || this.composed()) return;
    this.view.dispatch({ effects: showPeople.of(this.others) });
    this.others = null;
  }

  focus(): void {
    this.view.focus();
  }

  setEditable(editable: boolean): void {
    if (this.view.state.readOnly === !editable) return;
    this.view.dispatch({ effects: this.editable.reconfigure(readOnly(!editable)) });
    this.compositionEnded();
    // Only what can be edited has one, always the same.
    const { editContext } = this.view.contentDOM as { editContext?: EventTarget | null };
    if (!editContext || this.editContext) return;
    this.editContext = editContext;
    this.listen(editContext);
  }

  /**
   * What another did to the document. The caret stays where it was in the text; undo does not
   * touch it. What touches the line of a composition is shown when that is over.
   */
  apply(delta: Delta): void {
    this.held.add(delta);
    this.show();
  }

  private show(): void {
    const changes = replacementsOf(this.held.release(this.composed()));
    if (!this.held.isEmpty && this.rest === undefined) this.awaitRest();
    if (changes.length === 0) return this.showOthers();
    // No selection: with one, CodeMirror would take the composition for over.
    this.view.dispatch({
      changes,
      annotations: [
        fromOutside.of(true),
        Transaction.remote.of(true),
        Transaction.addToHistory.of(false),
      ],
    });
    this.showOthers();
  }

  /** The lines that an input method composes in. */
  private composed(): Range | null {
    if (!this.isComposing && this.reading === undefined) return null;
    const { doc, selection } = this.view.state;
    if (this.editContext) return this.isResting ? null : { from: 0, to: doc.length };
    const { from, to } = selection.main;
    return { from: doc.lineAt(from).from, to: doc.lineAt(to).to };
  }

  private listen(target: EventTarget): void {
    target.addEventListener("compositionstart", () => (this.isComposing = true));
    target.addEventListener("compositionend", () => this.compositionEnded());
  }

  private compositionEnded(): void {
    this.isComposing = false;
    clearTimeout(this.reading);
    this.reading = setTimeout(() => {
      this.reading = undefined;
      this.show();
    }, READ_MS);
  }

  private awaitRest(): void {
    clearTimeout(this.rest);
    this.rest = undefined;
    this.isResting = false;
    if (!this.editContext || this.held.isEmpty) return;
    this.rest = setTimeout(() => {
      this.rest = undefined;
      this.isResting = true;
      if (this.isComposing && this.view.hasFocus) {
        this.view.contentDOM.blur();
        this.view.contentDOM.focus({ preventScroll: true });
      }
      this.show();
    }, REST_MS);
  }
}

function readOnly(on: boolean) {
  return [EditorState.readOnly.of(on), EditorView.editable.of(!on)];
}

function withoutHalves(transaction: Transaction) {
  if (!transaction.docChanged || transaction.annotation(fromOutside)) return transaction;
  const changes = wholePairs(transaction.startState.doc, transaction.changes);
  const whole = changes.map((change) => ({ ...change, insert: wellFormed(change.insert) }));
  if (whole.every(({ insert }, i) => insert === changes[i]?.insert)) return transaction;
  return { changes: whole, selection: transaction.selection, scrollIntoView: true };
}
