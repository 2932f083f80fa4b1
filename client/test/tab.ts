// A tab on a server of the tests: a connection, and what its screen would show.

import type { TestContext } from "node:test";
import Delta from "quill-delta";
import { WebSocket } from "ws";

import { Connection } from "../src/connection.js";
import type { ConflictCopy, Status } from "../src/events.js";
import type { SocketLike } from "../src/socket.js";
import type { Order } from "./order.js";
import { Server } from "./server.js";

export interface Tab {
  connection: Connection;
  statuses: Status[];
  conflicts: ConflictCopy[];
  /** The titles that it was told, in order. */
  titles: string[];
  /** What changed on the screen by others, change by change. */
  changes: Delta[];
  /** What is not known yet to be saved. */
  unconfirmed: () => ConflictCopy | null;
  /** The text as a screen would have it. */
  screen: () => string;
  type: (text: string, at?: number) => void;
  edit: (delta: Delta) => void;
}

export async function server(t: TestContext, order?: Order): Promise<Server> {
  const started = await Server.start(order);
  t.after(() => started.stop());
  return started;
}

export function tab(
  t: TestContext,
  on: Server,
  token: () => string | null = () => "token",
  now = () => performance.now(),
): Tab {
  const statuses: Status[] = [];
  const conflicts: ConflictCopy[] = [];
  const titles: string[] = [];
  const changes: Delta[] = [];
  let screen = new Delta();
  let unconfirmed: ConflictCopy | null = null;
  const connection = new Connection({
    base: on.base,
    doc: "doc-1",
    token,
    // Quick, and still different each time.
    random: () => Math.random() * 0.05,
    now,
    webSocket: (url, protocols) => new WebSocket(url, protocols) as unknown as SocketLike,
    events: {
      change: (delta) => {
        changes.push(delta);
        screen = screen.compose(delta);
      },
      status: (status) => statuses.push(status),
      conflict: (copy) => conflicts.push(copy),
      title: (title) => titles.push(title),
      unconfirmed: (copy) => (unconfirmed = copy),
    },
  });
  t.after(() => connection.close());
  connection.open();
  const edit = (delta: Delta): void => {
    screen = screen.compose(delta);
    connection.edit(delta);
  };
  return {
    connection,
    statuses,
    conflicts,
    titles,
    changes,
    unconfirmed: () => unconfirmed,
    screen: () => screen.ops.map((op) => op.insert).join(""),
    type: (text, at) => edit(new Delta().retain(at ?? screen.length()).insert(text).chop()),
    edit,
  };
}

export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`not within ten seconds: ${what}`);
    await new Promise((done) => setTimeout(done, 2));
  }
}

export const saved = (tab: Tab) => until("saved", () => tab.connection.status === "saved");
