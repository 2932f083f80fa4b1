//! Each refusal has its typed error, and changes nothing.
#![allow(clippy::unwrap_used)]

use codraft_ot::{Attributes, Content, Delta, Kind, Limits, OpError, Value};

fn decode(bytes: &[u8]) -> Result<Delta, OpError> {
    Delta::decode(bytes, &Limits::default())
}

fn content(kind: Kind, text: &str) -> Content {
    let mut delta = Delta::new();
    delta.insert(text);
    Content::from_delta(kind, &delta, &Limits::default()).unwrap()
}

fn refused(content: &Content, delta: &Delta, limits: &Limits) -> OpError {
    let mut after = content.clone();
    let error = after.apply(delta, limits).unwrap_err();
    assert_eq!(after.to_delta(), content.to_delta());
    assert_eq!(
        (after.units(), after.text()),
        (content.units(), content.text())
    );
    error
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = vec![];
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

#[test]
fn bytes_that_are_no_operation() {
    let rows: [(&[u8], OpError); 14] = [
        (&[0], OpError::ZeroCount),
        (&[1], OpError::ZeroCount),
        (&[2], OpError::ZeroCount),
        // A longer form of a number than it needs.
        (&[0x84, 0x00], OpError::Malformed),
        (&[0x80], OpError::Malformed),
        (&[0xff; 12], OpError::Malformed),
        // Text that is cut, is no UTF-8, is half a surrogate pair in disguise.
        (&[3 << 2 | 2, b'a'], OpError::Malformed),
        (&[1 << 2 | 2, 0xff], OpError::Malformed),
        (&[3 << 2 | 2, 0xed, 0xa0, 0x80], OpError::Malformed),
        // Kinds and values that there are not; names that do not rise.
        (&[3 << 2 | 3, 0], OpError::Malformed),
        (&[2 << 2 | 3, 9, 0], OpError::Malformed),
        (&[3, 1, 2, 1, b'b', 2, 1, b'a', 2], OpError::Malformed),
        (&[3, 1, 2, 1, b'a', 2, 1, b'a', 2], OpError::Malformed),
        // An embed is an object.
        (&[2 << 2 | 3, 2, 0], OpError::Malformed),
    ];
    for (bytes, error) in rows {
        assert_eq!(decode(bytes), Err(error), "{bytes:?}");
    }
    // A length that is only declared is not allocated.
    let mut huge = varint(u64::from(u32::MAX) << 2 | 2);
    huge.push(b'a');
    assert_eq!(decode(&huge), Err(OpError::Malformed));
    let mut not_a_number = vec![3, 1, 1, 1, b'a', 3];
    not_a_number.extend_from_slice(&f64::NAN.to_le_bytes());
    assert_eq!(decode(&not_a_number), Err(OpError::Malformed));
}

#[test]
fn lengths_that_overflow() {
    assert_eq!(
        decode(&varint(u64::from(u32::MAX) << 2)),
        Err(OpError::Overflow)
    );
    // Behind another component, where they are merged.
    let mut many = vec![1 << 2 | 2, b'a'];
    for _ in 0..9 {
        many.extend(varint(1 << 30 << 2));
    }
    assert_eq!(decode(&many), Err(OpError::Overflow));
    let (mut one, mut other) = (Delta::new(), Delta::new());
    one.delete(u32::MAX).delete(u32::MAX);
    other.retain(u32::MAX).retain(u32::MAX).insert("x");
    let text = content(Kind::Text, "a");
    for delta in [
        one.compose(&other).unwrap(),
        one.transform(&other, true),
        one.clone(),
    ] {
        let _ = content(Kind::Text, "a").apply(&delta, &Limits::default());
    }
    let error = refused(&text, &one, &Limits::default());
    assert!(
        matches!(error, OpError::LengthMismatch { document: 1, .. }),
        "{error}"
    );
}

#[test]
fn more_than_the_limits() {
    let limits = Limits {
        components: 2,
        document_units: 4,
        rich_bytes: usize::MAX,
        attributes: 1,
        attribute_bytes: 8,
        depth: 2,
        embed_bytes: 16,
    };
    let decode = |delta: &Delta| Delta::decode(&delta.to_bytes(), &limits);
    let set = |name: &str, value: Value| Attributes::from([(name.into(), value)]);
    let object = |value: Value| Value::Object([("x".into(), value)].into());

    let mut many = Delta::new();
    many.delete(1).retain(1).insert("x");
    assert_eq!(decode(&many), Err(OpError::TooManyComponents { most: 2 }));

    let mut two = Delta::new();
    let mut attributes = set("a", Value::Null);
    attributes.insert("b".into(), Value::Null);
    two.retain_with(1, attributes);
    assert_eq!(decode(&two), Err(OpError::TooManyAttributes { most: 1 }));

    let mut large = Delta::new();
    large.retain_with(1, set("a", Value::String("12345678".into())));
    assert_eq!(
        decode(&large),
        Err(OpError::AttributeTooLarge { most_bytes: 8 })
    );

    let mut deep = Delta::new();
    deep.embed(object(object(object(Value::Null))), Attributes::new());
    assert_eq!(decode(&deep), Err(OpError::TooDeep { most: 2 }));

    let mut embed = Delta::new();
    embed.embed(
        object(Value::String("1234567890123456".into())),
        Attributes::new(),
    );
    assert_eq!(
        decode(&embed),
        Err(OpError::EmbedTooLarge { most_bytes: 16 })
    );

    let mut long = Delta::new();
    long.insert("🦀");
    let error = refused(&content(Kind::Text, "abc"), &long, &limits);
    assert_eq!(error, OpError::DocumentTooLong { most_units: 4 });

    // What is not text counts too, whatever it is, and what takes some away is never too much.
    let rich_bytes = |most| Limits {
        rich_bytes: most,
        ..Limits::default()
    };
    let mut rich = content(Kind::Rich, "a\n");
    let mut embed = Delta::new();
    let image = object(Value::String("x".repeat(100).into()));
    embed.embed(image, Attributes::new());
    rich.apply(&embed, &rich_bytes(200)).unwrap();
    let too_rich = OpError::DocumentTooRich { most_bytes: 200 };
    assert_eq!(refused(&rich, &embed, &rich_bytes(200)), too_rich);
    let mut bold = Delta::new();
    bold.retain_with(2, set("b", Value::String("y".repeat(80).into())));
    assert_eq!(refused(&rich, &bold, &rich_bytes(200)), too_rich);
    let mut less = Delta::new();
    less.delete(1);
    rich.apply(&less, &rich_bytes(1)).unwrap();

    // Operations that each keep the limit cannot pass it together.
    let mut rich = content(Kind::Rich, "a\n");
    let (mut one, mut other) = (Delta::new(), Delta::new());
    one.retain_with(1, set("a", Value::Bool(true)));
    other.retain_with(1, set("b", Value::Bool(true)));
    rich.apply(&one, &limits).unwrap();
    assert_eq!(
        refused(&rich, &other, &limits),
        OpError::TooManyAttributes { most: 1 }
    );
}

/// quill-delta takes them for names that are set, and its clients would hold other documents.
#[test]
fn names_that_mean_something_in_javascript() {
    for name in [
        "constructor",
        "valueOf",
        "toString",
        "__proto__",
        "hasOwnProperty",
    ] {
        let set = || Attributes::from([(name.into(), Value::Bool(true))]);
        let (mut insert, mut retain, mut embed) = (Delta::new(), Delta::new(), Delta::new());
        insert.insert_with("x", set());
        retain.retain_with(1, set());
        embed.embed(Value::Object([].into()), set());
        for delta in [insert, retain, embed] {
            assert_eq!(decode(&delta.to_bytes()), Err(OpError::ReservedAttribute));
        }
        // Below a name of one's own they are values like others.
        let mut nested = Delta::new();
        nested.embed(
            Value::Object(set()),
            Attributes::from([("a".into(), Value::Object(set()))]),
        );
        assert_eq!(decode(&nested.to_bytes()).as_ref(), Ok(&nested));
    }
}

/// What is inserted has no attribute to take away: one form, whichever was sent.
#[test]
fn a_null_of_an_insert_is_not_kept() {
    let with = |names: &[(&str, Value)]| -> Attributes {
        names
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect()
    };
    let nulls = with(&[
        ("a", Value::Null),
        ("b", Value::Bool(true)),
        ("c", Value::Null),
    ]);
    let picture = || Value::Object(with(&[("image", Value::Null)]));
    let (mut sent, mut kept) = (Delta::new(), Delta::new());
    sent.insert_with("x", nulls.clone())
        .embed(picture(), with(&[("a", Value::Null)]))
        .retain_with(1, nulls.clone())
        // Also where the same map was kept before.
        .insert_with("y", nulls.clone());
    let bold = || with(&[("b", Value::Bool(true))]);
    kept.insert_with("x", bold())
        .embed(picture(), Attributes::new())
        .retain_with(1, nulls)
        .insert_with("y", bold());
    assert_eq!(decode(&sent.to_bytes()).as_ref(), Ok(&kept));
    // One zero.
    let (mut minus, mut zero) = (Delta::new(), Delta::new());
    minus.retain_with(1, with(&[("n", Value::Number(-0.0))]));
    zero.retain_with(1, with(&[("n", Value::Number(0.0))]));
    let mut bytes = minus.to_bytes();
    assert_eq!(bytes, zero.to_bytes());
    if let Some(sign) = bytes.last_mut() {
        *sign = 0x80;
    }
    assert_eq!(decode(&bytes).as_ref(), Ok(&zero));
}

/// Nothing nests deeper than the limit, however many levels the bytes declare.
#[test]
fn depth_does_not_eat_the_stack() {
    let mut bytes = vec![2 << 2 | 3];
    for _ in 0..200_000 {
        bytes.extend_from_slice(&[5, 1]);
    }
    assert!(matches!(decode(&bytes), Err(OpError::TooDeep { .. })));
}

#[test]
fn what_does_not_fit_the_document() {
    let limits = Limits::default();
    let text = content(Kind::Text, "a🦀b");
    let rich = content(Kind::Rich, "a\n");

    let mut beyond = Delta::new();
    beyond.retain(4).delete(1);
    let error = refused(&text, &beyond, &limits);
    assert_eq!(
        error,
        OpError::LengthMismatch {
            document: 4,
            operation: 5
        }
    );

    let (mut insert, mut delete, mut retain) = (Delta::new(), Delta::new(), Delta::new());
    insert.retain(2).insert("x");
    delete.retain(1).delete(1);
    retain.retain(2).delete(1);
    for delta in [insert, delete, retain] {
        assert_eq!(
            refused(&text, &delta, &limits),
            OpError::SplitSurrogate { position: 2 }
        );
    }

    let (mut bold, mut embed) = (Delta::new(), Delta::new());
    bold.retain_with(1, Attributes::from([("bold".into(), Value::Bool(true))]));
    embed.embed(Value::Object([].into()), Attributes::new());
    for delta in [&bold, &embed] {
        assert_eq!(refused(&text, delta, &limits), OpError::NotPlain);
    }
    let (mut last, mut behind) = (Delta::new(), Delta::new());
    last.delete(2);
    behind.retain(2).insert("x");
    for delta in [last, behind] {
        assert_eq!(refused(&rich, &delta, &limits), OpError::LastLine);
    }
    let no_break = Content::from_delta(Kind::Rich, &text.to_delta(), &limits);
    assert_eq!(no_break.err(), Some(OpError::LastLine));
}

/// A pair is judged where the operation is applied, also when a text is cut in composing.
#[test]
fn a_pair_is_not_cut_in_composing_or_inverting() {
    let (mut pair, mut cut) = (Delta::new(), Delta::new());
    pair.insert("🦀");
    cut.retain(1).delete(1);
    assert_eq!(
        pair.compose(&cut),
        Err(OpError::SplitSurrogate { position: 0 })
    );
    assert!(matches!(
        cut.invert(&pair),
        Err(OpError::SplitSurrogate { .. })
    ));
    let mut beyond = Delta::new();
    beyond.delete(3);
    assert!(matches!(
        beyond.invert(&pair),
        Err(OpError::LengthMismatch { .. })
    ));
}
