import assert from "node:assert/strict";
import { test } from "node:test";
import Delta, { type AttributeMap } from "quill-delta";

import { Branch } from "../src/branch.js";
import { ClientDocument, textOf } from "../src/document.js";
import { catchUp } from "../src/late.js";
import { seeded } from "./random.js";

type Random = () => number;

const TEXTS = ["a", "bc", "\n", "word ", "😀"];

function attributes(random: Random, isRetain: boolean): AttributeMap | undefined {
  if (random() < 0.6) return undefined;
  const values = isRetain ? [true, null, "x"] : [true, "x"];
  const value = values[Math.floor(random() * values.length)];
  return { [random() < 0.5 ? "bold" : "color"]: value };
}

/** Whatever can be done to a document of so many units; often at places that others meet. */
function anything(units: number, random: Random): Delta {
  const delta = new Delta();
  let left = units;
  for (let parts = 1 + Math.floor(random() * 5); parts > 0; parts -= 1) {
    const dice = random();
    const some = Math.min(left, Math.floor(random() * random() * 8));
    if (dice < 0.35) delta.insert(TEXTS[Math.floor(random() * TEXTS.length)] as string, attributes(random, false));
    else if (dice < 0.42) delta.insert({ image: "i" }, attributes(random, false));
    else if (dice < 0.65) delta.delete(some);
    else delta.retain(some, attributes(random, true));
    if (dice >= 0.42) left -= some;
    if (random() < 0.5) {
      const on = Math.floor(random() * left);
      delta.retain(on);
      left -= on;
    }
  }
  return delta.chop();
}

function grown(units: number, delta: Delta): number {
  return units + delta.ops.reduce((sum, op) => {
    return sum + (op.insert === undefined ? -(op.delete ?? 0) : new Delta([op]).length());
  }, 0);
}

test("a branch is what its operations are, one after the other and past one after the other", () => {
  for (let seed = 1; seed <= 1_000; seed += 1) {
    const random = seeded(seed);
    let [units, theirs] = [Math.floor(random() * 30), 0];
    theirs = units;
    let flat = anything(units, random);
    units = grown(units, flat);
    const branch = new Branch(flat);
    for (let step = 0; step < 30; step += 1) {
      if (random() < 0.5) {
        const next = anything(units, random);
        flat = flat.compose(next);
        branch.compose(next);
        units = grown(units, next);
      } else {
        const earlier = anything(theirs, random);
        const moved = flat.transform(earlier, false);
        flat = earlier.transform(flat, true);
        assert.deepEqual(branch.pass(earlier).ops, moved.ops, `seed ${seed}, step ${step}: theirs`);
        [units, theirs] = [grown(units, moved), grown(theirs, earlier)];
      }
      flat.chop();
      assert.deepEqual(branch.toDelta().ops, flat.ops, `seed ${seed}, step ${step}`);
      assert.equal(branch.isEmpty, flat.ops.length === 0, `seed ${seed}, step ${step}: empty`);
    }
  }
});

test("a long branch takes in a long past in short turns, and the screen follows", async () => {
  const random = seeded(3);
  const text = "x".repeat(20_000);
  const document = new ClientDocument();
  document.open(new Delta().insert(text), { rev: 0, hash: "" });
  let screen = document.content;
  const type = (): void => {
    const delta = new Delta().retain(Math.floor(random() * screen.length())).insert("m");
    document.local(delta);
    screen = screen.compose(delta);
  };
  for (let i = 0; i < 500; i += 1) type();
  let content = new Delta().insert(text);
  const events = Array.from({ length: 1_000 }, (_, i) => {
    const delta = new Delta().retain(Math.floor(random() * content.length())).insert("t");
    content = content.compose(delta);
    return { rev: i + 1, kind: "edit", user: "bo", client: "b", seq: i + 1, ops: delta.ops };
  });
  let turns = 0;
  let time = 0;
  await catchUp(document, { to: { rev: 1_000, hash: "there" }, content }, {
    page: async (from, to) => ({ events: events.slice(from - 1, Math.min(to, from + 299)) }),
    isOwn: () => false,
    change: (delta) => {
      turns += 1;
      screen = screen.compose(delta);
      type();
    },
    acked: () => assert.fail("nothing was sent"),
    goesOn: () => true,
    // A millisecond an event.
    now: () => (time += 1),
  });
  assert.equal(turns, 3 * Math.ceil(300 / 8) + Math.ceil(100 / 8), "eight events each");
  assert.equal(document.text.replaceAll("m", ""), textOf(content));
  assert.deepEqual(screen.ops, document.content.ops);
  assert.equal(document.text.length, textOf(content).length + 500 + turns);
  assert.deepEqual(document.resumeFrom, { rev: 1_000, hash: "there" });
});
