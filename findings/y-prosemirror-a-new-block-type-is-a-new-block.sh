#!/usr/bin/env bash
# y-prosemirror 1.3.7, yjs 13.6.33, prosemirror-model 1.25.13.
#
# Expected: to make a paragraph a heading, or to split it, changes that and leaves what others do in
# the meantime where they do it.
# What happens: the type of a node cannot change in Yjs, so the binding deletes the paragraph and
# inserts a heading with a copy of the words. What somebody else typed into the paragraph meanwhile
# is deleted with it; two who make the same heading get it twice. A split moves the second half by
# deleting and inserting as well: words typed at the end of it stay behind in the first half, and
# two who split at the same place get the second half twice. All copies agree on each of these.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund \
    y-prosemirror@1.3.7 yjs@13.6.33 y-protocols@1.0.7 prosemirror-model@1.25.13 \
    prosemirror-schema-basic@1.2.5 prosemirror-state@1.4.4 prosemirror-transform@1.12.7 \
    prosemirror-view@1.44.0
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { schema } from 'prosemirror-schema-basic'
import { EditorState } from 'prosemirror-state'
import { initProseMirrorDoc, prosemirrorToYDoc, updateYFragment } from 'y-prosemirror'
import * as Y from 'yjs'

/** What one document becomes when two people make one edit each and exchange them. */
function together(edit, otherEdit) {
  const paragraph = schema.node('paragraph', null, schema.text('hello world'))
  const one = prosemirrorToYDoc(schema.node('doc', null, paragraph))
  const other = new Y.Doc()
  Y.applyUpdate(other, Y.encodeStateAsUpdate(one))
  for (const [copy, change] of [[one, edit], [other, otherEdit]]) {
    const fragment = copy.getXmlFragment('prosemirror')
    const { doc, meta } = initProseMirrorDoc(fragment, schema)
    updateYFragment(copy, fragment, change(EditorState.create({ doc }).tr).doc, meta)
  }
  Y.applyUpdate(other, Y.encodeStateAsUpdate(one))
  Y.applyUpdate(one, Y.encodeStateAsUpdate(other))
  const result = one.getXmlFragment('prosemirror').toString()
  assert.equal(other.getXmlFragment('prosemirror').toString(), result, 'the copies agree')
  return result
}

const heading = (tr) => tr.setBlockType(1, 1, schema.nodes.heading, { level: 2 })
const split = (tr) => tr.split(6)
const type = (tr) => tr.insertText(' and all', 12)
const h = '<heading level="2">hello world</heading>'
const p = (text) => `<paragraph>${text}</paragraph>`

for (const [name, edit, otherEdit, expected] of [
  ['heading, typing', heading, type, h],
  ['heading, heading', heading, heading, h + h],
  ['split, typing', split, type, p('hello and all') + p(' world')],
  ['split, split', split, split, p('hello') + p(' world') + p(' world')],
]) {
  const result = together(edit, otherEdit)
  console.log(`${name.padEnd(17)} ${result}`)
  assert.equal(result, expected)
}
END
node probe.mjs
