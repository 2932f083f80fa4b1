//! What is answered on a socket that serves on.

use codraft_ot::{Delta, Value};
use codraft_proto::{
    frame::{
        ClientFrame,
        Encoding::{Binary, Json},
    },
    ids::{Revision, Seq},
    reject::Code,
};

use crate::hostile::STOLEN_NAME;

use super::{
    Case, Ends, FRESH, Here, OWNERS, Scene, Sent, User, append, bytes, case, message, op, varint,
};

pub fn cases(scene: &Scene) -> Vec<Case> {
    let editor = (User::Editor, Some(FRESH));
    let viewer = (User::Viewer, Some(FRESH));
    let mut cases = Vec::new();
    let mut add = |name: &str, code, who, sends: fn(&Here) -> Vec<Sent>| {
        cases.push(case(name, code, Binary, who, Ends::Refused, sends));
    };
    add("a viewer edits", Code::Forbidden, viewer, |here| {
        vec![op(1, here.base, append(here, "mine"))]
    });
    add(
        "a sequence with other bytes",
        Code::SeqConflict,
        editor,
        |here| {
            let (first, other) = (append(here, "abuse "), append(here, "other "));
            vec![
                op(1, here.base, first),
                Sent::Acked,
                op(1, here.base, other),
            ]
        },
    );
    add(
        "a sequence with another base",
        Code::SeqConflict,
        editor,
        |here| {
            let first = append(here, "abuse ");
            vec![
                op(1, here.base, first.clone()),
                Sent::Acked,
                op(1, here.base - 1, first),
            ]
        },
    );
    add("a sequence that skips", Code::SeqGap, editor, |here| {
        let first = append(here, "abuse ");
        vec![
            op(1, here.base, first.clone()),
            Sent::Acked,
            op(3, here.base, first),
        ]
    });
    add(
        "longer than the document",
        Code::LengthMismatch,
        editor,
        |here| {
            let mut delta = Delta::new();
            delta.retain(here.units + 1);
            delta.insert("x");
            vec![op(1, here.base, delta.to_bytes())]
        },
    );
    add(
        "deletes more than there is",
        Code::LengthMismatch,
        editor,
        |here| vec![op(1, here.base, varint(u64::from(here.units + 1) << 2 | 1))],
    );
    add("a count that overflows", Code::Malformed, editor, |here| {
        vec![op(1, here.base, varint(1 << 50 << 2))]
    });
    add(
        "between two halves of a pair",
        Code::Surrogate,
        editor,
        |here| {
            vec![op(
                1,
                here.base,
                [&varint(1 << 2)[..], &varint(1 << 2 | 2), b"x"].concat(),
            )]
        },
    );
    add("deletes half a pair", Code::Surrogate, editor, |here| {
        vec![op(1, here.base, varint(1 << 2 | 1))]
    });
    add("a count of zero", Code::Malformed, editor, |here| {
        vec![op(1, here.base, [0])]
    });
    add("half a pair as UTF-8", Code::Malformed, editor, |here| {
        vec![op(
            1,
            here.base,
            [&varint(3 << 2 | 2)[..], &[0xed, 0xa0, 0xbd]].concat(),
        )]
    });
    add(
        "a text longer than its bytes",
        Code::Malformed,
        editor,
        |here| {
            vec![op(
                1,
                here.base,
                [&varint(1 << 40 << 2 | 2)[..], b"x"].concat(),
            )]
        },
    );
    add(
        "a component that is none",
        Code::Malformed,
        editor,
        |here| vec![op(1, here.base, varint(99 << 2 | 3))],
    );
    add(
        "20,000 components",
        Code::TooManyComponents,
        editor,
        |here| {
            let pair = [&varint(1 << 2 | 2)[..], b"x", &varint(1 << 2)].concat();
            vec![op(1, here.base, pair.repeat(10_000))]
        },
    );
    add(
        "an embed in plain text",
        Code::KindMismatch,
        editor,
        |here| {
            let mut delta = Delta::new();
            delta.retain(here.units);
            delta.embed(
                Value::Object([("image".into(), Value::Bool(true))].into()),
                Default::default(),
            );
            vec![op(1, here.base, delta.to_bytes())]
        },
    );
    // Neither of the two notices: it is a name, and another's under another user.
    add(
        STOLEN_NAME,
        Code::SeqGap,
        (User::Editor, Some(scene.honest)),
        |here| {
            vec![
                op(1, here.base, append(here, "abuse ")),
                Sent::Acked,
                op(9, here.base, vec![]),
            ]
        },
    );
    add(
        "a client id of one who left",
        Code::SeqGap,
        (User::Editor, Some(OWNERS)),
        |here| {
            let first = append(here, "abuse ");
            vec![
                op(1, here.base, first.clone()),
                Sent::Acked,
                op(3, here.base, first),
            ]
        },
    );
    for encoding in [Binary, Json] {
        cases.push(case(
            "a base ahead",
            Code::BaseAhead,
            encoding,
            editor,
            Ends::Again,
            move |here| {
                let (base, ops) = (here.base + 1_000_000, append(here, "x").into());
                vec![Sent::Message(message(
                    encoding,
                    &ClientFrame::Op {
                        seq: Seq(1),
                        base: Revision(base),
                        ops,
                    },
                ))]
            },
        ));
    }
    cases.push(case(
        "a flood",
        Code::Rate,
        Binary,
        (User::Flooder, Some(FRESH)),
        Ends::Again,
        |here| {
            let mut batch = Vec::new();
            let frame = [&[1][..], &varint(here.base), &append(here, "flood ")].concat();
            for _ in 0..64 {
                batch.push(33);
                batch.extend(varint(frame.len() as u64));
                batch.extend_from_slice(&frame);
            }
            (0..60).flat_map(|_| bytes(batch.clone())).collect()
        },
    ));
    cases
}
