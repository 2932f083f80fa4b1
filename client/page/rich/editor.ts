// The editor of rich documents: Quill on one side, Delta operations on the other. The document is
// exact, whatever Quill does: what Quill shows is made of it (`src/rich/projection.ts`) and compared
// with it after each change, and what the user does to that is led back (`src/rich/lift.ts`).

import Delta, { AttributeMap, Op } from "quill-delta";
import { deleteRange } from "quill/modules/keyboard.js";

import { aligned, isEqual } from "../../src/contents.js";
import { History } from "../../src/rich/history.js";
import { lift } from "../../src/rich/lift.js";
import { project, projectChange } from "../../src/rich/projection.js";
import type { Person, Span } from "../../src/presence.js";
import { Held } from "../held.js";
import type { Hears, Surface } from "../surface.js";
import { Carets } from "./carets.js";
import Quill from "./formats.js";
import { Toolbar } from "./toolbar.js";

/** On a phone a composition goes on while the caret rests in a word; so long is rest enough. */
const REST_MS = 2_000;

/** What a browser has keys for that Quill does not know of, and would do in its own way. */
const FORMATS = new Map([
  ["formatBold", "bold"],
  ["formatItalic", "italic"],
  ["formatUnderline", "underline"],
  ["formatStrikeThrough", "strike"],
]);

export class RichEditor implements Surface {
  readonly quill: Quill;
  private readonly toolbar: Toolbar;
  private readonly carets: Carets;
  /** Whether the user was ever in the text, and so is somewhere in it. */
  private isEntered = false;
  /** How often Quill showed something else than it was told, and was set anew. */
  resets = 0;
  private readonly held = new Held();
  private readonly history = new History();
  /** The document as it is on the screen: without what is held. */
  private content = new Delta();
  /** And what Quill shows of it. */
  private shown = new Delta();
  /** The same as Quill has it, when that was last compared. */
  private seen: Delta | null = null;
  /** Whether what Quill reports is a consequence of what it was told. */
  private isOurs = false;
  private rest: ReturnType<typeof setTimeout> | undefined;

  private isShowable = true;

  /**
   * `unshowable` hears that nothing can be done here, since Quill cannot even show what should be
   * shown.
   */
  constructor(
    parent: HTMLElement,
    content: Delta,
    private readonly hears: Hears,
    private readonly unshowable: () => void = () => {},
  ) {
    const text = document.createElement("div");
    parent.replaceChildren(text);
    this.quill = new Quill(text, {
      placeholder: "Write something. Whoever has the link writes along.",
      readOnly: true,
      modules: {
        // Tab leaves the editor, as everywhere on the page.
        keyboard: { bindings: { tab: null, "remove tab": null } },
        // A document is no place for files.
        uploader: { handler: () => {} },
      },
    });
    const attributes = {
      role: "textbox",
      "aria-label": "Document",
      "aria-multiline": "true",
      "data-testid": "editor",
      spellcheck: "true",
    };
    for (const [name, value] of Object.entries(attributes)) this.quill.root.setAttribute(name, value);
    this.carets = new Carets(this.quill);
    this.quill.on("text-change", (made, before) => this.changed(made, before));
    this.quill.on("selection-change", (range) => {
      this.isEntered ||= range !== null;
      if (range) this.hears.moved(this.selection);
    });
    // Its own end of it is about to come.
    this.quill.on("composition-end", () => queueMicrotask(() => this.show()));
    this.listen();
    this.toolbar = new Toolbar(this.quill, { undo: () => this.undo(), redo: () => this.redo() });
    parent.prepend(this.toolbar.element);
    this.content = content;
    this.shown = project(content);
    this.reset();
    this.resets = 0;
  }

  /** The document as it is on the screen. */
  get document(): Delta {
    return this.content;
  }

  /** Where the user is, or was when the editor had the focus. */
  get selection(): Span | null {
    // What Quill has noted of it is older where something was typed.
    const range = this.quill.selection.getRange()[0] ?? this.quill.selection.savedRange;
    return this.isEntered ? { anchor: range.index, head: range.index + range.length } : null;
  }

  people(others: readonly Person[]): void {
    this.carets.show(others);
  }

  focus(): void {
    this.quill.focus();
  }

  setEditable(editable: boolean): void {
    this.quill.enable(editable && this.isShowable);
    this.toolbar.enable(editable && this.isShowable);
  }

  /** What another did to the document. It is shown when nobody composes. */
  apply(delta: Delta): void {
    this.held.add(delta);
    this.show();
  }

  undo(): void {
    this.step((content) => this.history.undo(content));
  }

  redo(): void {
    this.step((content) => this.history.redo(content));
  }

  private show(): void {
    if (this.held.isEmpty) return;
    // While an input method composes, Quill knows less than the page has.
    if (this.quill.composition.isComposing) return this.awaitRest();
    // What the user did is first: the change is one of what is shown with it.
    this.quill.update("user");
    const change = this.held.release(null);
    this.history.transform(change);
    this.display(change);
  }

  /** The document was changed, and the screen follows. */
  private display(change: Delta): void {
    const made = projectChange(change, this.content);
    this.content = this.content.compose(change);
    this.shown = this.shown.compose(made);
    this.carets.move(made);
    this.tell(made);
    this.hears.moved(this.selection);
  }

  /** Something happened to what is shown. */
  private changed(made: Delta, before: Delta): void {
    if (this.isOurs || !this.isShowable) return;
    // Of something else than what was shown: nothing that can be led back.
    if (before !== this.seen && !isEqual(before, this.shown)) return this.reset();
    const now = this.quill.editor.delta;
    const content = this.content;
    const change = lift(made, content, now);
    this.content = content.compose(change);
    this.shown = this.shown.compose(projectChange(change, content));
    this.history.record(change, content, performance.now());
    this.carets.move(change);
    if (change.ops.length > 0) this.hears.edited(this.held.typed(change));
    this.tell(aligned(now, this.shown));
    this.hears.moved(this.selection);
    if (!this.held.isEmpty) this.awaitRest();
  }

  private tell(change: Delta): void {
    if (change.ops.length > 0) this.keepingChoice(() => this.quill.updateContents(change, "api"));
    if (!this.isShown) this.reset();
  }

  /** Also of what is there and Quill does not know of: a deletion may leave the half of it behind. */
  private get isShown(): boolean {
    const { quill, shown } = this;
    this.seen = quill.editor.delta;
    return quill.getLength() === shown.length() && isEqual(quill.editor.delta, shown);
  }

  /** All of what is shown, whatever is there. */
  private reset(): void {
    this.resets += 1;
    const selection = this.quill.selection.lastRange;
    this.quietly(() => {
      // An error may have left it in the middle of something.
      this.quill.scroll.batchEnd();
      this.quill.setContents(this.shown, "api");
      if (selection && this.quill.hasFocus()) this.quill.setSelection(selection, "silent");
    });
    if (this.isShown) return;
    // Nothing that is done to this could be led back.
    this.isShowable = false;
    this.setEditable(false);
    this.unshowable();
  }

  /** Quill forgets with each change which formats were chosen for what is typed next. */
  private keepingChoice(told: () => void): void {
    const { quill } = this;
    const { selection } = quill;
    const before = selection.cursor.parent !== null && quill.hasFocus() ? selection.lastRange : null;
    const chosen = before && quill.getFormat(before);
    this.quietly(() => {
      told();
      const range = selection.lastRange;
      if (!chosen || !range) return;
      const missing = AttributeMap.diff(quill.getFormat(range), chosen) ?? {};
      for (const [name, value] of Object.entries(missing)) selection.format(name, value ?? false);
    });
  }

  private quietly(told: () => void): void {
    this.isOurs = true;
    try {
      told();
    } catch (error) {
      console.warn("codraft: the editor is set anew:", error);
    } finally {
      this.isOurs = false;
    }
  }

  private step(take: (content: Delta) => Delta | null): void {
    if (!this.quill.isEnabled() || this.quill.composition.isComposing) return;
    this.quill.update("user");
    const change = take(this.content);
    if (!change) return;
    this.hears.edited(this.held.typed(change));
    this.display(change);
    this.quill.setSelection(Math.min(endOf(change), this.quill.getLength() - 1), 0, "user");
  }

  private listen(): void {
    const { keyboard, root } = this.quill;
    const [undo, redo] = [() => this.undo(), () => this.redo()];
    keyboard.addBinding({ key: ["z", "Z"], shortKey: true }, undo);
    keyboard.addBinding({ key: ["z", "Z"], shortKey: true, shiftKey: true }, redo);
    keyboard.addBinding({ key: ["y", "Y"], shortKey: true }, redo);
    root.addEventListener("beforeinput", (event) => {
      if (event.inputType.startsWith("delete")) return this.deletes(event);
      const format = FORMATS.get(event.inputType);
      if (event.inputType === "historyUndo") this.undo();
      else if (event.inputType === "historyRedo") this.redo();
      else if (format) this.quill.format(format, !this.quill.getFormat()[format], "user");
      else return;
      event.preventDefault();
    });
  }

  /** A browser that deletes by itself styles what it joins, and may leave halves of objects behind. */
  private deletes(event: InputEvent): void {
    const { quill } = this;
    const target = event.getTargetRanges()[0];
    if (!target || event.defaultPrevented || quill.composition.isComposing) return;
    const normalized = quill.selection.normalizeNative(target);
    const range = normalized && quill.selection.normalizedToRange(normalized);
    if (!range || range.length === 0) return;
    event.preventDefault();
    deleteRange({ range, quill });
  }

  /** Ends a composition in which nothing is written for a while. */
  private awaitRest(): void {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      if (!this.quill.composition.isComposing || !this.quill.hasFocus()) return;
      this.quill.root.blur();
      this.quill.root.focus({ preventScroll: true });
    }, REST_MS);
  }
}

/** Behind the last thing that is changed, in the document after it. */
function endOf(change: Delta): number {
  return change.ops.reduce((at, op) => at + (op.delete === undefined ? Op.length(op) : 0), 0);
}
