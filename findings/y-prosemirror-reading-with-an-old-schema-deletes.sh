#!/usr/bin/env bash
# y-prosemirror 1.3.7, yjs 13.6.33, prosemirror-model 1.25.13.
#
# Expected: a client (or a server that renders) whose schema lacks a node shows the document without
# it, or says that it cannot; to read changes nothing.
# What happens: what the schema cannot build is deleted from the shared document while it is read: a
# real Yjs deletion, sent to everybody. One page that was open since before a release, or an export
# job with an older schema, removes every new kind of block from every document that it opens; an
# unknown mark takes the marked words along, and the plain ones beside them. Check a version of the
# schema before the first read.
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
import { Schema } from 'prosemirror-model'
import { schema } from 'prosemirror-schema-basic'
import { prosemirrorToYDoc, yXmlFragmentToProseMirrorRootNode } from 'y-prosemirror'

/** The shared document before and after somebody reads it with another schema. */
function read(blocks, oldSchema) {
  const shared = prosemirrorToYDoc(schema.node('doc', null, blocks))
  const fragment = shared.getXmlFragment('prosemirror')
  let updates = 0
  shared.on('update', () => updates++)
  const before = fragment.toString()
  yXmlFragmentToProseMirrorRootNode(fragment, oldSchema)
  const after = fragment.toString()
  console.log(`before: ${before}\nafter:  ${after}\nupdates sent to the others: ${updates}`)
  assert.equal(updates, 1)
  return after
}

const { nodes, marks } = schema.spec
const text = (...args) => schema.text(...args)
const heading = schema.node('heading', { level: 1 }, text('a title'))
const paragraph = schema.node('paragraph', null, text('a text'))
const marked = [text('plain '), text('strong', [schema.mark('strong')]), text(' plain')]

const noHeading = new Schema({ nodes: nodes.remove('heading'), marks })
assert.equal(read([heading, paragraph], noHeading), '<paragraph>a text</paragraph>')

const noStrong = new Schema({ nodes, marks: marks.remove('strong') })
assert.equal(read([schema.node('paragraph', null, marked)], noStrong), '<paragraph></paragraph>')
END
node probe.mjs
