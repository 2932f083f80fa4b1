import assert from "node:assert/strict";
import { test } from "node:test";
import Delta from "quill-delta";

import { encodeDelta, Writer } from "../src/delta-binary.js";
import { randomEdit, seeded } from "./random.js";
import { frame, Server } from "./server.js";
import { saved, server, tab, until, type Tab } from "./tab.js";

/** From here on nobody can continue: another writes, unheard, and that is kept nowhere. */
function erase(on: Server): void {
  on.resumes = false;
  on.onPage = () => 404;
  on.order.submit("e".repeat(32), 1, on.order.rev, encodeDelta(new Delta().insert("@")));
}

const sends = (on: Server, seq: number) => on.received.filter((one) => one.seq === seq);

test("types, sends, is saved, and others see it", async (t) => {
  const on = await server(t);
  const [a, b] = [tab(t, on), tab(t, on)];
  await Promise.all([saved(a), saved(b)]);
  a.type("hello");
  assert.equal(a.connection.status, "sent");
  a.type(" world");
  await saved(a);
  await until("the other has it", () => b.screen() === "hello world");
  assert.equal(on.order.text, "hello world");
  assert.equal(on.order.rev, 2, "what waited went out as one");
  assert.deepEqual(a.statuses, ["saved", "sent", "saved"]);
});

test("a socket that breaks before the operation was applied: the same bytes again", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let cuts = 2;
  on.onOperation = () => (cuts-- > 0 ? "cut-before" : "apply");
  a.type("once");
  await until("applied", () => on.order.rev === 1);
  await saved(a);
  assert.equal(on.order.text, "once");
  assert.equal(a.screen(), "once");
  assert.equal(sends(on, 1).length, 3);
  assert.equal(new Set(sends(on, 1).map((one) => one.bytes)).size, 1, "identical bytes");
  assert.deepEqual(on.hellos.map((hello) => hello.unsent), [false, true, true]);
  assert.equal(new Set(on.hellos.map((hello) => hello.client)).size, 1);
  assert.deepEqual(a.conflicts, []);
});

test("a socket that breaks after it was applied: not sent again, not doubled", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let cuts = 1;
  on.onOperation = () => (cuts-- > 0 ? "cut-after" : "apply");
  a.type("once");
  a.type(" more");
  await until("both", () => on.order.rev === 2);
  await saved(a);
  assert.equal(on.order.text, "once more");
  assert.equal(a.screen(), "once more");
  assert.equal(sends(on, 1).length, 1);
  assert.deepEqual(a.conflicts, []);
});

test("others' work while away comes in, and the bytes in flight do not change", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  a.type("base");
  await saved(a);
  on.mark();
  await until("marked", () => a.connection.document.resumeFrom?.rev === 1);
  on.edit("b".repeat(32), 1, 1, encodeDelta(new Delta().insert("0 ")));
  await until("seen", () => a.screen() === "0 base");
  let cuts = 1;
  on.onOperation = () => {
    if (cuts-- <= 0) return "apply";
    on.edit("b".repeat(32), 2, 2, encodeDelta(new Delta().insert("1 ")));
    return "cut-before";
  };
  a.type("!");
  await until("applied", () => on.order.text === "1 0 base!");
  await saved(a);
  assert.equal(a.screen(), on.order.text, "what came again was skipped");
  assert.equal(on.hellos.at(-1)?.resume?.rev, 1);
  assert.equal(new Set(sends(on, 2).map((one) => one.bytes)).size, 1);
});

test("a document comes with what was missed since: nothing older is ever shown", async (t) => {
  const on = await server(t);
  const b = "b".repeat(32);
  on.edit(b, 1, 0, encodeDelta(new Delta().insert("old")));
  on.held = { rev: on.order.rev, state: on.order.state };
  on.edit(b, 2, 1, encodeDelta(new Delta().retain(3).insert(" and new")));
  const a = tab(t, on);
  await saved(a);
  assert.equal(a.screen(), "old and new", "as soon as it is open");
  a.type("!");
  await saved(a);
  assert.equal(on.order.text, "old and new!");
  assert.equal(sends(on, 1).length, 1);
});

test("opened anew from an older document: what stays on the screen is left alone", async (t) => {
  const on = await server(t);
  on.held = { rev: 0, state: on.order.state };
  const a = tab(t, on);
  await saved(a);
  a.type("kept ");
  await saved(a);
  on.onOperation = () => "refuse";
  a.type("lost");
  await until("given back", () => a.conflicts.length === 1);
  await saved(a);
  assert.equal(a.screen(), "kept ");
  assert.deepEqual(a.changes.map((change) => change.ops), [[{ retain: 5 }, { delete: 4 }]]);
});

test("opened anew: the screen has the formats and objects that are there now", async (t) => {
  const on = await server(t);
  const [a, b] = ["a".repeat(32), "b".repeat(32)];
  on.edit(b, 1, 0, encodeDelta(new Delta().insert("bold").insert({ mention: 1 }).insert("end\n")));
  const screen = tab(t, on);
  await saved(screen);
  on.resumes = false;
  on.cutAll();
  await until("offline", () => screen.connection.status === "offline");
  const change = new Delta().retain(4, { bold: true }).insert({ mention: 2 }).delete(1).retain(3).retain(1, { list: "bullet" });
  on.order.submit(a, 1, 1, encodeDelta(change));
  await saved(screen);
  assert.deepEqual(screen.changes.at(-1)?.ops, change.ops);
});

test("what was missed comes to the screen as one change, past what was typed meanwhile", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.ticketStatus = 503;
  on.cutAll();
  await until("offline", () => a.connection.status === "offline");
  a.type("mine");
  for (let i = 0; i < 100; i += 1) {
    on.order.submit("b".repeat(32), i + 1, i, encodeDelta(new Delta().retain(i).insert("x")));
  }
  on.ticketStatus = 201;
  await saved(a);
  assert.equal(on.order.text, `${"x".repeat(100)}mine`);
  assert.equal(a.screen(), on.order.text);
  assert.deepEqual(a.changes.map(({ ops }) => ops), [[{ insert: "x".repeat(100) }]]);
});

test("an operation that does not fit: the document is opened again", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  a.type("kept");
  await saved(a);
  t.mock.method(console, "warn", () => {});
  const op = (delta: Delta): Uint8Array => {
    const body = new Writer();
    for (const n of [9, 0]) body.varint(n);
    body.raw(encodeDelta(delta));
    return frame(3, body.take());
  };
  on.say(op(new Delta().retain(40).delete(1)));
  await until("a new hello", () => on.hellos.length === 2);
  await saved(a);
  assert.equal(a.screen(), "kept");
  assert.equal(a.connection.document.text, "kept");
});

test("typed while offline is sent when the socket is back", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.ticketStatus = 503;
  on.cutAll();
  await until("offline", () => a.connection.status === "offline");
  for (const letter of "written away") a.type(letter);
  assert.equal(a.connection.status, "offline");
  on.ticketStatus = 201;
  await saved(a);
  assert.equal(on.order.text, "written away");
});

test("a refusal for now is sent again, byte for byte", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let refusals = 3;
  on.onOperation = () => (refusals-- > 0 ? "reject" : "apply");
  a.type("patience");
  await saved(a);
  assert.equal(on.order.text, "patience");
  assert.equal(sends(on, 1).length, 4);
  assert.equal(new Set(sends(on, 1).map((one) => one.bytes)).size, 1);
});

for (const code of ["group_full", "disk_full"]) {
  test(`${code}: what was typed is kept, and is sent again when there is room`, async (t) => {
    const on = await server(t);
    const a = tab(t, on);
    await saved(a);
    let room = false;
    on.code = code;
    on.onOperation = () => (room ? "apply" : "reject");
    a.type("first");
    await until("asked again", () => sends(on, 1).length >= 2);
    a.type(", then more");
    // Also over a socket that breaks meanwhile.
    on.cutAll();
    const asked = on.received.length;
    await until("asked again by the next socket", () => on.hellos.length === 2 && on.received.length > asked);
    assert.equal(a.connection.status, "sent");
    assert.equal(a.screen(), "first, then more");
    assert.equal(on.order.text, "");
    room = true;
    await saved(a);
    assert.equal(on.order.text, "first, then more");
    assert.equal(on.order.rev, 2);
    assert.equal(new Set(sends(on, 1).map((one) => one.bytes)).size, 1, "identical bytes");
    assert.deepEqual([a.conflicts, a.unconfirmed()], [[], null]);
  });
}

test("refused for good: the text is kept as a conflict copy and the document goes on", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  a.type("kept ");
  await saved(a);
  let refusals = 1;
  on.onOperation = () => (refusals-- > 0 ? "refuse" : "apply");
  a.type("lost");
  await until("a conflict copy", () => a.conflicts.length === 1);
  assert.deepEqual(a.conflicts[0]?.typed, ["lost"]);
  assert.equal(a.conflicts[0]?.text, "kept lost");
  await until("the server's state", () => a.screen() === "kept ");
  await saved(a);
  a.type("on");
  await saved(a);
  assert.equal(on.order.text, "kept on");
  assert.equal(a.screen(), "kept on");
});

test("a base that is too old even where the document is: it is opened again, and nothing is lost", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let rebases = 1;
  on.onOperation = () => (rebases-- > 0 ? "rebase" : "apply");
  on.floorAhead = 1;
  a.type("kept");
  await saved(a);
  assert.equal(on.order.text, "kept");
  assert.equal(on.hellos.length, 2);
  assert.deepEqual(a.conflicts, []);
});

test("a base that is too old is moved to where the document is, under its old number", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  a.type("one");
  await saved(a);
  let rebases = 1;
  on.onOperation = () => {
    if (rebases-- <= 0) return "apply";
    on.edit("b".repeat(32), 1, 1, encodeDelta(new Delta().insert("another ")));
    return "rebase";
  };
  a.type(" two");
  await saved(a);
  assert.equal(on.order.text, "another one two");
  assert.equal(a.screen(), on.order.text);
  assert.equal(sends(on, 2).length, 2);
  assert.deepEqual(a.conflicts, []);
});

test("a server that cannot continue: what it has not applied is kept aside", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let cuts = 1;
  on.onOperation = () => {
    if (cuts-- <= 0) return "apply";
    erase(on);
    return "cut-after";
  };
  a.type("applied");
  a.type(" and not");
  await until("a conflict copy", () => a.conflicts.length === 1);
  assert.deepEqual(a.conflicts[0]?.typed, [" and not"]);
  await saved(a);
  assert.equal(a.screen(), "@applied");
  a.type("!");
  await saved(a);
  assert.equal(on.order.text, "@applied!");
});

test("a server that had applied nothing of it: what was sent is sent again, not told to be lost", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  a.type("kept ");
  await saved(a);
  let cuts = 1;
  on.onOperation = () => {
    if (cuts-- <= 0) return "apply";
    erase(on);
    return "cut-before";
  };
  a.type("late");
  a.type(" never");
  await until("applied", () => on.order.text === "@kept late");
  await saved(a);
  assert.equal(a.screen(), "@kept late");
  assert.deepEqual(a.conflicts.map((copy) => copy.typed), [[" never"]], "what was built on it");
  assert.equal(new Set(sends(on, 2).map((one) => one.bytes)).size, 1);
  assert.equal(new Set(on.hellos.map((hello) => hello.client)).size, 1);
  a.type("!");
  await saved(a);
  assert.equal(on.order.text, "@kept late!");
});

test("what was sent is applied while the document is opened anew: once, and no copy of it", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let lost: Server["received"][number] | undefined;
  on.onOperation = () => {
    if (lost) return "ignore";
    lost = on.received.at(-1);
    erase(on);
    return "cut-before";
  };
  a.type("once");
  await until("sent again", () => on.received.length === 2);
  assert.equal(a.screen(), "@");
  assert.deepEqual(a.unconfirmed()?.typed, ["once"]);
  // The copy that was thought lost.
  on.edit(lost?.client ?? "", 1, 0, encodeDelta(new Delta().insert("once")));
  await saved(a);
  assert.equal(a.screen(), "@once");
  assert.equal(on.order.text, "@once");
  assert.equal(a.unconfirmed(), null);
  assert.deepEqual(a.conflicts, []);
  on.onOperation = () => "apply";
  a.type(" more");
  await saved(a);
  assert.equal(on.order.text, "@once more");
});

for (const outcome of ["refuse", "rebase"] as const) {
  test(`what was sent before the document was opened anew is answered by ${outcome}: now it is lost`, async (t) => {
    const on = await server(t);
    const a = tab(t, on);
    await saved(a);
    let sendings = 0;
    on.onOperation = () => {
      sendings += 1;
      if (sendings === 1) erase(on);
      return sendings === 1 ? "cut-before" : sendings === 2 ? outcome : "apply";
    };
    a.type("lost");
    a.type(" and what follows");
    await until("a conflict copy", () => a.conflicts.length === 1);
    assert.deepEqual(a.conflicts[0]?.typed, ["lost and what follows"]);
    assert.equal(a.conflicts[0]?.text, "lost and what follows");
    await saved(a);
    assert.equal(a.unconfirmed(), null);
    a.type("new");
    await saved(a);
    assert.equal(on.order.text, "@new");
    assert.equal(a.screen(), "@new");
    assert.equal(a.conflicts.length, 1);
  });
}

test("a document that comes apart: what was applied is not called lost", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  t.mock.method(console, "warn", () => {});
  on.onOperation = () => "hide";
  a.type("applied");
  a.type(" not sent");
  await until("applied", () => on.order.text === "applied");
  on.onOperation = () => "apply";
  on.say(frame(3, new Uint8Array([0x80])));
  await until("a conflict copy", () => a.conflicts.length === 1);
  assert.deepEqual(a.conflicts[0]?.typed, [" not sent"]);
  await saved(a);
  assert.equal(a.screen(), "applied");
  assert.equal(new Set(on.hellos.map((hello) => hello.client)).size, 1);
});

test("close codes: 45xx come back, 44xx do not", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  // Going away; and a greeting that the network was too slow for.
  for (const code of [4572, 4576]) {
    on.closeAll(code);
    await until("gone", () => a.connection.status === "offline");
    await saved(a);
  }
  on.closeAll(4415);
  await until("closed", () => a.connection.status === "closed");
  const tickets = on.tickets;
  await new Promise((done) => setTimeout(done, 50));
  assert.equal(on.tickets, tickets);
});

test("the document is deleted: what is unsent is kept as a copy, and goes on if it comes back", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.onOperation = () => "ignore";
  a.type("mine");
  await until("sent", () => on.received.length === 1);
  on.closeAll(4416);
  await until("closed", () => a.connection.status === "closed");
  assert.deepEqual(a.unconfirmed()?.typed, ["mine"]);
  assert.match(a.unconfirmed()?.reason ?? "", /the document was deleted/);
  on.onOperation = () => "apply";
  a.connection.open();
  await saved(a);
  assert.deepEqual([on.order.text, a.screen(), a.unconfirmed()], ["mine", "mine", null]);
});

test("an expired token is asked for anew, and without one it ends", async (t) => {
  const on = await server(t);
  let token: string | null = "first";
  const asked: boolean[] = [];
  const a = tab(t, on, () => token);
  const refused = a.connection as unknown as { options: { token: (refused: boolean) => string | null } };
  const before = refused.options.token;
  refused.options.token = (was) => {
    asked.push(was);
    return before(was);
  };
  await saved(a);
  on.closeAll(4433);
  await until("asked", () => asked.length > 0);
  assert.equal(asked[0], true);
  await saved(a);
  token = null;
  on.closeAll(4433);
  await until("closed", () => a.connection.status === "closed");
});

test("the leader is lost and found", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.say(frame(15, new Uint8Array([1])));
  await until("saving", () => a.connection.status === "saving");
  on.say(frame(15, new Uint8Array([0])));
  await saved(a);
});

test("bytes that mean nothing: the document is opened again", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  a.type("kept");
  await saved(a);
  t.mock.method(console, "warn", () => {});
  on.say(frame(3, new Uint8Array([0x80])));
  await until("a new hello", () => on.hellos.length === 2);
  await saved(a);
  assert.equal(a.screen(), "kept");
});

test("a long paste goes out in pieces", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  const text = "0123456789😀".repeat(12_000);
  a.type(text);
  await saved(a);
  assert.equal(on.order.text, text);
  assert.ok(on.received.every((one) => one.bytes.length / 2 <= 1 << 16));
});

test("sockets that break all the time: one text, nothing doubled", async (t) => {
  const on = await server(t);
  const random = seeded(11);
  const tabs = [tab(t, on), tab(t, on), tab(t, on)];
  await Promise.all(tabs.map(saved));
  on.onOperation = () => {
    const dice = random();
    if (dice < 0.08) return "cut-before";
    if (dice < 0.16) return "cut-after";
    return dice < 0.22 ? "reject" : "apply";
  };
  for (let i = 0; i < 300; i += 1) {
    const one = tabs[i % tabs.length] as Tab;
    const delta = randomEdit(one.screen(), random);
    if (delta.ops.length > 0) one.edit(delta);
    if (i % 40 === 0) on.mark();
    await new Promise((done) => setTimeout(done, 1));
  }
  await until("equal", () =>
    tabs.every((one) => one.connection.status === "saved" && one.screen() === on.order.text));
  for (const one of tabs) {
    assert.equal(one.connection.document.text, on.order.text);
    assert.deepEqual(one.conflicts, []);
  }
  const bytes = new Map<string, string>();
  for (const { client, seq, bytes: sent } of on.received) {
    const before = bytes.get(`${client}/${seq}`);
    assert.ok(before === undefined || before === sent, "a sequence with other bytes");
    bytes.set(`${client}/${seq}`, sent);
  }
});

test("what changes many places goes out in pieces", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  a.type("x\n".repeat(6_000));
  await saved(a);
  const before = on.order.rev;
  const indented = new Delta();
  for (let line = 0; line < 6_000; line += 1) indented.insert("  ").retain(2);
  a.edit(indented.chop());
  await saved(a);
  assert.equal(on.order.text, "  x\n".repeat(6_000));
  assert.equal(on.order.rev - before, 12, "a thousand components each");
});

for (const how of ["the document is not there any more", "there is no token any more"]) {
  test(`typed while offline, and ${how}: it is shown as not known to be saved, and goes on`, async (t) => {
    const on = await server(t);
    let token: string | null = "token";
    const a = tab(t, on, () => token);
    await saved(a);
    on.ticketStatus = 503;
    on.cutAll();
    await until("offline", () => a.connection.status === "offline");
    a.type("mine");
    if (how.includes("token")) token = null;
    else on.ticketStatus = 404;
    await until("closed", () => a.connection.status === "closed");
    assert.deepEqual(a.unconfirmed()?.typed, ["mine"]);
    [token, on.ticketStatus] = ["another", 201];
    a.connection.open();
    await saved(a);
    assert.equal(on.order.text, "mine");
    assert.equal(a.unconfirmed(), null);
    assert.deepEqual(a.conflicts, []);
  });
}

for (const resumes of [true, false]) {
  const opened = resumes ? "continued" : "opened anew";
  test(`the token ends when all was applied and nothing answered, then it is ${opened}: nothing is lost`, async (t) => {
    const on = await server(t);
    let token: string | null = "token";
    const a = tab(t, on, () => token);
    await saved(a);
    on.onOperation = () => "hide";
    a.type("saved");
    await until("applied", () => on.order.text === "saved");
    token = null;
    on.closeAll(4433);
    await until("closed", () => a.connection.status === "closed");
    assert.deepEqual(a.unconfirmed()?.typed, ["saved"]);
    assert.deepEqual(a.conflicts, [], "none of it is known to be lost");
    token = "another";
    on.resumes = resumes;
    on.onOperation = () => "apply";
    a.connection.open();
    await saved(a);
    assert.equal(on.order.text, "saved");
    assert.equal(a.screen(), "saved");
    assert.equal(a.unconfirmed(), null);
    assert.deepEqual(a.conflicts, []);
  });
}

test("a router that takes the name for another's: it is kept, and what was applied is not sent again", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  let [cuts, refusals] = [1, 2];
  on.onOperation = () => (cuts-- > 0 ? "cut-after" : "apply");
  on.onHello = () => (refusals-- > 0 ? 4413 : null);
  a.type("once");
  await saved(a);
  assert.equal(on.order.text, "once");
  assert.equal(a.screen(), "once");
  assert.equal(on.hellos.length, 4);
  assert.equal(new Set(on.hellos.map((hello) => hello.client)).size, 1);
  assert.deepEqual(a.conflicts, []);
});

for (const saysYou of [true, false]) {
  test(`another user's client of the same name is another (${saysYou ? "with" : "without"} you)`, async (t) => {
    const on = await server(t);
    on.saysYou = saysYou;
    const a = tab(t, on);
    await saved(a);
    const { client } = on.hellos[0] as { client: string };
    on.onOperation = () => "ignore";
    a.type("mine");
    on.edit(`${client} eve`, 1, 0, encodeDelta(new Delta().insert("eve ")));
    await until("seen", () => a.screen() === "eve mine");
    assert.equal(a.connection.status, "sent", "it was not the answer");
    on.onOperation = () => "apply";
    on.cutAll();
    await saved(a);
    assert.equal(on.order.text, "eve mine");
  });
}

test("a token of another user: what was sent is not sent again as theirs", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.onOperation = () => "cut-after";
  on.user = "bo";
  a.type("once");
  await until("closed", () => a.connection.status === "closed");
  assert.equal(on.received.length, 1);
  assert.deepEqual(a.unconfirmed()?.typed, ["once"]);
  on.user = "ana";
  a.connection.open();
  await saved(a);
  assert.equal(on.order.text, "once");
  assert.equal(a.unconfirmed(), null);
});

test("a server that says nothing any more is asked, and then let go", async (t) => {
  const on = await server(t);
  let late = 0;
  t.mock.timers.enable({ apis: ["setInterval"] });
  const a = tab(t, on, () => "token", () => performance.now() + late);
  await saved(a);
  for (const quiet of [16_000, 11_000]) {
    assert.equal(on.hellos.length, 1);
    late += quiet;
    t.mock.timers.tick(5_000);
  }
  await until("a new hello", () => on.hellos.length === 2);
  assert.equal(on.pings, 1);
  await saved(a);
});

test("another title is told, takes a revision, and what is typed behind it is saved", async (t) => {
  const on = await server(t);
  const a = tab(t, on);
  await saved(a);
  on.title("Minutes");
  await until("the title", () => a.titles.length > 0);
  for (const key of ["x", "y"]) {
    a.type(key);
    await saved(a);
  }
  assert.deepEqual(a.titles, ["Minutes"]);
  assert.deepEqual([on.order.text, on.order.rev, a.connection.document.rev], ["xy", 3, 3]);
});
