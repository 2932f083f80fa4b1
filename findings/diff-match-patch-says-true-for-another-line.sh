#!/usr/bin/env bash
# diff-match-patch 1.0.5.
#
# Expected: `patch_apply` says for each patch whether it could be applied; `[true]` means that the
# edit was made where it belongs, and an edit of a line that is gone is `[false]`.
# What happens: a patch looks for the nearest text that is like enough, and reports how that went. I
# tick the first task of a list while somebody deletes it: the patch ticks the second one and says
# `[true]`. Lines that look alike are what lists, tables and settings are made of, and who merges by
# patches (as differential synchronization does) has no sign of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund diff-match-patch@1.0.5
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { diff_match_patch } from 'diff-match-patch'

const base = '- [ ] buy milk\n- [ ] buy eggs\n- [ ] buy bread\n'
const mine = base.replace('[ ] buy milk', '[x] buy milk')
const theirs = base.replace('- [ ] buy milk\n', '')

const tool = new diff_match_patch()
const [merged, applied] = tool.patch_apply(tool.patch_make(base, mine), theirs)

console.log(`theirs:\n${theirs}merged with my tick for "buy milk":\n${merged}applied: ${applied}`)
assert.equal(merged, '- [x] buy eggs\n- [ ] buy bread\n')
assert.deepEqual(applied, [true])
END
node probe.mjs
