//! Each file of pages and each object of the archive, from its first byte to its last.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use codraft_archive::ARCHIVE;
use codraft_proto::ids::{DocId, GroupId, Revision};
use codraft_raft::{
    machine::{Document, MachineLimits, Page},
    manifest::{Bucket, bucket_key},
    oplog::{EVENTS, decode, event_at, event_key},
    pages::{Mended, PAGES, PageKey, PagePlace, Stands, mended, number_of, walk, wrong_byte},
    users::{read_users, users_key},
};
use codraft_tiers::snapshots::ContentHash;

use crate::{
    Progress, VerifyError,
    disk::{contents, names},
    exact,
    folder::{NodeFolder, document_key, is_list, is_stored},
    report::{Lie, Place, Report},
};

/// What a manifest says of a place in a file.
enum Listed {
    Document {
        key: PageKey,
        page: Page,
        rev: Revision,
    },
    List {
        key: PageKey,
        bucket: Bucket,
    },
    Events {
        key: PageKey,
        from: u64,
    },
    Users {
        key: PageKey,
    },
}

impl Listed {
    fn key(&self) -> &PageKey {
        match self {
            Self::Document { key, .. }
            | Self::List { key, .. }
            | Self::Events { key, .. }
            | Self::Users { key } => key,
        }
    }

    fn is_right(&self, payload: &[u8]) -> bool {
        match self {
            Self::Document { page, .. } => is_stored(payload, page),
            Self::List { bucket, .. } => is_list(payload, bucket),
            Self::Events { from, .. } => decode(&Bytes::copy_from_slice(payload), *from).is_ok(),
            Self::Users { .. } => read_users(&Bytes::copy_from_slice(payload)).is_ok(),
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Document { .. } => "the page of a document is not what was written",
            Self::List { .. } => "the list of a slot's documents is not what was written",
            Self::Events { .. } => "a page of the op log is not what was written",
            Self::Users { .. } => "a list of users' documents is not what was written",
        }
    }
}

type Places = BTreeMap<PagePlace, Listed>;

/// All that manifests list in pages and in the op log.
fn listed(folder: &NodeFolder) -> (Places, Places) {
    let (mut pages, mut events) = (Places::new(), Places::new());
    for (group, kept) in &folder.groups {
        for (slot, bucket) in &kept.manifest.buckets {
            let (key, bucket) = (bucket_key(*group, *slot), *bucket);
            pages.insert(bucket.place, Listed::List { key, bucket });
        }
        for (_, doc, held) in kept.documents.iter() {
            let (key, rev) = (document_key(*group, *doc, held), held.summary().rev);
            if let Some(page) = held.page() {
                pages.insert(page.place, Listed::Document { key, page, rev });
            }
        }
        for page in kept.manifest.users.iter().flatten() {
            let key = users_key(*group);
            pages.insert(page.place, Listed::Users { key });
        }
        for page in &kept.manifest.events {
            let (key, from) = (event_key(*group, page.to), page.from);
            events.insert(page.place, Listed::Events { key, from });
        }
    }
    (pages, events)
}

/// All files of pages and of the op log. What one byte was changed of is put right in memory.
///
/// # Errors
/// When one cannot be read.
pub fn pages(
    folder: &mut NodeFolder,
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<(), VerifyError> {
    let (of_pages, of_events) = listed(folder);
    for (name, listed) in [(PAGES, of_pages), (EVENTS, of_events)] {
        let dir = folder.path.join(name);
        let mended = files(&dir, &listed, report, progress)?;
        match name {
            PAGES => folder.mended.pages = mended,
            _ => folder.mended.events = mended,
        }
    }
    Ok(())
}

fn files(
    dir: &Path,
    listed: &Places,
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<BTreeMap<PagePlace, Bytes>, VerifyError> {
    let mut mended = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let failed = |error| VerifyError::Unreadable {
        path: dir.to_owned(),
        error,
    };
    for name in names(dir).map_err(failed)? {
        let (path, number) = (dir.join(&name), number_of(&name));
        let Some(number) = number else { continue };
        let Some(content) = contents(&path).map_err(failed)? else {
            continue;
        };
        progress(&format!("{}", path.display()));
        report.counts.bytes += content.len() as u64;
        let mut file = PageFile {
            path,
            content: content.into(),
            listed: listed
                .iter()
                .filter(|(place, _)| place.file == number)
                .collect(),
            mended: &mut mended,
            seen: &mut seen,
        };
        file.check(number, report);
    }
    for (place, of) in listed.iter().filter(|(place, _)| !seen.contains(*place)) {
        let path = dir.join(format!("{:08x}.pages", place.file));
        let lie = Lie::new(path, "a page that is listed is not in the file");
        let from = u64::from(place.offset);
        let lie = lie.at(Place::From(from)).of_group(of.key().group);
        report.lie(match of {
            Listed::Document { key, rev, .. } => lie.of(Some(key.doc), Some(*rev)),
            Listed::List { .. } | Listed::Events { .. } | Listed::Users { .. } => lie,
        });
    }
    Ok(mended)
}

/// One file of pages.
struct PageFile<'a> {
    path: PathBuf,
    content: Bytes,
    /// What is listed in it.
    listed: BTreeMap<&'a PagePlace, &'a Listed>,
    mended: &'a mut BTreeMap<PagePlace, Bytes>,
    seen: &'a mut BTreeSet<PagePlace>,
}

impl PageFile<'_> {
    fn check(&mut self, number: u32, report: &mut Report) {
        // What lies before something that is listed was synced with it.
        let promised = self
            .listed
            .keys()
            .map(|place| place.end())
            .max()
            .unwrap_or(0);
        for stands in walk(&self.content, number) {
            match stands {
                Stands::Page { key, place } => {
                    report.counts.pages += 1;
                    self.page(&key, place, report);
                }
                Stands::Odd { byte, what } => {
                    report.lie(Lie::new(self.path.clone(), what).at(Place::Byte(byte)));
                }
                Stands::Bad { offset, next } => {
                    self.bad(number, offset, next, promised, report);
                }
            }
        }
    }

    fn page(&mut self, key: &PageKey, place: PagePlace, report: &mut Report) {
        let Some(listed) = self.listed.get(&place) else {
            return;
        };
        self.seen.insert(place);
        let end = place.end() as usize;
        let payload = &self.content[end - place.length as usize..end];
        if key == listed.key() && listed.is_right(payload) {
            return;
        }
        // Its checksum was made to fit.
        let whole = Place::Within {
            from: place.offset.into(),
            length: place.end() - u64::from(place.offset),
        };
        self.lie(listed, whole, None, report);
    }

    fn bad(
        &mut self,
        number: u32,
        offset: u32,
        next: Option<u32>,
        promised: u64,
        report: &mut Report,
    ) {
        let end = next.unwrap_or(u32::MAX);
        let inside: Vec<(PagePlace, &Listed)> = self
            .listed
            .iter()
            .filter(|(place, _)| (offset..end).contains(&place.offset))
            .map(|(place, listed)| (**place, *listed))
            .collect();
        if inside.is_empty() && u64::from(offset) < promised {
            self.unlisted(number, offset, u64::from(end - offset), report);
        } else if inside.is_empty() {
            let path = self.path.display();
            report.note(format!(
                "{path}: an end that was not finished, from byte {offset} on"
            ));
        }
        for (place, listed) in inside {
            self.seen.insert(place);
            let is_right = |payload: &[u8]| listed.is_right(payload);
            let found = wrong_byte(&self.content, place, listed.key(), is_right);
            let length = place.end() - u64::from(place.offset);
            let at = Place::of(
                found.as_ref().map(|(byte, _)| *byte),
                place.offset.into(),
                length,
            );
            if let Some((_, payload)) = &found {
                self.mended.insert(place, payload.clone());
            }
            let within = found.map(|(byte, payload)| {
                let begins = place.end() - u64::from(place.length);
                (byte.saturating_sub(begins) as usize, payload)
            });
            self.lie(listed, at, within, report);
        }
    }

    /// A page that was listed once: what it was says whose it is.
    fn unlisted(&self, number: u32, offset: u32, length: u64, report: &mut Report) {
        let what = "a page that nothing lists any more is not what was written";
        let lie = Lie::new(self.path.clone(), what);
        report.lie(match mended(&self.content, number, offset) {
            None => lie.at(Place::Within {
                from: offset.into(),
                length,
            }),
            Some(Mended {
                byte,
                within,
                key,
                payload,
            }) => {
                let document = Document::decode(&payload, &MachineLimits::default());
                let document = document
                    .ok()
                    .map(|document| (document.id(), document.rev()));
                let (doc, rev) = document.or_else(|| event_at(&payload, within)).unzip();
                lie.at(Place::Byte(byte)).of_group(key.group).of(doc, rev)
            }
        });
    }

    fn lie(&self, listed: &Listed, at: Place, within: Option<(usize, Bytes)>, report: &mut Report) {
        let lie = Lie::new(self.path.clone(), listed.what()).at(at);
        let lie = lie.of_group(listed.key().group);
        report.lie(match listed {
            Listed::Document { key, rev, .. } => lie.of(Some(key.doc), Some(*rev)),
            Listed::Events { .. } => {
                let event = within.and_then(|(byte, payload)| event_at(&payload, byte));
                let (doc, rev) = event.unzip();
                lie.of(doc, rev)
            }
            Listed::List { .. } | Listed::Users { .. } => lie,
        });
    }
}

/// All objects of the archive: each is what its name says. `others` may have the same ones.
///
/// # Errors
/// When one cannot be read.
pub async fn objects(
    folder: &NodeFolder,
    others: &[PathBuf],
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<(), VerifyError> {
    let dir = folder.path.join(ARCHIVE);
    let failed = |error| VerifyError::Unreadable {
        path: dir.clone(),
        error,
    };
    for of_group in names(&dir).map_err(failed)? {
        let Ok(group) = u32::from_str_radix(&of_group, 16) else {
            continue;
        };
        progress(&format!("{}", dir.join(&of_group).display()));
        for name in names(&dir.join(&of_group)).map_err(failed)? {
            let Some(hash) = ContentHash::parse(&name) else {
                continue;
            };
            let path = dir.join(&of_group).join(&name);
            let Some(content) = contents(&path).map_err(failed)? else {
                continue;
            };
            report.counts.objects += 1;
            report.counts.bytes += content.len() as u64;
            if ContentHash::of(&content).await != hash {
                let inside = Path::new(ARCHIVE).join(&of_group).join(&name);
                let copies = others.iter().map(|other| other.join(&inside));
                let copy = copies.filter_map(|path| contents(&path).ok().flatten());
                let copy = copy
                    .into_iter()
                    .find(|copy| *blake3::hash(copy).as_bytes() == hash.0);
                let lie = object(folder, GroupId(group), hash, &content, copy).await;
                report.lie(Lie { file: path, ..lie });
            }
        }
    }
    Ok(())
}

/// An object that is not what its name says.
async fn object(
    folder: &NodeFolder,
    group: GroupId,
    hash: ContentHash,
    content: &[u8],
    copy: Option<Vec<u8>>,
) -> Lie {
    let byte = match copy {
        Some(copy) => Some(exact::first_difference(content, &copy)),
        None => {
            let is_right = |tried: &[u8]| *blake3::hash(tried).as_bytes() == hash.0;
            exact::mended(content, is_right).map(|(byte, _)| byte)
        }
    };
    let mark = folder.groups.get(&group).map(|kept| kept.manifest.archived);
    let lying = match mark {
        Some(mark) => {
            let lying = folder.archivist.lying(group, mark, hash, content);
            lying.await.ok().flatten()
        }
        None => None,
    };
    let (from, length) = lying.as_ref().map_or((0, content.len() as u64), |lying| {
        (lying.offset, lying.length)
    });
    let what = match &lying {
        Some(lying) => format!(
            "an object of the archive is not what its name says; it tells revisions {} to {}",
            lying.first, lying.last
        ),
        None => "an object of the archive is not what its name says".to_owned(),
    };
    let (doc, rev): (Option<DocId>, Option<Revision>) =
        lying.map(|lying| (lying.doc, lying.first)).unzip();
    let lie = Lie::new(PathBuf::new(), what).at(Place::of(byte, from, length));
    lie.of_group(group).of(doc, rev)
}
