#!/usr/bin/env bash
# prost 0.14.6 beside Google's protobuf 7.36.2 (Python).
#
# Expected: a process that reads a message and passes it on keeps the fields of newer versions;
# protobuf's own libraries have done so for proto3 since 3.5, and the format is made for it.
# What happens: prost skips unknown fields when it reads, so that they are gone from what it writes.
# During a rolling upgrade a router or leader of the old build that decodes and encodes again strips
# what new clients and new nodes said to one another, without an error. (Unknown values of an enum
# do stay.) Carry what is only passed on as `bytes`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
prost = "=0.14.6"
END
cat >src/main.rs <<'END'
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct New {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(string, tag = "15")]
    trace: String,
}

/// The same message before `trace` was added; it has the fields of google.protobuf.Timestamp.
#[derive(Clone, PartialEq, Message)]
struct Old {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn main() {
    let sent = New {
        seconds: 7,
        trace: "kept?".into(),
    }
    .encode_to_vec();
    let passed_on = Old::decode(&sent[..]).unwrap().encode_to_vec();
    let received = New::decode(&passed_on[..]).unwrap();
    println!(
        "prost:    {} bytes in, {} out, trace {:?}",
        sent.len(),
        passed_on.len(),
        received.trace
    );
    assert_eq!((received.seconds, received.trace.as_str()), (7, ""));
    std::fs::write("sent", sent).unwrap();
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install protobuf==7.36.2
python/bin/python - <<'END'
from google.protobuf.timestamp_pb2 import Timestamp

sent = open("sent", "rb").read()
passed_on = Timestamp.FromString(sent).SerializeToString()
print(f"protobuf: {len(sent)} bytes in, {len(passed_on)} out")
assert passed_on == sent
END
