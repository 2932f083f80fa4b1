#!/usr/bin/env bash
# yjs 13.6.33.
#
# Expected: a shared map takes a value and every peer reads that value, or `set` refuses it.
# What happens: `map.set('due', new Date())` is taken. Where it was set it reads back as a Date, for
# the rest of the session and with all its methods; every other peer, and the same page after a
# reload, reads an empty object. The author sees nothing wrong and tests with one client pass. In
# the same way the author's `get` of an object is the object that was set, and a change to it one
# that nobody else gets. Store numbers or strings, and copies.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import * as Y from 'yjs'

const author = new Y.Doc()
const card = author.getMap('card')
card.set('due', new Date(86_400_000))
card.set('size', { width: 1 })

const reader = new Y.Doc()
Y.applyUpdate(reader, Y.encodeStateAsUpdate(author))
card.get('size').width = 2
Y.applyUpdate(reader, Y.encodeStateAsUpdate(author))
const seen = reader.getMap('card')

console.log('author:', card.get('due'), card.get('size'))
console.log('reader:', seen.get('due'), seen.get('size'))
assert.ok(card.get('due') instanceof Date)
assert.deepEqual(seen.get('due'), {})
assert.equal(card.get('size').width, 2)
assert.equal(seen.get('size').width, 1)
END
node probe.mjs
