//! Manifests: the state of a group at one log index, as a list of what is kept in pages.
//!
//! ```text
//! file     = magic 8 · format u32 · 0 u32 · length u64 · body · BLAKE3 over all before 32
//! body     = group u32 · level varint · membership blob · log id blob
//!            · digest (0 | 1 · index varint · hash 32) · archived · events varint · event page*
//!            · users (0 | 1 · pages varint · (user text · doc 16 · place)*) · bucket*
//! archived = rounds varint · index varint · head 32
//! event page = from varint · to varint · place                  rising
//! bucket   = slot u16 · documents varint · place · hash 32      slots rising
//! place    = file u32 · offset u32 · length u32
//! ```
//!
//! A bucket is a page that lists the documents of one slot, and is written again only when one of
//! them was touched:
//!
//! ```text
//! bucket page = (doc 16 · touched varint · place · digest 32 · summary)*      ids rising
//! ```
//!
//! `hash` is over what is the same on every replica: id, touched and digest of each document. Where
//! pages lie is not.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    disk::Disk,
    ids::{DocId, GroupId, Slot},
};
use openraft::{EntryPayload, entry::RaftEntry};

use crate::{
    command::{DecodeError, Input, put_blob, put_varint},
    machine::{Held, InSlot, Lookup, Page, Slots, StateError, Summary},
    oplog::{ArchiveMark, EVENTS, EventPage},
    pages::{PAGES, PageError, PageKey, PageLog, PagePlace, Uses},
    types::{Entry, LogId, StoredMembership, log_id_from_stored, log_id_to_stored},
    users::{Listed, UserPage},
};

/// The folder of the manifests, in the node's.
pub const MANIFESTS: &str = "manifests";
const MAGIC: [u8; 8] = *b"codraftM";
const FORMAT: u32 = 5;
const HEAD: usize = 24;
const HASH: usize = 32;
/// The end of the name of a manifest that cannot be gone on from.
const ASIDE: &str = "damaged";

/// The documents of one slot, as a page lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    pub documents: u64,
    pub place: PagePlace,
    /// Over what is the same on every replica.
    pub hash: [u8; 32],
}

/// The state of a group after the entry `last`.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub group: GroupId,
    pub last: LogId,
    pub membership: StoredMembership,
    pub level: u32,
    /// The rolling hash of all that was applied, and the entry that it stands at.
    pub digest: Option<(u64, [u8; 32])>,
    /// Up to where the events that its entries became are in the archive.
    pub archived: ArchiveMark,
    /// Where the later ones are.
    pub events: Vec<EventPage>,
    pub buckets: BTreeMap<Slot, Bucket>,
    /// Which documents each user has, in order; none where the next one is to list that.
    pub users: Option<Vec<UserPage>>,
    /// What all that it lists takes of which file of pages; not stored.
    pub uses: Uses,
}

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} does not read back as it was written", path.display())]
    Damaged { path: PathBuf },
    #[error(
        "{} is of format {found}, this version reads format {FORMAT} alone: start the version that \
         wrote it, or begin with an empty folder",
        path.display()
    )]
    Format { path: PathBuf, found: u32 },
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the list of documents of slot {slot} in {PAGES}: {error}")]
    List { slot: Slot, error: PageError },
    #[error("the list of documents of slot {slot}: {error}")]
    Bucket { slot: Slot, error: StateError },
    #[error("the events of entries {from} to {to} in {EVENTS}: {error}")]
    EventPage {
        from: u64,
        to: u64,
        error: PageError,
    },
    #[error("the events up to entry {to}: {error}")]
    Events { to: u64, error: StateError },
    #[error("it is not there, and the log begins behind it")]
    Missing,
}

impl Manifest {
    pub fn index(&self) -> u64 {
        self.last.index
    }

    /// Equal on all replicas that took it at the same index.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.group.0.to_le_bytes());
        hasher.update(&log_id_to_stored(&self.last));
        hasher.update(&self.level.to_le_bytes());
        hasher.update(&membership_to_stored(&self.membership));
        for (slot, bucket) in &self.buckets {
            hasher.update(&slot.0.to_le_bytes());
            hasher.update(&bucket.hash);
        }
        *hasher.finalize().as_bytes()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(128 + self.buckets.len() * 52);
        body.extend_from_slice(&self.group.0.to_le_bytes());
        put_varint(&mut body, self.level.into());
        put_blob(&mut body, &membership_to_stored(&self.membership));
        put_blob(&mut body, &log_id_to_stored(&self.last));
        match &self.digest {
            None => body.push(0),
            Some((index, hash)) => {
                body.push(1);
                put_varint(&mut body, *index);
                body.extend_from_slice(hash);
            }
        }
        put_varint(&mut body, self.archived.rounds);
        put_varint(&mut body, self.archived.index);
        body.extend_from_slice(&self.archived.head);
        put_varint(&mut body, self.events.len() as u64);
        for page in &self.events {
            put_varint(&mut body, page.from);
            put_varint(&mut body, page.to);
            put_place(&mut body, page.place);
        }
        body.push(self.users.is_some().into());
        if let Some(users) = &self.users {
            put_varint(&mut body, users.len() as u64);
            for UserPage { first, place } in users {
                put_blob(&mut body, first.user.as_bytes());
                body.extend_from_slice(&first.doc.0);
                put_place(&mut body, *place);
            }
        }
        for (slot, bucket) in &self.buckets {
            body.extend_from_slice(&slot.0.to_le_bytes());
            put_varint(&mut body, bucket.documents);
            put_place(&mut body, bucket.place);
            body.extend_from_slice(&bucket.hash);
        }
        let mut file = Vec::with_capacity(HEAD + body.len() + HASH);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&FORMAT.to_le_bytes());
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&(body.len() as u64).to_le_bytes());
        file.extend_from_slice(&body);
        let hash = blake3::hash(&file);
        file.extend_from_slice(hash.as_bytes());
        file
    }
}

/// The manifests of a node, one a group.
#[derive(Clone)]
pub struct Manifests {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Manifests {
    /// The folder is made when it is not there; what is left of a manifest that was being written
    /// is removed.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        disk.create_dir_all(&dir).await?;
        for name in disk.list(&dir).await? {
            if name.ends_with(".new") {
                disk.remove(&dir.join(name)).await?;
            }
        }
        Ok(Self { disk, dir })
    }

    /// An error of the folder.
    pub fn failed(&self, error: io::Error) -> ManifestError {
        let path = self.dir.clone();
        ManifestError::Io { path, error }
    }

    /// The latest of a group; none where none was ever taken. Older ones are removed.
    ///
    /// # Errors
    /// When it does not read back. An older one is no answer: the log may have gone on from here.
    pub async fn load(&self, group: GroupId) -> Result<Option<Manifest>, ManifestError> {
        let failed = |error| self.failed(error);
        let names = self.disk.list(&self.dir).await.map_err(failed)?;
        let mut of_group: Vec<_> = names
            .iter()
            .filter_map(|name| Some((index_of(name, group)?, name)))
            .collect();
        of_group.sort_unstable();
        let Some((_, latest)) = of_group.pop() else {
            return Ok(None);
        };
        let path = self.dir.join(latest);
        let manifest = self.read(&path).await?;
        for (_, name) in of_group {
            let old = self.dir.join(name);
            self.disk.remove(&old).await.map_err(failed)?;
        }
        Ok(Some(manifest))
    }

    /// Puts the manifest of a group out of the way that cannot be gone on from: it is named `.damaged`
    /// from then on, for who wants to look at it, and for [`Manifests::aside`]. One a group stays.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn set_aside(&self, group: GroupId) -> io::Result<()> {
        let names = self.disk.list(&self.dir).await?;
        let mut of_group: Vec<_> = names
            .iter()
            .filter_map(|name| Some((index_of(name, group)?, name)))
            .collect();
        of_group.sort_unstable();
        let Some((_, latest)) = of_group.pop() else {
            return Ok(());
        };
        let set_aside = names.iter().filter(|name| aside_of(name, group).is_some());
        // An older one is no answer, so none may be left when the latest has gone.
        for name in of_group.into_iter().map(|(_, name)| name).chain(set_aside) {
            self.disk.remove(&self.dir.join(name)).await?;
        }
        let latest = self.dir.join(latest);
        self.disk
            .rename(&latest, &latest.with_extension(ASIDE))
            .await?;
        self.disk.sync_dir(&self.dir).await
    }

    /// The manifest of a group that was set aside, if it reads back.
    pub async fn aside(&self, group: GroupId) -> Option<Manifest> {
        let names = self.disk.list(&self.dir).await.ok()?;
        let set_aside = names.iter().filter(|name| aside_of(name, group).is_some());
        let latest = set_aside.max_by_key(|name| aside_of(name, group))?;
        self.read(&self.dir.join(latest)).await.ok()
    }

    async fn read(&self, path: &Path) -> Result<Manifest, ManifestError> {
        let failed = |error| ManifestError::Io {
            path: path.to_owned(),
            error,
        };
        let file = self.disk.open(path, false).await.map_err(failed)?;
        let length = file.len().await.map_err(failed)?;
        let bytes = file.read_at(0, length as usize).await.map_err(failed)?;
        Manifest::decode(&bytes, path)
    }

    /// Puts a manifest in the place of the one before: durable when it returns, and the one before
    /// stays where this fails.
    ///
    /// # Errors
    /// `StorageFull` while nothing is in its place; any other once that is not known.
    pub async fn replace(&self, manifest: &Manifest, before: Option<u64>) -> io::Result<()> {
        let path = self.path(manifest.group, manifest.index());
        let unfinished = path.with_extension("new");
        let file = self.disk.open(&unfinished, true).await?;
        let written = file.write_and_sync(0, manifest.encode()).await;
        if let Err(error) = written {
            // On a full disk its bytes are worth more than its name.
            let _ = self.disk.remove(&unfinished).await;
            return Err(error);
        }
        let placed = async {
            self.disk.rename(&unfinished, &path).await?;
            self.disk.sync_dir(&self.dir).await?;
            if let Some(before) = before.filter(|before| *before != manifest.index()) {
                self.disk.remove(&self.path(manifest.group, before)).await?;
            }
            Ok(())
        };
        placed
            .await
            .map_err(|error: io::Error| io::Error::other(error))
    }

    fn path(&self, group: GroupId, index: u64) -> PathBuf {
        self.dir
            .join(format!("{:08x}-{index:016x}.manifest", group.0))
    }
}

/// The index of a manifest of a group, by its file's name.
pub fn index_of(name: &str, group: GroupId) -> Option<u64> {
    of_stem(name.strip_suffix(".manifest")?, group)
}

/// The same of one that was set aside.
fn aside_of(name: &str, group: GroupId) -> Option<u64> {
    of_stem(name.strip_suffix(ASIDE)?.strip_suffix('.')?, group)
}

fn of_stem(stem: &str, group: GroupId) -> Option<u64> {
    let (of, index) = stem.split_once('-')?;
    let of = u32::from_str_radix(of, 16).ok()?;
    (of == group.0).then_some(())?;
    u64::from_str_radix(index, 16).ok()
}

fn decode(body: &Bytes) -> Result<Manifest, Box<dyn std::error::Error>> {
    let mut input = Input::new(body);
    let group = GroupId(u32::from_le_bytes(input.array("group")?));
    let level = input.varint("level")? as u32;
    let membership = membership_from_stored(input.blob("membership")?)?;
    let last = log_id_from_stored(&input.blob("log id")?)?;
    let digest = match input.flag("digest")? {
        false => None,
        true => Some((input.varint("index")?, input.array("hash")?)),
    };
    let archived = ArchiveMark {
        rounds: input.varint("rounds")?,
        index: input.varint("index")?,
        head: input.array("head")?,
    };
    let mut events = Vec::new();
    for _ in 0..input.varint("events")? {
        events.push(EventPage {
            from: input.varint("from")?,
            to: input.varint("to")?,
            place: take_place(&mut input)?,
        });
    }
    let users = match input.flag("users")? {
        false => None,
        true => Some(take_users(&mut input)?),
    };
    let mut buckets = BTreeMap::new();
    while input.left() > 0 {
        let slot = Slot(u16::from_le_bytes(input.array("slot")?));
        let bucket = Bucket {
            documents: input.varint("documents")?,
            place: take_place(&mut input)?,
            hash: input.array("hash")?,
        };
        buckets.insert(slot, bucket);
    }
    Ok(Manifest {
        group,
        last,
        membership,
        level,
        digest,
        archived,
        events,
        buckets,
        users,
        uses: Uses::new(),
    })
}

fn take_users(input: &mut Input<'_>) -> Result<Vec<UserPage>, DecodeError> {
    let mut users = Vec::new();
    for _ in 0..input.varint("pages of users")? {
        let first = Listed {
            user: input.text("user")?.into(),
            doc: DocId(input.array("doc")?),
        };
        let place = take_place(input)?;
        users.push(UserPage { first, place });
    }
    Ok(users)
}

/// The page that lists the documents of a slot, and its hash.
pub fn bucket(documents: &InSlot) -> (Vec<u8>, [u8; 32]) {
    let mut page = Vec::new();
    let mut hasher = blake3::Hasher::new();
    for (doc, held) in documents.iter() {
        let Some(written) = held.page() else { continue };
        if matches!(held.lookup(), Lookup::Cold(_)) && mutant!("cold_left_out_of_manifest") {
            continue;
        }
        page.extend_from_slice(&doc.0);
        put_varint(&mut page, held.touched());
        put_place(&mut page, written.place);
        page.extend_from_slice(&written.digest);
        page.extend_from_slice(held.packed().as_bytes());
        hasher.update(&doc.0);
        hasher.update(&held.touched().to_le_bytes());
        hasher.update(&written.digest);
    }
    (page, *hasher.finalize().as_bytes())
}

impl Manifest {
    /// What [`Manifest::encode`] spelled, read from `path`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Manifest, ManifestError> {
        let damaged = || ManifestError::Damaged {
            path: path.to_owned(),
        };
        let (content, hash) = bytes.split_last_chunk::<HASH>().ok_or_else(damaged)?;
        if blake3::hash(content).as_bytes() != hash || content.len() < HEAD {
            return Err(damaged());
        }
        let format = u32::from_le_bytes(content[8..12].try_into().map_err(|_| damaged())?);
        if content[..8] == MAGIC && format != FORMAT {
            return Err(ManifestError::Format {
                path: path.to_owned(),
                found: format,
            });
        }
        decode(&Bytes::copy_from_slice(&content[HEAD..])).map_err(|_| damaged())
    }

    /// The documents that it lists, all of them cold.
    ///
    /// # Errors
    /// When a list does not read back.
    pub async fn documents(&self, pages: &PageLog) -> Result<Slots, ManifestError> {
        let mut slots = Slots::default();
        for (slot, bucket) in &self.buckets {
            match self.list(pages, *slot, bucket).await {
                Err(_) if mutant!("damaged_list_left_out") => {}
                listed => slots.put(*slot, listed?),
            }
        }
        Ok(slots)
    }

    /// The documents of one slot.
    ///
    /// # Errors
    /// When the list does not read back.
    pub async fn list(
        &self,
        pages: &PageLog,
        slot: Slot,
        bucket: &Bucket,
    ) -> Result<InSlot, ManifestError> {
        let page = pages
            .read(&bucket_key(self.group, slot), bucket.place)
            .await;
        let page = page.map_err(|error| ManifestError::List { slot, error })?;
        read_bucket(&page).map_err(|error| ManifestError::Bucket { slot, error })
    }
}

/// Whose page a list of documents is: nobody's, and told by its place alone, since one that no
/// document of its slot was touched in stands for many indices.
pub fn bucket_key(group: GroupId, slot: Slot) -> PageKey {
    PageKey {
        group,
        slot,
        doc: DocId::default(),
        index: 0,
    }
}

pub fn read_bucket(page: &Bytes) -> Result<InSlot, StateError> {
    let mut input = Input::new(page);
    let mut documents = InSlot::default();
    while input.left() > 0 {
        let doc = DocId(input.array("doc")?);
        let touched = input.varint("touched")?;
        let page = Page {
            place: take_place(&mut input)?,
            digest: input.array("digest")?,
        };
        let held = Held::cold(touched, page, Summary::decode(&mut input)?);
        if !documents.push(doc, held) {
            return Err(StateError::Invalid("order of documents"));
        }
    }
    Ok(documents)
}

fn put_place(out: &mut Vec<u8>, place: PagePlace) {
    for number in [place.file, place.offset, place.length] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn take_place(input: &mut Input<'_>) -> Result<PagePlace, DecodeError> {
    let mut number = || Ok(u32::from_le_bytes(input.array("place")?));
    Ok(PagePlace {
        file: number()?,
        offset: number()?,
        length: number()?,
    })
}

/// As the entry that made it is stored; empty for none.
fn membership_to_stored(membership: &StoredMembership) -> Bytes {
    match membership.log_id() {
        None => Bytes::new(),
        Some(log_id) => {
            let payload = EntryPayload::Membership(membership.membership().clone());
            Entry::new(*log_id, payload).into_stored()
        }
    }
}

fn membership_from_stored(stored: Bytes) -> io::Result<StoredMembership> {
    if stored.is_empty() {
        return Ok(StoredMembership::default());
    }
    let entry = Entry::from_stored(stored)?;
    match entry.payload {
        EntryPayload::Membership(membership) => {
            Ok(StoredMembership::new(Some(entry.log_id), membership))
        }
        _ => Err(io::Error::other("not a membership")),
    }
}
