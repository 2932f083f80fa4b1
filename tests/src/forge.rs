//! Lies that fit: what a disk does not make of a document by chance.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use codraft_proto::{
    disk::{Disk, OsDisk},
    ids::DocId,
    placement::slot_of,
};
use codraft_raft::{
    machine::{InSlot, Page},
    manifest::{Bucket, MANIFESTS, Manifest, bucket, bucket_key, read_bucket},
    pages::{PAGES, PageKey, PageLog, PageOptions},
};
use codraft_tiers::snapshots::ContentHash;

/// Replaces words in the page of a document by others of the same length, the first time that they
/// come, and makes checksums, list and manifest of the node fit.
///
/// # Errors
/// When there is no such page, or none with these words.
pub async fn page(node: &Path, doc: DocId, from: &str, to: &str) -> Result<()> {
    ensure!(from.len() == to.len(), "words of another length");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::start()?);
    let log = PageLog::open(disk, node.join(PAGES), PageOptions::default()).await?;
    let slot = slot_of(&doc);
    for file in std::fs::read_dir(node.join(MANIFESTS))? {
        let path = file?.path();
        let mut manifest = Manifest::decode(&std::fs::read(&path)?, &path)?;
        let group = manifest.group;
        let Some(listed) = manifest.buckets.get(&slot) else {
            continue;
        };
        let list_key = bucket_key(group, slot);
        let list = read_bucket(&log.read(&list_key, listed.place).await?)?;
        let Some(held) = list.get(&doc) else { continue };
        let key = PageKey {
            group,
            slot,
            doc,
            index: held.touched(),
        };
        let stored = held.page().context("no page")?;
        let mut forged = log.read(&key, stored.place).await?.to_vec();
        let mut places = forged.windows(from.len());
        let at = places.position(|part| part == from.as_bytes());
        let at = at.context("no such words")?;
        forged[at..at + to.len()].copy_from_slice(to.as_bytes());
        let digest = ContentHash::of(&forged).await.0;
        let place = log.append(&[(key, forged.into())]).await?[0];
        let mut forged = InSlot::default();
        for (of, held) in list.iter() {
            let held = match *of == doc {
                true => held.moved(Page { place, digest }),
                false => held.clone(),
            };
            forged.push(*of, held);
        }
        let (spelled, hash) = bucket(&forged);
        let place = log.append(&[(list_key, spelled.into())]).await?[0];
        let documents = forged.count() as u64;
        let forged = Bucket {
            documents,
            place,
            hash,
        };
        manifest.buckets.insert(slot, forged);
        log.sync().await?;
        return Ok(std::fs::write(path, manifest.encode())?);
    }
    bail!("no document {doc} in {}", node.display())
}

/// Replaces words in a node's identity by others, and makes its checksum fit.
///
/// # Errors
/// When there are none.
pub fn identity(node: &Path, from: &str, to: &str) -> Result<()> {
    let path = node.join("identity");
    let text = std::fs::read_to_string(&path)?;
    let (body, _) = text.trim_end().rsplit_once('\n').context("one line")?;
    ensure!(body.contains(from), "no such words");
    let forged = body.replace(from, to) + "\n";
    let crc = crc32(forged.as_bytes());
    Ok(std::fs::write(path, format!("{forged}{crc:08x}\n"))?)
}

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), bit);
    !bytes.iter().fold(!0, byte)
}
