import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { Held } from "../page/held.js";
import { randomEdit, seeded } from "./random.js";

const textOf = (content: Delta) => content.ops.map((op) => op.insert).join("");

/** A document and a screen of it, which shows what is not held. */
class Screen {
  readonly held = new Held();
  document: Delta;
  shown: Delta;

  constructor(text: string) {
    this.document = this.shown = new Delta().insert(text);
  }

  type(delta: Delta): void {
    this.shown = this.shown.compose(delta);
    this.document = this.document.compose(this.held.typed(delta));
  }

  remote(delta: Delta, kept: { from: number; to: number } | null): void {
    this.document = this.document.compose(delta);
    this.held.add(delta);
    this.show(kept);
  }

  show(kept: { from: number; to: number } | null): void {
    this.shown = this.shown.compose(this.held.release(kept));
  }

  get texts(): [string, string] {
    return [textOf(this.shown), textOf(this.document)];
  }
}

test("what another inserts where somebody composes comes when that is over", () => {
  const screen = new Screen("YX");
  const line = () => ({ from: 0, to: screen.shown.length() });
  screen.type(new Delta().retain(2).insert("n"));
  screen.remote(new Delta().retain(2).insert("hello"), line());
  assert.deepEqual(screen.texts, ["YXn", "YXhellon"]);
  screen.type(new Delta().retain(3).insert("i"));
  screen.type(new Delta().retain(4).insert(" h"));
  assert.deepEqual(screen.texts, ["YXni h", "YXhelloni h"]);
  screen.type(new Delta().retain(2).insert("你好").delete(4));
  assert.deepEqual(screen.texts, ["YX你好", "YXhello你好"]);
  screen.show(null);
  assert.deepEqual(screen.texts, ["YXhello你好", "YXhello你好"]);
  assert.ok(screen.held.isEmpty);
});

test("only what touches the composed lines is held", () => {
  const text = "one\ntwo\nthree";
  const kept = { from: 4, to: 7 };
  const shownAtOnce = [
    new Delta().insert("x"),
    new Delta().retain(3).insert("x"),
    new Delta().retain(2).delete(1),
    new Delta().retain(8).insert("x"),
    new Delta().retain(8).delete(1),
  ];
  for (const delta of shownAtOnce) {
    const screen = new Screen(text);
    screen.remote(delta, kept);
    assert.equal(...screen.texts);
    assert.ok(screen.held.isEmpty);
  }
  const held = [
    new Delta().retain(4).insert("x"),
    new Delta().retain(7).insert("x"),
    new Delta().retain(5).delete(1),
    // The line breaks before and after it.
    new Delta().retain(3).delete(1),
    new Delta().retain(7).delete(1),
    new Delta().retain(1).delete(12),
  ];
  for (const delta of held) {
    const screen = new Screen(text);
    screen.remote(delta, kept);
    assert.equal(screen.texts[0], text);
  }
  const screen = new Screen(text);
  screen.remote(new Delta().insert("1 ").retain(5).insert("2 ").retain(3).insert("3 "), kept);
  assert.deepEqual(screen.texts, ["1 one\ntwo\n3 three", "1 one\nt2 wo\n3 three"]);
  screen.show(null);
  assert.equal(...screen.texts);
});

test("random typing on a screen that is behind: what is released makes it the document", () => {
  for (let seed = 1; seed <= 400; seed += 1) {
    const random = seeded(seed);
    const screen = new Screen("one\ntwo 😀\nthree");
    for (let step = 0; step < 40; step += 1) {
      const [shown, document] = screen.texts;
      const at = Math.floor(random() * (shown.length + 1));
      const from = shown.lastIndexOf("\n", at - 1) + 1;
      const end = shown.indexOf("\n", at);
      const kept = { from, to: end < 0 ? shown.length : end };
      if (random() < 0.5) screen.type(randomEdit(shown, random));
      else screen.remote(randomEdit(document, random), random() < 0.8 ? kept : null);
    }
    screen.show(null);
    assert.equal(...screen.texts, `seed ${seed}`);
    assert.ok(screen.held.isEmpty, `seed ${seed}`);
  }
});
