// Clients that come back below the window, with something unsent.

import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { encodeDelta } from "../src/delta-binary.js";
import { randomEdit, seeded } from "./random.js";
import type { Server } from "./server.js";
import { saved, server, tab, until, type Tab } from "./tab.js";

const OTHER = "b".repeat(32);

/** A tab that has "base" and is offline; `wrote` comes in unheard, and the window moves on past it. */
async function away(on: Server, a: Tab, wrote: number): Promise<void> {
  await saved(a);
  a.type("base");
  await saved(a);
  on.ticketStatus = 503;
  on.cutAll();
  await until("offline", () => a.connection.status === "offline");
  another(on, wrote);
}

/** Another writes so many letters to the beginning, and nobody can continue from before. */
function another(on: Server, letters: number): void {
  const before = on.order.log.filter((event) => event.client === OTHER).length;
  for (let i = 0; i < letters; i += 1) {
    const letter = String.fromCharCode(97 + ((before + i) % 26));
    on.order.submit(OTHER, before + i + 1, on.order.rev, encodeDelta(new Delta().insert(letter)));
  }
  on.floor = on.order.rev;
}

const once = (text: string, part: string) => text.split(part).length === 2;

test("typed while away: it is moved past all that happened and is in the document once", async (t) => {
  const on = await server(t);
  // No time goes by, so no page is taken in in more than one turn.
  const a = tab(t, on, () => "token", () => 0);
  await away(on, a, 30);
  for (const letter of " and mine") a.type(letter);
  a.type("> ", 0);
  const changes = a.changes.length;
  on.ticketStatus = 201;
  await saved(a);
  assert.ok(on.order.text.endsWith("a> base and mine"), on.order.text);
  assert.equal(a.screen(), on.order.text);
  assert.equal(on.order.rev, 32, "what waited went out as one");
  assert.deepEqual(on.pages.map(({ from }) => from), [2, 9, 17, 25]);
  assert.equal(on.hellos.at(-1)?.resume?.rev, 31);
  assert.equal(a.changes.length - changes, 4, "a change of the screen a page");
  assert.deepEqual([a.conflicts, a.unconfirmed()], [[], null]);
});

test("an own operation among what was missed is its acknowledgement, and is not sent again", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.onOperation = () => {
    on.ticketStatus = 503;
    return "cut-after";
  };
  a.type("once");
  await until("offline", () => a.connection.status === "offline");
  a.type(", and more");
  another(on, 20);
  on.onOperation = () => "apply";
  on.ticketStatus = 201;
  await saved(a);
  assert.ok(on.order.text.endsWith("aonce, and more"), on.order.text);
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual(on.received.map(({ seq }) => seq), [1, 2]);
  assert.deepEqual(a.conflicts, []);
});

test("another user's client of the same name among what was missed is another", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.onOperation = () => {
    on.ticketStatus = 503;
    return "cut-before";
  };
  a.type("mine");
  await until("offline", () => a.connection.status === "offline");
  const eve = `${on.hellos[0]?.client} eve`;
  on.order.submit(eve, 1, 0, encodeDelta(new Delta().insert("eve ")));
  another(on, 3);
  on.onOperation = () => "apply";
  on.ticketStatus = 201;
  await saved(a);
  assert.equal(on.order.text, "cbaeve mine");
  assert.equal(a.screen(), on.order.text);
});

test("what was sent and is too old now is moved, and goes out under its old number", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let sendings = 0;
  on.onOperation = () => {
    sendings += 1;
    if (sendings === 1) on.ticketStatus = 503;
    return sendings === 1 ? "cut-before" : sendings === 2 ? "rebase" : "apply";
  };
  a.type("late");
  await until("offline", () => a.connection.status === "offline");
  another(on, 20);
  on.ticketStatus = 201;
  await saved(a);
  assert.ok(on.order.text.endsWith("alate"), on.order.text);
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual(on.received.map(({ seq }) => seq), [1, 1, 1]);
  assert.deepEqual(a.conflicts, []);
});

test("pages that do not come are asked for again, from where it was", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await away(on, a, 20);
  a.type(" mine");
  on.onPage = (number) => (number % 2 === 0 ? 503 : 200);
  on.ticketStatus = 201;
  await saved(a);
  assert.ok(once(on.order.text, " mine") && on.order.text.endsWith("abase mine"), on.order.text);
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual(on.pages.map(({ from }) => from), [2, 9, 9, 17, 17]);
  assert.deepEqual(a.conflicts, []);
});

for (const status of [403, 404, 410]) {
  test(`pages that are no more (${status}): the text is kept as a conflict copy`, async (t) => {
    const on = await server(t);
    const a = tab(t, on);
    t.mock.method(console, "warn", () => {});
    await away(on, a, 20);
    a.type(" mine");
    on.onPage = (number) => (number > 1 ? status : 200);
    on.ticketStatus = 201;
    await until("a conflict copy", () => a.conflicts.length === 1);
    assert.deepEqual(a.conflicts[0]?.typed, [" mine"]);
    assert.match(a.conflicts[0]?.reason ?? "", status === 410 ? /more: its history is not kept for so long\./ : /any more\./);
    await saved(a);
    assert.equal(on.pages.length, 2, "it was not asked for again");
    assert.ok(on.order.text.endsWith("abase"), on.order.text);
    assert.equal(a.screen(), on.order.text);
    a.type("!");
    await saved(a);
    assert.equal(a.screen(), on.order.text);
    assert.equal(a.conflicts.length, 1);
  });
}

test("typed on while it is moved: all of it comes into the document", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await away(on, a, 40);
  a.type(" mine");
  on.onPage = async (number) => {
    a.type(String(number));
    a.type(".", 0);
    await new Promise((done) => setTimeout(done, 5));
    a.type(";");
    return 200;
  };
  on.ticketStatus = 201;
  await saved(a);
  assert.ok(on.order.text.endsWith("base mine1;2;3;4;5;6;"), on.order.text);
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual(a.conflicts, []);
});

test("the window moves on meanwhile, again and again: it is caught up with", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await away(on, a, 10);
  a.type(" mine");
  on.onPage = (number) => {
    if (number > 1 && number < 6) another(on, 5);
    return 200;
  };
  on.ticketStatus = 201;
  await saved(a);
  assert.ok(on.order.rev > 20);
  assert.ok(once(on.order.text, " mine") && on.order.text.endsWith("abase mine"), on.order.text);
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual(a.conflicts, []);
});

test("a page that leads to another document than the server's: the text is kept aside", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  t.mock.method(console, "warn", () => {});
  await away(on, a, 5);
  a.type(" mine");
  // Its operations, but for one that reads otherwise in the page than where it was applied.
  const event = on.order.log[3] as { ops: Uint8Array };
  event.ops = encodeDelta(new Delta().insert("?"));
  on.ticketStatus = 201;
  await until("a conflict copy", () => a.conflicts.length === 1);
  assert.deepEqual(a.conflicts[0]?.typed, [" mine"]);
  await saved(a);
  assert.equal(a.screen(), on.order.text);
});

test("the very document that is shown comes back: what is unsent stays in it", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await away(on, a, 0);
  a.type(" mine");
  on.resumes = false;
  on.ticketStatus = 201;
  await saved(a);
  assert.equal(on.order.text, "base mine");
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual([on.pages, a.conflicts], [[], []]);
  assert.equal(on.hellos.length, 2);
});

test("a document older than what is shown is not taken for what it is now", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await away(on, a, 0);
  a.type(" mine");
  on.resumes = false;
  on.held = { rev: 0, state: encodeDelta(new Delta()) };
  on.onHello = () => {
    // The second one to come back gets what there is then.
    if (on.hellos.length === 3) on.held = null;
    return null;
  };
  on.ticketStatus = 201;
  await saved(a);
  assert.equal(on.order.text, "base mine");
  assert.equal(a.screen(), on.order.text);
  assert.equal(on.hellos.length, 3);
  assert.deepEqual(a.conflicts, []);
});

test("a server that has gone back to before what is shown: the text is kept aside", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await away(on, a, 0);
  a.type(" mine");
  on.resumes = false;
  on.held = { rev: 0, state: encodeDelta(new Delta()) };
  on.ticketStatus = 201;
  await until("a conflict copy", () => a.conflicts.length === 1);
  assert.deepEqual(a.conflicts[0]?.typed, [" mine"]);
  assert.equal(on.hellos.length, 3, "it was asked once more");
});

test("nothing is asked for where nothing is unsent", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await away(on, a, 20);
  on.ticketStatus = 201;
  await saved(a);
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual(on.pages, []);
});

test("tabs that are away for long again and again: one text, and nothing doubled", async (t) => {
  const on = await server(t);
  const random = seeded(5);
  const tabs = [tab(t, on), tab(t, on), tab(t, on)];
  await Promise.all(tabs.map(saved));
  on.onOperation = () => {
    const dice = random();
    if (dice < 0.1) return "cut-before";
    return dice < 0.2 ? "cut-after" : "apply";
  };
  on.onPage = () => (random() < 0.2 ? 503 : 200);
  for (let i = 0; i < 400; i += 1) {
    const one = tabs[Math.floor(random() * tabs.length)] as Tab;
    const delta = randomEdit(one.screen(), random);
    if (delta.ops.length > 0) one.edit(delta);
    if (i % 25 === 0) on.mark();
    if (i % 10 === 0) on.floor = Math.max(on.floor, on.order.rev - 1);
    if (i % 60 === 30) on.cutAll();
    await new Promise((done) => setTimeout(done, 1));
  }
  on.onOperation = () => "apply";
  await until("equal", () =>
    tabs.every((one) => one.connection.status === "saved" && one.screen() === on.order.text));
  for (const one of tabs) assert.deepEqual(one.conflicts, []);
  assert.ok(on.pages.length > 10, `${on.pages.length} pages`);
});
