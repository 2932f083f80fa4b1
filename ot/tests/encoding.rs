//! A document's binary form, written in steps.
#![allow(clippy::unwrap_used)]

use codraft_ot::{Attributes, Content, Delta, Kind, Limits, Value};

fn bold() -> Attributes {
    [("bold".into(), Value::Bool(true))].into()
}

/// Writes it in steps and looks at each. Returns how many they were.
fn steps(content: &Content) -> usize {
    let mut encoding = content.encoding();
    let (mut written, mut before, mut steps) = (Vec::new(), 0, 0);
    loop {
        let done = encoding.step(&mut written);
        steps += 1;
        // What is begun last in a step may be an embed.
        assert!(written.len() - before <= (128 << 10) + Limits::default().embed_bytes);
        before = written.len();
        if done {
            break;
        }
    }
    assert_eq!(written, content.to_delta().to_bytes());
    let about = content.encoded_bytes();
    assert!(
        about <= 2 * written.len() + 8 && written.len() <= about + about / 4,
        "{about} for {}",
        written.len()
    );
    steps
}

fn made(kind: Kind, delta: &Delta) -> Content {
    Content::from_delta(kind, delta, &Limits::default().of_document()).unwrap()
}

#[test]
fn a_plain_document_is_written_in_steps() {
    assert_eq!(steps_of_text(""), 1);
    assert_eq!(steps_of_text("short"), 1);
    // Characters of each length, so that some lie across the end of a step.
    for text in ["a", "é", "€", "😀", "aé€😀"] {
        let times = (1 << 20) / text.len();
        assert!(steps_of_text(&text.repeat(times)) >= 8, "{text}");
    }
}

fn steps_of_text(text: &str) -> usize {
    let mut delta = Delta::new();
    delta.insert(text);
    steps(&made(Kind::Text, &delta))
}

#[test]
fn a_rich_document_is_written_in_steps() {
    let mut long = Delta::new();
    long.insert(&"plain 😀 ".repeat(40_000));
    long.insert_with(&"bold €".repeat(40_000), bold());
    long.insert("\n");
    assert!(steps(&made(Kind::Rich, &long)) >= 6);

    let mut many = Delta::new();
    let mut embeds = Delta::new();
    for n in 0..20_000 {
        many.insert("x").insert_with("é", bold());
        if n < 100 {
            let value = Value::String("e".repeat(30_000 + n).into());
            embeds.embed(
                Value::Object([("image".into(), value)].into()),
                Attributes::new(),
            );
        }
    }
    many.insert("\n");
    embeds.insert("\n");
    assert!(steps(&made(Kind::Rich, &many)) >= 19, "by its runs");
    assert!(steps(&made(Kind::Rich, &embeds)) >= 18, "by its embeds");
    assert_eq!(steps(&Content::new(Kind::Rich)), 1);
}
