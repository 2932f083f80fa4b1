//! What documents say they take in memory, beside what an allocator counts.
#![allow(clippy::unwrap_used)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use codraft_ot::{Attributes, Content, Delta, Diff, Kind, Limits, Value};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// What a request takes in glibc's heap: a head of eight bytes, multiples of sixteen.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: all is handed to the system's allocator as it came; counting touches no memory.
#[allow(unsafe_code)] // an allocator cannot be counted in another way
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let before = BYTES.fetch_add(taken(layout), Ordering::Relaxed);
        PEAK.fetch_max(before + taken(layout), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(taken(layout), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn set(name: &str, value: Value) -> Attributes {
    [(name.into(), value)].into()
}

fn object(name: &str, value: Value) -> Value {
    Value::Object(set(name, value))
}

fn rich(fill: impl FnOnce(&mut Delta)) -> Content {
    let mut delta = Delta::new();
    fill(&mut delta);
    delta.insert("\n");
    Content::from_delta(Kind::Rich, &delta, &Limits::default()).unwrap()
}

/// Single letters, every second one bold, as many as a document may have.
fn alternating() -> Content {
    let limits = Limits::default();
    // Four bytes a run, four for the map of one.
    let pairs = limits.rich_bytes / 12 - 1;
    let content = rich(|delta| {
        for _ in 0..pairs {
            delta
                .insert("a")
                .insert_with("b", set("b", Value::Bool(true)));
        }
    });
    let mut more = Delta::new();
    for _ in 0..2 {
        more.insert("a")
            .insert_with("b", set("b", Value::Bool(true)));
    }
    assert!(content.clone().apply(&more, &limits).is_err());
    content
}

fn distinct_maps() -> Content {
    rich(|delta| {
        for n in 0..100_000 {
            delta.insert_with("a", set("link", Value::Number(f64::from(n))));
        }
    })
}

fn small_embeds() -> Content {
    rich(|delta| {
        for n in 0..100_000 {
            delta.embed(object("a", Value::Number(f64::from(n))), Attributes::new());
        }
    })
}

/// Of nested objects, near the largest that is allowed.
fn nested_embeds() -> Content {
    let item = || object("a", object("b", Value::Null));
    let items = (0..3_000).map(|_| item()).collect();
    let value = object("x", Value::Array(items));
    rich(|delta| {
        for _ in 0..100 {
            delta.embed(value.clone(), Attributes::new());
        }
    })
}

fn plain() -> Content {
    let mut delta = Delta::new();
    delta.insert(&"The quick brown fox. ".repeat(50_000));
    Content::from_delta(Kind::Text, &delta, &Limits::default()).unwrap()
}

/// Typed here and there.
fn edited(kind: Kind) -> Content {
    let mut content = Content::new(kind);
    let mut random = 1u32;
    for n in 0..20_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut delta = Delta::new();
        delta.retain((random >> 8) % content.units().max(1));
        match kind {
            Kind::Rich if n % 3 == 0 => {
                let value = Value::Number(f64::from(n % 40));
                delta.insert_with("some words", set("color", value))
            }
            _ => delta.insert("some words"),
        };
        content.apply(&delta.chop(), &Limits::default()).unwrap();
    }
    content
}

/// What comparing two texts takes at most, beside them: they are one word each, of letters that differ.
fn comparing(letters: usize) -> usize {
    let word = |mut random: u32| {
        let mut letter = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (random >> 16) as u8 % 26)
        };
        let mut delta = Delta::new();
        delta.insert(&(0..letters).map(|_| letter()).collect::<String>());
        delta
    };
    let (before, after) = (word(1), word(2));
    let began = BYTES.load(Ordering::Relaxed);
    PEAK.store(began, Ordering::Relaxed);
    let mut diff = Diff::new(&before, &after);
    while !diff.step() {}
    PEAK.load(Ordering::Relaxed) - began
}

/// One test, since all threads count in one place.
#[test]
fn the_account_is_true_and_comparing_takes_little() {
    let (letters, most) = (10_000, 100);
    let taken = comparing(letters);
    assert!(taken <= most * letters, "{taken} for {letters} letters");
    type Make = fn() -> Content;
    let rows: [(&str, Make); 8] = [
        ("empty", || Content::new(Kind::Rich)),
        ("plain", plain),
        ("plain, edited", || edited(Kind::Text)),
        ("rich, edited", || edited(Kind::Rich)),
        ("alternating runs", alternating),
        ("distinct maps", distinct_maps),
        ("small embeds", small_embeds),
        ("nested embeds", nested_embeds),
    ];
    let mut wrong = Vec::new();
    for (name, make) in rows {
        let before = BYTES.load(Ordering::Relaxed);
        let content = make();
        let taken = BYTES.load(Ordering::Relaxed) - before;
        let said = content.heap_bytes() as usize;
        let mut encoded = Vec::new();
        content.encode(&mut encoded);
        let encoded = encoded.len();
        let row = format!("{name}: {taken} taken, {said} said, {encoded} encoded");
        let is_true = (1.0 / 1.3..1.3).contains(&(said as f64 / taken as f64));

        if !is_true || (encoded > 10_000 && taken > 4 * encoded) {
            wrong.push(row.clone());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
