// Frames of the subprotocol `codraft.v1.bin`, as `proto/src/frame/binary.rs` describes them.

import { MalformedError, Reader, Writer } from "./delta-binary.js";

export const SUBPROTOCOL = "codraft.v1.bin";

const LAST = 0x80;
const KIND = 0x3f;
/** What the op behind it is a restore of. */
const RESTORES = 16;

/** The reason of a resync where what is shown is not what the servers have. */
export const DIVERGED = "diverged";

export type Role = "viewer" | "commenter" | "editor" | "owner";

/** A revision and the hash of the chain of events up to it. */
export interface At {
  rev: number;
  hash: string;
}

export interface Who {
  slot: number;
  client: string;
  user: string;
  /** For people to read, where it says more than `user`. */
  name?: string;
}

export interface Welcome {
  type: "welcome";
  client: string;
  user: string;
  role: Role;
  kind: string;
  algebra: string;
  title: string;
  rev: number;
  hash: string;
  /** Milliseconds since the Unix epoch, of the event before those that follow. */
  ts: number;
  resumed: boolean;
  acked: { seq: number; rev: number } | null;
  who: Who[];
  /** One's own slot; older routers do not say it. */
  you?: number;
  /** Of a large document: where the archive has it whole, and at which revision. */
  snapshot_version?: number;
  snapshot_url?: string;
  limits: { frame_bytes: number };
  incarnation: string;
  /** The document's content; null where the events after the revision resumed from follow. */
  doc: Uint8Array | null;
}

export type ServerFrame =
  | Welcome
  | ({ type: "who" } & Who)
  /** `restores`: of a restore, the revision that it made of the document. */
  | { type: "op"; slot: number; since: number; ops: Uint8Array; restores?: number }
  /** `title`: what it is now. */
  | { type: "event"; slot: number; since: number; kind: string; user?: string; role?: Role; title?: string }
  | { type: "skip"; since: number }
  | { type: "already"; seq: number; rev: number }
  | {
      type: "reject";
      seq: number;
      base: number;
      final: boolean;
      code: string;
      message: string;
      retry_after_ms?: number;
    }
  | { type: "rebase"; seq: number; base: number; floor: number; head: number }
  | ({ type: "mark" } & At)
  /** Without a revision: gone. */
  | {
      type: "presence";
      slot: number;
      rev?: number;
      cursor?: number;
      selection?: { anchor: number; head: number };
      data?: Record<string, unknown> | null;
      last_seen?: number;
    }
  | { type: "role"; role: Role }
  | { type: "resync"; reason: string }
  | { type: "pong" }
  /** Is there a page that runs? To be answered. */
  | { type: "here" }
  | { type: "bye"; code: string; reason: string; retry_after_ms?: number }
  | { type: "saving"; on: boolean };

export type ClientFrame =
  | { type: "hello"; client: string; resume: At | null; unsent: boolean }
  | { type: "op"; seq: number; base: number; ops: Uint8Array }
  | { type: "check"; rev: number; digest: Uint8Array }
  /** With none of it: gone. */
  | {
      type: "presence";
      rev: number;
      cursor?: number | null;
      selection?: { anchor: number; head: number } | null;
      data?: Record<string, unknown> | null;
    }
  | { type: "auth"; token: string }
  | { type: "ping" }
  | { type: "here" };

const ROLES: readonly Role[] = ["viewer", "commenter", "editor", "owner"];
const utf8 = new TextEncoder();

/** Reads one message: a batch of frames. */
export function decodeServer(message: Uint8Array): ServerFrame[] {
  const input = new Reader(message);
  const frames: ServerFrame[] = [];
  let restores: number | null = null;
  while (input.left > 0) {
    const head = input.byte();
    const body = (head & LAST) !== 0 ? input.rest() : input.raw(input.varint());
    if ((head & KIND) === RESTORES) {
      restores = new Reader(body).varint();
      continue;
    }
    const frame = decodeBody(head & KIND, new Reader(body));
    if (frame?.type === "op" && restores !== null) {
      frame.restores = restores;
      restores = null;
    }
    // A kind from a later version: what this one does not know does not concern it.
    if (frame) frames.push(frame);
  }
  return frames;
}

function decodeBody(kind: number, body: Reader): ServerFrame | null {
  switch (kind) {
    case 1: {
      const fields = object(body.string());
      const rest = body.rest();
      return {
        ...(fields as unknown as Welcome),
        type: "welcome",
        acked: (fields.acked as Welcome["acked"] | undefined) ?? null,
        doc: fields.resumed === true ? null : rest,
      };
    }
    case 2:
      return { ...(json(body) as unknown as Who), type: "who" };
    case 3:
      return { type: "op", slot: body.varint(), since: body.varint(), ops: body.rest() };
    case 4: {
      const slot = body.varint();
      const since = body.varint();
      return { ...(json(body) as { kind: string }), type: "event", slot, since };
    }
    case 5:
      return { type: "skip", since: body.varint() };
    case 6:
      return { type: "already", seq: body.varint(), rev: body.varint() };
    case 7:
      return { ...(json(body) as unknown as Frame<"reject">), type: "reject" };
    case 8:
      return {
        type: "rebase",
        seq: body.varint(),
        base: body.varint(),
        floor: body.varint(),
        head: body.varint(),
      };
    case 9:
      return { type: "mark", rev: body.varint(), hash: hex(body.raw(32)) };
    case 10: {
      const slot = body.varint();
      return { ...(body.left > 0 ? json(body) : {}), type: "presence", slot };
    }
    case 11: {
      const role = ROLES[body.byte() - 1];
      if (!role) throw new MalformedError("a role of no known number");
      return { type: "role", role };
    }
    case 12:
      return { ...(json(body) as unknown as Frame<"resync">), type: "resync" };
    case 13:
      return { type: "pong" };
    case 14:
      return { ...(json(body) as unknown as Frame<"bye">), type: "bye" };
    case 15:
      return { type: "saving", on: body.byte() === 1 };
    case 17:
      return { type: "here" };
    default:
      return null;
  }
}

type Frame<T extends ServerFrame["type"]> = Extract<ServerFrame, { type: T }>;

/** One frame as a message of its own. */
export function encodeClient(frame: ClientFrame): Uint8Array {
  const out = new Writer();
  switch (frame.type) {
    case "hello": {
      out.byte(32 | LAST);
      const { client, resume, unsent } = frame;
      const fields = { type: "hello", client, unsent, ...(resume ? { resume } : {}) };
      out.raw(utf8.encode(JSON.stringify(fields)));
      break;
    }
    case "op":
      out.byte(33 | LAST);
      out.varint(frame.seq);
      out.varint(frame.base);
      out.raw(frame.ops);
      break;
    case "check":
      out.byte(35 | LAST);
      out.varint(frame.rev);
      out.raw(frame.digest);
      break;
    case "presence": {
      const { cursor, data, selection } = frame;
      out.byte(34 | LAST);
      out.varint(frame.rev);
      const fields = Object.entries({ cursor, data, selection }).filter(([, value]) => value != null);
      if (fields.length > 0) out.raw(utf8.encode(JSON.stringify(Object.fromEntries(fields))));
      break;
    }
    case "auth":
      out.byte(36 | LAST);
      out.raw(utf8.encode(frame.token));
      break;
    case "ping":
      out.byte(37 | LAST);
      break;
    case "here":
      out.byte(38 | LAST);
      break;
  }
  return out.take();
}

export function newClientId(): string {
  return hex(crypto.getRandomValues(new Uint8Array(16)));
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function json(body: Reader): Record<string, unknown> {
  return object(body.text(body.left));
}

function object(text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new MalformedError("not JSON");
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new MalformedError("a frame is an object");
  }
  return parsed as Record<string, unknown>;
}
