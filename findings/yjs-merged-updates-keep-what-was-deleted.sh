#!/usr/bin/env bash
# yjs 13.6.33.
#
# Expected: compacting a stored log of updates with `Y.mergeUpdates` gives what a document that
# applied them would store; Yjs forgets deleted content (garbage collection is on by default).
# What happens: merging never forgets. The words that were typed and deleted again stay readable in
# the merged update, and reach every client that is sent it, while `encodeStateAsUpdate` of a
# document that applied the same updates has none of them. A server that compacts without loading
# documents never gets smaller by deletions, and "it was deleted" is not true of its storage.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import * as Y from 'yjs'

const updates = []
const author = new Y.Doc()
author.on('update', (update) => updates.push(update))
const draft = 'a sentence that nobody was meant to read; '.repeat(50)
author.getText('text').insert(0, draft)
author.getText('text').delete(0, draft.length)

const merged = Y.mergeUpdates(updates)
const loaded = new Y.Doc()
Y.applyUpdate(loaded, merged)
const stored = Y.encodeStateAsUpdate(loaded)

const readable = (update) => Buffer.from(update).includes('nobody was meant to read')
console.log(`merged:  ${merged.length} bytes, deleted words in it: ${readable(merged)}`)
console.log(`loaded:  ${stored.length} bytes, deleted words in it: ${readable(stored)}`)
assert.equal(readable(merged), true)
assert.equal(readable(stored), false)
END
node probe.mjs
