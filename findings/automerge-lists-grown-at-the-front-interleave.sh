#!/usr/bin/env bash
# @automerge/automerge 3.5.0 beside yjs 13.6.33 and loro-crdt 1.17.1.
#
# Expected: two people each put three items on top of a list while apart, newest first; after the
# merge each one's three are together, whichever comes first.
# What happens: in Automerge they come out in turn: a1, b1, a2, b2, a3, b3. Its order keeps
# together what was put in from left to right, not what was put in front, one by one. Yjs and Loro
# keep both together here. It is the order of a feed and of tasks added on top; in a text, two
# words that were put in letter by letter before a cursor that stays come out as one with their
# letters in turn.
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

// In the order in which they are put on top.
const of = (name) => [`${name}3`, `${name}2`, `${name}1`]

function automerge() {
  const base = Automerge.from({ list: [] })
  const [one, other] = ['a', 'b'].map((name) => of(name).reduce(
    (doc, item) => Automerge.change(doc, (draft) => void draft.list.unshift(item)),
    Automerge.clone(base),
  ))
  return [...Automerge.merge(one, other).list]
}

function yjs() {
  const [one, other] = ['a', 'b'].map((name, at) => {
    const doc = new Y.Doc()
    doc.clientID = at + 1
    for (const item of of(name)) doc.getArray('list').insert(0, [item])
    return doc
  })
  Y.applyUpdate(one, Y.encodeStateAsUpdate(other))
  return one.getArray('list').toJSON()
}

function loro() {
  const [one, other] = ['a', 'b'].map((name, at) => {
    const doc = new LoroDoc()
    doc.setPeerId(String(at + 1))
    for (const item of of(name)) doc.getList('list').insert(0, item)
    return doc
  })
  one.import(other.export({ mode: 'update' }))
  return one.getList('list').toJSON()
}

/** How many times the next item is somebody else's. */
const turns = (list) => list.filter((item, at) => at > 0 && item[0] !== list[at - 1][0]).length

const results = { automerge: automerge(), yjs: yjs(), loro: loro() }
for (const [name, list] of Object.entries(results)) console.log(name.padEnd(9), list.join(' '))
assert.equal(turns(results.automerge), 5)
assert.equal(turns(results.yjs), 1)
assert.equal(turns(results.loro), 1)

const empty = Automerge.from({ text: '' })
const put = (letter) => (draft) => Automerge.splice(draft, ['text'], 0, 0, letter)
const [word, other] = ['olleh', 'DLROW'].map((letters) => [...letters].reduce(
  (doc, letter) => Automerge.change(doc, put(letter)),
  Automerge.clone(empty),
))
const { text } = Automerge.merge(word, other)
console.log('automerge, "hello" and "WORLD":', text)
assert.ok(/^[a-z]?([A-Z][a-z])+[A-Z]?$/.test(text))
END
node probe.mjs
