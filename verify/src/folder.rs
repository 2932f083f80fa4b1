//! A node's folder, opened by one who is not that node: identity, log, and for each group the manifest
//! with the lists of its documents.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use codraft_archive::{ARCHIVE, Archivist, CheckpointOptions};
use codraft_proto::ids::{DocId, GroupId, Slot};
use codraft_proto::placement::slot_of;
use codraft_raft::{
    identity::{FILE, Identity, IdentityError, KnownPeers, PEERS, WAL},
    machine::{Document, Held, InSlot, MachineLimits, Page, Slots, StateError},
    manifest::{
        Bucket, MANIFESTS, Manifest, ManifestError, bucket, bucket_key, index_of, read_bucket,
    },
    oplog::{EVENTS, EventPage, Logged, decode, event_key},
    pages::{PAGES, PageKey, PageLog, PageOptions, PagePlace, wrong_byte},
    users::{Listed, UserPage, read_users, users_key},
    wal::{Odd, Wal, WalError, WalOptions, file_name},
};
use codraft_tiers::snapshots::Folder;

use crate::{
    VerifyError,
    disk::{ReadOnly, contents, names},
    exact,
    report::{Lie, Place, Report},
};

pub struct NodeFolder {
    pub path: PathBuf,
    /// Those that its node applies by.
    pub limits: MachineLimits,
    /// None where it does not read back.
    pub identity: Option<Identity>,
    /// None where it does not read back at all.
    pub wal: Option<Wal>,
    pub archivist: Archivist,
    pub groups: BTreeMap<GroupId, Kept>,
    /// The first place of the log that is not as it was written, where that is an entry.
    pub odd: Option<Odd>,
    pages: PageLog,
    events: PageLog,
    /// What pages held before a byte of them was changed.
    pub mended: Mended,
}

#[derive(Default)]
pub struct Mended {
    pub pages: BTreeMap<PagePlace, Bytes>,
    pub events: BTreeMap<PagePlace, Bytes>,
}

/// What a manifest says that a node keeps of a group.
pub struct Kept {
    pub manifest: Manifest,
    /// All of them cold.
    pub documents: Slots,
    /// Whether all lists of documents read back, or could be put right.
    pub is_whole: bool,
}

impl NodeFolder {
    /// # Errors
    /// When something cannot be read, or is of another format: nothing is known then. What is damaged is
    /// reported and left out.
    pub async fn open(
        path: &Path,
        limits: &MachineLimits,
        report: &mut Report,
    ) -> Result<Self, VerifyError> {
        let identity = identity(path, report).await?;
        let disk = || Arc::new(ReadOnly);
        let unreadable = |error| VerifyError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let options = WalOptions {
            must_exist: identity.as_ref().is_none_or(|of| of.has_log),
            // Each entry is read once.
            cache_bytes: 0,
            ..WalOptions::default()
        };
        let (mut wal, mut odd) = (None, None);
        match Wal::look(disk(), path.join(WAL), options).await {
            Ok((log, found, lies)) => {
                if found.cut_bytes > 0 {
                    report.note(format!("{}: a torn tail of the log", path.display()));
                }
                odd = lies
                    .into_iter()
                    .inspect(|odd| log_lie(path, odd, report))
                    .find(|odd| odd.stored.is_some());
                wal = Some(log);
            }
            Err(error @ WalError::Missing) => {
                report.lie(Lie::new(path.join(WAL), error.to_string()));
            }
            Err(WalError::Io(error)) => return Err(unreadable(error)),
            Err(other) => return Err(VerifyError::Format(other.to_string())),
        }
        let options = PageOptions::default();
        let open = |name| PageLog::open(disk(), path.join(name), options.clone());
        let (pages, events) = (open(PAGES).await, open(EVENTS).await);
        let store = Arc::new(Folder::at(disk(), path.join(ARCHIVE)));
        let mut folder = NodeFolder {
            path: path.to_owned(),
            limits: limits.clone(),
            archivist: Archivist::new(store, CheckpointOptions::default())
                .retaining(retention_ms(identity.as_ref())),
            identity,
            wal,
            groups: BTreeMap::new(),
            odd,
            pages: pages.map_err(unreadable)?,
            events: events.map_err(unreadable)?,
            mended: Mended::default(),
        };
        for (group, manifest) in manifests(&path.join(MANIFESTS), report)? {
            let kept = folder.kept(manifest, report).await?;
            folder.groups.insert(group, kept);
        }
        Ok(folder)
    }

    /// For how long history is kept, in milliseconds of the events' own time; 0 for ever.
    pub fn retention_ms(&self) -> u64 {
        retention_ms(self.identity.as_ref())
    }

    /// Whether a process has it.
    pub async fn is_in_use(path: &Path) -> bool {
        use codraft_proto::disk::Disk;
        let claimed = ReadOnly.claim(path).await;
        claimed.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether a later manifest is in the place of one that was read: what that listed may be gone.
    pub fn went_on(&self) -> bool {
        let mut manifests = self.groups.values().map(|kept| &kept.manifest);
        manifests.any(|manifest| !self.manifest_file(manifest).exists())
    }

    /// As people know it: the last part of its path.
    pub fn name(&self) -> String {
        let name = self.path.file_name();
        name.map_or_else(
            || self.path.display().to_string(),
            |name| name.to_string_lossy().into(),
        )
    }

    pub fn page_file(&self, place: PagePlace) -> PathBuf {
        self.path
            .join(PAGES)
            .join(format!("{:08x}.pages", place.file))
    }

    pub fn event_file(&self, place: PagePlace) -> PathBuf {
        self.path
            .join(EVENTS)
            .join(format!("{:08x}.pages", place.file))
    }

    pub fn manifest_file(&self, manifest: &Manifest) -> PathBuf {
        let name = format!(
            "{:08x}-{:016x}.manifest",
            manifest.group.0,
            manifest.index()
        );
        self.path.join(MANIFESTS).join(name)
    }

    /// The lists of documents of a manifest. What is wrong with them is told where files are gone
    /// through.
    async fn kept(&self, manifest: Manifest, report: &mut Report) -> Result<Kept, VerifyError> {
        let (mut documents, mut is_whole) = (Slots::default(), true);
        for (slot, listed) in &manifest.buckets {
            match self.listed(manifest.group, *slot, listed).await {
                Some(of_slot) => {
                    let count = of_slot.count() as u64;
                    let stray = of_slot.iter().find(|(doc, _)| slot_of(doc) != *slot);
                    if let Some((doc, held)) = stray {
                        let lie =
                            Lie::new(self.manifest_file(&manifest), "a document of another slot");
                        report.lie(
                            lie.of_group(manifest.group)
                                .of(Some(*doc), Some(held.summary().rev)),
                        );
                    }
                    if count != listed.documents {
                        let what = format!(
                            "it says {} documents where {count} are listed",
                            listed.documents
                        );
                        let lie = Lie::new(self.manifest_file(&manifest), what);
                        report.lie(lie.of_group(manifest.group));
                    }
                    documents.put(*slot, of_slot);
                }
                None => is_whole = false,
            }
        }
        Ok(Kept {
            manifest,
            documents,
            is_whole,
        })
    }

    async fn listed(&self, group: GroupId, slot: Slot, listed: &Bucket) -> Option<InSlot> {
        let (key, place) = (bucket_key(group, slot), listed.place);
        let page = match self.pages.read(&key, place).await {
            Ok(page) => page,
            Err(_) => {
                let content = contents(&self.page_file(place)).ok()??;
                wrong_byte(&content.into(), place, &key, |page| is_list(page, listed))?.1
            }
        };
        is_list(&page, listed)
            .then(|| read_bucket(&page).ok())
            .flatten()
    }

    /// A document as a manifest lists it, proven by its digest; none where its page is not what was
    /// written, which is told where files are gone through.
    ///
    /// # Errors
    /// When its page is what the list says, and no document.
    pub async fn document(
        &self,
        group: GroupId,
        doc: DocId,
        held: &Held,
    ) -> Result<Option<Document>, StateError> {
        let Some(page) = held.page() else {
            return Ok(None);
        };
        let key = document_key(group, doc, held);
        let stored = match self.mended.pages.get(&page.place) {
            Some(mended) => Some(mended.clone()),
            None => self.pages.read(&key, page.place).await.ok(),
        };
        let stored = stored.filter(|stored| is_stored(stored, &page));
        let document = stored.map(|stored| Document::decode(&stored, &self.limits));
        document.transpose()
    }

    /// What a page of users' documents lists; none where it does not read back.
    pub async fn users(&self, group: GroupId, page: &UserPage) -> Option<Vec<Listed>> {
        let spelled = match self.mended.pages.get(&page.place) {
            Some(mended) => mended.clone(),
            None => self.pages.read(&users_key(group), page.place).await.ok()?,
        };
        read_users(&spelled).ok()
    }

    /// The events of a page, document by document; none where it does not read back.
    pub async fn events(&self, group: GroupId, page: &EventPage) -> Option<Vec<Logged>> {
        let spelled = match self.mended.events.get(&page.place) {
            Some(mended) => mended.clone(),
            None => self
                .events
                .read(&event_key(group, page.to), page.place)
                .await
                .ok()?,
        };
        decode(&spelled, page.from).ok()
    }
}

pub fn document_key(group: GroupId, doc: DocId, held: &Held) -> PageKey {
    PageKey {
        group,
        slot: slot_of(&doc),
        doc,
        index: held.touched(),
    }
}

/// Whether a page is the list of documents that a manifest means, to the byte.
pub fn is_list(page: &[u8], listed: &Bucket) -> bool {
    let page = Bytes::copy_from_slice(page);
    read_bucket(&page).is_ok_and(|documents| {
        let (spelled, hash) = bucket(&documents);
        hash == listed.hash && spelled == page
    })
}

/// Whether a page holds what a list says of it.
pub fn is_stored(payload: &[u8], page: &Page) -> bool {
    *blake3::hash(payload).as_bytes() == page.digest
}

/// What cannot be read is told already, and nothing more is made of it.
fn retention_ms(identity: Option<&Identity>) -> u64 {
    identity.map_or(1, |identity| identity.placement.retention_ms)
}

async fn identity(path: &Path, report: &mut Report) -> Result<Option<Identity>, VerifyError> {
    let mut lie = |name: &str, error: &IdentityError| {
        report.lie(Lie::new(path.join(name), error.to_string()));
    };
    let identity = match Identity::read(&ReadOnly, path).await {
        Ok(Some(identity)) => Some(identity),
        Ok(None) => {
            report.lie(Lie::new(path.join(FILE), "it is not there"));
            None
        }
        Err(error @ IdentityError::Damaged { .. }) => {
            lie(FILE, &error);
            None
        }
        Err(error) => return Err(VerifyError::Format(error.to_string())),
    };
    match KnownPeers::load(Arc::new(ReadOnly), path).await {
        Err(error @ IdentityError::Damaged { .. }) => {
            report.lie(Lie::new(path.join(PEERS), error.to_string()));
        }
        Err(error) => return Err(VerifyError::Format(error.to_string())),
        Ok(_) => {}
    }
    Ok(identity)
}

/// The latest manifest of each group. All that lie there are read.
fn manifests(dir: &Path, report: &mut Report) -> Result<BTreeMap<GroupId, Manifest>, VerifyError> {
    let mut found: BTreeMap<GroupId, Manifest> = BTreeMap::new();
    let failed = |error| VerifyError::Unreadable {
        path: dir.to_owned(),
        error,
    };
    for name in names(dir).map_err(failed)? {
        let group = name
            .split_once('-')
            .and_then(|(group, _)| u32::from_str_radix(group, 16).ok());
        let Some(group) = group
            .map(GroupId)
            .filter(|group| index_of(&name, *group).is_some())
        else {
            continue;
        };
        let path = dir.join(&name);
        let Some(content) = contents(&path).map_err(failed)? else {
            continue;
        };
        report.counts.bytes += content.len() as u64;
        let read = |content: &[u8]| Manifest::decode(content, &path);
        let manifest = match read(&content) {
            Ok(manifest) => manifest,
            Err(error @ ManifestError::Format { .. }) => {
                return Err(VerifyError::Format(error.to_string()));
            }
            Err(_) => {
                let mended = exact::mended(&content, |tried| read(tried).is_ok());
                let byte = mended.as_ref().map(|(byte, _)| *byte);
                let place = Place::of(byte, 0, content.len() as u64);
                let lie = Lie::new(path.clone(), "the manifest is not what its hash says");
                report.lie(lie.at(place).of_group(group));
                match mended.map(|(_, content)| read(&content)) {
                    Some(Ok(manifest)) => manifest,
                    _ => continue,
                }
            }
        };
        if (manifest.group, Some(manifest.index())) != (group, index_of(&name, group)) {
            let lie = Lie::new(path, "the manifest is another one than its name says");
            report.lie(lie.of_group(group));
            continue;
        }
        // They come in the order of their indices.
        found.insert(group, manifest);
    }
    Ok(found)
}

fn log_lie(path: &Path, odd: &Odd, report: &mut Report) {
    let place = match odd.is_exact {
        true => Place::Byte(odd.offset),
        false => Place::From(odd.offset),
    };
    let what = match odd.entry {
        Some((_, index)) => format!("{} (entry {index})", odd.what),
        None => odd.what.to_owned(),
    };
    let lie = Lie::new(path.join(WAL).join(file_name(odd.segment)), what).at(place);
    // The entry's document is told once it is found: see `replay`.
    if odd.stored.is_none() {
        report.lie(match odd.entry {
            Some((group, _)) => lie.of_group(group),
            None => lie,
        });
    }
}
