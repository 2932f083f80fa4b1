#!/usr/bin/env bash
# fflate 0.8.3 beside pako 3.0.3 and Node's zlib and DecompressionStream.
#
# Expected: a gzip file may have several members one after another (RFC 1952); that is how a log is
# compressed piece by piece and appended to, or joined in an object store from parts. A reader
# gives all of it.
# What happens: fflate's `gunzipSync` and `decompressSync` return the first member and drop the
# rest, without an error and without a sign that bytes were left. The same file is whole in pako
# and in all that Node brings, so that the tests of the server pass. fflate's streaming `Gunzip`
# reads on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund fflate@0.8.3 pako@3.0.3
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { gunzipSync, gzipSync } from 'node:zlib'
import * as fflate from 'fflate'
import * as pako from 'pako'

const file = Buffer.concat([gzipSync('revisions 1 to 9, '), gzipSync('revisions 10 to 12')])
const whole = 'revisions 1 to 9, revisions 10 to 12'
const string = (bytes) => Buffer.from(bytes).toString()

const pieces = []
new fflate.Gunzip((piece) => pieces.push(piece)).push(file, true)
const browser = new Blob([file]).stream().pipeThrough(new DecompressionStream('gzip'))

const results = {
  'node:zlib': string(gunzipSync(file)),
  'DecompressionStream': await new Response(browser).text(),
  'pako.ungzip': string(pako.ungzip(file)),
  'fflate.Gunzip': string(Buffer.concat(pieces)),
  'fflate.gunzipSync': string(fflate.gunzipSync(file)),
  'fflate.decompressSync': string(fflate.decompressSync(file)),
}
console.log(results)
for (const [name, result] of Object.entries(results)) {
  const cut = name === 'fflate.gunzipSync' || name === 'fflate.decompressSync'
  assert.equal(result, cut ? 'revisions 1 to 9, ' : whole, name)
}
END
node probe.mjs
