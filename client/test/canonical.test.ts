import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { canonical } from "../src/canonical.js";
import { decodeDelta } from "../src/delta-binary.js";
import { ClientDocument } from "../src/document.js";

const HASH = "0".repeat(64);

test("what means nothing is left out", () => {
  const ops = [
    { insert: "a", attributes: { bold: null } },
    { insert: "b", attributes: {} },
    { insert: "" },
    { insert: "c", attributes: { bold: true, link: null } },
    { delete: 0 },
    { retain: 0 },
    { insert: { image: "x" }, attributes: { alt: null } },
    { retain: 2, attributes: { bold: null } },
    { delete: 1 },
    { retain: 5 },
  ];
  assert.deepEqual(canonical(new Delta(ops)).ops, [
    { insert: "ab" },
    { insert: "c", attributes: { bold: true } },
    { insert: { image: "x" } },
    { retain: 2, attributes: { bold: null } },
    { delete: 1 },
  ]);
});

test("what is sent, shown and kept is the same", () => {
  const document = new ClientDocument();
  document.open(new Delta(), { rev: 0, hash: HASH });
  document.local(new Delta().insert("x", { bold: null, italic: true }));
  const expected = [{ insert: "x", attributes: { italic: true } }];
  assert.deepEqual(document.content.ops, expected);
  assert.deepEqual(decodeDelta(document.send()?.bytes ?? new Uint8Array()).ops, expected);
});

test("an attribute whose name every object has is refused before anything changes", () => {
  const document = new ClientDocument();
  document.open(new Delta().insert("x"), { rev: 1, hash: HASH });
  for (const name of ["constructor", "valueOf", "toString", "hasOwnProperty", "__proto__"]) {
    const attributes = Object.fromEntries([[name, 1]]);
    for (const op of [{ insert: "y", attributes }, { retain: 1, attributes }]) {
      assert.throws(() => document.local(new Delta([op])), TypeError, name);
    }
  }
  assert.equal(document.text, "x");
  assert.ok(document.isSaved);
});
