// In the page: the rich editor driven with random Deltas. The document is what `quill-delta` makes of
// all that others did and the user is said to have done; what Quill has is what is shown of that.

import Delta from "quill-delta";

import { characters, Random } from "../../quill/cases.mjs";
import { aligned, isEqual } from "../../../client/src/contents.js";
import { ClientDocument } from "../../../client/src/document.js";
import { decodeDelta } from "../../../client/src/delta-binary.js";
import { project } from "../../../client/src/rich/projection.js";
import { canonical } from "../../../client/src/canonical.js";
import { RichEditor } from "../../../client/page/rich/editor.js";
import { choice, document as randomDocument, FACTS, operation } from "./deltas.mjs";

export { FACTS };

const KINDS = ["code-block", "list", "header", "blockquote"];
const HASH = "0".repeat(64);

const text = (delta) => delta.ops.map(({ insert }) => (typeof insert === "string" ? insert : "\ufffc")).join("");
const shown = (value) => JSON.stringify(value, null, 1);
const delta = (ops) => canonical(new Delta(ops));

function check(what, holds, ...details) {
  if (!holds) throw new Error(`${what}:\n${details.map(shown).join("\n")}`);
}

/** An editor in the page, and the document that it should have. */
class Window {
  constructor(content) {
    this.element = document.body.appendChild(document.createElement("div"));
    this.model = new Delta(content);
    this.told = [];
    this.editor = new RichEditor(this.element, this.model, { edited: (made) => this.edited(made), moved() {} });
    this.editor.setEditable(true);
    this.quill = this.editor.quill;
  }

  edited(made) {
    this.told.push(made);
    const marked = this.model.slice(0, this.model.length() - 1).insert("\0");
    check("the last line break did not stay the last", /^[^\0]*\0$/.test(text(marked.compose(made))), this.model.ops, made.ops);
    this.model = this.model.compose(canonical(made));
  }

  remote(ops) {
    const made = delta(ops);
    this.model = this.model.compose(made);
    this.editor.apply(made);
    this.holds("another's operation");
    return made;
  }

  /** What the user did is `told`; returns it as one. */
  user(act) {
    const before = this.model;
    this.told = [];
    act(this.quill);
    this.quill.update("user");
    this.holds("what the user did");
    return { before, made: this.told.reduce((all, one) => all.compose(one), new Delta()) };
  }

  holds(after) {
    const { model, editor, quill } = this;
    check(`after ${after} the document is another`, isEqual(model, editor.document), model.ops, editor.document.ops);
    check(`after ${after} Quill has another length`, quill.getLength() === model.length(), model.ops, quill.getContents().ops, quill.root.innerHTML, [quill.getLength(), model.length(), this.last]);
    const wanted = project(model);
    check(`after ${after} Quill shows something else`, isEqual(wanted, quill.getContents()), model.ops, wanted.ops, quill.getContents().ops);
    check(`after ${after} the last line break is not the last`, text(model).endsWith("\n"), model.ops);
    check("half a character", text(model).isWellFormed(), model.ops);
  }

  /** Opens, focuses and closes: nothing is told. */
  lookedAt() {
    this.holds("opening");
    this.editor.focus();
    this.quill.setSelection(0, this.quill.getLength());
    this.quill.update("user");
    this.quill.blur();
    this.quill.update("user");
    this.editor.setEditable(false);
    this.editor.setEditable(true);
    check("opening made an operation", this.told.length === 0, this.told);
  }

  close() {
    this.element.remove();
  }
}

/** Somewhere between characters: a place, and so many units. Not the last line break. */
function place(random, content) {
  const lengths = characters(content.ops).slice(0, -1);
  const [from, some] = [random.below(lengths.length + 1), random.below(4)];
  const sum = (part) => part.reduce((all, n) => all + n, 0);
  return { index: sum(lengths.slice(0, from)), length: sum(lengths.slice(from, from + some)) };
}

const COMMANDS = { Enter: "insertParagraph", Backspace: "delete", Delete: "forwardDelete" };
const INPUTS = { Enter: "insertParagraph", Backspace: "deleteContentBackward", Delete: "deleteContentForward" };

/** What a browser does for a key: it asks twice whether somebody else does it. */
function press(root, key) {
  const goesOn = (event) => root.dispatchEvent(event);
  if (!goesOn(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }))) return;
  const selection = getSelection();
  const range = selection.getRangeAt(0).cloneRange();
  if (range.collapsed && key === "Backspace") selection.modify("extend", "backward", "character");
  if (range.collapsed && key === "Delete") selection.modify("extend", "forward", "character");
  const targetRanges = [new StaticRange(selection.getRangeAt(0))];
  selection.removeAllRanges();
  selection.addRange(range);
  const data = key in COMMANDS ? null : key;
  const inputType = INPUTS[key] ?? "insertText";
  if (!goesOn(new InputEvent("beforeinput", { inputType, data, targetRanges, bubbles: true, cancelable: true }))) return;
  document.execCommand(COMMANDS[key] ?? "insertText", false, data);
}

const EDITS = {
  typed(window, random) {
    const { index } = place(random, window.model);
    const typed = random.one(["x", "ab", " ", "\n", "🦀", "y\nz"]);
    const { before, made } = window.user((quill) => quill.insertText(index, typed, "user"));
    // Of two equal characters, Quill may take the other one for the new one, and format both.
    check("typing deleted something", made.ops.every((op) => op.delete === undefined), before.ops, made.ops);
    const [was, is] = [text(before), text(window.model)];
    check("typed elsewhere", is === was.slice(0, index) + typed + was.slice(index), before.ops, made.ops);
  },
  deleted(window, random) {
    const { index, length } = place(random, window.model);
    if (length === 0) return;
    const { before, made } = window.user((quill) => quill.deleteText(index, length, "user"));
    const wanted = before.compose(new Delta().retain(index).delete(length));
    // Of line breaks, Quill may take the other one for the one that is left, and make that like it.
    const isLike = made.ops.some(({ attributes }) => attributes) && isEqual(project(wanted), project(window.model));
    check("deleted something else", isLike || isEqual(wanted, window.model), before.ops, { index, length }, made.ops, window.model.ops);
  },
  formatted(window, random) {
    const { index, length } = place(random, window.model);
    const [name, value] = choice(random);
    const ofLine = KINDS.includes(name);
    const kinds = () => window.quill.getLines(index, Math.max(1, length)).map((line) => line.formats());
    const were = kinds();
    const { before, made } = window.user((quill) => {
      quill.setSelection(index, length, "silent");
      quill.format(name, value, "user");
    });
    const isPlain = (line) => KINDS.every((kind) => !(kind in line));
    const arePlain = kinds().every((line, i) => !(name in were[i]) || isPlain(line));
    check("what was taken from a line left another kind", !ofLine || value !== false || arePlain, before.ops, { name, index }, made.ops);
    const names = ofLine ? KINDS : [name];
    const others = aligned(before, window.model).ops.flatMap((op) => Object.keys(op.attributes ?? {}));
    check("a format changed the text", text(before) === text(window.model), before.ops, made.ops);
    check("a format changed another", others.every((one) => names.includes(one)), before.ops, { name, value, index, length }, made.ops);
    check("a format replaced something", made.ops.every((op) => op.retain), before.ops, { name, value, index, length }, made.ops);
  },
  byKeys(window, random) {
    const { index, length } = place(random, window.model);
    const key = random.one(["k", "漢", "Enter", "Backspace", "Delete"]);
    window.user((quill) => {
      quill.focus();
      quill.setSelection(index, length, "silent");
      press(quill.root, key);
    });
  },
  /** As where nobody is asked: on a phone, in a composition. */
  byBrowser(window, random) {
    const { index, length } = place(random, window.model);
    const [command, value] = random.one([["insertText", "k"], ["delete"], ["forwardDelete"], ["insertText", "漢"]]);
    window.user((quill) => {
      quill.focus();
      quill.setSelection(index, length, "silent");
      document.execCommand(command, false, value);
    });
  },
  undone(window, random) {
    window.user(() => (random.chance(60) ? window.editor.undo() : window.editor.redo()));
  },
};

function edit(window, random) {
  const name = random.one(Object.keys(EDITS));
  window.last = name;
  EDITS[name](window, random);
}

/** What one would guess wrong: opened, inserted by another, formatted by all, deleted and undone. */
export function fact(name) {
  const content = delta(FACTS[name]);
  const open = new Window(content);
  open.lookedAt();
  const all = [0, content.length()];
  for (const [format, value] of [["code-block", true], ["code-block", false], ["bold", true], ["bold", false], ["list", "bullet"]]) {
    const { before } = open.user((quill) => quill.formatText(...all, format, value, "user"));
    const names = format === "bold" ? ["bold"] : [...KINDS, "bold"];
    const others = aligned(before, open.model).ops.flatMap((op) => Object.keys(op.attributes ?? {}));
    check(`${format} changed another`, others.every((one) => names.includes(one)), before.ops, open.model.ops);
  }
  open.editor.history.cutoff();
  const formatted = open.model;
  if (content.length() > 1) open.user((quill) => quill.deleteText(0, content.length() - 1, "user"));
  if (content.length() > 1) open.user(() => open.editor.undo());
  check("what is undone is not what was there", isEqual(formatted, open.model), formatted.ops, open.model.ops);
  open.remote([{ delete: content.length() - 1 }]);
  const beside = new Window(delta([{ insert: "x" }, { insert: "yz", attributes: { bold: true } }, { insert: "\n" }]));
  const inserted = [{ retain: 2 }, ...content.ops];
  beside.remote(inserted);
  for (const attributes of [{ "code-block": true }, { "code-block": null, header: 1 }, { list: "bullet" }]) {
    beside.remote([{ retain: beside.model.length(), attributes }]);
  }
  beside.remote([{ retain: 2 }, { delete: content.length() }]);
  const { resets } = beside.editor;
  for (const window of [open, beside]) window.close();
  return resets + open.editor.resets;
}

/** A random document, and what others and the user do to it in turns. Returns what was done. */
export function random(seed) {
  const random = new Random(seed);
  const window = new Window(delta(randomDocument(random)));
  let [deltas, resets] = [1, 0];
  try {
    window.lookedAt();
    for (let step = 0; step < 12; step += 1) {
      if (random.chance(50)) window.remote(operation(random, window.model.ops));
      else edit(window, random);
      deltas += 1;
    }
  } catch (error) {
    throw new Error(`seed ${seed}, ${window.last}: ${error.stack}`);
  } finally {
    ({ resets } = window.editor);
    window.close();
  }
  return { deltas, resets };
}

/** A server in the page: operations in one order, each moved past all that came before it. */
class Server {
  log = [];

  constructor(content) {
    this.content = content;
  }

  submit(from, { base, bytes }) {
    let made = decodeDelta(bytes);
    for (const { ops } of this.log.slice(base)) made = ops.transform(made, true);
    this.content = this.content.compose(made);
    this.log.push({ from, ops: made });
  }
}

class Client {
  constructor(server) {
    this.server = server;
    this.document = new ClientDocument();
    this.document.open(server.content, { rev: 0, hash: HASH });
    this.window = new Window(server.content);
    const { window } = this;
    window.edited = (made) => {
      Window.prototype.edited.call(window, made);
      this.document.local(made);
    };
  }

  send() {
    const sent = this.document.send();
    if (sent) this.server.submit(this, sent);
  }

  hear() {
    const event = this.server.log[this.document.rev];
    if (!event) return false;
    const rev = this.document.rev + 1;
    if (event.from === this) this.document.acked(rev);
    else {
      const change = this.document.remote(rev, event.ops);
      this.document.show(change);
      this.window.model = this.window.model.compose(change);
      this.window.editor.apply(change);
      this.window.holds("another's operation");
    }
    return true;
  }
}

/** Two windows that edit at once and hear late: at the end all three are equal. */
export function together(seed) {
  const random = new Random(seed);
  const server = new Server(delta(randomDocument(random)));
  const clients = [new Client(server), new Client(server)];
  try {
    for (let step = 0; step < 24; step += 1) {
      const client = random.one(clients);
      const what = random.below(4);
      if (what < 2) edit(client.window, random);
      else if (what === 2) client.send();
      else client.hear();
    }
    for (let goesOn = true; goesOn; ) {
      goesOn = false;
      for (const client of clients) {
        client.send();
        goesOn = client.hear() || goesOn;
      }
    }
    for (const { window, document } of clients) {
      check("not saved", document.isSaved);
      check("a window has another document", isEqual(window.editor.document, server.content), server.content.ops, window.model.ops);
    }
    const [a, b] = clients.map(({ window }) => window.quill.getContents());
    check("the windows show different lines", isEqual(a, b), a.ops, b.ops);
  } catch (error) {
    throw new Error(`seed ${seed}, together: ${error.message}`);
  } finally {
    for (const { window } of clients) window.close();
  }
  return { deltas: server.log.length, resets: clients.reduce((sum, { window }) => sum + window.editor.resets, 0) };
}
