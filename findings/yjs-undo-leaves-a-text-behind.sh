#!/usr/bin/env bash
# yjs 13.6.33.
#
# Expected: a Y.Text in a map is deleted and the deletion undone; the Y.Text that the editor holds
# is the one in the map again.
# What happens: undo puts a copy in its place. The map has a new Y.Text with the same words, and the
# one that an editor was bound to stays dead: it takes inserts without an error, changes nothing,
# tells no observer, and nobody else ever sees the words. An editor has to bind anew whenever the
# key changes, also when its own user pressed undo.
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
const cells = doc.getMap('cells')
const bound = new Y.Text('hello')
cells.set('a1', bound)

const undo = new Y.UndoManager(cells)
cells.delete('a1')
undo.undo()

let updates = 0
doc.on('update', () => updates++)
bound.insert(0, 'typed after the undo: ')

console.log(`in the map: ${cells.get('a1')}; the same object: ${cells.get('a1') === bound}`)
console.log(`after typing into the bound one: ${cells.get('a1')}`)
assert.equal(cells.get('a1') === bound, false)
assert.equal(cells.get('a1').toString(), 'hello')
console.log(`text of the bound one: "${bound}", updates sent: ${updates}`)
assert.equal(bound.toString(), '')
END
node probe.mjs
