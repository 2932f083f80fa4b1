// Two windows on one document. Both type at once, and the leader is killed in between by the
// page's own button. Nothing may be lost or doubled, no window may reload.
//
//   node failover.mjs                  the test
//   SCREENSHOT=1 node failover.mjs     and writes docs/two-windows.png

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

import { startCodraft } from "./codraft.mjs";

const PATIENCE_MS = 30_000;
const SIZE = { width: 760, height: 720 };
// Letters that one window alone types, so that each can be counted.
const LEFT = "The quick brown fox jumps over the lazy dog, again and again. ".repeat(3).toUpperCase();
const RIGHT = "pack my box with five dozen liquor jugs and count them twice. ".repeat(3);

const KEYS = { " ": "Space", "\n": "Enter" };

async function openWindow(browser, url) {
  const context = await browser.newContext({ viewport: SIZE, colorScheme: scheme() });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  await hasStatus(page, "saved");
  await page.evaluate(() => (window.stillHere = true));
  return { page, errors, editor: page.getByTestId("editor") };
}

function scheme() {
  return process.env.SCHEME === "dark" ? "dark" : "light";
}

function hasStatus(page, status) {
  return page.waitForSelector(`[data-testid=status][data-status=${status}]`);
}

// Lines are elements here; what is between them is a newline.
function textOf(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll("[data-testid=editor] > .cm-line")]
      .map((line) => line.textContent)
      .join("\n"),
  );
}

async function until(what, holds) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** The node that leads and its process, or null. */
function leader(page) {
  return page.evaluate(() => {
    const card = document.querySelector("[data-testid=strip] .node.leads");
    return card && [".name", ".pid"].map((part) => card.querySelector(part).textContent).join(", ");
  });
}

/** By the page itself: a real click would take the keyboard away from the typist. */
async function killLeader(page) {
  await page.waitForSelector("[data-testid=kill]:not(:disabled)");
  await page.getByTestId("kill").evaluate((button) => button.click());
}

/** The characters of `text` that `typed` could have made, in the order of the document. */
function written(text, alphabet) {
  return [...text].filter((character) => alphabet.test(character)).join("");
}

async function type(window, text, progress) {
  for (const [i, letter] of [...text].entries()) {
    await window.editor.press(KEYS[letter] ?? letter);
    progress.typed = i + 1;
  }
}

async function run(browser, codraft) {
  const left = await openWindow(browser, codraft.ready.url);
  await left.editor.click();
  // Each writes in a line of its own, so the order within a line is the order of typing.
  await left.editor.press("Enter");
  await hasStatus(left.page, "saved");
  const right = await openWindow(browser, left.page.url());
  await until("both have the line", async () => (await textOf(right.page)) === "\n");
  await left.editor.press("Control+Home");
  await right.editor.click();
  await right.editor.press("Control+End");

  const before = await waitForLeader(left.page);
  const [a, b] = [{ typed: 0 }, { typed: 0 }];
  const typing = Promise.all([type(left, LEFT, a), type(right, RIGHT, b)]);
  await until("both are typing", () => a.typed > 40 && b.typed > 40);
  await killLeader(left.page);
  const atKill = { ...a };
  await until("another leads", async () => {
    const now = await leader(left.page);
    return now !== null && now !== before;
  });
  await typing;
  assert.ok(atKill.typed < LEFT.length, "the leader died while they typed");

  await Promise.all([hasStatus(left.page, "saved"), hasStatus(right.page, "saved")]);
  const expected = `${LEFT}\n${RIGHT}`;
  await until("equal contents", async () => {
    const texts = await Promise.all([textOf(left.page), textOf(right.page)]);
    return texts[0] === texts[1] && texts[0].length === expected.length;
  });
  const text = await textOf(left.page);
  assert.equal(written(text, /[A-Z]/), written(LEFT, /[A-Z]/), "the left one's, each once");
  assert.equal(written(text, /[a-z]/), written(RIGHT, /[a-z]/), "the right one's, each once");
  assert.equal(text, expected);
  for (const window of [left, right]) {
    assert.equal(await window.page.evaluate(() => window.stillHere), true, "no reload");
    assert.equal(await window.page.locator(".notice").count(), 0, "no conflict copy");
    assert.deepEqual(window.errors, []);
  }
  const third = await openWindow(browser, left.page.url());
  await until("a fresh window has it", async () => (await textOf(third.page)) === expected);
  const times = await left.page.locator("#times").innerText();
  console.log(`ok: ${expected.length} characters; ${before} led and was killed; ${times.replace(/\s+/g, " ")}`);
}

async function waitForLeader(page) {
  await until("somebody leads", async () => (await leader(page)) !== null);
  return leader(page);
}

// ---- The picture ----------------------------------------------------------------------------

const TITLE = "Minutes, Tuesday";
const NOTES = [
  "Here: Ana, Bo\n\n1. The release goes out on Thursday. Ana writes the notes.\n",
  "2. The leader was killed while Bo wrote this line. Nobody noticed.\n",
  "3. Next time: the graph",
];

/** Under a name, which the page itself does not give. */
async function createDocument({ http, token }, title) {
  const response = await fetch(`${http}/v1/docs`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ title, kind: "text" }),
  });
  assert.equal(response.status, 201);
  return `${http}/#${new URLSearchParams({ token, doc: (await response.json()).id })}`;
}

async function picture(browser, codraft) {
  const url = await createDocument(codraft.ready, TITLE);
  const left = await openWindow(browser, url);
  await left.editor.click();
  const right = await openWindow(browser, url);
  await right.editor.click();
  await type(left, NOTES[0], { typed: 0 });
  await hasStatus(left.page, "saved");
  await right.editor.press("Control+End");
  const before = await waitForLeader(left.page);
  const typing = type(right, NOTES[1], { typed: 0 });
  await killLeader(right.page);
  await typing;
  await until("another leads, and all run", async () => {
    const now = await leader(left.page);
    return now !== null && now !== before && (await left.page.locator(".node.dead").count()) === 0;
  });
  const both = async (text) => (await textOf(left.page)) === text && (await textOf(right.page)) === text;
  await until("both have both", () => both(NOTES[0] + NOTES[1]));
  await left.editor.press("Control+End");
  await type(left, NOTES[2], { typed: 0 });
  await until("both have all", () => both(NOTES.join("")));
  for (const { page } of [left, right]) {
    await page.getByTestId("status").getByText("Saved", { exact: true }).waitFor();
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
  const shots = await Promise.all([left, right].map(({ page }) => page.screenshot()));
  const beside = await browser.newPage({
    viewport: { width: SIZE.width * 2 + 72, height: SIZE.height + 48 },
    colorScheme: scheme(),
  });
  const images = shots.map((shot) => `<img src="data:image/png;base64,${shot.toString("base64")}">`);
  const [ground, line] = scheme() === "dark" ? ["#0b0c0f", "#34363f"] : ["#dfe1ea", "#c9ccd8"];
  await beside.setContent(`<style>
    body { margin: 0; padding: 24px; display: flex; gap: 24px; background: ${ground} }
    img { width: ${SIZE.width}px; border-radius: 12px; box-shadow: 0 0 0 1px ${line}, 0 8px 30px #0003 }
  </style>${images.join("")}`);
  const docs = fileURLToPath(new URL("../../docs/", import.meta.url));
  await mkdir(docs, { recursive: true });
  const file = process.env.PICTURE ?? `${docs}two-windows.png`;
  await writeFile(file, await beside.screenshot());
  console.log(`wrote ${file}`);
}

const codraft = await startCodraft();
let browser;
try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  await run(browser, codraft);
  if (process.env.SCREENSHOT) await picture(browser, codraft);
} catch (error) {
  console.error(error);
  console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await codraft.stop();
}
