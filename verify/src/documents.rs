//! Each document told from its creation to its head, or from where its history is kept, by nothing but
//! its events: that is what its page must hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use codraft_archive::{ARCHIVE, AuditError, FoldError, State};
use codraft_proto::{
    ids::{DocId, GroupId, Revision},
    placement::slot_of,
};
use codraft_raft::{
    machine::{Document, Held},
    oplog::{EventPage, Logged},
};

use crate::{
    Progress,
    folder::{Kept, NodeFolder},
    report::{Lie, Report},
};

/// The events of a document that are in the op log, each with the page that it is in.
type OpLog = BTreeMap<DocId, Vec<(EventPage, Logged)>>;

struct Proof<'a> {
    folder: &'a NodeFolder,
    group: GroupId,
    kept: &'a Kept,
    events: OpLog,
    /// The documents that are in the archive.
    archived: BTreeSet<DocId>,
    /// Of those whose beginning is gone: the first revision that is kept, and its time.
    begun: BTreeMap<DocId, (Revision, u64)>,
    /// The time of the newest event that is archived; none where a document is not told.
    newest_ms: Option<u64>,
    /// Whether all of the op log reads back, or could be put right, and so do the archive's lists: what
    /// is missing then is told already.
    is_whole: bool,
}

/// All documents of a group.
pub async fn prove(
    folder: &NodeFolder,
    group: GroupId,
    report: &mut Report,
    progress: Progress<'_>,
) {
    let Some(kept) = folder.groups.get(&group) else {
        return;
    };
    let (events, is_whole) = op_log(folder, group, kept, report).await;
    let mut proof = Proof {
        folder,
        group,
        kept,
        events,
        archived: BTreeSet::new(),
        begun: BTreeMap::new(),
        newest_ms: Some(0),
        is_whole,
    };
    proof.list_archived(report).await;
    let all = kept.documents.count();
    for (nth, (_, doc, held)) in kept.documents.iter().enumerate() {
        if nth % 64 == 0 {
            progress(&format!(
                "{} group {group}: document {nth} of {all}",
                folder.name()
            ));
        }
        report.counts.documents += 1;
        proof.document(*doc, held, report).await;
    }
    proof.beginnings(report);
    let is_kept = |doc: &DocId| kept.documents.get(slot_of(doc), doc).is_some();
    let told = proof
        .events
        .keys()
        .chain(&proof.archived)
        .collect::<BTreeSet<_>>();
    let lost = told
        .into_iter()
        .filter(|doc| kept.is_whole && !is_kept(doc));
    for doc in lost {
        let lie = Lie::new(
            folder.manifest_file(&kept.manifest),
            "a document that has events is not listed",
        );
        report.lie(lie.of_group(group).of(Some(*doc), None));
    }
}

/// The op log of a group, and whether all of it reads back.
async fn op_log(
    folder: &NodeFolder,
    group: GroupId,
    kept: &Kept,
    report: &mut Report,
) -> (OpLog, bool) {
    let (mut events, mut is_whole) = (OpLog::new(), true);
    let mut to = kept.manifest.archived.index;
    for page in &kept.manifest.events {
        // Pages that came from another replica begin where its own did: some of it may be there twice.
        let follows = page.from <= to && to < page.to && page.to <= kept.manifest.index();
        if !follows {
            let what = format!(
                "the events of entries {} to {} do not follow on what is before",
                page.from, page.to
            );
            let lie = Lie::new(folder.manifest_file(&kept.manifest), what);
            report.lie(lie.of_group(group));
        }
        to = page.to;
        // Told where the files are gone through.
        let Some(of_page) = folder.events(group, page).await else {
            is_whole = false;
            continue;
        };
        for logged in of_page {
            let of_doc = events.entry(logged.event.doc).or_default();
            of_doc.push((*page, logged));
        }
    }
    (events, is_whole)
}

impl Proof<'_> {
    async fn list_archived(&mut self, report: &mut Report) {
        let mark = self.kept.manifest.archived;
        if mark.rounds == 0 {
            return;
        }
        match self.folder.archivist.documents(self.group, mark).await {
            Ok(documents) => self.archived = documents,
            Err(error) => {
                self.newest_ms = None;
                let lie = Lie::new(self.file_of(&error), error.to_string());
                self.unless_told(lie.of_group(self.group), report);
            }
        }
    }

    /// The object that tells something else, or the manifest where that leads to none.
    fn file_of(&self, error: &AuditError) -> PathBuf {
        match error.object() {
            Some(object) => {
                let of_group = format!("{:08x}", self.group.0);
                let dir = self.folder.path.join(ARCHIVE).join(of_group);
                dir.join(object.hash.to_string())
            }
            None => self.folder.manifest_file(&self.kept.manifest),
        }
    }

    fn file_of_page(&self, held: &Held) -> PathBuf {
        match held.page() {
            Some(page) => self.folder.page_file(page.place),
            None => self.folder.manifest_file(&self.kept.manifest),
        }
    }

    /// One lie a file is enough where the file itself is damaged.
    fn unless_told(&self, lie: Lie, report: &mut Report) {
        if !report.lies().any(|told| told.file == lie.file) {
            report.lie(lie);
        }
    }

    /// What is gone was older than history is kept when it went.
    fn beginnings(&self, report: &mut Report) {
        let retention_ms = self.folder.retention_ms();
        let Some(newest_ms) = self.newest_ms.filter(|_| self.is_whole) else {
            return;
        };
        let is_old = |ms: u64| ms.saturating_add(retention_ms) < newest_ms;
        for (doc, (rev, _)) in self.begun.iter().filter(|(_, (_, ms))| !is_old(*ms)) {
            let what = "what was before is gone, and is not older than history is kept";
            let file = self.folder.manifest_file(&self.kept.manifest);
            let lie = Lie::new(file, what).of_group(self.group);
            report.lie(lie.of(Some(*doc), Some(*rev)));
        }
    }

    async fn document(&mut self, doc: DocId, held: &Held, report: &mut Report) {
        let told = match self.archived.contains(&doc) {
            true => {
                let mark = self.kept.manifest.archived;
                let (archivist, group) = (&self.folder.archivist, self.group);
                let (mut attested, mut begins) = (None, None);
                let each = |state: &State| {
                    begins.get_or_insert((state.rev, state.ts_ms));
                    if report.is_attested(&doc, state.rev) {
                        attested = Some((state.rev, state.hash));
                    }
                };
                let told = archivist.retold(group, mark, doc, each).await;
                if let Some((rev, hash)) = attested {
                    report.leads_to(&self.folder.path, &doc, rev, hash);
                }
                if let Some(begins) = begins.filter(|(rev, _)| *rev > Revision(1)) {
                    self.begun.insert(doc, begins);
                    report.begins(&doc, begins.0);
                }
                told
            }
            false => Ok(State::before(doc)),
        };
        let mut state = match told {
            Ok(state) => state,
            Err(error) => {
                self.is_whole = false;
                let lie = Lie::new(self.file_of(&error), error.to_string()).of_group(self.group);
                return self.unless_told(lie.of(Some(doc), error.revision()), report);
            }
        };
        if self.archived.contains(&doc) {
            self.newest_ms = self.newest_ms.map(|ms| ms.max(state.ts_ms));
        }
        // Where its page is damaged that is told, and there is nothing to compare.
        let document = match self.folder.document(self.group, doc, held).await {
            Ok(document) => document,
            Err(error) => {
                let lie = Lie::new(
                    self.file_of_page(held),
                    format!("it is no document: {error}"),
                );
                let rev = held.summary().rev;
                return report.lie(lie.of_group(self.group).of(Some(doc), Some(rev)));
            }
        };
        if let Err(lie) = self.pass(&mut state, document.as_ref(), report) {
            if self.is_whole {
                report.lie(lie.of_group(self.group));
            }
            return;
        }
        let gone = self.begun.get(&doc).map_or(0, |(rev, _)| rev.0);
        report.counts.events += state.rev.0 - gone;
        if let Some(document) = document {
            self.compare(held, &document, &state, report);
        }
    }

    /// Goes on by what is in the op log. The window of the document's page knows the hash of each of its
    /// later revisions.
    fn pass(
        &self,
        state: &mut State,
        document: Option<&Document>,
        report: &mut Report,
    ) -> Result<(), Lie> {
        let doc = state.doc;
        // The last event whose hash is written beside it: that of others follows from it.
        let mut known = state.rev;
        let mut page_before = None;
        let mut scratch = Vec::new();
        let events = self.events.get(&doc).into_iter().flatten();
        for (page, Logged { event, .. }) in events {
            if event.rev <= state.rev {
                continue;
            }
            let lie = |what: String, rev| {
                let lie = Lie::new(self.folder.event_file(page.place), what);
                Err(lie.of(Some(doc), Some(rev)))
            };
            match state.pass(event, &mut scratch) {
                Err(FoldError::Chain(rev)) => {
                    let what = format!("revisions {} to {rev} do not lead to its hash", known + 1);
                    return lie(what, known + 1);
                }
                Err(error) => return lie(error.to_string(), error.revision()),
                Ok(()) => {}
            }
            report.leads_to(&self.folder.path, &doc, event.rev, state.hash);
            let told = document.and_then(|document| document.hash_at(event.rev));
            if told.is_some_and(|told| told != state.hash) {
                return lie("it is not the event that its page knows".into(), event.rev);
            }
            if page_before.replace(page) != Some(page) {
                known = event.rev;
            }
        }
        Ok(())
    }

    /// What a page says beside what the events make.
    fn compare(&self, held: &Held, document: &Document, state: &State, report: &mut Report) {
        let file = self.file_of_page(held);
        let (doc, rev) = (document.id(), document.rev());
        let mut lie = |what: String| {
            let lie = Lie::new(file.clone(), what).of_group(self.group);
            report.lie(lie.of(Some(doc), Some(rev.min(state.rev))));
        };
        if !held.summary().is_of(document) {
            lie("the list of documents says something else of it than its page".into());
        }
        if state.rev < rev && !self.is_whole {
            return;
        }
        if state.rev != rev {
            lie(format!(
                "its page is of revision {rev}, and its events lead to {}",
                state.rev
            ));
        } else if state.hash != document.hash() {
            lie("its events lead to another hash than its page has".into());
        } else if state.content.digest() != document.content().digest() {
            lie("its events make another text than its page has".into());
        } else if &*state.title != document.title() {
            lie("its events give it another title than its page".into());
        }
    }
}
