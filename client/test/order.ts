// A server small enough to see through: it orders operations as the real one does, each moved
// past all that came before it, with the earlier one going first.

import Delta from "quill-delta";

import { decodeDelta, encodeDelta } from "../src/delta-binary.js";

export interface Applied {
  rev: number;
  client: string;
  seq: number;
  ops: Uint8Array;
}

export class Order {
  readonly log: Applied[] = [];
  private content = new Delta();
  private readonly seqs = new Map<string, { seq: number; rev: number; bytes: string }>();

  get rev(): number {
    return this.log.length;
  }

  get text(): string {
    return this.content.ops.map((op) => op.insert).join("");
  }

  get state(): Uint8Array {
    return encodeDelta(this.content);
  }

  acked(client: string): { seq: number; rev: number } | null {
    const last = this.seqs.get(client);
    return last ? { seq: last.seq, rev: last.rev } : null;
  }

  /** The operation as applied; a repeat's revision; or nothing for what must not happen. */
  submit(client: string, seq: number, base: number, ops: Uint8Array): Applied | { already: number } {
    const last = this.seqs.get(client);
    const bytes = `${base}:${Buffer.from(ops).toString("hex")}`;
    if (last && seq === last.seq) {
      if (last.bytes !== bytes) throw new Error(`seq ${seq} of ${client} with other bytes`);
      return { already: last.rev };
    }
    if (seq !== (last?.seq ?? 0) + 1) throw new Error(`seq ${seq} after ${last?.seq ?? 0}`);
    if (base > this.rev) throw new Error(`base ${base} of ${this.rev}`);
    let delta = decodeDelta(ops);
    for (const earlier of this.log.slice(base)) {
      if (earlier.client === client) throw new Error("an own operation after the own base");
      delta = decodeDelta(earlier.ops).transform(delta, true);
    }
    this.content = this.content.compose(delta);
    const applied = { rev: this.rev + 1, client, seq, ops: encodeDelta(delta) };
    this.log.push(applied);
    this.seqs.set(client, { seq, rev: applied.rev, bytes });
    return applied;
  }
}
