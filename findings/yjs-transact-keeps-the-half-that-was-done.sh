#!/usr/bin/env bash
# yjs 13.6.33 beside @automerge/automerge 3.5.0.
#
# Expected: a transaction whose function throws leaves the document as it was. With Automerge's
# `change` it does.
# What happens: Yjs's `transact` groups changes for observers and no more. What was done before the
# throw stays in the document, and is encoded and sent to everybody while the error is on its way to
# the caller; who catches it and tries again has the first half twice. Check first and change after;
# nothing in a transact may throw.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund yjs@13.6.33 @automerge/automerge@3.5.0
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import * as Automerge from '@automerge/automerge'
import * as Y from 'yjs'

const failed = new Error('the second half failed')

const doc = new Y.Doc()
let sent = 0
doc.on('update', () => sent++)
assert.throws(() => doc.transact(() => {
  doc.getArray('list').push(['first half'])
  throw failed
}), failed)
console.log('yjs:      ', doc.getArray('list').toJSON(), `updates sent: ${sent}`)
assert.deepEqual([doc.getArray('list').toJSON(), sent], [['first half'], 1])

const other = Automerge.from({ list: [] })
assert.throws(() => Automerge.change(other, (draft) => {
  draft.list.push('first half')
  throw failed
}))
console.log('automerge:', other.list)
assert.deepEqual([...other.list], [])
END
node probe.mjs
