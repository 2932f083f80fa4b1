import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { canonical } from "../src/canonical.js";
import { decodeDelta } from "../src/delta-binary.js";
import { ClientDocument } from "../src/document.js";

/** Names that every object answers to. */
const NAMES = ["constructor", "valueOf", "toString", "hasOwnProperty", "isPrototypeOf"];
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

test("attributes whose names mean something in JavaScript are attributes", () => {
  for (const name of NAMES) {
    const named = { [name]: 1 };
    const formatted = new Delta().insert("x", named);
    const bold = new Delta().retain(1, { bold: true });
    assert.deepEqual(formatted.compose(bold).ops[0]?.attributes, { bold: true, [name]: 1 }, name);
    const both = bold.compose(new Delta().retain(1, named));
    assert.deepEqual(both.ops[0]?.attributes, { bold: true, [name]: 1 }, name);
    const taken = formatted.compose(new Delta().retain(1, { [name]: null }));
    assert.deepEqual(taken.ops, [{ insert: "x" }], name);
    const later = new Delta().retain(1, { [name]: 2, bold: true });
    assert.deepEqual(bold.transform(later, true).ops[0]?.attributes, { [name]: 2 }, name);
    assert.deepEqual(later.transform(new Delta().retain(1, named), true).ops, [], name);
  }
});
