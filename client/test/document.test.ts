import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { decodeDelta } from "../src/delta-binary.js";
import { ClientDocument, DivergedError, replacement } from "../src/document.js";
import { Order } from "./order.js";
import { randomEdit, seeded } from "./random.js";

const HASH = "0".repeat(64);

/** A client that hears of events late, in order. */
class Tab {
  readonly document = new ClientDocument();
  readonly screen: { delta: Delta } = { delta: new Delta() };
  private heard = 0;

  constructor(readonly name: string) {
    this.document.open(new Delta(), { rev: 0, hash: HASH });
  }

  type(random: () => number): void {
    const delta = randomEdit(this.document.text, random);
    if (delta.ops.length === 0) return;
    this.document.local(delta);
    this.screen.delta = this.screen.delta.compose(delta);
  }

  send(order: Order, bytesMax?: number): void {
    const sent = this.document.send(bytesMax);
    if (sent) order.submit(this.name, sent.seq, sent.base, sent.bytes);
  }

  hear(order: Order): boolean {
    const event = order.log[this.heard];
    if (!event) return false;
    this.heard += 1;
    if (event.client === this.name) this.document.acked(event.rev);
    else {
      const change = this.document.remote(event.rev, decodeDelta(event.ops));
      this.document.show(change);
      this.screen.delta = this.screen.delta.compose(change);
    }
    return true;
  }
}

test("random concurrent edits end in one text everywhere", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = seeded(seed);
    const order = new Order();
    const tabs = ["a", "b", "c", "d"].slice(0, 2 + (seed % 3)).map((name) => new Tab(name));
    // Pieces of a few bytes in some runs: what is sent in parts must come out the same.
    const bytesMax = seed % 4 === 0 ? 16 : undefined;
    for (let step = 0; step < 120; step += 1) {
      const tab = tabs[Math.floor(random() * tabs.length)] as Tab;
      const dice = random();
      if (dice < 0.4) tab.type(random);
      else if (dice < 0.6) tab.send(order, bytesMax);
      else tab.hear(order);
    }
    for (let busy = true; busy; ) {
      busy = false;
      for (const tab of tabs) {
        tab.send(order, bytesMax);
        while (tab.hear(order)) busy = true;
        busy ||= !tab.document.isSaved;
      }
    }
    for (const tab of tabs) {
      assert.equal(tab.document.text, order.text, `seed ${seed}, tab ${tab.name}`);
      assert.deepEqual(tab.screen.delta.ops, tab.document.content.ops, `seed ${seed}, screen`);
      assert.equal(tab.document.rev, order.rev);
    }
  }
});

test("the bytes in flight stay the same while others write", () => {
  const document = new ClientDocument();
  document.open(new Delta().insert("abc"), { rev: 5, hash: HASH });
  document.local(new Delta().retain(3).insert("!"));
  const sent = document.send();
  assert.ok(sent);
  const before = Buffer.from(sent.bytes).toString("hex");
  document.show(document.remote(6, new Delta().insert("xx")));
  document.local(new Delta().insert("y"));
  assert.equal(document.send(), null, "one at a time");
  assert.equal(document.inflight?.base, 5);
  assert.equal(Buffer.from(document.inflight?.bytes ?? []).toString("hex"), before);
  assert.equal(document.text, "yxxabc!");
});

test("what others insert at the caret of an unsent insert goes first", () => {
  const document = new ClientDocument();
  document.open(new Delta(), { rev: 0, hash: HASH });
  document.local(new Delta().insert("mine"));
  document.show(document.remote(1, new Delta().insert("theirs")));
  assert.equal(document.text, "theirsmine");
});

test("typed and deleted again leaves nothing to send", () => {
  const document = new ClientDocument();
  document.open(new Delta(), { rev: 0, hash: HASH });
  document.local(new Delta().insert("x"));
  document.local(new Delta().delete(1));
  assert.equal(document.isSaved, true);
  assert.equal(document.send(), null);
});

test("a gap or an operation that does not fit is noticed", () => {
  const document = new ClientDocument();
  document.open(new Delta().insert("ab"), { rev: 3, hash: HASH });
  assert.throws(() => document.remote(5, new Delta().insert("x")), DivergedError);
  assert.throws(() => document.show(document.remote(4, new Delta().retain(2).delete(1))), DivergedError);
});

test("resumes only from revisions that were received", () => {
  const document = new ClientDocument();
  document.open(new Delta(), { rev: 3, hash: "a" });
  document.mark({ rev: 9, hash: "b" });
  assert.deepEqual(document.resumeFrom, { rev: 3, hash: "a" });
  document.passed(4);
  document.mark({ rev: 4, hash: "c" });
  assert.deepEqual(document.resumeFrom, { rev: 4, hash: "c" });
});

test("what is not saved is kept whole, without what was applied", () => {
  const document = new ClientDocument();
  document.open(new Delta().insert("one "), { rev: 1, hash: HASH });
  document.local(new Delta().retain(4).insert("two "));
  document.send();
  document.local(new Delta().retain(8).insert("three"));
  const text = "one two three";
  const waiting = ["three"];
  assert.deepEqual(document.unsaved(0), { typed: ["two three"], waiting, isSent: true, text });
  assert.deepEqual(document.unsaved(1), { typed: ["three"], waiting, isSent: false, text });
});

test("a new state changes only what differs", () => {
  const [before, after] = [new Delta().insert("hello 😀 world"), new Delta().insert("hello 😁 world")];
  const change = replacement(before, after);
  assert.deepEqual(change.ops, [{ retain: 6 }, { insert: "😁" }, { delete: 2 }]);
});
