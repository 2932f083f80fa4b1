// Who was away for longer than the servers can go back: what they typed comes into the document all
// the same. And what a long branch costs in a browser.
//
//   node late.mjs            the test, and the figures
//   CODRAFT_TRACES=folder    the figures are of recorded typing

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { useCodraft } from "./codraft.mjs";
import { typing } from "./typing.mjs";
import { hasStatus, isUnharmed, launch, openWindow, type, until } from "./windows.mjs";

// Above 4,096 events the window is cut to half.
const WRITERS = 8;
const LETTERS = 540;
const ROUNDS = 7;

/** A tab types while it is cut off and others write more than the window holds. */
async function belowTheWindow(browser, codraft) {
  const { http, token } = codraft.ready;
  const tab = await openWindow(browser, codraft.ready.url);
  const pages = [];
  tab.page.on("request", (request) => request.url().includes("/ops?") && pages.push(request.url()));
  await tab.editor.click();
  await type(tab, "ONE\n", {});
  await hasStatus(tab.page, "saved");
  const doc = new URLSearchParams(new URL(tab.page.url()).hash.slice(1)).get("doc");
  const other = await openWindow(browser, tab.page.url());

  await tab.page.context().setOffline(true);
  await hasStatus(tab.page, "offline");
  await type(tab, "MINE", {});
  await tab.editor.press("Control+Home");
  await type(tab, "ALSO ", {});
  await other.page.evaluate(write, { doc, token, writers: WRITERS, letters: LETTERS });
  await tab.page.context().setOffline(false);
  await hasStatus(tab.page, "saved");

  const answer = await fetch(`${http}/v1/docs/${doc}/history`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const text = (await answer.json()).content.map(({ insert }) => insert).join("");
  const counted = text.replace(/\.+/, (dots) => `${dots.length} letters, `);
  assert.equal(counted, `ALSO ONE\n${WRITERS * LETTERS} letters, MINE`);
  assert.ok(pages.length > 0, "it was continued without what it missed: the window reached back");
  // Where the caret was all the time.
  await type(tab, "!", {});
  await until("it is typed on", async () => {
    return (await tab.page.locator(".cm-line").first().innerText()) === "ALSO !ONE";
  });
  await hasStatus(tab.page, "saved");
  for (const window of [tab, other]) await isUnharmed(window);
  console.log(`ok: typed below the window, in the document once; ${pages.length} pages of events`);
}

/** In the page: so many clients, each a letter after the other to the end of the document. */
async function write({ doc, token, writers, letters }) {
  const headers = { authorization: `Bearer ${token}` };
  const one = async () => {
    const answer = await fetch(`/v1/collab/${doc}/ticket`, { method: "POST", headers });
    const { ticket, url: router } = await answer.json();
    const url = `${(router ?? location.origin).replace(/^http/, "ws")}/v1/collab/${doc}`;
    const socket = new WebSocket(url, ["codraft.v1", `ticket.${ticket}`]);
    const client = [...crypto.getRandomValues(new Uint8Array(16))];
    const hello = { type: "hello", client: client.map((n) => n.toString(16).padStart(2, "0")).join("") };
    let [rev, units, seq, you] = [0, 0, 0, -1];
    const next = () => {
      seq += 1;
      const ops = [{ retain: units }, { insert: "." }];
      socket.send(JSON.stringify({ type: "op", seq, base: rev, ops }));
    };
    socket.onopen = () => socket.send(JSON.stringify({ ...hello, unsent: false }));
    await new Promise((done, failed) => {
      socket.onclose = ({ code }) => failed(new Error(`closed with ${code}`));
      socket.onmessage = ({ data }) => {
        const read = JSON.parse(data);
        for (const frame of [read].flat()) {
          if (frame.type === "welcome") {
            ({ rev, you } = frame);
            units = frame.doc.map(({ insert }) => insert).join("").length;
          } else if (frame.type === "op" || frame.type === "event" || frame.type === "skip") {
            rev = frame.rev;
            // A document may come with what was typed last behind it.
            for (const { insert } of frame.ops ?? []) units += insert?.length ?? 0;
            if (frame.type === "op" && frame.slot === you && frame.seq === letters) return done();
            if (frame.type === "op" && frame.slot === you) next();
          } else if (frame.type === "reject") failed(new Error(JSON.stringify(frame)));
        }
        if (seq === 0 && you >= 0) next();
      };
    });
    socket.onclose = null;
    socket.close();
  };
  await Promise.all(Array.from({ length: writers }, one));
}

/** Ten thousand operations that were typed past ten thousand of another's, in turns. */
async function figures(browser) {
  const client = fileURLToPath(new URL("../../client/", import.meta.url));
  const { build } = createRequire(`${client}package.json`)("esbuild");
  const exports = ["document", "late"].map((name) => `export * from "./src/${name}.js";`);
  const stdin = { contents: exports.join("\n") + 'export { default as Delta } from "quill-delta";', resolveDir: client };
  const { outputFiles } = await build({
    stdin, bundle: true, minify: true, write: false, format: "iife", globalName: "codraft",
  });
  const page = await browser.newPage();
  await page.addScriptTag({ content: outputFiles[0].text });
  for await (const { name, start, own, others } of typing()) {
    const rounds = await page.evaluate(measure, { start, own, others, rounds: ROUNDS });
    const middle = (of) => rounds.map(of).sort((a, b) => a - b)[Math.floor(ROUNDS / 2)].toFixed(0);
    const longest = Math.max(...rounds.map(({ longest }) => longest));
    console.log(
      `${name}: ${own.length} operations past ${others.length} others in Chromium: median ` +
        `${middle(({ took }) => took)} ms in ${middle(({ turns }) => turns)} turns (typed before in ` +
        `${middle(({ typed }) => typed)} ms); longest task ${longest ? `${longest} ms` : "below 50 ms"}`,
    );
  }
  await page.close();
}

/** In the page. Each is at a place, takes away so many units and puts a text there. */
async function measure({ start, own, others, rounds }) {
  const { ClientDocument, catchUp, Delta } = codraft;
  const delta = ([at, deleted, text]) => new Delta().retain(at).insert(text).delete(deleted).chop();
  let content = new Delta().insert(start);
  const events = others.map((one, i) => {
    content = content.compose(delta(one));
    return { rev: i + 1, kind: "edit", client: "other", user: "other", seq: i + 1, ops: delta(one).ops };
  });
  let longest = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  });
  observer.observe({ entryTypes: ["longtask"] });
  const turn = () => new Promise((done) => setTimeout(done, 100));
  await turn();
  for (const until = performance.now() + 80; performance.now() < until; );
  await turn();
  if (longest < 50) throw new Error("a long task was not seen");
  const all = [];
  for (let round = 0; round < rounds; round += 1) {
    const document = new ClientDocument();
    document.open(new Delta().insert(start), { rev: 0, hash: "" });
    const began = performance.now();
    for (const one of own) document.local(delta(one));
    const typed = performance.now() - began;
    await turn();
    longest = 0;
    let turns = 0;
    const from = performance.now();
    await catchUp(document, { to: { rev: events.length, hash: "" }, content }, {
      // As the server ends them.
      page: async (rev) => ({ events: events.slice(rev - 1, Math.ceil(rev / 512) * 512) }),
      isOwn: () => false,
      change: () => (turns += 1),
      acked: () => {},
      goesOn: () => true,
      now: () => performance.now(),
    });
    const took = performance.now() - from;
    await turn();
    all.push({ typed, took, turns, longest });
  }
  return all;
}

const codraft = await useCodraft();
let browser;
try {
  browser = await launch();
  await belowTheWindow(browser, codraft);
  await figures(browser);
} catch (error) {
  console.error(error);
  console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await codraft.stop();
}
