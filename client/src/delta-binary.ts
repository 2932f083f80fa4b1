// The binary form of an operation, as it travels on sockets and lies in the log. The server's
// description of it is in `ot/src/codec.rs`; both sides must produce the same bytes.

import Delta, { type AttributeMap, type Op } from "quill-delta";

const RETAIN = 0;
const DELETE = 1;
const INSERT = 2;
const OTHER = 3;
const RETAIN_WITH = 0;
const INSERT_WITH = 1;
const EMBED = 2;

/** The most components, attributes and levels that are read; what is above is not ours. */
const DEPTH_MAX = 32;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes that cannot be read. */
export class MalformedError extends Error {
  override name = "MalformedError";
}

/** Grows as it is written to. */
export class Writer {
  private bytes = new Uint8Array(64);
  private used = 0;

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.used++] = value;
  }

  /** A whole number, seven bits a byte, the lowest first. */
  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a count: ${value}`);
    while (value >= 0x80) {
      this.byte((value % 0x80) | 0x80);
      value = Math.floor(value / 0x80);
    }
    this.byte(value);
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.used);
    this.used += bytes.length;
  }

  string(text: string): void {
    const bytes = utf8.encode(text);
    this.varint(bytes.length);
    this.raw(bytes);
  }

  take(): Uint8Array {
    return this.bytes.slice(0, this.used);
  }

  private reserve(more: number): void {
    if (this.used + more <= this.bytes.length) return;
    const bigger = new Uint8Array(Math.max(this.bytes.length * 2, this.used + more));
    bigger.set(this.bytes.subarray(0, this.used));
    this.bytes = bigger;
  }
}

export class Reader {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get left(): number {
    return this.bytes.length - this.at;
  }

  byte(): number {
    const value = this.bytes[this.at];
    if (value === undefined) throw new MalformedError("the bytes end too early");
    this.at += 1;
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new MalformedError("a number is too large");
      if (byte < 0x80) return value;
    }
  }

  raw(length: number): Uint8Array {
    if (length > this.left) throw new MalformedError("the bytes end too early");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  rest(): Uint8Array {
    return this.raw(this.left);
  }

  text(length: number): string {
    try {
      return fromUtf8.decode(this.raw(length));
    } catch (error) {
      if (error instanceof MalformedError) throw error;
      throw new MalformedError("text that is not UTF-8");
    }
  }

  string(): string {
    return this.text(this.varint());
  }
}

export function encodeDelta(delta: Delta): Uint8Array {
  const out = new Writer();
  for (const op of delta.ops) component(out, op);
  return out.take();
}

export function decodeDelta(bytes: Uint8Array): Delta {
  const input = new Reader(bytes);
  const delta = new Delta();
  while (input.left > 0) readComponent(input, delta);
  return delta.chop();
}

function component(out: Writer, op: Op): void {
  const attributes = op.attributes && Object.keys(op.attributes).length > 0 ? op.attributes : null;
  if (typeof op.delete === "number") {
    head(out, op.delete, DELETE);
  } else if (typeof op.retain === "number") {
    if (attributes === null) return head(out, op.retain, RETAIN);
    head(out, RETAIN_WITH, OTHER);
    out.varint(op.retain);
    map(out, attributes);
  } else if (typeof op.insert === "string") {
    const text = utf8.encode(op.insert);
    if (attributes === null) {
      head(out, text.length, INSERT);
      return out.raw(text);
    }
    head(out, INSERT_WITH, OTHER);
    out.varint(text.length);
    out.raw(text);
    map(out, attributes);
  } else if (op.insert !== undefined) {
    head(out, EMBED, OTHER);
    value(out, op.insert);
    map(out, attributes ?? {});
  } else {
    throw new TypeError("a component inserts, deletes or retains a number of units");
  }
}

function readComponent(input: Reader, delta: Delta): void {
  const start = input.varint();
  const n = Math.floor(start / 4);
  switch (start & 3) {
    case RETAIN:
      delta.retain(counted(n));
      return;
    case DELETE:
      delta.delete(counted(n));
      return;
    case INSERT:
      delta.insert(input.text(counted(n)));
      return;
  }
  switch (n) {
    case RETAIN_WITH: {
      const units = counted(input.varint());
      delta.retain(units, readMap(input, 0));
      return;
    }
    case INSERT_WITH: {
      const text = input.string();
      delta.insert(text, readMap(input, 0));
      return;
    }
    case EMBED: {
      const embed = readValue(input, 0);
      if (typeof embed !== "object" || embed === null) {
        throw new MalformedError("an embed is an object");
      }
      delta.insert(embed as Record<string, unknown>, readMap(input, 0));
      return;
    }
    default:
      throw new MalformedError("a component of no known kind");
  }
}

function head(out: Writer, n: number, type: number): void {
  out.varint(n * 4 + type);
}

function counted(n: number): number {
  if (n === 0) throw new MalformedError("a count of nothing");
  return n;
}

/** In the order of the names' bytes, which is the server's. */
function map(out: Writer, entries: AttributeMap): void {
  const named = Object.entries(entries)
    .filter(([, of]) => of !== undefined)
    .map(([name, of]) => ({ name: utf8.encode(name), of }));
  named.sort((a, b) => compareBytes(a.name, b.name));
  out.varint(named.length);
  for (const { name, of } of named) {
    out.varint(name.length);
    out.raw(name);
    value(out, of);
  }
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function value(out: Writer, of: unknown): void {
  if (of === null) out.byte(0);
  else if (of === false) out.byte(1);
  else if (of === true) out.byte(2);
  else if (typeof of === "number") {
    out.byte(3);
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, of, true);
    out.raw(bytes);
  } else if (typeof of === "string") {
    out.byte(4);
    out.string(of);
  } else if (Array.isArray(of)) {
    out.byte(5);
    out.varint(of.length);
    for (const item of of) value(out, item);
  } else if (typeof of === "object") {
    out.byte(6);
    map(out, of as AttributeMap);
  } else {
    throw new TypeError(`not a value of JSON: ${typeof of}`);
  }
}

function readMap(input: Reader, depth: number): AttributeMap {
  const entries: AttributeMap = {};
  for (let count = input.varint(); count > 0; count -= 1) {
    const name = input.string();
    // Not by assignment: `__proto__` is a name like any other here.
    Object.defineProperty(entries, name, {
      value: readValue(input, depth + 1),
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
  return entries;
}

function readValue(input: Reader, depth: number): unknown {
  if (depth > DEPTH_MAX) throw new MalformedError("values nested too deep");
  const kind = input.byte();
  switch (kind) {
    case 0:
      return null;
    case 1:
      return false;
    case 2:
      return true;
    case 3: {
      const bytes = input.raw(8);
      return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
    }
    case 4:
      return input.string();
    case 5: {
      const items: unknown[] = [];
      for (let count = input.varint(); count > 0; count -= 1) {
        items.push(readValue(input, depth + 1));
      }
      return items;
    }
    case 6:
      return readMap(input, depth + 1);
    default:
      throw new MalformedError(`a value of no known kind: ${kind}`);
  }
}
