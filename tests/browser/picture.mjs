// Two windows side by side, for the README.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import {
  hasStatus,
  killLeader,
  leader,
  openWindow,
  scheme,
  SIZE,
  textOf,
  type,
  until,
  waitForLeader,
} from "./windows.mjs";

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

export async function picture(browser, codraft) {
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
