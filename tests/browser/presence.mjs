// Where the others are, as the page shows it: carets that stay in their place while somebody else
// types, and are gone with their windows, with a frozen one after a while.
//
//   node presence.mjs

import assert from "node:assert/strict";

import { createDocument, startCodraft } from "./codraft.mjs";
import { startBrowser } from "./devtools.mjs";
import { hasStatus, isUnharmed, launch, openWindow, textOf, type, until } from "./windows.mjs";

/** So short that a test can wait for it. */
const TTL_MS = 6_000;
process.env.CODRAFT_LIMITS__PRESENCE_TTL_MS = String(TTL_MS);

/** The text before each caret of another's, in the order of the text. */
function carets({ page }) {
  return page.evaluate(() =>
    [...document.querySelectorAll("[data-testid=editor] .caret")].map((caret) => {
      const before = document.createRange();
      before.selectNodeContents(document.querySelector("[data-testid=editor]"));
      before.setEndBefore(caret);
      return before.toString();
    }),
  );
}

function selected({ page }) {
  return page.evaluate(() =>
    [...document.querySelectorAll("[data-testid=editor] .selected")].map((one) => one.textContent).join(""),
  );
}

function people({ page }) {
  return page.evaluate(() => ({
    text: document.querySelector("[data-testid=people] > :last-child").textContent,
    pictures: document.querySelectorAll("[data-testid=people] .avatar").length,
  }));
}

async function shows(window, what, where) {
  let seen;
  await until(`${what}: ${JSON.stringify(where)}`, async () => {
    seen = await carets(window);
    return JSON.stringify(seen) === JSON.stringify(where);
  }).catch((error) => {
    throw new Error(`${error.message}; it shows ${JSON.stringify(seen)}`);
  });
}

async function follows(left, right) {
  await left.editor.click();
  await type(left, "one three", {});
  await until("both have it", async () => (await textOf(right.page)) === "one three");
  await shows(right, "the caret of who types", ["one three"]);
  await right.editor.click();
  await right.editor.press("Control+Home");
  await shows(left, "the caret of who reads", [""]);
  for (let i = 0; i < "three".length; i += 1) await left.editor.press("ArrowLeft");
  await shows(right, "a caret that moved", ["one "]);
  await type(left, "two ", {});
  await shows(right, "the caret goes with what is typed", ["one two "]);
  // Typed before it: the place in the text stays, and nobody has to say so.
  await type(right, "zero ", {});
  await shows(right, "a caret behind what is typed", ["zero one two "]);
  await shows(left, "the other's own caret", ["zero "]);
  await left.editor.press("Shift+End");
  await until("what is selected", async () => (await selected(right)) === "three");
  assert.equal(await textOf(right.page), "zero one two three", "a name is no text");
  assert.deepEqual(await people(left), { text: "2 people", pictures: 1 });
  console.log("ok: carets and selections of others, in their place while both type");
}

async function comesAndGoes(browser, url, left) {
  const third = await openWindow(browser, url);
  await until("three are here", async () => (await people(left)).text === "3 people");
  // Who comes sees where others are who have not moved since.
  await until("the newcomer sees both", async () => (await carets(third)).length === 2);
  const closed = Date.now();
  await third.page.context().close();
  await until("two are here", async () => (await people(left)).text === "2 people");
  assert.ok(Date.now() - closed < TTL_MS / 2, "at once");
  console.log(`ok: a closed window is gone after ${Date.now() - closed} ms`);
}

async function freezes(browser, url, left) {
  const tab = await browser.tab(url);
  await until("it is here", async () => (await people(left)).text === "3 people");
  // Behind another one it runs, and says so where it is asked.
  await browser.tab("about:blank");
  await until("it is hidden", () => tab.is("document.hidden"));
  const hid = Date.now();
  await until("it was asked for long enough", async () => {
    assert.equal((await people(left)).text, "3 people", `gone after ${Date.now() - hid} ms, and only hidden`);
    return Date.now() - hid > 1.5 * TTL_MS;
  });
  await tab.becomes("frozen");
  const froze = Date.now();
  await until("the frozen one is gone", async () => (await people(left)).text === "2 people");
  const took = Date.now() - froze;
  assert.ok(took <= TTL_MS + 500, `within the time: ${took} ms`);
  await left.editor.press("Control+End");
  await type(left, " four", {});
  await hasStatus(left.page, "saved");
  await tab.front();
  await tab.becomes("active");
  await until("it is back", async () => (await people(left)).text === "3 people");
  const text = `[...document.querySelectorAll(".cm-line")].map((line) => line.textContent).join("\\n")`;
  const whole = await textOf(left.page);
  await until("its text is whole", async () => (await tab.is(text)) === whole);
  assert.equal(await tab.is(`document.querySelectorAll(".notice").length`), 0);
  console.log(`ok: a hidden tab stays; a frozen one was gone after ${took} ms, and back with its text when it was thawed`);
}

/** What is drawn over a rich text of one line: how far each box is from where its text ends or begins. */
function drawn({ page }, at, length = 0) {
  return page.evaluate(
    ([at, length]) => {
      const text = document.querySelector(".ql-editor p").firstChild;
      const range = document.createRange();
      range.setStart(text, at);
      range.setEnd(text, at + length);
      const { left, right, top } = range.getBoundingClientRect();
      const box = (name) => document.querySelector(`.others > .${name}`)?.getBoundingClientRect();
      const [caret, selected] = [box("caret"), box("selected")];
      return {
        caret: caret ? Math.hypot(caret.left - right, caret.top - top) : null,
        selected: selected ? Math.abs(selected.left - left) + Math.abs(selected.right - right) : null,
        line: text.data,
      };
    },
    [at, length],
  );
}

async function followsInRich(browser, ready) {
  const initial = [{ insert: "one three\n" }];
  const url = await createDocument(ready, { title: "Rich", kind: "rich", initial });
  const [left, right] = [await openWindow(browser, url), await openWindow(browser, url)];
  const isAt = async (what, line, at) => {
    await until(what, async () => {
      const seen = await drawn(right, at);
      return seen.line === line && seen.caret !== null && seen.caret < 3;
    });
  };
  await left.editor.click();
  await left.editor.press("Control+End");
  for (let i = 0; i < "three".length; i += 1) await left.editor.press("ArrowLeft");
  await isAt("a caret in the rich text", "one three", "one ".length);
  await left.page.keyboard.type("two ");
  await isAt("the caret goes with what is typed", "one two three", "one two ".length);
  await right.editor.click();
  await right.editor.press("Control+Home");
  await right.page.keyboard.type("zero ");
  await isAt("a caret behind what is typed", "zero one two three", "zero one two ".length);
  await left.editor.press("Shift+End");
  await until("what is selected", async () => {
    const { selected } = await drawn(right, "zero one two ".length, "three".length);
    return selected !== null && selected < 3;
  });
  for (const window of [left, right]) {
    await isUnharmed(window);
    await window.page.context().close();
  }
  console.log("ok: carets and selections in a rich document");
}

const codraft = await startCodraft();
let browser;
let other;
try {
  browser = await launch();
  const left = await openWindow(browser, codraft.ready.url);
  const url = left.page.url();
  const right = await openWindow(browser, url);
  await follows(left, right);
  await comesAndGoes(browser, url, left);
  await followsInRich(browser, codraft.ready);
  other = await startBrowser();
  await freezes(other, url, left);
  for (const window of [left, right]) await isUnharmed(window);
} catch (error) {
  console.error(error);
  console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await other?.stop();
  await codraft.stop();
}
