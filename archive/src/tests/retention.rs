//! What is older than history is kept goes; what is left is told as before.

use super::*;
use crate::{AuditError, object::CARRIED};

const KEPT_MS: u64 = 100_000;
/// Of 200 events, 40 ms apart, and one document that nobody comes back to.
const ROUND_MS: u64 = 201 * 40;

fn retaining(disk: &Arc<MemoryDisk>, retention_ms: u64) -> Archivist {
    archivist(disk).retaining(retention_ms)
}

fn rounds(count: u64) -> Vec<Round> {
    let mut docs = Docs::default();
    let one = |nth: u64| {
        let mut round = docs.round(1 + (nth % 5) as u8, 200);
        let created = Bytes::from_static(&[1, 1, 0]);
        let once = docs.event(100 + nth as u8, 0, 40 * docs.index, 1, created);
        round.events.push(once);
        round.to = docs.index;
        round
    };
    (0..count).map(one).collect()
}

fn copied(round: &Round) -> Round {
    let events = round.events.clone();
    Round {
        to: round.to,
        events,
    }
}

fn add(archivist: &Archivist, mark: ArchiveMark, round: &Round) -> ArchiveMark {
    futures(archivist.add(G, mark, copied(round))).unwrap()
}

/// All rounds, with history that is kept for a time; every round by another process.
fn archived(disk: &Arc<MemoryDisk>, retention_ms: u64, rounds: &[Round]) -> ArchiveMark {
    let add = |mark, round| add(&retaining(disk, retention_ms), mark, round);
    rounds.iter().fold(ArchiveMark::default(), add)
}

fn by_document(rounds: &[Round]) -> BTreeMap<DocId, Vec<Event>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in rounds.iter().flat_map(|round| &round.events) {
        all.entry(event.doc).or_default().push(Event::clone(event));
    }
    all
}

fn oldest(archivist: &Archivist, mark: ArchiveMark, doc: DocId) -> Option<Revision> {
    futures(archivist.oldest(G, mark, &doc)).unwrap()
}

#[test]
fn what_is_older_than_history_is_kept_goes_and_the_rest_is_told_as_before() {
    let rounds = rounds(75);
    let (forever, disk) = (Arc::new(MemoryDisk::new()), Arc::new(MemoryDisk::new()));
    let everything = archived(&forever, 0, &rounds);
    let mark = archived(&disk, KEPT_MS, &rounds);
    let (forever, archivist) = (archivist(&forever), retaining(&disk, KEPT_MS));
    let newest_ms = rounds[74].events.iter().map(|event| event.ts_ms).max();
    let limit_ms = newest_ms.unwrap() - KEPT_MS;
    let spelled = |state: &State| futures(checkpoint::encode(state));
    for (doc, events) in by_document(&rounds) {
        let last = events.last().unwrap();
        let Some(oldest) = oldest(&archivist, mark, doc) else {
            // Rounds are looked at when eight more are archived, and go as a whole.
            assert!(events[0].ts_ms + 10 * ROUND_MS > limit_ms, "{doc}");
            continue;
        };
        let gone = &events[oldest.0 as usize - 1];
        assert!(gone.ts_ms < limit_ms, "{doc}: {} ms", gone.ts_ms);
        if let Some(next) = events.get(oldest.0 as usize) {
            assert!(
                next.ts_ms + 10 * ROUND_MS > limit_ms,
                "{doc}: {} ms",
                next.ts_ms
            );
        }
        assert_eq!(
            told(&archivist, mark, doc, 1),
            events[oldest.0 as usize..],
            "{doc}"
        );
        let versions = [oldest.0, oldest.0 + 1, oldest.0 + 70, last.rev.0];
        for version in versions
            .into_iter()
            .filter(|version| *version <= last.rev.0)
        {
            let kept = state(&archivist, mark, doc, version);
            assert_eq!(
                spelled(&kept),
                spelled(&state(&forever, everything, doc, version))
            );
        }
        // By a time, too, from that of the first one that is kept.
        let past = futures(archivist.past(G, mark, &doc)).unwrap();
        let at = |ms| futures(archivist.revision_at(&past, ms)).unwrap();
        let of_last = (last.rev > oldest).then_some(oldest);
        assert_eq!(at(gone.ts_ms), of_last, "{doc}");
    }
    let once = DocId([100; 16]);
    assert_eq!(oldest(&archivist, mark, once), Some(Revision(1)));
    assert_eq!(state(&archivist, mark, once, 1).rev, Revision(1));
}

#[test]
fn replicas_let_go_of_the_same_and_what_is_gone_takes_no_room() {
    let rounds = rounds(70);
    let disks = [(); 3].map(|()| Arc::new(MemoryDisk::new()));
    let mark = archived(&disks[0], KEPT_MS, &rounds);
    // One process from the first round on; and a replica that brings what it lacks from another.
    let archivist = retaining(&disks[1], KEPT_MS);
    let to_end = rounds.iter().fold(ArchiveMark::default(), |mark, round| {
        add(&archivist, mark, round)
    });
    assert_eq!(to_end, mark);
    let link = Direct(retaining(&disks[0], KEPT_MS));
    futures(retaining(&disks[2], KEPT_MS).adopt(G, mark, &link)).unwrap();
    let objects = disks.each_ref().map(|disk| {
        futures(retaining(disk, KEPT_MS).tidy(G, vec![mark])).unwrap();
        let paths = disk.paths().into_iter();
        let contents = paths.map(|path| (path.clone(), disk.contents(&path).unwrap()));
        contents.collect::<BTreeMap<_, _>>()
    });
    assert!(objects[0] == objects[1] && objects[0] == objects[2]);
    // 13 to 22 rounds, their indices, what was carried over, and a head.
    assert!(objects[0].len() < 40, "{}", objects[0].len());
    let heads = disks.each_ref().map(|disk| {
        let archivist = retaining(disk, KEPT_MS);
        let head = futures(archivist.head(G, mark)).unwrap();
        assert_eq!(head.runs[0].level, CARRIED);
        let carried = futures(archivist.index(G, head.runs[0].hash)).unwrap();
        assert!(carried.entries.len() > 45, "{}", carried.entries.len());
        assert!(carried.packs.len() <= 3, "{} packs", carried.packs.len());
        head
    });
    assert!(heads.iter().all(|head| *head == heads[0]));
}

#[test]
fn an_archive_proves_what_it_keeps_and_nothing_goes_where_it_is_kept_for_ever() {
    let rounds = rounds(40);
    let disk = Arc::new(MemoryDisk::new());
    let mark = archived(&disk, KEPT_MS, &rounds);
    let retold = |archivist: &Archivist, doc| {
        let mut begins = None;
        let each = |state: &State| {
            begins.get_or_insert(state.rev);
        };
        futures(archivist.retold(G, mark, doc, each)).map(|state| (begins, state))
    };
    let all = by_document(&rounds);
    for (doc, events) in &all {
        let archivist = retaining(&disk, KEPT_MS);
        let (begins, state) = retold(&archivist, *doc).unwrap();
        let last = events.last().unwrap();
        assert_eq!((state.rev, state.hash), (last.rev, last.hash));
        let oldest = oldest(&archivist, mark, *doc);
        assert_eq!(begins, Some(oldest.unwrap_or(Revision(1))));
        if let Some(oldest) = oldest {
            let forever = retold(&retaining(&disk, 0), *doc);
            let is_it = |error: &AuditError| matches!(error, AuditError::Gone { rev, .. } if *rev == oldest);
            assert!(forever.as_ref().is_err_and(is_it), "{:?}", forever.err());
        }
    }
    // Whatever object is missing, something is not told any more.
    for path in disk.paths() {
        let content = disk.contents(&path).unwrap();
        let without = Arc::new(MemoryDisk::new());
        for other in disk.paths().into_iter().filter(|other| *other != path) {
            futures(async {
                let file = codraft_proto::disk::Disk::open(&*without, &other, true).await;
                let content = disk.contents(&other).unwrap();
                file.unwrap().write_and_sync(0, content).await.unwrap();
            });
        }
        let needed = futures(retaining(&disk, KEPT_MS).found(G, mark)).unwrap();
        let hash = futures(ContentHash::of(&content));
        if !needed.contains(&hash) {
            continue;
        }
        let lacks = retaining(&without, KEPT_MS);
        let listed = futures(lacks.documents(G, mark));
        let is_told =
            listed.is_ok_and(|docs| docs.into_iter().all(|doc| retold(&lacks, doc).is_ok()));
        assert!(!is_told, "without {}", path.display());
    }
}

#[test]
fn old_rounds_stay_where_a_document_cannot_be_told() {
    let (mut docs, mut rounds) = (Docs::default(), rounds(40));
    let created = docs.event(99, 0, 0, 1, Bytes::from_static(&[1, 1, 0]));
    let unreadable = docs.event(99, 1, 0, 0, Bytes::from_static(&[0xff]));
    rounds[0].events.extend([created, unreadable]);
    rounds[0].events.sort_by_key(|event| (event.doc, event.rev));
    let disk = Arc::new(MemoryDisk::new());
    let mark = archived(&disk, KEPT_MS, &rounds);
    let archivist = retaining(&disk, KEPT_MS);
    for (doc, events) in by_document(&rounds) {
        assert_eq!(oldest(&archivist, mark, doc), None);
        assert_eq!(told(&archivist, mark, doc, 1).len(), events.len());
    }
}
