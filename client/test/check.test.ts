// What a client says its document is, and what becomes of one that came apart.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import Delta from "quill-delta";

import { ClientDocument } from "../src/document.js";
import type { Server } from "./server.js";
import { saved, server, tab, until, type Tab } from "./tab.js";

const MINUTE = 60_000;

/** A tab whose clock and heartbeat stand still until they are told to go on. */
async function still(t: TestContext): Promise<{ on: Server; a: Tab; later: (ms: number) => void }> {
  t.mock.timers.enable({ apis: ["setInterval"] });
  let now = 0;
  const on = await server(t);
  const a = tab(t, on, () => "token", () => now);
  await saved(a);
  const later = (ms: number): void => {
    now += ms;
    // For the silence of a server that is not asked for a sign of life.
    a.connection["heardAt"] = now;
    t.mock.timers.tick(5_000);
  };
  return { on, a, later };
}

/** By some mistake the tab comes to show something else than what it was told. */
function comesApart(a: Tab, change: Delta): void {
  a.connection.document.show(change);
  a.connection["events"].change?.(change);
}

/** Before the client hears what came of its first check. */
function once(act: () => void): () => void {
  return () => {
    const now = act;
    act = () => {};
    now();
  };
}

const count = (text: string, part: string) => text.split(part).length - 1;

test("who is idle for a minute says what is shown, once a minute", async (t) => {
  const { on, a, later } = await still(t);
  a.type("text");
  await saved(a);
  later(MINUTE - 1);
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(on.checks, [], "not before the minute is over");
  later(1);
  await until("a check", () => on.checks.length === 1);
  later(MINUTE - 1);
  later(1);
  await until("another", () => on.checks.length === 2);
  assert.deepEqual(on.checks, [{ rev: 1, same: true }, { rev: 1, same: true }]);
});

test("nothing is said of what is not saved yet", async (t) => {
  const { on, a, later } = await still(t);
  on.onOperation = () => "ignore";
  a.type("text");
  later(MINUTE);
  later(MINUTE);
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(on.checks, []);
});

test("who opens again says what is shown as soon as it is saved", async (t) => {
  const { on, a } = await still(t);
  a.type("text");
  await saved(a);
  on.ticketStatus = 503;
  on.cutAll();
  await until("offline", () => a.connection.status === "offline");
  a.type(" and more");
  on.ticketStatus = 201;
  await until("a check", () => on.checks.length === 1);
  assert.deepEqual(on.checks, [{ rev: 2, same: true }]);
  assert.equal(on.order.text, "text and more");
});

test("a document that came apart becomes the server's, and what is typed meanwhile is kept", async (t) => {
  const { on, a, later } = await still(t);
  a.type("one two three");
  await saved(a);
  comesApart(a, new Delta().retain(4).insert("??? "));
  assert.equal(a.screen(), "one ??? two three");
  on.onCheck = once(() => {
    a.type("zero ", 0);
    a.edit(new Delta().retain(13).delete(3).insert("2"));
  });
  later(MINUTE);
  later(MINUTE);
  await until("said again", () => on.checks.at(-1)?.same === true);
  assert.equal(on.order.text, a.screen());
  assert.equal(on.order.text, "zero one 2 three");
  assert.deepEqual([a.conflicts, a.unconfirmed()], [[], null]);
  assert.equal(on.hellos.at(-1)?.resume, undefined);
});

test("what was in flight when it was found is neither lost nor doubled", async (t) => {
  for (const fate of ["apply", "cut-before", "cut-after", "hide"] as const) {
    await t.test(fate, async (t) => {
      const { on, a, later } = await still(t);
      a.type("one two");
      await saved(a);
      comesApart(a, new Delta().retain(4).insert("TWO").delete(3));
      let times = 1;
      on.onOperation = () => (times-- > 0 ? fate : "apply");
      on.onCheck = once(() => {
        a.type("[sent]", 0);
        a.type("[waits]", 0);
      });
      later(MINUTE);
      later(MINUTE);
      await until("healed", () => on.checks.at(-1)?.same === true);
      assert.equal(a.screen(), on.order.text);
      for (const part of ["[sent]", "[waits]", "one two"]) {
        assert.equal(count(on.order.text, part), 1, `${part} in ${on.order.text}`);
      }
      assert.deepEqual([a.conflicts, a.unconfirmed()], [[], null]);
    });
  }
});

test("typed offline where it does not fit: it is moved to the server's document", async (t) => {
  const { on, a } = await still(t);
  a.type("one two");
  await saved(a);
  comesApart(a, new Delta().insert("gone "));
  on.ticketStatus = 503;
  on.cutAll();
  await until("offline", () => a.connection.status === "offline");
  a.type(" three");
  let times = 1;
  on.code = "length_mismatch";
  on.onOperation = () => (times-- > 0 ? "refuse" : "apply");
  on.ticketStatus = 201;
  await saved(a);
  assert.equal(on.order.text, "one two three");
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual([a.conflicts, a.unconfirmed()], [[], null]);
});

test("what does not fit the server's document either is kept as a copy", async (t) => {
  const { on, a } = await still(t);
  on.code = "length_mismatch";
  on.onOperation = () => "refuse";
  a.type("mine");
  await until("given back", () => a.conflicts.length === 1);
  assert.deepEqual(a.conflicts[0]?.typed, ["mine"]);
  assert.equal(on.received.length, 2);
});

test("where the digests alone differ the document is not opened again and again", async (t) => {
  const { on, a, later } = await still(t);
  a.type("text");
  await saved(a);
  const warn = t.mock.method(console, "warn", () => {});
  t.mock.method(crypto.subtle, "digest", () => Promise.resolve(new ArrayBuffer(32)));
  later(MINUTE);
  await until("opened again", () => on.hellos.length === 2);
  await saved(a);
  for (let minute = 0; minute < 3; minute += 1) later(MINUTE);
  await new Promise((done) => setTimeout(done, 20));
  assert.equal(on.checks.length, 1);
  assert.equal(on.hellos.length, 2);
  assert.equal(warn.mock.callCount(), 1);
});

test("what waits is moved past what came apart", () => {
  const at = { rev: 1, hash: "0".repeat(64) };
  const mended = (shown: string, work: Delta, server: string): string => {
    const document = new ClientDocument();
    document.open(new Delta().insert(shown), at);
    document.local(work);
    document.mend(new Delta().insert(server), at);
    return document.text;
  };
  const typed = new Delta().retain(6).insert("X");
  assert.equal(mended("abcdef", typed, "abcdef"), "abcdefX");
  assert.equal(mended("abcdef", typed, "--abcdef"), "--abcdefX");
  assert.equal(mended("abcdef", typed, ""), "X");
  // What was deleted stays so, where nothing else is known of it.
  assert.equal(mended("abcdef", new Delta().retain(2).delete(2).insert("X"), "!abcdef"), "!abXef");
  assert.equal(mended("abcdef", new Delta().delete(6), "abcdef"), "");
  // No pair is split.
  assert.equal(mended("ab", new Delta().delete(1), "😀b"), "😀b");
  assert.equal(mended("a😀", new Delta().retain(3).insert("X"), "a😁"), "a😁X");
});
