#!/usr/bin/env bash
# slate 0.146.0.
#
# Expected: to apply an operation that came from somebody else makes that change and no other, and
# operations that one editor made in order can be applied in order by another.
# What happens: every `apply` normalizes, and what normalizing changes is an operation too. A link
# is removed, and the two texts beside it are merged, by the author and again by each who applies
# the removal; a relay of all operations then brings the author's merge as well, for which there is
# no node left: `apply` throws. Apply what arrives as one batch inside `Editor.withoutNormalizing`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund slate@0.146.0
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { createEditor, Editor } from 'slate'

/** An editor with one paragraph, and the list of the operations that pass through it. */
function open() {
  const editor = createEditor()
  const link = { type: 'link', children: [{ text: 'a link' }] }
  editor.children = [{ type: 'p', children: [{ text: 'one ' }, link, { text: ' two' }] }]
  const made = []
  const { apply } = editor
  editor.apply = (operation) => {
    made.push(operation)
    apply(operation)
  }
  return { editor, made }
}
const types = (operations) => operations.map(({ type }) => type)

const author = open()
const node = author.editor.children[0].children[1]
author.editor.apply({ type: 'remove_node', path: [0, 1], node })
console.log('author, for one removal:  ', types(author.made))
assert.deepEqual(types(author.made), ['remove_node', 'merge_node'])

const reader = open()
reader.editor.apply(author.made[0])
console.log('reader, for the first:    ', types(reader.made))
assert.deepEqual(types(reader.made), ['remove_node', 'merge_node'])
let error
try {
  reader.editor.apply(author.made[1])
} catch (thrown) {
  error = thrown
}
console.log('reader, for the second:   ', error?.message)
assert.ok(error instanceof Error)

const batch = open()
Editor.withoutNormalizing(batch.editor, () => author.made.forEach((o) => batch.editor.apply(o)))
console.log('in a batch, for both:     ', types(batch.made))
assert.deepEqual(types(batch.made), ['remove_node', 'merge_node'])
assert.deepEqual(batch.editor.children, author.editor.children)
END
node probe.mjs
