// Rich documents and operations, random and by name: what Quill shows, what it drops, changes or
// throws at (`OBJECTS`, `FORMATS`), and what is in no editor at all.

import { characters } from "../../quill/cases.mjs";

const DOT = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const PIECES = ["a", "b", "word ", "xyz", "\n", "\n", "\n\n", " ", "  ", "é", "漢字", "🦀", "👩‍👧", "\ufffc", "e\u0301", "\t", "\r", "\r\n", "\ufeff", "<b>"];

const OBJECTS = [
  { image: DOT }, { image: DOT }, { image: "https://example.org/a.png" }, { image: 7 }, { image: { a: 1 } },
  { video: "https://example.org/v" }, { formula: "e=mc^2" }, { mention: { id: 1, name: "🦀" } },
  { divider: true }, { "codraft-object": "\"\\r\"" }, { "codraft-object": 1 }, { image: DOT, more: 1 }, { text: "a" }, { break: true }, { cursor: 1 }, {},
];

const FORMATS = {
  bold: [true, true, true, false, 1, "", "yes"],
  italic: [true], underline: [true], strike: [true], code: [true, true, "x"],
  script: ["sub", "super", "middle"],
  link: ["https://example.org/?a=1&b=\"2\"", "mailto:a@b.c", "javascript:alert(1)", "/here", "HTTPS://X", "https://[", true, ""],
  color: ["#ff0000", "#F00", "red", "notacolor", "rgb(1, 2, 3)", "inherit", ""],
  background: ["#00ff00", "transparent", {}],
  font: ["serif", "comic"], size: ["small", "huge", "10px"],
  header: [1, 2, 6, 9, 0, "2", true, false],
  list: ["ordered", "bullet", "checked", "unchecked", "", "x y", { list: 1 }],
  blockquote: [true, true, false, "x"],
  "code-block": [true, true, "plain", "javascript", false, ""],
  align: ["center", "right", "left", ""], direction: ["rtl", "ltr"],
  indent: [1, 8, 9, 0, -1, "+1", "2"],
  alt: ["a picture", ""], width: ["10", 10, "10px"], height: ["20", null],
  table: ["row-1"], formula: [true], image: ["x"], "code-token": ["hljs"], block: [true], text: ["t"], scroll: [1], inline: [true],
  cursor: [true], "list-container": [true], "codraft-object": ["{}"],
  "ключ": [true, { deep: [{ a: null }] }], author: ["u1", "u2"], id: ["x"], class: ["ql-size-huge"], style: ["color: red"],
};
const NAMES = Object.keys(FORMATS);
const COMMON = ["bold", "italic", "link", "color", "header", "list", "blockquote", "code-block", "indent", "author"];

const line = (attributes) => ({ insert: "\n", attributes });
const ofLine = (attributes) => [{ insert: "a" }, line(attributes), { insert: "b\n" }];

/** What one would guess wrong (`facts`), by name. */
export const FACTS = {
  "an embed that Quill does not know": [{ insert: "a" }, { insert: { mention: { id: 1 } } }, { insert: "b\n" }],
  "an embed of nothing, and one of two things": [{ insert: {} }, { insert: { a: 1, b: 2 } }, { insert: "\n" }],
  "an embed that is a name of Quill's own": [{ insert: { break: true } }, { insert: { cursor: 1 } }, { insert: { text: "x" } }, { insert: { block: true } }, { insert: "\n" }],
  "an embed whose value is an object": [{ insert: { image: { src: DOT } } }, { insert: "\n" }],
  "a block embed within a line": [{ insert: "a" }, { insert: { video: "https://example.org/v" } }, { insert: "b\n" }],
  "a picture": [{ insert: { image: DOT }, attributes: { alt: "dot", width: "10", bold: true } }, { insert: "\n" }],
  "a picture of another's server": [{ insert: { image: "https://example.org/a.png" } }, { insert: "\n" }],
  "a picture in a code block": [{ insert: "a" }, { insert: { image: DOT } }, line({ "code-block": true })],
  "an object in a code block": [{ insert: "a" }, { insert: { x: 1 }, attributes: { bold: true } }, line({ "code-block": true })],
  "formats in a code block": [{ insert: "a", attributes: { bold: true, link: "https://a.b" } }, line({ "code-block": "plain" })],
  "carriage returns": [{ insert: "a\rb\r\nc\r" }, { insert: "\r", attributes: { bold: true } }, { insert: "\n" }],
  "no more than a line break": [{ insert: "\n" }],
  "an unknown attribute": [{ insert: "a", attributes: { author: "u1" } }, { insert: "a", attributes: { author: "u2" } }, line({ author: "u1" })],
  "attributes that are objects": [{ insert: "a", attributes: { x: { y: [null, { z: 1 }] } } }, { insert: "\n" }],
  "a link that is refused": [{ insert: "a", attributes: { link: "javascript:alert(1)" } }, { insert: "\n" }],
  "a colour that is none": [{ insert: "a", attributes: { color: "notacolor", background: "#ABC" } }, { insert: "\n" }],
  "a heading of no level": ofLine({ header: 9 }),
  "a code block that is true": ofLine({ "code-block": true }),
  "a code block with a language": ofLine({ "code-block": "rust" }),
  "an indent that is a step": ofLine({ indent: "+1", list: "bullet" }),
  "two kinds of one line": ofLine({ header: 1, list: "bullet" }),
  "two kinds of one line, the other way round": ofLine({ list: "bullet", header: 1 }),
  "all kinds of one line": ofLine({ blockquote: true, "code-block": true, header: 2, list: "ordered", align: "center" }),
  "a format of text on a line break": [{ insert: "a\n", attributes: { bold: true } }],
  "a format of lines on text": [{ insert: "a", attributes: { header: 1, list: "bullet" } }, { insert: "\n" }],
  "the guard of Quill's own embeds": [{ insert: "\ufeffa\ufeff" }, { insert: { x: 1 } }, { insert: "\ufeff\n" }],
  "an object that looks like ours": [{ insert: { "codraft-object": "nothing" } }, { insert: "\n" }],
  "an empty last line in a list": [{ insert: "a" }, line({ list: "bullet" }), line({ list: "bullet" })],
};

function component(main, attributes) {
  return attributes && Object.keys(attributes).length > 0 ? { ...main, attributes } : main;
}

function attributes(random, nulls = 0) {
  const set = {};
  for (let i = random.one([0, 0, 1, 1, 2, 3]); i > 0; i -= 1) {
    const name = random.one(random.chance(60) ? COMMON : NAMES);
    set[name] = random.chance(nulls) ? null : random.one(FORMATS[name]);
    if (set[name] === null && nulls === 0) delete set[name];
  }
  return set;
}

function insert(random) {
  if (random.chance(20)) return component({ insert: random.one(OBJECTS) }, attributes(random));
  const text = Array.from({ length: 1 + random.below(3) }, () => random.one(PIECES)).join("");
  return component({ insert: text }, attributes(random));
}

/** Components of a document; its last line break is the last. */
export function document(random) {
  const ops = Array.from({ length: random.below(8) }, () => insert(random));
  return [...ops, component({ insert: "\n" }, attributes(random))];
}

/** Components of an operation on a document that leaves its last line break where it is. */
export function operation(random, content) {
  const lengths = characters(content);
  const ops = [];
  for (let at = 0; at < lengths.length - 1 && !random.chance(15); ) {
    const what = random.below(10);
    if (what < 3) ops.push(insert(random));
    const end = Math.min(lengths.length - 1, at + 1 + random.below(4));
    const units = lengths.slice(at, end).reduce((sum, n) => sum + n, 0);
    if (what === 3 || what === 4) ops.push({ delete: units });
    else ops.push(component({ retain: units }, what > 6 ? attributes(random, 30) : {}));
    at = end;
  }
  if (random.chance(40)) {
    const passed = ops.reduce((sum, op) => sum + (op.retain ?? op.delete ?? 0), 0);
    const all = lengths.reduce((sum, n) => sum + n, 0);
    if (all - 1 > passed) ops.push({ retain: all - 1 - passed });
    if (random.chance(50)) ops.push(insert(random));
    ops.push(component({ retain: 1 }, attributes(random, 30)));
  }
  return ops;
}

/** A format that a user may choose, and a value. */
export function choice(random) {
  return random.one([
    ["bold", true], ["bold", false], ["italic", true], ["code", true], ["code", false], ["link", "https://a.b"], ["link", false],
    ["color", "#ff0000"], ["script", "sub"], ["size", "large"], ["header", 1], ["header", 2], ["header", false], ["list", "bullet"],
    ["list", "checked"], ["list", false], ["blockquote", true], ["blockquote", false], ["code-block", true],
    ["code-block", true], ["code-block", false], ["align", "center"], ["align", false], ["indent", "+1"], ["indent", "-1"],
  ]);
}
