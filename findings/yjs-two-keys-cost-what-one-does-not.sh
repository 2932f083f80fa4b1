#!/usr/bin/env bash
# yjs 13.6.33.
#
# Expected: a Y.Map in which one key was set 10,000 times and one in which two keys were set in
# turn, 10,000 times in all, are about the same size: each key has one value, the old ones are gone.
# What happens: the remains of one key lie side by side and are folded into one range: 25 bytes in
# all. With two keys in turn no two of a key are neighbours, nothing folds, and the document grows
# by 5 bytes with each set, for good, in every copy and every first load. Whether progress, a cursor
# or a position is cheap to keep in a Y.Map depends on what else is written between.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import * as Y from 'yjs'

function sizeAfter(count, keys) {
  const doc = new Y.Doc()
  doc.clientID = 1
  for (let at = 0; at < count; at++) doc.getMap('m').set(keys[at % keys.length], 1)
  const size = Y.encodeStateAsUpdate(doc).length
  console.log(`${keys.length} key(s), ${count} sets: ${size} bytes`)
  return size
}

assert.ok(sizeAfter(10_000, ['x']) < 40)
assert.ok(sizeAfter(10_000, ['x', 'y']) > 40_000)
assert.ok(sizeAfter(20_000, ['x', 'y']) > 80_000)
END
node probe.mjs
