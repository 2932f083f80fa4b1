// Windows of a browser on a document, and what a test does in them. Waits for conditions,
// never for time.

import assert from "node:assert/strict";

import { chromium } from "playwright-core";

export const PATIENCE_MS = 30_000;
export const SIZE = { width: 760, height: 720 };
const KEYS = { " ": "Space", "\n": "Enter" };

export function launch() {
  return chromium.launch({
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
}

/** `prepare` is called with the page before it loads the document; `options` are the context's. */
export async function openWindow(browser, url, prepare = async () => {}, options = {}) {
  const context = await browser.newContext({ viewport: SIZE, colorScheme: scheme(), ...options });
  const page = await context.newPage();
  await prepare(page);
  page.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  await hasStatus(page, "saved");
  await page.evaluate(() => (window.stillHere = true));
  return { page, errors, editor: page.getByTestId("editor") };
}

export function scheme() {
  return process.env.SCHEME === "dark" ? "dark" : "light";
}

export function hasStatus(page, status) {
  return page.waitForSelector(`[data-testid=status][data-status=${status}]`);
}

// Lines are elements here; what is between them is a newline.
export function textOf(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll("[data-testid=editor] > .cm-line")]
      .map((line) => line.textContent)
      .join("\n"),
  );
}

export async function until(what, holds) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** The node that leads and its process, or null. */
export function leader(page) {
  return page.evaluate(() => {
    const card = document.querySelector("[data-testid=strip] .node.leads");
    return card && [".name", ".pid"].map((part) => card.querySelector(part).textContent).join(", ");
  });
}

/** By the page itself: a real click would take the keyboard away from the typist. */
export async function killLeader(page) {
  await page.waitForSelector("[data-testid=kill]:not(:disabled)");
  await page.getByTestId("kill").evaluate((button) => button.click());
}

export async function type(window, text, progress) {
  for (const [i, letter] of [...text].entries()) {
    await window.editor.press(KEYS[letter] ?? letter);
    progress.typed = i + 1;
  }
}

export async function waitForLeader(page) {
  await until("somebody leads", async () => (await leader(page)) !== null);
  return leader(page);
}

export async function isUnharmed({ page, errors }) {
  assert.equal(await page.evaluate(() => window.stillHere), true, "no reload");
  assert.equal(await page.locator(".notice").count(), 0, "no conflict copy");
  assert.deepEqual(errors, []);
}
