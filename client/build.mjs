// Bundles the page into dist/: index.html and assets/ with a hash in each name, because the
// server lets browsers keep assets for good.
import { build } from "esbuild";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
await rm("dist", { recursive: true, force: true });
await mkdir("dist", { recursive: true });

const { metafile } = await build({
  entryPoints: { page: "page/main.ts", style: "page/style.css" },
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  // What rich documents alone need is loaded for them alone.
  chunkNames: "part-[hash]",
  splitting: true,
  bundle: true,
  minify: true,
  sourcemap: false,
  format: "esm",
  target: ["es2022"],
  legalComments: "none",
  metafile: true,
});

const built = Object.keys(metafile.outputs).map((path) => basename(path));
const named = (start, end) => {
  const name = built.find((file) => file.startsWith(start) && file.endsWith(end));
  if (!name) throw new Error(`no ${start}*${end} was built`);
  return `/assets/${name}`;
};
const html = (await readFile("page/index.html", "utf8"))
  .replace("/assets/page.js", named("page-", ".js"))
  .replace("/assets/style.css", named("style-", ".css"));
await writeFile("dist/index.html", html);
