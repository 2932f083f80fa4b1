#![allow(clippy::unwrap_used)]

use codraft_proto::{
    disk::memory::MemoryDisk,
    ids::{DocId, GroupId, Slot},
};

use super::*;

fn key(n: u8) -> PageKey {
    PageKey {
        group: GroupId(2),
        slot: Slot(7),
        doc: DocId([n; 16]),
        index: u64::from(n),
    }
}

async fn open(disk: &MemoryDisk, file_bytes: u32) -> PageLog {
    let disk = Arc::new(disk.clone());
    let options = PageOptions { file_bytes };
    PageLog::open(disk, PathBuf::from("/data/pages"), options)
        .await
        .unwrap()
}

fn page(n: u8, bytes: usize) -> (PageKey, Bytes) {
    (key(n), vec![n; bytes].into())
}

fn path(file: u32) -> PathBuf {
    PathBuf::from(format!("/data/pages/{file:08x}.pages"))
}

#[tokio::test]
async fn pages_read_back_also_after_a_loss_of_power_once_synced() {
    let disk = MemoryDisk::new();
    let log = open(&disk, 1 << 20).await;
    let pages: Vec<_> = (1..=5).map(|n| page(n, n as usize * 700)).collect();
    let places = log.append(&pages).await.unwrap();
    for ((key, payload), place) in pages.iter().zip(&places) {
        assert_eq!(log.read(key, *place).await.unwrap(), *payload);
    }
    log.sync().await.unwrap();
    disk.lose_power(1);
    let log = open(&disk, 1 << 20).await;
    for ((key, payload), place) in pages.iter().zip(&places) {
        assert_eq!(log.read(key, *place).await.unwrap(), *payload);
    }
    // Behind a restart nothing is written to what another process began.
    let after = log.append(&[page(9, 10)]).await.unwrap()[0];
    assert!(after.file > places[4].file);
}

#[tokio::test]
async fn a_page_is_told_from_any_other() {
    let log = open(&MemoryDisk::new(), 1 << 20).await;
    let places = log.append(&[page(1, 64), page(2, 64)]).await.unwrap();
    let (one, two) = (places[0], places[1]);
    assert!(log.read(&key(1), two).await.is_err(), "another document's");
    let older = PageKey { index: 0, ..key(1) };
    assert!(log.read(&older, one).await.is_err(), "another entry's");
    let other_group = PageKey {
        group: GroupId(3),
        ..key(1)
    };
    assert!(log.read(&other_group, one).await.is_err());
    let cut = PagePlace { length: 63, ..one };
    assert!(log.read(&key(1), cut).await.is_err());
    let gone = PagePlace { file: 77, ..one };
    assert!(log.read(&key(1), gone).await.is_err());
}

#[tokio::test]
async fn each_flipped_bit_of_a_page_is_found() {
    let disk = MemoryDisk::new();
    let log = open(&disk, 1 << 20).await;
    let place = log.append(&[page(3, 20)]).await.unwrap()[0];
    let whole = format::size(20).unwrap();
    for byte in 0..whole {
        let at = place.offset as usize + byte;
        disk.flip(&path(place.file), at);
        let read = log.read(&key(3), place).await;
        // The last bytes are padding, which nobody reads.
        assert_eq!(read.is_err(), byte < 60, "byte {byte}");
        disk.flip(&path(place.file), at);
    }
    assert_eq!(log.read(&key(3), place).await.unwrap(), vec![3; 20]);
}

#[tokio::test]
async fn files_are_small_and_go_one_by_one() {
    let disk = MemoryDisk::new();
    let log = open(&disk, 1_000).await;
    let pages: Vec<_> = (1..=6).map(|n| page(n, 600)).collect();
    let places = log.append(&pages).await.unwrap();
    let files = |log: &PageLog| log.files().into_keys().collect::<Vec<_>>();
    assert_eq!(files(&log), [1, 2, 3], "two pages a file");
    log.sync().await.unwrap();
    log.remove([1, 3]).await.unwrap();
    log.remove([1, 3]).await.unwrap();
    assert_eq!(files(&log), [2, 3], "the one that is written to stays");
    assert!(log.read(&key(1), places[0]).await.is_err());
    assert!(log.read(&key(3), places[2]).await.is_ok());
    let again = open(&disk, 1_000).await;
    assert_eq!(again.files(), log.files());
    assert_eq!(again.current().await, 4);
}

#[tokio::test]
async fn what_did_not_fit_is_not_written_behind() {
    let disk = MemoryDisk::new();
    let log = open(&disk, 1 << 20).await;
    let first = log.append(&[page(1, 100)]).await.unwrap()[0];
    disk.set_capacity(Some(300));
    assert!(log.append(&[page(2, 4_000)]).await.is_err());
    disk.set_capacity(None);
    let second = log.append(&[page(2, 4_000)]).await.unwrap()[0];
    assert!(second.file > first.file);
    assert!(log.read(&key(1), first).await.is_ok());
    assert!(log.read(&key(2), second).await.is_ok());
}

#[tokio::test]
async fn each_flipped_byte_of_a_file_is_named() {
    let disk = MemoryDisk::new();
    let log = open(&disk, 1 << 20).await;
    let pages = [page(1, 77), page(2, 0), page(3, 300)];
    let places = log.append(&pages).await.unwrap();
    log.sync().await.unwrap();
    let whole: Bytes = disk.contents(&path(1)).unwrap().into();
    let stand = |(key, place): (&(PageKey, Bytes), &PagePlace)| Stands::Page {
        key: key.0,
        place: *place,
    };
    let stands: Vec<_> = pages.iter().zip(&places).map(stand).collect();
    assert_eq!(walk(&whole, 1), stands);
    for offset in 0..whole.len() {
        let mut bad = whole.to_vec();
        bad[offset] ^= 0x81;
        let bad: Bytes = bad.into();
        let found = walk(&bad, 1);
        let odd = found
            .iter()
            .find(|stands| !matches!(stands, Stands::Page { .. }));
        match odd.unwrap_or_else(|| panic!("nothing at {offset}")) {
            Stands::Odd { byte, .. } => assert_eq!(*byte, offset as u64),
            Stands::Bad { offset: at, .. } => {
                let is_that = |(_, place): &(_, &PagePlace)| place.offset == *at;
                let (page, place) = pages.iter().zip(&places).find(is_that).unwrap();
                let is_right = |payload: &[u8]| *payload == page.1;
                let byte = wrong_byte(&bad, *place, &page.0, is_right);
                assert_eq!(byte, Some((offset as u64, page.1.clone())));
                // Without the list all but the length and the checksum itself can be told.
                if (8..).contains(&(offset - *at as usize)) {
                    let mended = mended(&bad, 1, *at).unwrap();
                    assert_eq!((mended.byte, mended.key), (offset as u64, page.0));
                    assert_eq!(mended.payload, page.1);
                }
            }
            Stands::Page { .. } => {}
        }
    }
}
