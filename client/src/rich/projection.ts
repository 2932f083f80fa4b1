// What a rich editor shows of a document: unit for unit as long as the document, and made of what
// Quill keeps as it is. What Quill cannot show is an object of one unit that stands for it; a
// format that it would drop, change or misplace is not shown, and stays in the document. Of formats
// that exclude each other a line shows one, the same in every window.

import Delta, { type AttributeMap, Op } from "quill-delta";

import { aligned } from "../contents.js";

/** The embed that stands for what cannot be shown; its value says what that is, in JSON. */
export const OBJECT = "codraft-object";

/** What is shown for a format's value; `undefined` for none. */
type Shown = (value: unknown) => unknown;

const one = (...of: unknown[]): Shown => (value) => (of.includes(value) ? value : undefined);
const like = (pattern: RegExp): Shown => (value) => {
  return typeof value === "string" && pattern.test(value) ? value : undefined;
};

/** A colour as a browser gives it back; others come back in other words. */
const COLOR = like(/^(#[0-9a-f]{6}|black|blue|gray|green|navy|orange|purple|red|silver|teal|white|yellow)$/);

const OF_TEXT = new Map<string, Shown>([
  ["bold", one(true)],
  ["italic", one(true)],
  ["underline", one(true)],
  ["strike", one(true)],
  ["code", one(true)],
  ["script", one("sub", "super")],
  ["link", like(/^(https?|mailto|tel|sms):/)],
  ["color", COLOR],
  ["background", COLOR],
  ["font", one("serif", "monospace")],
  ["size", one("small", "large", "huge")],
]);

/** A line has the first of these that it can show. */
const OF_LINE_ONE = new Map<string, Shown>([
  // Whatever language it names.
  ["code-block", (value) => value === true || (typeof value === "string" && value !== "") || undefined],
  ["list", one("ordered", "bullet", "checked", "unchecked")],
  ["header", one(1, 2, 3, 4, 5, 6)],
  ["blockquote", one(true)],
]);

const OF_LINE = new Map<string, Shown>([
  ["align", one("center", "right", "justify")],
  ["direction", one("rtl")],
  ["indent", one(1, 2, 3, 4, 5, 6, 7, 8)],
]);

const ANY = like(/./s);
const OF_PICTURE = new Map<string, Shown>([...OF_TEXT, ["alt", ANY], ["width", ANY], ["height", ANY]]);

/** A picture that is in the document. One on another's server would tell that who reads here. */
const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,/;

const APART = /([\n\r\ufeff])/;

/** Quill makes a line break of the one, and takes the other, around carets and objects, for its own. */
function isKeptBack(text: unknown): text is string {
  return text === "\r" || text === "\ufeff";
}

/** Whether a line has at most one format of this name and those that exclude it. */
export function isExclusive(name: string): boolean {
  return OF_LINE_ONE.has(name);
}

/** What is shown of a document. */
export function project(content: Delta): Delta {
  const shown = new Delta();
  for (const { insert, attributes } of content.ops) {
    if (typeof insert !== "string") {
      const isShown = insert !== undefined && isPicture(insert);
      shown.insert(isShown ? insert : object(insert ?? {}), shownOf(isShown ? OF_PICTURE : OF_TEXT, attributes));
      continue;
    }
    for (const text of insert.split(APART)) {
      if (text === "\n") shown.insert(text, ofLine(attributes));
      else shown.insert(isKeptBack(text) ? object(text) : text, shownOf(OF_TEXT, attributes));
    }
  }
  return shown;
}

/** What a change of a document is to what is shown of that. */
export function projectChange(change: Delta, content: Delta): Delta {
  const shown = new Delta();
  let at = 0;
  for (const op of change.ops) {
    const units = Op.length(op);
    if (op.insert !== undefined) {
      for (const piece of project(new Delta([op])).ops) shown.push(piece);
      continue;
    }
    if (op.delete !== undefined) shown.delete(units);
    else if (!op.attributes) shown.retain(units);
    else {
      const before = content.slice(at, at + units);
      const after = before.compose(new Delta().retain(units, op.attributes));
      const formats = aligned(project(before), project(after));
      for (const piece of formats.ops) shown.push(piece);
      shown.retain(units - formats.length());
    }
    at += units;
  }
  return shown.chop();
}

/** What an object stands for; null where it is none of ours. */
export function stoodFor(value: unknown): string | Record<string, unknown> | null {
  try {
    const insert: unknown = JSON.parse(String(value));
    if (isKeptBack(insert)) return insert;
    const isMap = typeof insert === "object" && insert !== null && !Array.isArray(insert);
    return isMap ? (insert as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** What a line break shows: of the formats that exclude each other, one. */
export function ofLine(attributes: AttributeMap = {}): AttributeMap {
  const formats = shownOf(OF_LINE, attributes);
  for (const [name, show] of OF_LINE_ONE) {
    const value = Object.hasOwn(attributes, name) ? show(attributes[name]) : undefined;
    if (value !== undefined) return { ...formats, [name]: value };
  }
  return formats;
}

function shownOf(formats: ReadonlyMap<string, Shown>, attributes: AttributeMap = {}): AttributeMap {
  const shown: AttributeMap = {};
  for (const [name, value] of Object.entries(attributes)) {
    const what = formats.get(name)?.(value);
    if (what !== undefined) shown[name] = what;
  }
  return shown;
}

function isPicture(embed: Record<string, unknown>): boolean {
  const { image } = embed;
  return Object.keys(embed).length === 1 && typeof image === "string" && PICTURE.test(image);
}

function object(insert: string | Record<string, unknown>): Record<string, unknown> {
  return { [OBJECT]: JSON.stringify(insert) };
}
