// A router in a few lines, on real sockets, to break at will.

import { createHash } from "node:crypto";
import { createServer, type Server as HttpServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";

import { decodeDelta, Reader, Writer } from "../src/delta-binary.js";
import { hexOf } from "./hex.js";
import { Order, type Applied } from "./order.js";

const LAST = 0x80;
/** Revisions of a page of events. */
const PAGE = 8;

interface Seat {
  socket: WebSocket;
  client: string;
}

export class Server {
  /** Messages that held an operation, as they came, by client and sequence. */
  readonly received: { client: string; seq: number; bytes: string }[] = [];
  readonly hellos: { client: string; resume?: { rev: number; hash: string }; unsent: boolean }[] = [];
  tickets = 0;
  /** Signs of life that were asked for; none is given. */
  pings = 0;
  /**
   * What to do with an operation: `apply` it and say so, apply it and `hide` it from its author,
   * break the socket before or after, or answer something else.
   */
  onOperation: () =>
    "apply" | "hide" | "cut-before" | "cut-after" | "ignore" | "reject" | "rebase" | "refuse" =
    () => "apply";
  /** The code of what is rejected or refused. */
  code = "busy";
  /** A code to close with instead of a welcome. */
  onHello: () => number | null = () => null;
  user = "ana";
  /** Whether a welcome says which slot is one's own. */
  saysYou = true;
  /** How far ahead of the head a rebase says the oldest base is. */
  floorAhead = 0;
  /** Whether to continue where a client was. */
  resumes = true;
  /** The oldest revision to continue from. */
  floor = 0;
  /** What a page of events is answered with, if not with them; told which one it is, from 1 on. */
  onPage: (number: number) => number | Promise<number> = () => 200;
  /** Pages that were asked for: the first and the last revision. */
  readonly pages: { from: number; to: number }[] = [];
  /** A document that is there already, for who does not resume: what came since comes with it. */
  held: { rev: number; state: Uint8Array } | null = null;
  ticketStatus = 201;
  /** What a ticket says of routers, to a client that could not reach some. */
  place: (not: string[]) => object = () => ({});
  /** Before a check is answered. */
  onCheck: (same: boolean | null) => void = () => {};
  /** What clients said their document is, and whether it is the server's; null: of another revision. */
  readonly checks: { rev: number; same: boolean | null }[] = [];
  private seats = new Set<Seat>();
  private slots: string[] = [];

  private constructor(
    private readonly http: HttpServer,
    private readonly sockets: WebSocketServer,
    readonly order: Order,
  ) {}

  /** `order`: of another router of the same documents. */
  static async start(order = new Order()): Promise<Server> {
    const http = createServer();
    const sockets = new WebSocketServer({
      server: http,
      handleProtocols: (offered) => (offered.has("codraft.v1.bin") ? "codraft.v1.bin" : false),
    });
    const server = new Server(http, sockets, order);
    http.on("request", (request, response) => {
      const ops = /^\/v1\/docs\/doc-1\/ops\?from=(\d+)&to=(\d+)$/.exec(request.url ?? "");
      if (ops) return server.page(Number(ops[1]), Number(ops[2]), response);
      const asked = /^\/v1\/collab\/doc-1\/ticket(?:\?not=(.*))?$/.exec(request.url ?? "");
      const isTicket = request.method === "POST" && asked !== null;
      const status = isTicket ? server.ticketStatus : 404;
      server.tickets += 1;
      response.writeHead(status, { "content-type": "application/json" });
      const place = server.place(decodeURIComponent(asked?.[1] ?? "").split(",").filter(Boolean));
      const ticket = { ticket: `t${server.tickets}`, expires_at: 0, role: "editor", ...place };
      response.end(JSON.stringify(status === 201 ? ticket : { code: "no_leader", title: "No" }));
    });
    sockets.on("connection", (socket) => server.join(socket));
    await new Promise<void>((done) => http.listen(0, "127.0.0.1", done));
    return server;
  }

  get base(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets.clients) socket.terminate();
    this.sockets.close();
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }

  cutAll(): void {
    for (const { socket } of this.seats) socket.terminate();
  }

  closeAll(code: number): void {
    for (const { socket } of this.seats) socket.close(code);
  }

  say(frame: Uint8Array): void {
    for (const { socket } of this.seats) socket.send(frame);
  }

  /** An edit from elsewhere. */
  edit(client: string, seq: number, base: number, ops: Uint8Array): void {
    this.deliver(this.order.submit(client, seq, base, ops) as Applied);
  }

  /** Somebody, of slot 0, gives the document another title; it takes a revision. */
  title(title: string): void {
    const none = new Uint8Array();
    this.order.log.push({ rev: this.order.rev + 1, client: "", seq: 0, ops: none });
    const body = new Writer();
    body.varint(0);
    body.varint(1);
    body.raw(Buffer.from(JSON.stringify({ kind: "title", title })));
    this.say(frame(4, body.take()));
  }

  mark(): void {
    const body = new Writer();
    body.varint(this.order.rev);
    body.raw(new Uint8Array(32).fill(this.order.rev));
    this.say(frame(9, body.take()));
  }

  /** Pages end at multiples of a few. */
  private async page(from: number, asked: number, response: ServerResponse): Promise<void> {
    this.pages.push({ from, to: asked });
    const status = await this.onPage(this.pages.length);
    response.writeHead(status, { "content-type": "application/json" });
    const code = status === 410 ? "erased" : "no_version";
    if (status !== 200) return void response.end(JSON.stringify({ code, title: "No" }));
    const to = Math.min(asked, Math.ceil(from / PAGE) * PAGE, this.order.rev);
    const events = this.order.log.slice(from - 1, to).map(({ rev, client, seq, ops }) => {
      return { rev, kind: "edit", ...named(client), seq, base: 0, ts: 0, ops: decodeDelta(ops).ops };
    });
    response.end(JSON.stringify({ id: "doc-1", from, to, events }));
  }

  private join(socket: WebSocket): void {
    const seat: Seat = { socket, client: "" };
    socket.on("close", () => this.seats.delete(seat));
    socket.on("error", () => {});
    socket.on("message", (data: Buffer) => {
      const input = new Reader(new Uint8Array(data));
      const head = input.byte();
      if ((head & 0x3f) === 32) this.hello(seat, JSON.parse(input.text(input.left)));
      else if ((head & 0x3f) === 33) {
        this.operation(seat, input.varint(), input.varint(), input.rest(), data.toString("hex"));
      } else if ((head & 0x3f) === 35) this.check(seat, input.varint(), hexOf(input.rest()));
      else if ((head & 0x3f) === 37) this.pings += 1;
    });
  }

  private hello(seat: Seat, hello: Server["hellos"][number]): void {
    this.hellos.push(hello);
    const code = this.onHello();
    if (code !== null) return seat.socket.close(code);
    seat.client = hello.client;
    this.seats.add(seat);
    const resumed = this.resumes && hello.resume !== undefined && hello.resume.rev >= this.floor;
    const held = this.held ?? { rev: this.order.rev, state: this.order.state };
    const rev = resumed ? (hello.resume?.rev ?? 0) : held.rev;
    const you = this.slot(hello.client);
    const welcome = {
      type: "welcome", client: hello.client, user: this.user, role: "editor", kind: "text",
      algebra: "delta-1", title: "Minutes", rev, hash: "0".repeat(64), ts: 1_000, resumed,
      who: this.slots.map((client, slot) => ({ slot, ...named(client) })),
      ...(this.saysYou ? { you } : {}),
      limits: { frame_bytes: 1 << 16 }, incarnation: "1",
      ...(this.order.acked(hello.client) ? { acked: this.order.acked(hello.client) } : {}),
    };
    const body = new Writer();
    body.string(JSON.stringify(welcome));
    if (!resumed) body.raw(held.state);
    const missed = this.order.log.slice(rev).map((event) => this.event(event));
    seat.socket.send(message([frame(1, body.take()), ...missed]));
  }

  /** Who has another text is told to open again, and hears nothing until then. */
  private check(seat: Seat, rev: number, digest: string): void {
    const own = createHash("sha256").update(this.order.state).digest("hex");
    const same = rev === this.order.rev ? digest === own : null;
    this.checks.push({ rev, same });
    this.onCheck(same);
    if (same !== false) return;
    this.seats.delete(seat);
    const resync = { type: "resync", reason: "diverged" };
    seat.socket.send(frame(12, Buffer.from(JSON.stringify(resync))));
  }

  private operation(seat: Seat, seq: number, base: number, ops: Uint8Array, bytes: string): void {
    this.received.push({ client: seat.client, seq, bytes });
    const what = this.onOperation();
    if (what === "ignore") return;
    if (what === "cut-before") return seat.socket.terminate();
    if (what === "reject" || what === "refuse") {
      const reject = { seq, base, final: what !== "reject", code: this.code, message: "not now" };
      return seat.socket.send(frame(7, Buffer.from(JSON.stringify(reject))));
    }
    if (what === "rebase") {
      const body = new Writer();
      for (const n of [seq, base, this.order.rev + this.floorAhead, this.order.rev]) body.varint(n);
      return seat.socket.send(frame(8, body.take()));
    }
    const outcome = this.order.submit(seat.client, seq, base, ops);
    if ("already" in outcome) {
      const body = new Writer();
      body.varint(seq);
      body.varint(outcome.already);
      return seat.socket.send(frame(6, body.take()));
    }
    if (what === "cut-after" || what === "hide") this.seats.delete(seat);
    if (what === "cut-after") seat.socket.terminate();
    this.deliver(outcome);
    if (what === "hide") this.seats.add(seat);
  }

  private deliver(applied: Applied): void {
    const known = this.slots.includes(applied.client);
    const slot = this.slot(applied.client);
    const who = { slot, ...named(applied.client) };
    if (!known) this.say(frame(2, Buffer.from(JSON.stringify(who))));
    this.say(this.event(applied));
  }

  private event(applied: Applied): Uint8Array {
    const body = new Writer();
    body.varint(this.slot(applied.client));
    body.varint(5);
    body.raw(applied.ops);
    return frame(3, body.take());
  }

  private slot(client: string): number {
    if (!this.slots.includes(client)) this.slots.push(client);
    return this.slots.indexOf(client);
  }
}

/** Clients are kept as `id`, of ana, or `id user`. */
function named(client: string): { client: string; user: string } {
  const [id = "", user = "ana"] = client.split(" ");
  return { client: id, user };
}

/** Messages of one frame each as one: all but the last frame say how long they are. */
function message(frames: Uint8Array[]): Uint8Array {
  const out = new Writer();
  frames.forEach((one, i) => {
    const isLast = i === frames.length - 1;
    out.byte(isLast ? (one[0] ?? 0) : (one[0] ?? 0) & ~LAST);
    if (!isLast) out.varint(one.length - 1);
    out.raw(one.subarray(1));
  });
  return out.take();
}

/** One frame as a message of its own. */
export function frame(kind: number, body: Uint8Array): Uint8Array {
  const out = new Writer();
  out.byte(kind | LAST);
  out.raw(body);
  return out.take();
}
