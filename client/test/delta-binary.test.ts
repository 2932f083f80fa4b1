import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { decodeDelta, encodeDelta, MalformedError } from "../src/delta-binary.js";
import { bytesOf as bytes, hexOf } from "./hex.js";
import { randomEdit, seeded } from "./random.js";

const hex = (delta: Delta): string => hexOf(encodeDelta(delta));

test("the bytes are those of the server's description", () => {
  assert.equal(hex(new Delta().retain(3).insert("hi").delete(2)), "0c0a686909");
  assert.equal(hex(new Delta().retain(5000)), "a09c01");
  assert.equal(hex(new Delta().retain(1, { b: null })), "0301010162" + "00");
  assert.equal(hex(new Delta().insert("x", { b: true, a: 1 })),
    "07" + "0178" + "02" + "0161" + "03000000000000f03f" + "0162" + "02");
  assert.equal(hex(new Delta().insert({ image: "u" })), "0b" + "06" + "01" + "05696d616765" + "0401" + "75" + "00");
});

test("round trips", () => {
  const deltas = [
    new Delta(),
    new Delta().insert("😀é\u0000").retain(1 << 29).delete(7),
    // What a text decoder takes for a mark of its encoding, and leaves out.
    new Delta().insert("\ufeffa").insert("\ufeff", { b: "\ufeff" }),
    new Delta().retain(4, { link: "https://example.org", bold: null, size: 1.5 }),
    new Delta().insert({ chart: { rows: [1, [true, false, null], { deep: "x" }] } }, { w: "é" }),
  ];
  for (const delta of deltas) {
    const read = decodeDelta(encodeDelta(delta));
    assert.deepEqual(read.ops, delta.ops);
    assert.equal(hex(read), hex(delta));
  }
  const random = seeded(7);
  let text = "";
  for (let i = 0; i < 2_000; i += 1) {
    const delta = randomEdit(text, random);
    assert.deepEqual(decodeDelta(encodeDelta(delta)).ops, delta.ops);
    text = new Delta().insert(text).compose(delta).ops.map((op) => op.insert).join("");
    if (text.length > 80) text = "";
  }
});

test("no name reaches a prototype", () => {
  const name = Buffer.from("__proto__").toString("hex");
  const polluting = "07017801" + "09" + name + "06" + "01" + "0178" + "02";
  decodeDelta(bytes(polluting));
  assert.equal(({} as Record<string, unknown>)["x"], undefined);
});

test("bytes that are no operation are refused", () => {
  for (const wrong of ["00", "0a68", "80", "0e", "0aff", "0b07", "0b0200", "ffffffffffffffffff01"]) {
    assert.throws(() => decodeDelta(bytes(wrong)), MalformedError, wrong);
  }
});
