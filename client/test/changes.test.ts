import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ChangeSet, Text } from "@codemirror/state";
import Delta from "quill-delta";

import { deltaOf, replacementsOf, wholePairs } from "../page/changes.js";
import { wellFormed } from "../src/pairs.js";

/** What input methods go through, and a browser is driven through, too. */
const CANDIDATES = JSON.parse(readFileSync("../tests/browser/candidates.json", "utf8")) as [string, string][];

const textOf = (text: string) => Text.of(text.split("\n"));

/** As an editor sees it that compares units: what both begin and end with has not changed. */
function difference(before: string, after: string): { from: number; to: number; insert: string } {
  let from = 0;
  while (from < Math.min(before.length, after.length) && before[from] === after[from]) from += 1;
  let end = 0;
  const most = Math.min(before.length, after.length) - from;
  while (end < most && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  return { from, to: before.length - end, insert: after.slice(from, after.length - end) };
}

for (const [before, after] of CANDIDATES) {
  test(`whole pairs: ${before} becomes ${after}`, () => {
    const text = textOf(`<${before}>`);
    const changes = ChangeSet.of(difference(`<${before}>`, `<${after}>`), text.length);
    const delta = deltaOf(wholePairs(text, changes));
    const content = new Delta().insert(`<${before}>`).compose(delta);
    assert.deepEqual(content.ops, [{ insert: `<${after}>` }]);
    let at = 0;
    for (const op of delta.ops) {
      if (typeof op.insert === "string") assert.equal(op.insert, wellFormed(op.insert));
      else at += op.delete ?? (op.retain as number);
      const start = text.sliceString(0, at);
      assert.equal(start, wellFormed(start), `no border within a pair: ${at}`);
    }
  });
}

test("changes that split no pair stay as they are", () => {
  const text = textOf("a😀\nb");
  const changes = ChangeSet.of([{ from: 0, to: 1 }, { from: 3, insert: "x\ny" }, { from: 4, to: 5, insert: "c" }], 5);
  assert.deepEqual(wholePairs(text, changes), [
    { from: 0, to: 1, insert: "" },
    { from: 3, to: 3, insert: "x\ny" },
    { from: 4, to: 5, insert: "c" },
  ]);
});

test("a half that nothing completes is replaced", () => {
  assert.equal(wellFormed("\ud83d a \ude00 😀"), "\ufffd a \ufffd 😀");
});

test("an operation becomes changes of the text before it", () => {
  const delta = new Delta([
    { retain: 2, attributes: { bold: true } },
    { insert: "x" },
    { delete: 3 },
    { retain: 1 },
    { insert: { image: "a.png" } },
  ]);
  assert.deepEqual(replacementsOf(delta), [
    { from: 2, to: 2, insert: "x" },
    { from: 2, to: 5, insert: "" },
    { from: 6, to: 6, insert: "\ufffc" },
  ]);
});
