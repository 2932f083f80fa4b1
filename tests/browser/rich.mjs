// Rich documents: the editor driven with Deltas in a page of its own; then two people who write and
// format at once.
//
//   node rich.mjs                     the test
//   node rich.mjs --seed 7            from another seed
//   node rich.mjs --deltas 30000      and further
//   node rich.mjs --alone             without a cluster: the Deltas and nothing else

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { createDocument, useCodraft } from "./codraft.mjs";
import { hasStatus, isUnharmed, launch, openWindow, type, until } from "./windows.mjs";

const CANDIDATES = JSON.parse(await readFile(new URL("candidates.json", import.meta.url), "utf8"));
const DOT = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    deltas: { type: "string", default: "6000" },
    alone: { type: "boolean", default: false },
  },
});
const [SEED, DELTAS] = [values.seed, values.deltas].map(Number);

/** A page with the editor in it and nothing else. */
async function workshop(browser) {
  const client = fileURLToPath(new URL("../../client/", import.meta.url));
  const { build } = createRequire(`${client}package.json`)("esbuild");
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("rich/world.mjs", import.meta.url))],
    nodePaths: [`${client}node_modules`],
    bundle: true, write: false, format: "iife", globalName: "world", logLevel: "error",
  });
  const page = await browser.newPage();
  await page.addScriptTag({ content: outputFiles[0].text });
  return page;
}

async function properties(browser) {
  const page = await workshop(browser);
  const said = [];
  page.on("console", (message) => message.type() !== "log" && said.push(message.text()));
  const names = await page.evaluate(() => Object.keys(world.FACTS));
  for (const name of names) {
    const resets = await page.evaluate((name) => world.fact(name), name).catch((error) => {
      throw new Error(`${name}: ${error.message}`);
    });
    assert.equal(resets, 0, `${name}: Quill was set anew; ${said}`);
  }
  console.log(`ok: ${names.length} documents that Quill does not show as they are`);
  // Deltas, how often Quill was set anew, documents.
  const all = { random: [0, 0, 0], together: [0, 0, 0] };
  for (const [kind, counts] of Object.entries(all)) {
    for (let seed = SEED; counts[0] < DELTAS / 2; seed += 1) {
      const { deltas, resets } = await page.evaluate(([kind, seed]) => world[kind](seed), [kind, seed]);
      counts[0] += deltas;
      counts[1] += resets;
      counts[2] += 1;
    }
  }
  const [alone, pairs] = Object.values(all);
  console.log(`ok: ${alone[0]} random Deltas on ${alone[2]} documents from seed ${SEED}, ${alone[1]} times set anew`);
  console.log(`ok: ${pairs[0]} operations of ${pairs[2]} pairs of windows came out equal, ${pairs[1]} times set anew`);
  await page.close();
}

/** A window on a rich document, with its editor; `said` is what its console says of errors. */
async function openRich(browser, url) {
  const said = [];
  const window = await openWindow(browser, url, (page) => {
    page.on("console", (message) => /error|warning/.test(message.type()) && said.push(message.text()));
  });
  await window.editor.waitFor();
  await window.page.locator("[data-testid=editor][contenteditable=true]").waitFor();
  return { ...window, said, doc: new URLSearchParams(new URL(window.page.url()).hash.slice(1)).get("doc") };
}

/** What the server has: content and revision. */
async function served({ http, token }, doc) {
  const answer = await fetch(`${http}/v1/docs/${doc}/history`, { headers: { authorization: `Bearer ${token}` } });
  return answer.json();
}

/** Lines as they are on the page: kind and text. */
function linesOf(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll(".ql-editor :is(p, li, h1, h2, blockquote, .ql-code-block)")].map((line) => {
      return `${line.dataset.list ?? line.localName}: ${line.textContent.replaceAll("\ufeff", "")}`;
    }),
  );
}

async function haveLines(windows, lines) {
  await until(`all have ${lines.join(" / ")}`, async () => {
    const all = await Promise.all(windows.map(({ page }) => linesOf(page)));
    return all.every((one) => JSON.stringify(one) === JSON.stringify(lines));
  }).catch(async (error) => {
    throw new Error(`${error.message}; they have ${JSON.stringify(await Promise.all(windows.map(({ page }) => linesOf(page))))}`);
  });
  for (const { page } of windows) await hasStatus(page, "saved");
}

async function areUnharmed(...windows) {
  for (const window of windows) {
    await isUnharmed(window);
    assert.deepEqual(window.said, []);
  }
}

const press = (window, name) => window.page.getByRole("button", { name, exact: true }).click();

/** A document with formatting is made on the page, and its empty last line is formatted. */
async function lastLine(browser, codraft) {
  const first = await openWindow(browser, codraft.ready.url);
  await first.page.getByTestId("new").click();
  await first.page.getByRole("link", { name: "With formatting" }).click();
  await first.page.locator(".ql-editor[contenteditable=true]").waitFor();
  await hasStatus(first.page, "saved");
  const [left, right] = [await openRich(browser, first.page.url()), await openRich(browser, first.page.url())];
  await left.editor.click();
  await press(left, "List");
  await haveLines([left, right], ["bullet: "]);
  await type(left, "one\ntwo\n", {});
  await haveLines([left, right], ["bullet: one", "bullet: two", "bullet: "]);
  // Enter in an empty line ends the list.
  await type(left, "\n", {});
  await left.page.getByLabel("Kind of line").selectOption("Heading 1");
  await haveLines([left, right], ["bullet: one", "bullet: two", "h1: "]);
  await right.editor.press("Control+End");
  await type(right, "end", {});
  await haveLines([left, right], ["bullet: one", "bullet: two", "h1: end"]);
  const { content } = await served(codraft.ready, left.doc);
  assert.deepEqual(content, [
    { insert: "one" }, { insert: "\n", attributes: { list: "bullet" } },
    { insert: "two" }, { insert: "\n", attributes: { list: "bullet" } },
    { insert: "end" }, { insert: "\n", attributes: { header: 1 } },
  ]);
  await areUnharmed(left, right);
  console.log("ok: made on the page, its empty last line formatted");
}

/** Two type and format at once, and undo what is theirs. */
async function atOnce(browser, codraft) {
  const url = await createDocument(codraft.ready, { title: "Both", kind: "rich", initial: [{ insert: "left\nright\n" }] });
  const [left, right] = [await openRich(browser, url), await openRich(browser, url)];
  for (const { editor } of [left, right]) await editor.click();
  await left.editor.press("Control+Home");
  await right.editor.press("Control+End");
  const write = async (window, letters, shortcut, button) => {
    for (const letter of letters) {
      await type(window, `${letter}${letter} `, {});
      await window.editor.press(shortcut);
      await type(window, letter, {});
      await press(window, button);
      await window.editor.press(shortcut);
    }
  };
  await Promise.all([
    write(left, "abcdef", "Control+B", "Numbered list"),
    write(right, "uvwxyz", "Control+I", "Tasks"),
  ]);
  await Promise.all([hasStatus(left.page, "saved"), hasStatus(right.page, "saved")]);
  await until("both show the same", async () => {
    const pages = await Promise.all([left, right].map(({ editor }) => editor.innerHTML()));
    // The caret's own: it has a format until something is typed.
    const [a, b] = pages.map((page) => page.replace(/<span class="ql-cursor">.*?<\/span>/, ""));
    return a === b;
  });
  const { content } = await served(codraft.ready, left.doc);
  const bold = content.filter(({ attributes }) => attributes?.bold).map(({ insert }) => insert).join("");
  const italic = content.filter(({ attributes }) => attributes?.italic).map(({ insert }) => insert).join("");
  assert.deepEqual([bold, italic], ["abcdef", "uvwxyz"]);
  const text = content.map(({ insert }) => insert).join("");
  assert.equal(text, "aa abb bcc cdd dee eff fleft\nrightuu uvv vww wxx xyy yzz z\n");
  await haveLines([left, right], text.trimEnd().split("\n").map((line) => `p: ${line}`));

  await right.editor.press("Control+Home");
  await type(right, "theirs ", {});
  await haveLines([left, right], [`p: theirs ${text.split("\n")[0]}`, `p: ${text.split("\n")[1]}`]);
  for (let step = 0; step < 60; step += 1) await left.editor.press("Control+Z");
  await haveLines([left, right], ["p: theirs left", `p: ${text.split("\n")[1]}`]);
  await areUnharmed(left, right);
  console.log("ok: two type and format at once; undo takes back what is one's own");
}

/** What the page cannot show is there as an object, and is what it was; looking makes no revision. */
async function kept(browser, codraft) {
  const initial = [
    { insert: "see " }, { insert: { mention: { id: 1, name: "Ana" } }, attributes: { author: "u1" } },
    { insert: " and " }, { insert: { image: DOT }, attributes: { alt: "dot" } }, { insert: "\r" },
    { insert: "red", attributes: { color: "#FF0000", comment: "c1", bold: true } },
    { insert: "\n", attributes: { header: 1, list: "bullet", author: "u1" } },
    { insert: "code", attributes: { italic: true } }, { insert: "\n", attributes: { "code-block": "rust" } },
  ];
  const url = await createDocument(codraft.ready, { title: "Kept", kind: "rich", initial });
  const [left, right] = [await openRich(browser, url), await openRich(browser, url)];
  const before = await served(codraft.ready, left.doc);
  await left.editor.click();
  await left.editor.press("Control+A");
  await left.editor.press("Control+End");
  await haveLines([left, right], ["bullet: see mention and ␍red", "div: code"]);
  assert.ok(await left.page.locator(".ql-editor img").evaluate((image) => image.naturalWidth === 1));
  assert.deepEqual(await served(codraft.ready, left.doc), before, "looking changed something");
  await left.editor.press("Control+A");
  await left.editor.press("Control+U");
  await left.editor.press("Control+Home");
  for (let i = 0; i < 3; i += 1) await left.editor.press("Shift+ArrowRight");
  await left.editor.press("Shift+End");
  await left.editor.press("Backspace");
  await haveLines([left, right], ["bullet: ", "div: code"]);
  await left.editor.press("Control+Z");
  await left.editor.press("Control+Z");
  await haveLines([left, right], ["bullet: see mention and ␍red", "div: code"]);
  const after = await served(codraft.ready, left.doc);
  assert.ok(after.version > before.version);
  assert.deepEqual(after.content, before.content);
  await areUnharmed(left, right);
  console.log("ok: what the page cannot show is kept, deleted and undone included");
}

/** Keys that Quill leaves to the browser, which would style what it joins. */
async function joined(browser, codraft) {
  const initial = [{ insert: "Heading" }, { insert: "\n", attributes: { blockquote: true } }, { insert: "a line\n" }];
  const url = await createDocument(codraft.ready, { title: "Joined", kind: "rich", initial });
  const [left, right] = [await openRich(browser, url), await openRich(browser, url)];
  await left.editor.click();
  await left.editor.press("Control+Home");
  for (let i = 0; i < 4; i += 1) await left.editor.press("ArrowRight");
  for (let i = 0; i < 6; i += 1) await left.editor.press("Shift+ArrowRight");
  await left.editor.press("Control+Backspace");
  await haveLines([left, right], ["blockquote: Headline"]);
  const { content } = await served(codraft.ready, left.doc);
  assert.deepEqual(content, [{ insert: "Headline" }, { insert: "\n", attributes: { blockquote: true } }]);
  await areUnharmed(left, right);
  console.log("ok: lines that a browser would join are joined as they are");
}

/** Input methods, and another in the same line. */
async function composed(browser, codraft) {
  const url = await createDocument(codraft.ready, { title: "Composed", kind: "rich", initial: [{ insert: "<>\n" }] });
  const [left, right] = [await openRich(browser, url), await openRich(browser, url)];
  const cdp = await left.page.context().newCDPSession(left.page);
  const compose = (text) => cdp.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
  await left.editor.click();
  let all = "<";
  for (const [before, after] of CANDIDATES) {
    await left.editor.press("Control+End");
    await left.editor.press("ArrowLeft");
    await compose(before);
    await right.editor.press("Control+Home");
    await type(right, "x", {});
    await hasStatus(right.page, "saved");
    await compose(after);
    await cdp.send("Input.insertText", { text: after });
    all = `x${all}${after}`;
    await haveLines([left, right], [`p: ${all}>`]);
  }
  await areUnharmed(left, right);
  console.log(`ok: ${CANDIDATES.length} candidates composed, another in the same line`);
}

let browser;
let codraft;
try {
  browser = await launch();
  await properties(browser);
  codraft = values.alone ? undefined : await useCodraft();
  const journeys = codraft ? [lastLine, atOnce, kept, joined, composed] : [];
  for (const journey of journeys) await journey(browser, codraft);
} catch (error) {
  console.error(error);
  if (codraft) console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await codraft?.stop();
}
