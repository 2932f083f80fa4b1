import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { aligned, difference, isEqual } from "../src/contents.js";
import { History } from "../src/rich/history.js";
import { lift } from "../src/rich/lift.js";
import { OBJECT, project, projectChange } from "../src/rich/projection.js";

const object = (insert: unknown) => ({ [OBJECT]: JSON.stringify(insert) });

/** What the user made of what was shown becomes what is there. */
function lifted(content: Delta, made: Delta): Delta {
  const change = lift(made, content, project(content).compose(made));
  return content.compose(change);
}

test("what cannot be shown is an object of one unit", () => {
  const content = new Delta()
    .insert("a\r", { bold: true, author: "u1" })
    .insert({ mention: { id: 1 } })
    .insert({ image: "https://example.org/a.png" })
    .insert("\n", { header: 9 });
  assert.deepEqual(project(content).ops, [
    { insert: "a", attributes: { bold: true } },
    { insert: object("\r"), attributes: { bold: true } },
    { insert: object({ mention: { id: 1 } }) },
    { insert: object({ image: "https://example.org/a.png" }) },
    { insert: "\n" },
  ]);
});

test("of two kinds of one line each window shows the same, whichever came last", () => {
  const kinds = [{ header: 1, list: "bullet" }, { list: "bullet", header: 1 }];
  for (const kind of kinds) {
    assert.deepEqual(project(new Delta().insert("\n", kind)).ops, [{ insert: "\n", attributes: { list: "bullet" } }]);
  }
});

test("who sets what kind a line is, settles what was not shown of it", () => {
  const content = new Delta().insert("a").insert("\n", { header: 1, list: "bullet", author: "u1" });
  const made = new Delta().retain(1).retain(1, { list: null });
  assert.deepEqual(lifted(content, made).ops.at(-1), { insert: "\n", attributes: { author: "u1" } });
});

test("a change of another's is one of what is shown, and of that alone", () => {
  const content = new Delta().insert("a", { bold: true, author: "u1" }).insert({ image: "x" }).insert("\n", { header: 1 });
  const hidden = new Delta().retain(1, { author: "u2", link: "javascript:alert(1)" }).retain(1).retain(1, { header: 9 });
  assert.deepEqual(projectChange(hidden, content).ops, [
    { retain: 2 },
    { retain: 1, attributes: { header: null } },
  ]);
  const change = new Delta().retain(1).insert("\r", { bold: true }).delete(1).retain(1, { list: "bullet" });
  assert.deepEqual(projectChange(change, content).ops, [
    { retain: 1 },
    { insert: object("\r"), attributes: { bold: true } },
    { delete: 1 },
    { retain: 1, attributes: { list: "bullet", header: null } },
  ]);
});

test("the last line break stays where it is, whatever an editor says", () => {
  const content = new Delta().insert("a").insert("\n", { author: "u1" }).insert("b").insert("\n", { author: "u2" });
  const ways: [Delta, Delta][] = [
    // The last line went with its break, or the break before it.
    [new Delta().retain(2).delete(2), new Delta().insert("a").insert("\n", { author: "u2" })],
    [new Delta().retain(4).insert("c\n"), content.slice(0, 3).insert("\nc").insert("\n", { author: "u2" })],
    [
      new Delta().retain(3).insert("\n", { list: "bullet" }).delete(1),
      content.slice(0, 3).insert("\n", { author: "u2", list: "bullet" }),
    ],
  ];
  for (const [made, wanted] of ways) {
    const change = lift(made, content, project(content).compose(made));
    assert.deepEqual(content.compose(change).ops, wanted.ops);
    const kept = change.ops.reduce((sum, op) => sum + (op.delete ?? (op.retain as number | undefined) ?? 0), 0);
    const isDeleted = kept === content.length() && change.ops.at(-1)?.delete !== undefined;
    assert.ok(!isDeleted, "the last one is not deleted");
    assert.equal(change.transformPosition(3, false), content.compose(change).length() - 1, "nothing comes behind it");
  }
});

test("no half of a character leaves the editor", () => {
  const content = new Delta().insert("<😀>\n");
  const change = lift(new Delta().retain(2).insert("\ude01").delete(1), content, new Delta().insert("<😁>\n"));
  assert.deepEqual(change.ops, [{ retain: 1 }, { insert: "😁" }, { delete: 2 }]);
  const half = lift(new Delta().retain(1).insert("\ud83d"), content, new Delta().insert("<\ud83d😀>\n"));
  assert.deepEqual(content.compose(half).ops, [{ insert: "<\ufffd😀>\n" }]);
});

test("what is undone comes back with what was not shown, past what others did", () => {
  let content = new Delta().insert("a", { author: "u1" }).insert({ mention: 1 }).insert("b\n");
  const before = content;
  const history = new History();
  const apply = (change: Delta) => (content = content.compose(change));
  const user = (change: Delta, at: number) => {
    history.record(change, content, at);
    apply(change);
  };
  user(new Delta().delete(2), 0);
  user(new Delta().retain(1).insert("!"), 5_000);
  const theirs = new Delta().insert("theirs ");
  history.transform(theirs);
  apply(theirs);
  apply(history.undo(content) ?? new Delta());
  apply(history.undo(content) ?? new Delta());
  assert.equal(history.undo(content), null);
  assert.deepEqual(content.ops, theirs.concat(before).ops);
  apply(history.redo(content) ?? new Delta());
  assert.deepEqual(content.ops, [{ insert: "theirs b\n" }]);
});

test("from one document to another, with its formats and objects", () => {
  const before = new Delta().insert("ab", { bold: true }).insert({ image: "a" }).insert("cd\n");
  const after = new Delta().insert("ab").insert({ image: "b" }).insert("cxd").insert("\n", { list: "bullet" });
  const change = difference(before, after);
  assert.ok(isEqual(before.compose(change), after));
  assert.deepEqual(aligned(after, after).ops, []);
  assert.deepEqual(change.ops, [
    { retain: 2, attributes: { bold: null } },
    { insert: { image: "b" } },
    { delete: 1 },
    { retain: 1 },
    { insert: "x" },
    { retain: 1 },
    { retain: 1, attributes: { list: "bullet" } },
  ]);
});
