//! The log of each node applied once more, over the state that the node kept: it must make what every
//! later manifest lists, and the same on all replicas.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use codraft_proto::ids::{DocId, GroupId, Revision};
use codraft_raft::{
    audit,
    command::{Batch, Command},
    group::LogId,
    identity::WAL,
    machine::{Event, Shard, Slots},
    manifest::MANIFESTS,
    wal::{GroupWal, file_name},
};

use crate::{
    Progress,
    compare::{self, first_difference},
    folder::{Kept, NodeFolder},
    live::{Live, Told},
    report::{Lie, Place, Report},
};

/// Entries that are read at once, in bytes.
const READ: usize = 4 << 20;

/// All groups of all folders.
pub async fn replay(
    folders: &[NodeFolder],
    live: &[Live],
    report: &mut Report,
    progress: Progress<'_>,
) {
    let mut groups: BTreeSet<GroupId> = BTreeSet::new();
    for folder in folders {
        groups.extend(folder.groups.keys());
        groups.extend(folder.wal.iter().flat_map(|wal| wal.groups()));
    }
    let mut made = BTreeMap::new();
    for group in groups {
        compare::manifests(folders, group, report);
        made.extend(of_group(folders, live, group, report, progress).await);
    }
    for folder in folders {
        odd_entry(folder, made.get(&folder.path).copied(), report).await;
    }
}

/// One node's log of a group, about to be applied.
struct Run<'a> {
    folder: &'a NodeFolder,
    log: GroupWal,
    /// None: from the first entry there ever was.
    base: Option<&'a Kept>,
    /// What the node says, if it runs.
    live: Option<&'a Live>,
    /// The last entry that is known to be agreed on, and is here.
    end: u64,
}

impl<'a> Run<'a> {
    /// None where there is nothing to apply, or where it would not be known to what.
    async fn of(
        folder: &'a NodeFolder,
        live: &'a [Live],
        group: GroupId,
        agreed: Option<LogId>,
    ) -> Option<Self> {
        let log = folder.wal.as_ref()?.group(group);
        let (last, kept) = (log.last_index()?, folder.groups.get(&group));
        let is_first = log.first_index() == 0 && log.purged().is_none();
        let base = kept.filter(|_| !is_first);
        if base.is_some_and(|kept| !kept.is_whole) || base.is_none() && !is_first {
            return None;
        }
        let own = audit::committed(&log)
            .ok()
            .flatten()
            .map_or(0, |id| id.index);
        let id = folder.identity.as_ref().map(|identity| identity.node);
        let live = live.iter().find(|live| Some(live.node) == id);
        // A node applies of its own log, and nothing that was not agreed on.
        let applied = live.and_then(|live| live.of(group).map(|told| told.index).max());
        let mut end = own
            .max(kept.map_or(0, |kept| kept.manifest.index()))
            .max(applied.unwrap_or(0))
            .min(last);
        if let Some(agreed) = agreed.filter(|agreed| agreed.index > end) {
            // What another node knows of is here too where its last entry is.
            let there = log.read(agreed.index, agreed.index + 1, READ).await.ok()?;
            let id = there
                .into_iter()
                .next()
                .and_then(|stored| audit::entry(stored).ok());
            if id.is_some_and(|(id, _)| id == agreed) {
                end = agreed.index;
            }
        }
        Some(Self {
            folder,
            log,
            base,
            live,
            end,
        })
    }

    fn begin(&self) -> u64 {
        self.base.map_or(0, |kept| kept.manifest.index())
    }
}

/// What became of the entries that are not as they were written, by folder.
type Made = BTreeMap<PathBuf, (DocId, Revision)>;

async fn of_group(
    folders: &[NodeFolder],
    live: &[Live],
    group: GroupId,
    report: &mut Report,
    progress: Progress<'_>,
) -> Made {
    let kept = || {
        folders
            .iter()
            .filter_map(|of| Some((of, of.groups.get(&group)?)))
    };
    let logs = folders
        .iter()
        .filter_map(|of| Some(of.wal.as_ref()?.group(group)));
    let committed = logs.filter_map(|log| audit::committed(&log).ok().flatten());
    let agreed = committed.chain(kept().map(|(_, kept)| kept.manifest.last));
    let agreed = agreed.max_by_key(|id| id.index);
    let mut runs = Vec::new();
    for folder in folders {
        joins(folder, group, report);
        runs.extend(Run::of(folder, live, group, agreed).await);
    }
    let goals: Vec<Goal> = kept()
        .filter(|(_, kept)| kept.is_whole)
        .map(|(folder, kept)| Goal { folder, kept })
        .collect();
    // Where all that can be compared stand side by side.
    let common = runs.iter().map(|run| run.end).min().unwrap_or(0);
    let (mut states, mut left_out) = (Vec::new(), BTreeSet::new());
    let mut made = Made::new();
    for run in &runs {
        let mut replay = Replay::new(group, run);
        progress(&format!("{} group {group}: the log", run.folder.name()));
        let state = replay.run(&goals, common, report).await;
        made.extend(replay.odd.map(|odd| (run.folder.path.clone(), odd)));
        report.counts.entries += replay.entries;
        left_out.extend(replay.left_out);
        states.extend(state.map(|state| (run.folder, state)));
    }
    compare::states(&states, &left_out, group, common, report);
    made
}

/// A log lets go of what a manifest has, and of nothing else.
fn joins(folder: &NodeFolder, group: GroupId, report: &mut Report) {
    let Some(wal) = &folder.wal else { return };
    let dir = folder.path.join(MANIFESTS);
    let kept = folder.groups.get(&group).map(|kept| kept.manifest.index());
    let purged = match audit::purged(&wal.group(group)) {
        Ok(purged) => purged.map(|id| id.index),
        Err(error) => {
            let lie = Lie::new(folder.path.join(WAL), format!("what it let go of: {error}"));
            return report.lie(lie.of_group(group));
        }
    };
    let is_told = |lie: &Lie| lie.group == Some(group) && lie.file.starts_with(&dir);
    if purged > kept && !report.lies().any(is_told) {
        let purged = purged.unwrap_or_default();
        let what = match kept {
            Some(kept) => format!(
                "the log begins behind entry {purged}, and the state is that of entry {kept}"
            ),
            None => {
                format!("the log begins behind entry {purged}, and there is no state before it")
            }
        };
        report.lie(Lie::new(dir, what).of_group(group));
    }
}

/// What a manifest lists, which a log must make.
struct Goal<'a> {
    folder: &'a NodeFolder,
    kept: &'a Kept,
}

struct Replay<'a> {
    run: &'a Run<'a>,
    group: GroupId,
    shard: Shard,
    /// Documents whose page is damaged: what comes later of them is not known.
    left_out: BTreeSet<DocId>,
    entries: u64,
    /// The events of the entry that was applied last.
    made: Vec<Arc<Event>>,
    /// What the entry that is not as it was written became: its first document and revision.
    odd: Option<(DocId, Revision)>,
}

impl<'a> Replay<'a> {
    fn new(group: GroupId, run: &'a Run<'a>) -> Self {
        let limits = run.folder.limits.clone();
        let shard = match run.base {
            None => Shard::new(group, limits),
            Some(Kept {
                manifest,
                documents,
                ..
            }) => Shard::restore(
                group,
                limits,
                manifest.index(),
                manifest.level,
                documents.clone(),
            ),
        };
        Self {
            run,
            group,
            shard,
            left_out: BTreeSet::new(),
            entries: 0,
            made: Vec::new(),
            odd: None,
        }
    }

    /// Applies all to the end; the state at the entry `common`, if that is on the way.
    async fn run(&mut self, goals: &[Goal<'_>], common: u64, report: &mut Report) -> Option<Slots> {
        let mut next = self.run.base.map_or(0, |kept| kept.manifest.index() + 1);
        let mut state = (self.run.begin() == common).then(|| self.shard.slots());
        self.before(report);
        while next <= self.run.end {
            let read = self.run.log.read(next, self.run.end + 1, READ).await;
            let stored = match read {
                Ok(stored) if !stored.is_empty() => stored,
                // Purged since it was looked at: a file that is missing was found before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = self.run.folder.name();
                    report.note(format!(
                        "{name}: the log went on from entry {next} meanwhile"
                    ));
                    return None;
                }
                other => {
                    let why =
                        other.map_or_else(|error| error.to_string(), |_| "nothing is there".into());
                    self.lie(format!("entry {next} cannot be read: {why}"), report);
                    return None;
                }
            };
            for stored in stored {
                if let Err(error) = self.apply(next, stored).await {
                    self.lie(format!("entry {next}: {error}"), report);
                    return None;
                }
                for event in std::mem::take(&mut self.made) {
                    let folder = &self.run.folder.path;
                    report.leads_to(folder, &event.doc, event.rev, event.hash);
                }
                self.reached(next, goals, report);
                if next == common {
                    state = Some(self.shard.slots());
                }
                next += 1;
            }
        }
        self.behind(report);
        self.after_the_end(next).await;
        state
    }

    fn lie(&self, what: String, report: &mut Report) {
        let lie = Lie::new(self.run.folder.path.join(WAL), what);
        report.lie(lie.of_group(self.group));
    }

    /// The entry that is not as it was written, put right: what it became is what it lies about. Whether
    /// all before it was agreed on does not matter for that.
    async fn after_the_end(&mut self, next: u64) -> Option<()> {
        let odd = self.run.folder.odd.as_ref()?;
        let (group, index) = odd.entry?;
        if group != self.group || index < next {
            return None;
        }
        let mut next = next;
        while next < index {
            let read = self.run.log.read(next, index, READ).await.ok()?;
            // Nothing is known of what is not there.
            read.first()?;
            for stored in read {
                self.apply(next, stored).await.ok()?;
                next += 1;
            }
        }
        let before = self.shard.slots();
        self.apply(index, odd.stored.clone()?).await.ok()?;
        let after = self.shard.slots();
        let mut touched = after.iter();
        let (slot, doc, held) = touched.find(|(_, _, held)| held.touched() == index)?;
        let was = before.get(slot, doc).map_or(0, |held| held.summary().rev.0);
        self.odd = Some((*doc, held.summary().rev.min(Revision(was + 1))));
        Some(())
    }

    async fn apply(&mut self, index: u64, stored: Bytes) -> Result<(), String> {
        let (id, batch) = audit::entry(stored).map_err(|error| error.to_string())?;
        if id.index != index {
            return Err(format!("it is entry {}", id.index));
        }
        self.entries += 1;
        match batch {
            None => self.shard.skip(index),
            Some(mut batch) => {
                self.warm(&mut batch).await;
                match batch.commands.is_empty() {
                    true => self.shard.skip(index),
                    false => {
                        let applied = self.shard.apply(index, &batch);
                        self.made
                            .extend(applied.into_iter().filter_map(|one| one.event));
                    }
                }
            }
        }
        Ok(())
    }

    /// Brings the documents of a batch into memory, and leaves out those that cannot be had.
    async fn warm(&mut self, batch: &mut Batch) {
        let docs: BTreeSet<DocId> = batch.commands.iter().filter_map(Command::doc).collect();
        for (doc, touched, _) in self.shard.cold(&docs) {
            let held = self.shard.held(&doc).cloned();
            let document = match &held {
                Some(held) => {
                    let document = self.run.folder.document(self.group, doc, held).await;
                    document.ok().flatten()
                }
                None => None,
            };
            match document {
                Some(document) => self.shard.warm(&doc, touched, Arc::new(document)),
                None => {
                    self.left_out.insert(doc);
                }
            }
        }
        let left_out = &self.left_out;
        let is_known = |command: &Command| command.doc().is_none_or(|doc| !left_out.contains(&doc));
        batch.commands.retain(is_known);
    }

    fn told(&self) -> impl Iterator<Item = (&'a Live, &'a Told)> + use<'a> {
        let (live, group) = (self.run.live, self.group);
        live.into_iter()
            .flat_map(move |live| live.of(group).map(move |told| (live, told)))
    }

    /// Compares what the node said before or as its state was kept, with what is still so.
    fn before(&self, report: &mut Report) {
        let (begin, made) = (self.run.begin(), self.shard.slots());
        for (live, told) in self.told().filter(|(_, told)| told.index <= begin) {
            live.compare(told, &made, told.index < begin, report);
        }
        let Some(live) = self
            .run
            .live
            .filter(|live| live.of(self.group).next().is_some())
        else {
            return;
        };
        // What was there then is there now: no document ever goes.
        let told = || self.told().map(|(_, told)| told);
        let is_later = told().all(|told| told.index >= begin);
        let known: BTreeSet<DocId> = told()
            .flat_map(|told| &told.documents)
            .map(|one| one.doc)
            .collect();
        let hidden = made
            .iter()
            .filter(|(_, doc, _)| is_later && !known.contains(doc));
        for (_, doc, held) in hidden {
            let what = "it says nothing of a document that its files hold";
            let lie = live.lie(self.group, what.into());
            report.lie(lie.of(Some(*doc), Some(held.summary().rev)));
        }
    }

    /// What the node said it had applied is in its log.
    fn behind(&self, report: &mut Report) {
        let latest = self.told().max_by_key(|(_, told)| told.index);
        let is_damaged = self
            .run
            .folder
            .wal
            .as_ref()
            .is_some_and(|wal| wal.damage().is_some());
        let beyond = latest.filter(|(_, told)| told.index > self.run.end && !is_damaged);
        if let Some((live, told)) = beyond {
            let what = format!(
                "it has applied entry {} and its files end with entry {}",
                told.index, self.run.end
            );
            report.lie(live.lie(self.group, what));
        }
    }

    /// Compares what was made with the manifests that were taken here, and with what was told of it.
    fn reached(&self, index: u64, goals: &[Goal<'_>], report: &mut Report) {
        for (live, told) in self.told().filter(|(_, told)| told.index == index) {
            live.compare(told, &self.shard.slots(), false, report);
        }
        for Goal { folder, kept } in goals {
            if kept.manifest.index() != index {
                continue;
            }
            report.counts.comparisons += 1;
            let made = self.shard.slots();
            let differs = first_difference(&made, &kept.documents, &self.left_out);
            if let Some((doc, rev)) = differs {
                let held = kept.documents.iter().find(|(_, of, _)| **of == doc);
                let page = held.and_then(|(_, _, held)| held.page());
                let file: PathBuf = page.map_or_else(
                    || folder.manifest_file(&kept.manifest),
                    |page| folder.page_file(page.place),
                );
                let what = format!(
                    "it is not what the log of {} makes of it up to entry {index}",
                    self.run.folder.name()
                );
                report.lie(
                    Lie::new(file, what)
                        .of_group(self.group)
                        .of(Some(doc), Some(rev)),
                );
            }
        }
    }
}

/// Tells of the entry that is not as it was written, with the first document and revision of it.
async fn odd_entry(folder: &NodeFolder, made: Option<(DocId, Revision)>, report: &mut Report) {
    let Some(odd) = &folder.odd else { return };
    let (Some((group, index)), Some(stored)) = (odd.entry, odd.stored.clone()) else {
        return;
    };
    let made = match made {
        Some(made) => Some(made),
        None => written(folder, group, index).await,
    };
    let (doc, rev) = match made {
        Some((doc, rev)) => (Some(doc), Some(rev)),
        None => {
            let batch = audit::entry(stored).ok().and_then(|(_, batch)| batch);
            let commands = batch.map(|batch| batch.commands).unwrap_or_default();
            (commands.iter().find_map(Command::doc), None)
        }
    };
    let file = folder.path.join(WAL).join(file_name(odd.segment));
    let lie = Lie::new(file, format!("{} (entry {index})", odd.what));
    report.lie(lie.at(Place::Byte(odd.offset)).of_group(group).of(doc, rev));
}

/// What an entry became, by the op log.
async fn written(folder: &NodeFolder, group: GroupId, index: u64) -> Option<(DocId, Revision)> {
    let kept = folder.groups.get(&group)?;
    let pages = kept.manifest.events.iter();
    let page = pages
        .into_iter()
        .find(|page| page.from < index && index <= page.to)?;
    let events = folder.events(group, page).await?;
    let event = events
        .into_iter()
        .find(|logged| logged.log_id.index == index)?;
    Some((event.event.doc, event.event.rev))
}
