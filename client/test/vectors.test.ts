// The golden vectors that Rust is held to, too (`tests/vectors/`): one wire, two languages.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import Delta, { type Op } from "quill-delta";

import { Checks } from "../src/check.js";
import { decodeDelta, encodeDelta } from "../src/delta-binary.js";
import { ClientDocument } from "../src/document.js";
import { decodeServer, encodeClient, type ClientFrame, type ServerFrame } from "../src/frame.js";
import { bytesOf, hexOf } from "./hex.js";

type Json = Record<string, unknown>;

const read = <T>(name: string): T =>
  JSON.parse(readFileSync(`../tests/vectors/${name}.json`, "utf8")) as T;

test("operations", () => {
  const { operations } = read<{ operations: { name: string; ops: Op[]; hex: string }[] }>("ot");
  assert.ok(operations.length > 5);
  for (const { name, ops, hex } of operations) {
    assert.equal(hexOf(encodeDelta(new Delta(ops))), hex, name);
    assert.deepEqual(decodeDelta(bytesOf(hex)).ops, ops, name);
  }
});

test("digests of documents", async () => {
  const { documents } = read<{ documents: { name: string; ops: Op[]; digest: string }[] }>("ot");
  assert.ok(documents.length > 3);
  for (const { name, ops, digest } of documents) {
    let now = 0;
    const document = new ClientDocument();
    document.open(new Delta(ops), { rev: 1, hash: "" });
    const checks = new Checks(document, () => now);
    assert.equal(await checks.due(), null, "not at once");
    now = 60_000;
    assert.equal(hexOf((await checks.due())?.digest ?? new Uint8Array()), digest, name);
  }
});

const frames = read<{ name: string; direction: string; json: Json | Json[]; binary_hex: string }[]>("frames");

test("client frames", () => {
  let tried = 0;
  for (const { name, direction, json, binary_hex } of frames) {
    if (direction !== "client" || Array.isArray(json)) continue;
    tried += 1;
    const frame =
      json["type"] === "op"
        ? { ...json, ops: encodeDelta(new Delta(json["ops"] as Op[])) }
        : { resume: null, ...json, ...(json["type"] === "check" ? { digest: bytesOf(json["digest"] as string) } : {}) };
    const bytes = encodeClient(frame as unknown as ClientFrame);
    if (json["type"] === "hello") {
      // The order of names in JSON is free.
      assert.equal(bytes[0], bytesOf(binary_hex)[0], name);
      assert.deepEqual(JSON.parse(Buffer.from(bytes.subarray(1)).toString()), json, name);
    } else {
      assert.equal(hexOf(bytes), binary_hex, name);
    }
  }
  assert.ok(tried >= 5);
});

test("server frames", () => {
  let tried = 0;
  for (const { name, direction, json, binary_hex } of frames) {
    if (direction !== "server") continue;
    const decoded = decodeServer(bytesOf(binary_hex));
    const expected = Array.isArray(json) ? json : [json];
    assert.equal(decoded.length, expected.length, name);
    decoded.forEach((frame, i) => same(frame, expected[i] ?? {}, name));
    tried += decoded.length;
  }
  assert.ok(tried >= 10);
});

/** What the binary form says, beside what JSON says: revisions and times are implicit in it. */
function same(frame: ServerFrame, json: Json, name: string): void {
  for (const [field, value] of Object.entries(frame)) {
    if (field === "since") continue;
    if (field === "ops" || (field === "doc" && value !== null)) {
      assert.deepEqual(decodeDelta(value as Uint8Array).ops, json[field] ?? [], `${name}: ${field}`);
    } else {
      assert.deepEqual(value, json[field] ?? null, `${name}: ${field}`);
    }
  }
}
