#!/usr/bin/env bash
# reconnecting-websocket 4.4.0, ws 8.23.0.
#
# Expected: what `onopen` sends is the first thing that a server hears on a connection; it is where
# a client says who it is and from which revision it goes on.
# What happens: `send` while there is no connection is queued, and the queue is sent before `onopen`
# and the "open" listeners are called. The server gets the edits first and the greeting after them:
# it refuses the connection, or takes edits for a document that it does not know yet. After every
# outage, that is; a test that connects first and edits then never sees it. Keep the queue oneself
# and set `maxEnqueuedMessages: 0`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund reconnecting-websocket@4.4.0 ws@8.23.0
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import ReconnectingWebSocket from 'reconnecting-websocket'
import WebSocket, { WebSocketServer } from 'ws'

/** What a server hears from a client that edits before it is connected. */
async function heard(options) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const url = `ws://127.0.0.1:${server.address().port}`
  const client = new ReconnectingWebSocket(url, [], { WebSocket, ...options })
  client.onopen = () => {
    client.send('hello, I have revision 7')
    client.send('end')
  }
  client.send('edit of revision 7')
  const messages = []
  const [socket] = await once(server, 'connection')
  for await (const [data] of on(socket, 'message')) {
    if (String(data) === 'end') break
    messages.push(String(data))
  }
  client.close()
  socket.terminate()
  server.close()
  return messages
}

const usual = await heard({})
console.log('default:               ', usual)
assert.deepEqual(usual, ['edit of revision 7', 'hello, I have revision 7'])

const none = await heard({ maxEnqueuedMessages: 0 })
console.log('maxEnqueuedMessages: 0:', none)
assert.deepEqual(none, ['hello, I have revision 7'])
END
node probe.mjs
