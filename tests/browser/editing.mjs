// What people type with: input methods that compose, candidates in surrogate pairs, dead keys,
// while another writes in the same line. And what they are told of what is saved of what they typed.
//
//   node editing.mjs                  the test
//   PICTURES=folder node editing.mjs  and writes what people see there

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { useCodraft } from "./codraft.mjs";
import { hasStatus, isUnharmed, launch, openWindow, textOf, type, until } from "./windows.mjs";

const CANDIDATES = JSON.parse(await readFile(new URL("candidates.json", import.meta.url), "utf8"));

// Behind this text somebody composes, and another writes.
const START = "YX";
const ANOTHERS = "hello";

// What is seen on the way, and what comes of it.
const COMPOSITIONS = [
  { name: "Chinese", steps: ["n", "ni", "ni h", "ni hao"], chosen: "你好" },
  { name: "Japanese", steps: ["k", "か", "かn", "かんj", "かんじ", "漢字"], chosen: "漢字" },
  { name: "Korean", steps: ["ㅎ", "하", "한"], chosen: "한" },
  { name: "emoji", steps: ["😀", "😁", "😂", "🤀"], chosen: "😁" },
  { name: "a dead key", steps: ["´"], chosen: "é" },
  { name: "cancelled", steps: ["n", "ni"], chosen: "" },
  { name: "Chinese, inserted within", steps: ["n", "ni", "ni h"], chosen: "你好", at: 3 },
  { name: "Chinese, inserted at the start", steps: ["n", "ni", "ni h"], chosen: "你好", at: 0 },
  { name: "Chinese, cut off meanwhile", steps: ["n", "ni", "ni h"], chosen: "你好", isCutOff: true },
];

// What makes CodeMirror edit through an EditContext.
const ANDROID =
  "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36";

class Pair {
  /** `options` are those of the one who composes. */
  static async open(browser, url, options) {
    const a = await openWindow(browser, url, undefined, options);
    const b = await openWindow(browser, a.page.url());
    for (const { editor } of [a, b]) await editor.click();
    return new Pair(a, b, await a.page.context().newCDPSession(a.page));
  }

  constructor(a, b, cdp) {
    Object.assign(this, { a, b, cdp });
  }

  /** Both have this. */
  async have(text) {
    await until(`both have ${JSON.stringify(text)}`, async () => {
      const texts = await Promise.all([textOf(this.a.page), textOf(this.b.page)]);
      this.texts = texts;
      return texts.every((one) => one === text);
    }).catch((error) => {
      throw new Error(`${error.message}; they have ${JSON.stringify(this.texts)}`);
    });
    await Promise.all([hasStatus(this.a.page, "saved"), hasStatus(this.b.page, "saved")]);
  }

  /** Both have the same, and all of it is saved; returns it. */
  async agree() {
    await Promise.all([hasStatus(this.a.page, "saved"), hasStatus(this.b.page, "saved")]);
    let texts;
    await until("both have the same", async () => {
      texts = await Promise.all([textOf(this.a.page), textOf(this.b.page)]);
      return texts[0] === texts[1];
    });
    return texts[0];
  }

  /** The first line is this, a second one is empty, and the caret at the end of the first. */
  async begin(text) {
    await this.a.editor.press("Control+A");
    await this.a.page.keyboard.insertText(`${text}\n`);
    await this.have(`${text}\n`);
    await this.a.editor.press("Control+Home");
    await this.a.editor.press("End");
  }

  async compose(text) {
    const { length } = text;
    await this.cdp.send("Input.imeSetComposition", { text, selectionStart: length, selectionEnd: length });
  }

  async commit(text) {
    if (text) await this.cdp.send("Input.insertText", { text });
    else await this.compose("");
  }

  /** The other one writes in the first line and then in the second. */
  async insert(text, at) {
    await this.b.editor.press("Control+Home");
    for (let i = 0; i < at; i += 1) await this.b.editor.press("ArrowRight");
    await this.b.page.keyboard.insertText(text);
    await this.b.editor.press("Control+End");
    await this.b.page.keyboard.insertText("!");
    await hasStatus(this.b.page, "saved");
  }

  async isUnharmed() {
    for (const window of [this.a, this.b]) await isUnharmed(window);
  }
}

/** What comes of it, before the caret and after it. */
function expected(at, chosen) {
  if (at < START.length) return [`${START.slice(0, at)}${ANOTHERS}${START.slice(at)}${chosen}`, ""];
  // At the caret itself: behind it. Within what is replaced: behind what replaces it.
  if (at > START.length || chosen === "") return [`${START}${chosen}`, ANOTHERS];
  return [`${START}${ANOTHERS}${chosen}`, ""];
}

/** Another inserts in the line in which somebody composes. */
async function compositions(pair) {
  for (const { name, steps, chosen, at = START.length, isCutOff } of COMPOSITIONS) {
    await pair.begin(START);
    const half = Math.ceil(steps.length / 2);
    for (const step of steps.slice(0, half)) await pair.compose(step);
    const composed = `${START}${steps[half - 1]}`;
    await pair.have(`${composed}\n`);
    if (isCutOff) {
      await pair.a.page.context().setOffline(true);
      await hasStatus(pair.a.page, "offline");
    }
    await pair.insert(ANOTHERS, at);
    if (isCutOff) {
      for (const step of steps.slice(half)) await pair.compose(step);
      await pair.a.page.context().setOffline(false);
    }
    // Other lines go on.
    await until("the next line is shown", async () => (await textOf(pair.a.page)).endsWith("\n!"));
    if (!isCutOff) assert.equal(await textOf(pair.a.page), `${composed}\n!`, `${name}: the line is left alone`);
    for (const step of steps.slice(half)) await pair.compose(step);
    await pair.commit(chosen);
    const wanted = expected(at, chosen);
    await pair.have(`${wanted.join("")}\n!`);
    // The caret is where the typist left it.
    await type(pair.a, ".", {});
    await pair.have(`${wanted.join(".")}\n!`);
    await pair.isUnharmed();
  }
  console.log(`ok: ${COMPOSITIONS.length} compositions, another in the same line`);
}

/** On Android nothing is shown while somebody types, and all of it when they rest. */
async function android(browser, codraft) {
  const pair = await Pair.open(browser, codraft.ready.url, { userAgent: ANDROID });
  const hasContext = await pair.a.editor.evaluate((editor) => Boolean(editor.editContext));
  assert.ok(hasContext, "it edits through an EditContext");
  for (const { steps, chosen } of COMPOSITIONS.slice(0, 3)) {
    await pair.begin(START);
    await pair.compose(steps[0]);
    await pair.have(`${START}${steps[0]}\n`);
    let isInserted = false;
    const inserted = pair.insert(ANOTHERS, START.length).finally(() => (isInserted = true));
    while (!isInserted) for (const step of steps) await pair.compose(step);
    await inserted;
    await pair.commit(chosen);
    // Which of the two was first depends on when it came.
    const both = await pair.agree();
    assert.equal(both.replace(chosen, ""), `${START}${ANOTHERS}\n!`);
  }
  await pair.begin(START);
  await pair.compose("word");
  await pair.have(`${START}word\n`);
  await pair.insert(ANOTHERS, 0);
  await pair.have(`${ANOTHERS}${START}word\n!`);
  await type(pair.a, "s", {});
  await pair.have(`${ANOTHERS}${START}words\n!`);
  await pair.isUnharmed();
  console.log("ok: compositions through an EditContext, another in the same line");
}

/** Syllable after syllable, each composed behind the one before, while another types on. */
async function syllables(pair) {
  await pair.begin("");
  await pair.b.editor.press("Control+Home");
  const typing = type(pair.b, "abcdefghij", {});
  for (const [steps, chosen] of [
    [["ㅎ", "하", "한"], "한"],
    [["ㄱ", "그", "글"], "글"],
    [["ㅇ", "이"], "이"],
    [["ㄷ", "다"], "다"],
  ]) {
    for (const step of steps) await pair.compose(step);
    await pair.commit(chosen);
  }
  await typing;
  const text = await pair.agree();
  assert.equal(text.replace(/[a-z\n]/g, ""), "한글이다");
  assert.equal(text.replace(/[^a-z]/g, ""), "abcdefghij");
  await pair.isUnharmed();
  console.log("ok: syllables one after the other while another types");
}

/** From one candidate to another that differs in half of a surrogate pair. */
async function candidates(pair) {
  for (const [before, after] of CANDIDATES) {
    await pair.begin("<");
    await pair.compose(before);
    await pair.have(`<${before}\n`);
    await pair.compose(after);
    await pair.have(`<${after}\n`);
    await pair.commit(after);
    await pair.have(`<${after}\n`);
    await pair.isUnharmed();
  }
  console.log(`ok: ${CANDIDATES.length} changes of candidates in surrogate pairs`);
}

/** The token ends, and the answer to what was typed last was lost, though all of it is saved. */
async function tokenEnds(browser, codraft) {
  const [sent, PING] = [[], 0xa5];
  let answers = true;
  let socket;
  const window = await openWindow(browser, codraft.ready.url, (page) =>
    page.routeWebSocket(/\/v1\/collab\//, (client) => {
      const server = client.connectToServer();
      socket = client;
      client.onMessage((message) => {
        sent.push(message[0]);
        server.send(message);
      });
      server.onMessage((message) => answers && client.send(message));
    }),
  );
  const other = await openWindow(browser, window.page.url());
  await window.editor.click();
  await type(window, "known. ", {});
  await hasStatus(window.page, "saved");
  // The page was thawed: is the socket still alive?
  await window.page.evaluate(() => document.dispatchEvent(new Event("resume")));
  await until("a ping", () => sent.includes(PING));
  answers = false;
  await type(window, "keys", {});
  await until("the first of it is saved", async () => (await textOf(other.page)).startsWith("known. k"));
  const ends = { status: 401, json: { code: "token_expired", title: "The token has expired" } };
  await window.page.route(/\/ticket$/, (route) => route.fulfill(ends));
  await socket.close({ code: 4433 });
  await hasStatus(window.page, "closed");
  const unconfirmed = window.page.getByTestId("unconfirmed");
  await unconfirmed.getByText("not known yet to be saved").waitFor();
  assert.equal(await unconfirmed.locator("pre").innerText(), "keys");
  assert.equal(await window.page.getByTestId("conflict").count(), 0);
  await picture(window, "not-known-yet");

  // A new token is put into the address.
  answers = true;
  await window.page.unroute(/\/ticket$/);
  await window.page.evaluate(() => (location.hash += "&renewed=1"));
  await until("all of it is there, once", async () => {
    const texts = await Promise.all([textOf(window.page), textOf(other.page)]);
    return texts.every((text) => text === "known. keys");
  });
  await hasStatus(window.page, "saved");
  for (const each of [window, other]) await isUnharmed(each);
  console.log("ok: at a token's end nothing is called lost, and with another one it goes on");
}

/** What the server will not take is told to be lost: that alone, and it can be copied. */
async function refused(browser, codraft) {
  const OP = 0xa1;
  let isRefused = false;
  const window = await openWindow(browser, codraft.ready.url, (page) =>
    page.routeWebSocket(/\/v1\/collab\//, (client) => {
      const server = client.connectToServer();
      client.onMessage((message) => {
        if (isRefused && message[0] === OP) client.send(refusal(message));
        else server.send(message);
      });
    }),
  );
  await window.editor.click();
  await type(window, "Saved. ", {});
  await hasStatus(window.page, "saved");
  isRefused = true;
  await window.page.keyboard.insertText("More than fits");
  const conflict = window.page.getByTestId("conflict");
  await conflict.getByText("the document is as large as it may be").waitFor();
  isRefused = false;
  assert.equal(await conflict.locator("pre").innerText(), "More than fits");
  await until("the server's document", async () => (await textOf(window.page)) === "Saved. ");
  await hasStatus(window.page, "saved");
  await picture(window, "conflict");
  await conflict.getByRole("button", { name: "Dismiss" }).click();
  // With the caret where it was: a browser that gives the focus by itself puts it at the start.
  assert.ok(await window.editor.evaluate((editor) => editor === document.activeElement));
  await type(window, "Less.", {});
  await hasStatus(window.page, "saved");
  assert.equal(await textOf(window.page), "Saved. Less.");
  await isUnharmed(window);
  console.log("ok: what the server refuses for good is handed back");
}

/** A final answer to this operation, whose first fields are its sequence number and base. */
function refusal(op) {
  assert.ok(op[1] < 0x80 && op[2] < 0x80, "small numbers are a byte");
  const fields = { seq: op[1], base: op[2], final: true, code: "document_full", message: "" };
  const json = JSON.stringify({ type: "reject", ...fields });
  return Buffer.concat([Buffer.from([0x87]), Buffer.from(json)]);
}

async function picture({ page }, name) {
  if (!process.env.PICTURES) return;
  await page.screenshot({ path: `${process.env.PICTURES}/${name}.png` });
}

const codraft = await useCodraft();
let browser;
try {
  browser = await launch();
  const pair = await Pair.open(browser, codraft.ready.url);
  await candidates(pair);
  await compositions(pair);
  await syllables(pair);
  await android(browser, codraft);
  await tokenEnds(browser, codraft);
  await refused(browser, codraft);
} catch (error) {
  console.error(error);
  console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await codraft.stop();
}
