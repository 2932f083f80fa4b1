use bytes::Bytes;
use codraft_ot::{Delta, Kind};
use codraft_proto::ids::{ClientId, DocId, NoteId, Revision, Role, Seq};
use proptest::prelude::*;

use super::{
    Algebra, Anchor, Anchored, Batch, Checkpoint, Command, Comment, Commenting, Create,
    DecodeError, Deletion, Edit, Expire, Grant, Level, Quarantine, Restore, Title, Trim, Version,
};

const VECTORS: &str = include_str!("../../../tests/vectors/commands.json");

fn unhex(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks_exact(2);
    digits
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

fn doc() -> DocId {
    DocId(std::array::from_fn(|i| i as u8))
}

fn golden(name: &str) -> Vec<Command> {
    let mut ops = Delta::new();
    ops.retain(5_000).insert("é");
    let edit = Command::Edit(Edit {
        doc: doc(),
        client: ClientId(std::array::from_fn(|i| 0xf0 + i as u8)),
        user: "ada".into(),
        seq: Seq(300),
        base: Revision(5_000),
        ops: ops.to_bytes().into(),
    });
    let restore = match &edit {
        Command::Edit(edit) => Command::Restore(Restore {
            edit: edit.clone(),
            version: Revision(7),
            authors: Bytes::from_static(&[1, 3, 97, 100, 97]),
        }),
        _ => unreachable!(),
    };
    let anchored = match &edit {
        Command::Edit(edit) => Command::Anchored(Anchored {
            edit: edit.clone(),
            anchors: vec![Anchor {
                start: 300,
                units: 2,
            }],
        }),
        _ => unreachable!(),
    };
    let checkpoint = Command::Checkpoint(Checkpoint {
        doc: doc(),
        by: "ada".into(),
    });
    let title = Command::Title(Title {
        doc: doc(),
        by: "ada".into(),
        title: "Ünïcode 🦀".into(),
    });
    let deletion = Deletion {
        doc: doc(),
        by: "ada".into(),
    };
    let create_text = Command::Create(Create {
        doc: doc(),
        kind: Kind::Text,
        algebra: Algebra::Delta1,
        title: "Notes".into(),
        owner: "ada".into(),
        initial: None,
    });
    let mut initial = Delta::new();
    initial.insert("hello\n");
    let create_rich = Command::Create(Create {
        doc: doc(),
        kind: Kind::Rich,
        algebra: Algebra::Delta1,
        title: "Ünïcode 🦀".into(),
        owner: "grace@example.org".into(),
        initial: Some(initial.to_bytes().into()),
    });
    let grant = |role| {
        Command::Grant(Grant {
            doc: doc(),
            by: "ada".into(),
            user: "bob".into(),
            role,
        })
    };
    let level = Command::Level(Level { level: 1 });
    let trim = Command::Trim(Trim {
        doc: doc(),
        floor: Revision(1 << 40),
    });
    let expire = Command::Expire(Expire {
        doc: doc(),
        below: Revision(1 << 40),
    });
    let note = |first: u8| NoteId(std::array::from_fn(|i| first + i as u8));
    let comment = |what| {
        Command::Comment(Comment {
            doc: doc(),
            by: "ada".into(),
            thread: note(0x20),
            what,
        })
    };
    let opened = Commenting::Open {
        at: Revision(300),
        start: 5,
        end: 1_000,
        text: "why?".into(),
    };
    let replied = Commenting::Reply {
        comment: note(0x40),
        text: "so".into(),
    };
    let deleted = Commenting::Delete {
        comment: note(0x40),
    };
    let version = |version: Option<u64>| {
        Command::Version(Version {
            doc: doc(),
            by: "ada".into(),
            id: note(0x60),
            version: version.map(Revision),
            name: "draft".into(),
        })
    };
    let quarantine = |on| Command::Quarantine(Quarantine { doc: doc(), on });
    match name {
        "empty" => vec![],
        "edit" => vec![edit],
        "create_text" => vec![create_text],
        "create_rich" => vec![create_rich],
        "grant" => vec![grant(Some(Role::Editor))],
        "revoke" => vec![grant(None)],
        "level" => vec![level],
        "quarantine" => vec![quarantine(true), quarantine(false)],
        "trim" => vec![trim],
        "expire" => vec![expire],
        "restore" => vec![restore],
        "checkpoint" => vec![checkpoint],
        "comments" => [
            opened,
            replied,
            Commenting::Resolve(true),
            Commenting::Resolve(false),
            deleted,
        ]
        .map(comment)
        .into(),
        "versions" => vec![version(None), version(Some(7))],
        "title" => vec![title],
        "anchored" => vec![anchored],
        "deletion" => vec![
            Command::Delete(deletion.clone()),
            Command::Undelete(deletion),
        ],
        "all" => vec![create_text, grant(Some(Role::Editor)), edit, trim, level],
        other => panic!("no golden batch is called {other}"),
    }
}

#[test]
fn command_golden_bytes() {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let stored = vectors["stored"].as_array().unwrap();
    assert_eq!(stored.len(), 18);
    for vector in stored {
        let name = vector["name"].as_str().unwrap();
        let batch = Batch {
            ts_ms: 1_764_000_000_123,
            commands: golden(name),
        };
        let bytes = unhex(vector["hex"].as_str().unwrap());
        assert_eq!(batch.encode(), bytes, "{name}");
        assert_eq!(Batch::decode(&bytes), Ok(batch), "{name}");
    }
}

#[test]
fn command_unreadable_bytes_have_a_typed_error() {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    for vector in vectors["unreadable"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let error = Batch::decode(&unhex(vector["hex"].as_str().unwrap())).expect_err(name);
        let called = match error {
            DecodeError::Format(_) => "Format",
            DecodeError::Level(_) => "Level",
            DecodeError::UnknownKind(_) => "UnknownKind",
            DecodeError::LaterKind(_, title) => {
                assert_eq!(title, name);
                "LaterKind"
            }
            DecodeError::UnknownNumber { .. } => "UnknownNumber",
            DecodeError::Truncated(_) => "Truncated",
            DecodeError::Varint(_) => "Varint",
            DecodeError::Text(_) => "Text",
            DecodeError::Trailing(_) => "Trailing",
        };
        assert_eq!(Some(called), vector["error"].as_str(), "{name}: {error}");
    }
}

#[test]
fn command_ops_are_a_slice_of_the_entry() {
    let stored = Batch {
        ts_ms: 1,
        commands: golden("edit"),
    }
    .encode();
    let batch = Batch::decode(&stored).unwrap();
    let Command::Edit(edit) = &batch.commands[0] else {
        panic!("an edit")
    };
    assert!(stored.as_ptr_range().contains(&edit.ops.as_ptr()));
}

fn command() -> impl Strategy<Value = Command> {
    let id = any::<[u8; 16]>;
    let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let kind = || prop_oneof![Just(Kind::Text), Just(Kind::Rich)];
    let edit = || {
        (id(), id(), ".{0,40}", any::<u64>(), any::<u64>(), bytes()).prop_map(
            |(doc, client, user, seq, base, ops)| Edit {
                doc: DocId(doc),
                client: ClientId(client),
                user: user.into(),
                seq: Seq(seq),
                base: Revision(base),
                ops,
            },
        )
    };
    let role = || prop::option::of(prop::sample::select(&Role::ALL[..]));
    prop_oneof![
        edit().prop_map(Command::Edit),
        (edit(), any::<u64>(), bytes()).prop_map(|(edit, version, authors)| {
            Command::Restore(Restore {
                edit,
                version: Revision(version),
                authors,
            })
        }),
        (
            edit(),
            prop::collection::vec((any::<u32>(), any::<u32>()), 0..4)
        )
            .prop_map(|(edit, anchors)| {
                let anchors = anchors.into_iter();
                let anchors = anchors.map(|(start, units)| Anchor { start, units });
                Command::Anchored(Anchored {
                    edit,
                    anchors: anchors.collect(),
                })
            }),
        (id(), ".{0,40}").prop_map(|(doc, by)| {
            Command::Checkpoint(Checkpoint {
                doc: DocId(doc),
                by: by.into(),
            })
        }),
        (
            (id(), id(), id(), ".{0,40}"),
            (any::<u64>(), any::<u32>(), any::<u32>(), ".{0,40}"),
            0..5u8
        )
            .prop_map(
                |((doc, thread, comment, by), (at, start, end, text), what)| {
                    let (comment, text) = (NoteId(comment), text.into());
                    let what = match what {
                        0 => Commenting::Open {
                            at: Revision(at),
                            start,
                            end,
                            text,
                        },
                        1 => Commenting::Reply { comment, text },
                        2 => Commenting::Delete { comment },
                        on => Commenting::Resolve(on == 3),
                    };
                    Command::Comment(Comment {
                        doc: DocId(doc),
                        by: by.into(),
                        thread: NoteId(thread),
                        what,
                    })
                }
            ),
        (
            id(),
            id(),
            ".{0,40}",
            prop::option::of(any::<u64>()),
            ".{0,40}"
        )
            .prop_map(|(doc, id, by, version, name)| {
                Command::Version(Version {
                    doc: DocId(doc),
                    by: by.into(),
                    id: NoteId(id),
                    version: version.map(Revision),
                    name: name.into(),
                })
            }),
        (
            id(),
            kind(),
            ".{0,40}",
            ".{0,40}",
            prop::option::of(bytes())
        )
            .prop_map(
                |(doc, kind, title, owner, initial)| Command::Create(Create {
                    doc: DocId(doc),
                    kind,
                    algebra: Algebra::Delta1,
                    title: title.into(),
                    owner: owner.into(),
                    initial,
                })
            ),
        (id(), ".{0,40}", ".{0,40}", role()).prop_map(|(doc, by, user, role)| {
            Command::Grant(Grant {
                doc: DocId(doc),
                by: by.into(),
                user: user.into(),
                role,
            })
        }),
        (id(), ".{0,40}", ".{0,40}").prop_map(|(doc, by, title)| {
            Command::Title(Title {
                doc: DocId(doc),
                by: by.into(),
                title: title.into(),
            })
        }),
        (id(), ".{0,40}", any::<bool>()).prop_map(|(doc, by, back)| {
            let (doc, by) = (DocId(doc), by.into());
            let deletion = Deletion { doc, by };
            match back {
                true => Command::Undelete(deletion),
                false => Command::Delete(deletion),
            }
        }),
        (id(), any::<u64>()).prop_map(|(doc, floor)| {
            Command::Trim(Trim {
                doc: DocId(doc),
                floor: Revision(floor),
            })
        }),
        (id(), any::<u64>()).prop_map(|(doc, below)| {
            Command::Expire(Expire {
                doc: DocId(doc),
                below: Revision(below),
            })
        }),
        (id(), any::<bool>()).prop_map(|(doc, on)| {
            Command::Quarantine(Quarantine {
                doc: DocId(doc),
                on,
            })
        }),
        (0u32..=1).prop_map(|level| Command::Level(Level { level })),
    ]
}

proptest! {
    #[test]
    fn command_round_trips(ts_ms: u64, commands in prop::collection::vec(command(), 0..8)) {
        let batch = Batch { ts_ms, commands };
        let stored = batch.encode();
        let bound = batch.commands.iter().map(Command::encoded_bytes).sum::<usize>() + 21;
        prop_assert!(stored.len() <= bound);
        prop_assert_eq!(Batch::decode(&stored), Ok(batch));
    }

    #[test]
    fn command_decode_never_panics(
        commands in prop::collection::vec(command(), 0..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stored = Batch { ts_ms: 7, commands }.encode().to_vec();
        for (at, with) in flips {
            let at = at.index(stored.len());
            stored[at] ^= with;
        }
        stored.truncate(cut.index(stored.len() + 1));
        let stored = Bytes::from(stored);
        // What can be read has one spelling only.
        if let Ok(batch) = Batch::decode(&stored) {
            prop_assert_eq!(batch.encode(), stored);
        }
    }
}
