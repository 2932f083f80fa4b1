#!/usr/bin/env bash
# yjs 13.6.33.
#
# Expected: `encodeStateAsUpdate(doc, stateVector)` is the difference; to a peer whose state vector
# is the document's own it is empty, or nearly.
# What happens: a state vector counts what was inserted and says nothing of what was deleted, so
# that the list of all deletions of the document's life goes along each time. 5,000 scattered ones
# are 15 KB for every reconnect of every client that missed nothing; the text itself is 5 KB. What a
# server sends at a reconnect grows with the history, not with the absence; and "the update is not
# empty" does not mean that there is something new.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import * as Y from 'yjs'

const doc = new Y.Doc()
doc.clientID = 1
const text = doc.getText('text')
const toItself = () => Y.encodeStateAsUpdate(doc, Y.encodeStateVector(doc)).length

for (let at = 0; at < 5000; at++) text.insert(text.length, 'ab')
const before = toItself()
for (let at = 4999; at >= 0; at--) text.delete(2 * at, 1)
const after = toItself()

console.log(`inserted only:         ${before} bytes to a peer that has everything`)
console.log(`every second deleted:  ${after} bytes, for a text of ${text.length} characters`)
assert.ok(before < 10)
assert.ok(after > 2 * text.length)
END
node probe.mjs
