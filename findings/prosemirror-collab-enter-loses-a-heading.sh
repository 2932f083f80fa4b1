#!/usr/bin/env bash
# prosemirror-collab 1.3.1, prosemirror-transform 1.12.7, prosemirror-state 1.4.4.
#
# Expected: an unconfirmed edit that meets somebody else's is rebased over it; it may do less than
# it was meant to, but both changed different things here: one person makes a line a heading,
# another presses Enter in the middle of it.
# What happens: the heading's step finds two paragraphs where it wants the flat content of one, its
# application fails, and the rebase drops it without an error or an event. `sendableSteps` is null:
# the author watches the heading vanish, and nothing says that an edit was lost. In the other order
# both take effect, the first half being the heading. Compare the count of unconfirmed steps before
# and after `receiveTransaction` to notice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund \
    prosemirror-collab@1.3.1 prosemirror-model@1.25.13 prosemirror-schema-basic@1.2.5 \
    prosemirror-state@1.4.4 prosemirror-transform@1.12.7
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { collab, receiveTransaction, sendableSteps } from 'prosemirror-collab'
import { schema } from 'prosemirror-schema-basic'
import { EditorState } from 'prosemirror-state'

const paragraph = schema.node('paragraph', null, schema.text('hello world'))
const doc = schema.node('doc', null, paragraph)
const heading = (tr) => tr.setBlockType(1, 1, schema.nodes.heading, { level: 1 })
const split = (tr) => tr.split(6)

/** The state of who made `edit`, after `confirmed` of somebody else came first. */
function rebased(edit, confirmed) {
  const open = (clientID) => EditorState.create({ doc, plugins: [collab({ clientID })] })
  let author = open('author')
  let other = open('other')
  author = author.apply(edit(author.tr))
  other = other.apply(confirmed(other.tr))
  const { steps } = sendableSteps(other)
  return author.apply(receiveTransaction(author, steps, steps.map(() => 'other')))
}

for (const [name, edit, confirmed, expected, waiting] of [
  ['heading over split', heading, split, 'doc(paragraph("hello"), paragraph(" world"))', 0],
  ['split over heading', split, heading, 'doc(heading("hello"), paragraph(" world"))', 1],
]) {
  const state = rebased(edit, confirmed)
  const left = sendableSteps(state)?.steps.length ?? 0
  console.log(`${name}: ${state.doc}, unconfirmed steps left: ${left}`)
  assert.deepEqual([state.doc.toString(), left], [expected, waiting])
}
END
node probe.mjs
