#!/usr/bin/env bash
# @hocuspocus/server 4.7.0, @hocuspocus/provider 4.7.0, yjs 13.6.33.
#
# Expected: when `onStoreDocument` throws (the database is away for a moment), the server tries
# again, at the latest when the last client leaves; it logs "Document stays in memory to avoid data
# loss".
# What happens: nothing tries again. When the last client leaves, no store is waiting, so the
# document is unloaded as if it were stored, and the edits are gone, although the client was told
# that all of them were synced (`hasUnsyncedChanges` is false). The next who opens it gets the old
# one. `onStoreDocument` has to retry by itself until it succeeds.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund \
    @hocuspocus/provider@4.7.0 @hocuspocus/server@4.7.0 ws@8.23.0 yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { Server } from '@hocuspocus/server'
import WebSocket from 'ws'
import * as Y from 'yjs'

/** A promise and what fulfils it. */
function signal() {
  let fire
  const fired = new Promise((done) => (fire = done))
  return { fire, fired }
}

let stores = 0
let stored
const failed = signal()
const unloaded = signal()
const server = new Server({
  quiet: true,
  address: '127.0.0.1',
  port: 0,
  debounce: 50,
  async onLoadDocument({ document }) {
    if (stored) Y.applyUpdate(document, stored)
  },
  async onStoreDocument({ document }) {
    if (++stores === 1) {
      failed.fire()
      throw new Error('the database is away')
    }
    stored = Y.encodeStateAsUpdate(document)
  },
  afterUnloadDocument: async () => unloaded.fire(),
})
await server.listen()
const url = `ws://127.0.0.1:${server.httpServer.address().port}`

/** A client that has synced. */
async function open() {
  const websocketProvider = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket })
  const provider = new HocuspocusProvider({ name: 'notes', websocketProvider })
  const synced = new Promise((done) => provider.on('synced', done))
  provider.attach()
  await synced
  const close = () => {
    provider.destroy()
    websocketProvider.destroy()
  }
  return { provider, text: provider.document.getText('text'), close }
}

const author = await open()
author.text.insert(0, 'an hour of work')
await failed.fired
const { hasUnsyncedChanges } = author.provider
author.close()
await unloaded.fired

const reader = await open()
console.log(`unsynced at the author's: ${hasUnsyncedChanges}; stores tried: ${stores}`)
console.log(`the next client reads: ${JSON.stringify(reader.text.toString())}`)
assert.equal(hasUnsyncedChanges, false)
assert.equal(stores, 1)
assert.equal(reader.text.toString(), '')
process.exit(0)
END
node probe.mjs
