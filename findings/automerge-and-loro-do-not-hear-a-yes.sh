#!/usr/bin/env bash
# @automerge/automerge 3.5.0, loro-crdt 1.17.1, beside yjs 13.6.33.
#
# Expected: one person deletes a field while another, apart, sets it; the later wish may win or the
# one with a value, but the set is part of what is merged.
# What happens: in Automerge and Loro a set to the value that is there already is not an operation
# at all. It makes no change, has no place in the history, and cannot win: "done: true", confirmed
# by somebody who was looking at it, is gone because another deleted it. Another value would have
# survived in Automerge. Yjs writes every set, and keeps the field here. A field that is confirmed
# or renewed (a lease, "I still want this") needs a value that differs each time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund @automerge/automerge@3.5.0 loro-crdt@1.17.1 yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import * as Automerge from '@automerge/automerge'
import { LoroDoc } from 'loro-crdt'
import * as Y from 'yjs'

// Each: one deletes a field whose value is 1, another sets it to `value`; what is there after all.

function automerge(value) {
  const base = Automerge.from({ field: 1 })
  const deleted = Automerge.change(Automerge.clone(base), (draft) => void delete draft.field)
  const set = Automerge.change(Automerge.clone(base), (draft) => void (draft.field = value))
  return { ...Automerge.merge(deleted, set) }
}

function loroOperations(value) {
  const doc = new LoroDoc()
  doc.getMap('m').set('field', 1)
  doc.commit()
  const before = doc.opCount()
  doc.getMap('m').set('field', value)
  doc.commit()
  return doc.opCount() - before
}

function yjs(value, ids) {
  const [one, other] = ids.map((id) => Object.assign(new Y.Doc(), { clientID: id }))
  one.getMap('m').set('field', 1)
  Y.applyUpdate(other, Y.encodeStateAsUpdate(one))
  one.getMap('m').delete('field')
  other.getMap('m').set('field', value)
  Y.applyUpdate(one, Y.encodeStateAsUpdate(other))
  return one.getMap('m').toJSON()
}

console.log('automerge, the same value: ', automerge(1), '  another:', automerge(2))
console.log('loro, operations it makes:', loroOperations(1), '  another:', loroOperations(2))
console.log('yjs, the same value:       ', yjs(1, [1, 2]))
assert.deepEqual(automerge(1), {})
assert.deepEqual(automerge(2), { field: 2 })
assert.deepEqual([loroOperations(1), loroOperations(2)], [0, 1])
assert.deepEqual(yjs(1, [1, 2]), { field: 1 })
assert.deepEqual(yjs(1, [2, 1]), { field: 1 })
END
node probe.mjs
