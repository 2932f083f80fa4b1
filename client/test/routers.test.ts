// Several routers: where a ticket sends a socket, and what is done when nobody is there.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { Routers } from "../src/routers.js";
import type { Server } from "./server.js";
import { saved, server, tab, until } from "./tab.js";

const NOBODY = "http://127.0.0.1:9";

/** Two routers of the same document. */
async function two(t: TestContext): Promise<[Server, Server]> {
  const a = await server(t);
  return [a, await server(t, a.order)];
}

/** Answers without a network: what each router says, and which was asked what. */
function answering(says: (url: URL) => object) {
  const asked: string[] = [];
  const fetch = async (url: string): Promise<Response> => {
    asked.push(url);
    const answer = says(new URL(url));
    if (answer instanceof Error) throw answer;
    if (answer instanceof Response) return answer;
    return new Response(JSON.stringify({ ticket: "t", ...answer }), { status: 201 });
  };
  return { asked, fetch };
}

test("the socket is opened where the ticket says", async (t) => {
  const [a, b] = await two(t);
  a.place = () => ({ url: b.base, others: [a.base] });
  const one = tab(t, a);
  await saved(one);
  one.type("there");
  await saved(one);
  assert.equal(a.order.text, "there");
  assert.deepEqual([a.tickets, a.hellos.length, b.tickets, b.hellos.length], [1, 0, 0, 1]);
});

test("where nobody is at the ticket's router, another one is asked for and the first forgotten", async (t) => {
  const [a, b] = await two(t);
  const nots: string[][] = [];
  a.place = (not) => {
    nots.push(not);
    return not.includes(NOBODY) ? { url: b.base, others: [] } : { url: NOBODY, others: [b.base] };
  };
  const one = tab(t, a);
  await saved(one);
  assert.deepEqual(nots, [[], [NOBODY]]);
  b.cutAll();
  await until("again", () => b.hellos.length === 2);
  await saved(one);
  assert.deepEqual(nots, [[], [NOBODY], [], [NOBODY]]);
});

test("the router that the page is from dies: another one goes on, and nothing is lost or doubled", async (t) => {
  const [a, b] = await two(t);
  const [first, second] = [a.base, b.base];
  a.place = () => ({ url: first, others: [second] });
  // It has not heard yet that the other one is gone.
  b.place = (not) => ({ url: not.includes(first) ? second : first, others: [] });
  const one = tab(t, a);
  await saved(one);
  a.onOperation = () => {
    void a.stop();
    return "cut-after";
  };
  one.type("in flight");
  await until("offline", () => one.connection.status === "offline");
  one.type(", and more");
  await saved(one);
  assert.equal(b.order.text, "in flight, and more");
  assert.equal(b.order.rev, 2);
  assert.equal(one.screen(), b.order.text);
  assert.ok(b.hellos.length > 0);
});

test("a router that answers is kept to, and few are asked in vain", async () => {
  const others = Array.from({ length: 20 }, (_, n) => `http://r${n}`);
  let away: (url: URL) => boolean = () => false;
  const { asked, fetch } = answering((url) => {
    if (away(url)) return url.hostname === "base" ? new TypeError("refused") : new Response("", { status: 502 });
    return { url: "http://r19", others };
  });
  const routers = new Routers("http://base", fetch);
  assert.equal((await routers.ticket("token", "d")).url, "ws://r19/v1/collab/d");
  routers.reached();
  away = () => true;
  asked.length = 0;
  await assert.rejects(routers.ticket("token", "d"));
  assert.equal(asked.length, 3);
  away = (url) => url.hostname !== "r19";
  for (let tries = 0; tries < 8 && !asked.at(-1)?.includes("r19"); tries += 1) {
    await routers.ticket("token", "d").catch(() => {});
  }
  asked.length = 0;
  await routers.ticket("token", "d");
  assert.deepEqual(asked.map((url) => new URL(url).hostname), ["r19"]);
});

test("what is refused is refused by all, and no other router is asked", async () => {
  const { asked, fetch } = answering((url) =>
    url.hostname === "base" ? new Response(JSON.stringify({ code: "forbidden" }), { status: 403 }) : {},
  );
  const routers = new Routers("http://base", fetch);
  await assert.rejects(routers.ticket("token", "d"), { status: 403, code: "forbidden" });
  assert.equal(asked.length, 1);
});

test("a router without an address, and an address that is none: the way that the ticket came", async () => {
  for (const url of [undefined, null, 7, "javascript:alert(1)", "https://a/b"]) {
    const { asked, fetch } = answering(() => ({ url, others: [url, {}] }));
    const routers = new Routers("https://base", fetch);
    assert.equal((await routers.ticket("token", "d")).url, "wss://base/v1/collab/d");
    await routers.ticket("token", "d");
    assert.ok(asked.every((one) => one === "https://base/v1/collab/d/ticket"), `${asked}`);
  }
});
