#![allow(clippy::unwrap_used)]

mod retention;

use std::collections::BTreeMap;

use codraft_ot::{Chain, Delta};
use codraft_proto::{
    disk::memory::MemoryDisk,
    event,
    ids::{ClientId, Revision, Seq},
};
use codraft_tiers::snapshots::Folder;
use proptest::prelude::*;

use super::*;

const G: GroupId = GroupId(1);

/// One after the other, as a document goes on.
#[derive(Default)]
struct Docs {
    last: BTreeMap<DocId, (u64, Chain)>,
    index: u64,
}

impl Docs {
    fn event(&mut self, doc: u8, who: u8, ts_ms: u64, kind: u8, body: Bytes) -> Arc<Event> {
        let doc = DocId([doc; 16]);
        let (rev, hash) = self.last.get(&doc).copied().unwrap_or_default();
        self.index += 1;
        let mut event = Event {
            doc,
            rev: Revision(rev + 1),
            client: (who > 0).then_some(ClientId([who; 16])),
            user: format!("user {}", who % 3).into(),
            seq: Seq(self.index / 2),
            base: Revision(rev.saturating_sub(self.index % 3)),
            ts_ms,
            kind,
            body,
            hash,
        };
        let mut canonical = Vec::new();
        event.canonical(&mut canonical);
        event.hash = hash.next(&canonical);
        self.last.insert(doc, (rev + 1, event.hash));
        Arc::new(event)
    }

    /// A round of typing in some documents.
    fn round(&mut self, docs: u8, events: usize) -> Round {
        let one = |nth: usize| {
            let (doc, ms) = ((nth % usize::from(docs)) as u8, 40 * self.index);
            let known = self.last.get(&DocId([doc; 16]));
            let Some((rev, _)) = known.copied() else {
                let created = Bytes::from_static(&[1, 1, 0]);
                return self.event(doc, 0, ms, event::CREATE as u8, created);
            };
            let (who, mut delta) = (1 + (rev / 100 % 3) as u8, Delta::new());
            delta.retain((rev as u32 - 1) / 2).insert("é");
            self.event(doc, who, ms, 0, delta.to_bytes().into())
        };
        let mut events: Vec<_> = (0..events).map(one).collect();
        events.sort_by_key(|event| (event.doc, event.rev));
        let to = self.index;
        Round { to, events }
    }
}

fn archivist(disk: &Arc<MemoryDisk>) -> Archivist {
    let folder = futures(Folder::open(disk.clone(), "/archive".into()));
    Archivist::new(Arc::new(folder.unwrap()), CheckpointOptions::default())
}

fn futures<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// Adds rounds; every event by document, and the last mark.
fn archive(archivist: &Archivist, rounds: u64) -> (BTreeMap<DocId, Vec<Event>>, ArchiveMark) {
    let (mut docs, mut mark) = (Docs::default(), ArchiveMark::default());
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for nth in 0..rounds {
        let round = docs.round(1 + (nth % 5) as u8, 200);
        for event in &round.events {
            let of_doc = all.entry(event.doc).or_default();
            of_doc.push(Event::clone(event));
        }
        mark = futures(archivist.add(G, mark, round)).unwrap();
    }
    (all, mark)
}

fn told(archivist: &Archivist, mark: ArchiveMark, doc: DocId, from: u64) -> Vec<Event> {
    let (from, to) = (Revision(from), Revision(u64::MAX));
    futures(archivist.events(G, mark, doc, from, to)).unwrap()
}

#[test]
fn what_is_archived_reads_back_from_any_revision() {
    let disk = Arc::new(MemoryDisk::new());
    let (all, mark) = archive(&archivist(&disk), 75);
    assert_eq!((mark.rounds, mark.index), (75, 75 * 200));
    // Another process, which knows nothing but the mark.
    let archivist = archivist(&disk);
    for (doc, events) in &all {
        for from in [1, 2, events.len() as u64 / 2, events.len() as u64] {
            assert_eq!(
                told(&archivist, mark, *doc, from),
                events[from as usize - 1..]
            );
        }
    }
    assert_eq!(told(&archivist, mark, DocId([99; 16]), 1), []);
    let head = futures(archivist.head(G, mark)).unwrap();
    let levels: Vec<_> = head.runs.iter().map(|run| run.level).collect();
    assert_eq!(levels, [2, 1, 0, 0, 0], "75 rounds are 64 + 8 + 3");
}

#[test]
fn replicas_have_the_same_objects_and_one_takes_what_it_lacks_from_another() {
    let disks = [(); 3].map(|()| Arc::new(MemoryDisk::new()));
    let (all, mark) = archive(&archivist(&disks[0]), 20);
    assert_eq!(archive(&archivist(&disks[1]), 20).1, mark);
    let bytes = |disk: &MemoryDisk| {
        let paths = disk.paths().into_iter();
        let contents = paths.map(|path| (path.clone(), disk.contents(&path).unwrap()));
        contents.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(bytes(&disks[0]), bytes(&disks[1]));
    let (lags, link) = (archivist(&disks[2]), Direct(archivist(&disks[0])));
    archive(&lags, 7);
    futures(lags.adopt(G, mark, &link)).unwrap();
    for (doc, events) in &all {
        assert_eq!(told(&lags, mark, *doc, 1), *events);
    }
    let other = ArchiveMark { index: 1, ..mark };
    let refused = futures(lags.adopt(G, other, &link)).unwrap_err();
    assert!(refused.to_string().contains("mark"), "{refused}");
}

struct Direct(Archivist);

impl BulkLink for Direct {
    fn fetch(&self, request: v1::Fetch) -> BoxFuture<'_, Result<v1::Fetched, String>> {
        Box::pin(async move {
            let Some(v1::fetch::Body::Object(part)) = request.body else {
                return Err("not an object".into());
            };
            let found = self.0.fetch(GroupId(request.group), part).await;
            let (pages, error) = match found {
                Ok(part) => (vec![part], String::new()),
                Err(error) => (Vec::new(), error.to_string()),
            };
            Ok(v1::Fetched {
                id: 0,
                pages,
                error,
            })
        })
    }
}

#[test]
fn what_is_tidied_away_is_what_no_mark_leads_to() {
    let disk = Arc::new(MemoryDisk::new());
    let archivist = archivist(&disk);
    let (all, mark) = archive(&archivist, 20);
    let before = disk.paths().len();
    futures(archivist.tidy(G, vec![mark, ArchiveMark::default()])).unwrap();
    // 20 packs, 2 indices of 8 rounds and 4 of one, a head.
    assert_eq!(disk.paths().len(), 27, "of {before}");
    for (doc, events) in &all {
        assert_eq!(told(&archivist, mark, *doc, 1), *events);
    }
}

#[test]
fn a_damaged_object_is_named_and_taken_from_another_replica() {
    let disks = [(); 2].map(|()| Arc::new(MemoryDisk::new()));
    let (all, mark) = archive(&archivist(&disks[0]), 1);
    archive(&archivist(&disks[1]), 1);
    let link = Direct(archivist(&disks[1]));
    let (doc, events) = all.first_key_value().unwrap();
    for path in disks[0].paths() {
        let length = disks[0].contents(&path).unwrap().len();
        disks[0].flip(&path, length / 2);
        let damaged = archivist(&disks[0]);
        let read = futures(damaged.events(G, mark, *doc, Revision(1), Revision(9)));
        let error = read.unwrap_err().to_string();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.contains(&name), "{error}");
        futures(damaged.adopt(G, mark, &link)).unwrap();
        assert_eq!(told(&damaged, mark, *doc, 1), *events);
    }
}

#[test]
fn a_long_document_is_cut_into_segments() {
    let disk = Arc::new(MemoryDisk::new());
    let archivist = archivist(&disk);
    let mut docs = Docs::default();
    let round = docs.round(1, 20_000);
    let events: Vec<_> = round
        .events
        .iter()
        .map(|event| Event::clone(event))
        .collect();
    let mark = futures(archivist.add(G, ArchiveMark::default(), round)).unwrap();
    let doc = events[0].doc;
    for from in [1, 2_048, 2_049, 20_000] {
        assert_eq!(
            told(&archivist, mark, doc, from),
            events[from as usize - 1..]
        );
    }
    let head = futures(archivist.head(G, mark)).unwrap();
    assert_eq!(head.runs[0].entries, 11, "ten segments and a checkpoint");
}

fn state(archivist: &Archivist, mark: ArchiveMark, doc: DocId, version: u64) -> State {
    let version = Revision(version);
    futures(async {
        let past = archivist.past(G, mark, &doc).await.unwrap();
        let known = State::before(doc);
        let state = archivist.state(&past, known, version, |_| {}).await;
        let state = state.unwrap();
        assert_eq!(state.rev, version);
        state
    })
}

#[test]
fn documents_are_kept_whole_now_and_then_and_any_revision_is_told() {
    let disk = Arc::new(MemoryDisk::new());
    let archivist = archivist(&disk);
    let (all, mark) = archive(&archivist, 75);
    let (doc, events) = all.first_key_value().unwrap();
    let past = futures(archivist.past(G, mark, doc)).unwrap();
    let latest = past.checkpoint(Revision(u64::MAX)).unwrap().rev();
    let one_before = past.checkpoint(Revision(latest.0 - 1)).unwrap().rev();
    assert!(one_before.0 >= 1_024 && latest.0 - one_before.0 >= 1_024);
    let mut alone = State::before(*doc);
    let (mut text, mut wrote) = (Vec::<char>::new(), Vec::<u8>::new());
    let mut scratch = Vec::new();
    for event in events {
        alone.pass(event, &mut scratch).unwrap();
        if event.kind == 0 {
            let at = (event.rev.0 as usize - 2) / 2;
            text.insert(at, 'é');
            wrote.insert(at, event.client.unwrap().0[0] % 3);
        }
        let rev = event.rev.0;
        if rev % 97 == 0 || event.rev == latest || event.rev == latest + 1 {
            let told = state(&archivist, mark, *doc, rev);
            assert_eq!((told.hash, told.ts_ms), (event.hash, event.ts_ms));
            assert_eq!(told.content.text(), text.iter().collect::<String>());
            let authorship = told.authorship();
            let users = authorship.iter();
            let users = users.flat_map(|(units, user)| vec![user.clone(); units as usize]);
            let expected = wrote.iter().map(|who| format!("user {who}").into());
            assert!(users.eq(expected), "at {rev}: {authorship:?}");
            assert_eq!(alone.authorship(), authorship);
        }
    }
    // Asked for by a time.
    let at = |ms| futures(archivist.revision_at(&past, ms)).unwrap();
    for pair in events.windows(2).step_by(311) {
        assert_eq!(at(pair[1].ts_ms), Some(pair[1].rev));
        assert_eq!(at(pair[1].ts_ms - 1), Some(pair[0].rev));
    }
    assert_eq!(
        at(events[0].ts_ms.saturating_sub(1)),
        Some(Revision(u64::from(events[0].ts_ms == 0)))
    );
    let last = events.last().unwrap();
    assert_eq!(
        at(last.ts_ms),
        None,
        "what comes next may be of the same time"
    );
}

#[test]
fn who_asks_for_a_checkpoint_has_one_there() {
    let (disk, mut docs) = (Arc::new(MemoryDisk::new()), Docs::default());
    let archivist = archivist(&disk);
    let mut round = docs.round(2, 10);
    let kind = event::CHECKPOINT as u8;
    round
        .events
        .push(docs.event(1, 0, 9_000, kind, Bytes::new()));
    let mut typing = Delta::new();
    typing.insert("later");
    round
        .events
        .push(docs.event(1, 1, 9_000, 0, typing.to_bytes().into()));
    let asked = round.events[10].clone();
    let mark = futures(archivist.add(G, ArchiveMark::default(), round)).unwrap();
    let past = |doc| futures(archivist.past(G, mark, &doc)).unwrap();
    let checkpoint = past(asked.doc).checkpoint(Revision(99)).unwrap().rev();
    assert_eq!(checkpoint, asked.rev);
    assert!(past(DocId([0; 16])).checkpoint(Revision(99)).is_none());
    for version in 1..=asked.rev.0 + 1 {
        state(&archivist, mark, asked.doc, version);
    }
}

fn body() -> impl Strategy<Value = Bytes> {
    let component = prop_oneof![
        (1u64..1 << 40).prop_map(|n| (n << 2, String::new())),
        (1u64..300).prop_map(|n| (n << 2 | 1, String::new())),
        "\\PC{1,9}".prop_map(|text| ((text.len() as u64) << 2 | 2, text)),
    ];
    let plain = prop::collection::vec(component, 0..5).prop_map(|components| {
        let mut body = Vec::new();
        for (head, text) in components {
            codraft_ot::varint::put(&mut body, head);
            body.extend_from_slice(text.as_bytes());
        }
        Bytes::from(body)
    });
    let other = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    prop_oneof![3 => plain, 1 => other]
}

proptest! {
    #[test]
    fn segments_read_back(
        told in prop::collection::vec((0u8..4, any::<u64>(), 0u8..3, body()), 1..40)
    ) {
        let mut docs = Docs::default();
        let events: Vec<_> = told
            .into_iter()
            .map(|(who, ts_ms, kind, body)| docs.event(1, who, ts_ms, kind, body))
            .collect();
        let mut spelled = Vec::new();
        segment::encode(&mut spelled, &events);
        let read = segment::decode(&spelled).unwrap();
        prop_assert!(read.iter().eq(events.iter().map(|event| &**event)));
        for end in 0..spelled.len() {
            // None of them may be a panic.
            prop_assert!(segment::decode(&spelled[..end]).is_err(), "{}", end);
        }
    }

    #[test]
    fn whatever_is_no_segment_is_an_error_or_events(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = segment::decode(&bytes);
        let _ = Head::decode(&bytes);
        let _ = Index::decode(&bytes);
        let _ = pack::open(&bytes);
        let _ = checkpoint::decode(&bytes);
        let _ = Authorship::decode(&bytes);
    }
}
