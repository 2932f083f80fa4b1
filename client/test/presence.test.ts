// Positions of others, as the text changes beneath them.

import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { ClientDocument } from "../src/document.js";
import type { ClientFrame, Welcome } from "../src/frame.js";
import { Presences, type Person } from "../src/presence.js";

const TEXT = "one two three";
const [OWN, BO, CY] = [0, 1, 2];

function opened() {
  const document = new ClientDocument();
  document.open(new Delta().insert(TEXT), { rev: 10, hash: "" });
  const sent: ClientFrame[] = [];
  const state = { now: 1_000, people: [] as Person[], sent, document };
  const presences = new Presences(
    document,
    (frame) => sent.push(frame),
    () => state.now,
    (people) => (state.people = people),
  );
  const who = [OWN, BO, CY].map((slot) => ({ slot, client: `client-${slot}`, user: `user-${slot}` }));
  presences.welcomed({ who, user: "user-0", you: OWN } as unknown as Welcome, "client-0");
  return Object.assign(state, {
    presences,
    /** Another's operation, or with the own slot an acknowledgement. */
    event(slot: number, delta: Delta) {
      const rev = document.rev + 1;
      if (slot === OWN) document.acked(rev);
      else document.show(document.remote(rev, delta));
      presences.passed(slot, delta);
    },
    cursors() {
      presences.tell();
      return state.people.map(({ cursor, selection }) => selection ?? cursor);
    },
  });
}

const at = (slot: number, rev: number, cursor: number) =>
  ({ type: "presence", slot, rev, cursor, last_seen: 1 }) as const;

test("a place of an earlier revision is moved through what came since", () => {
  const { presences, event, cursors } = opened();
  event(CY, new Delta().insert("zero "));
  event(CY, new Delta().retain(5).delete(4));
  presences.take(at(BO, 10, 8));
  assert.deepEqual(cursors(), [9], "before `three`, where it was");
  presences.take({ ...at(BO, 11, 0), selection: { anchor: 18, head: 9 } });
  assert.deepEqual(cursors(), [{ anchor: 14, head: 5 }]);
});

test("a place of a revision that is not here yet waits for it, and the latest counts", () => {
  const { presences, event, cursors } = opened();
  presences.take(at(BO, 12, 18));
  presences.take(at(BO, 12, 17));
  assert.deepEqual(cursors(), []);
  event(CY, new Delta().insert("zero "));
  assert.deepEqual(cursors(), []);
  event(CY, new Delta().insert("!"));
  assert.deepEqual(cursors(), [17]);
});

test("where the author types, there is the author; who is at the same place stays before it", () => {
  const { presences, event, cursors } = opened();
  presences.take(at(BO, 10, 4));
  presences.take(at(CY, 10, 4));
  event(BO, new Delta().retain(4).insert("more "));
  assert.deepEqual(cursors(), [9, 4]);
  event(BO, new Delta().retain(13).delete(2));
  assert.deepEqual(cursors(), [13, 4]);
});

test("what is not saved here moves the places of others on this screen alone", () => {
  const { presences, document, event, cursors } = opened();
  presences.take(at(BO, 10, 4));
  document.local(new Delta().insert("zero "));
  presences.take(at(CY, 10, 0));
  assert.deepEqual(cursors(), [9, 0]);
  document.send();
  event(OWN, new Delta().insert("zero "));
  assert.deepEqual(cursors(), [9, 0]);
});

test("a place from before all that is known here is nowhere, and its owner is here", () => {
  const { presences, cursors } = opened();
  presences.take(at(BO, 3, 4));
  assert.deepEqual(cursors(), [null]);
});

test("who is gone is gone, also while their place waits, and with another of their number", () => {
  const { presences, event, cursors } = opened();
  presences.take(at(BO, 10, 4));
  presences.take(at(CY, 11, 4));
  presences.take({ type: "presence", slot: CY, data: null });
  event(BO, new Delta().insert("x"));
  assert.deepEqual(cursors(), [1]);
  presences.named({ slot: BO, client: "another", user: "another" });
  assert.deepEqual(cursors(), []);
});

test("what others know is not said again, and the rest not too often", async () => {
  const state = opened();
  const { presences, document, event, sent } = state;
  presences.say({ cursor: 3 });
  presences.say({ cursor: 3 });
  assert.deepEqual(sent.splice(0), [{ type: "presence", rev: 10, cursor: 3, selection: null, data: null }]);
  // Another types before it: the place moves, here and everywhere.
  event(CY, new Delta().insert("zero "));
  presences.say({ cursor: 8 });
  assert.deepEqual(sent.splice(0), []);
  // One's own typing, too, and while it is not saved there is no revision to name.
  document.local(new Delta().retain(8).insert("!"));
  presences.say({ cursor: 9 });
  document.send();
  event(OWN, new Delta().retain(8).insert("!"));
  presences.flush();
  assert.deepEqual(sent.splice(0), []);
  for (const cursor of [1, 2, 4]) presences.say({ cursor });
  assert.deepEqual(sent.splice(0), [], "within a tenth of a second");
  state.now += 100;
  await new Promise((done) => setTimeout(done, 150));
  assert.deepEqual(sent.splice(0).map((frame) => frame.type === "presence" && frame.cursor), [4]);
});

test("who comes is told where one is, by a revision that they know; so is a router that asks", () => {
  const state = opened();
  const { presences, event, sent } = state;
  presences.say({ cursor: 3 });
  event(CY, new Delta().insert("zero "));
  sent.splice(0);
  state.now += 100;
  presences.take(at(BO, 11, 0));
  presences.say({ cursor: 8 });
  assert.deepEqual(sent.splice(0).map((frame) => frame.type === "presence" && frame.rev), [11]);
  presences.answer();
  assert.deepEqual(sent.splice(0).map(({ type }) => type), ["here"]);
  event(CY, new Delta().insert("x"));
  presences.say({ cursor: 9 });
  state.now += 100;
  presences.answer();
  assert.deepEqual(sent.splice(0).map(({ type }) => type), ["here", "presence"]);
});

test("who only looks is here and nowhere, and gone by a word", () => {
  const state = opened();
  state.presences.say({});
  state.now += 100;
  state.presences.say(null);
  assert.deepEqual(state.sent, [
    { type: "presence", rev: 10, cursor: null, selection: null, data: {} },
    { type: "presence", rev: 10, cursor: null, selection: null, data: null },
  ]);
});
