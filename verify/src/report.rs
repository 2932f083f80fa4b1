//! What was found.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use codraft_ot::Chain;
use codraft_proto::ids::{DocId, GroupId, Revision};

/// More lies than this are counted and not told.
const LIES_MAX: usize = 64;

/// Where what is kept is not what was applied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lie {
    pub file: PathBuf,
    pub place: Place,
    pub group: Option<GroupId>,
    pub doc: Option<DocId>,
    /// The first revision that is concerned.
    pub rev: Option<Revision>,
    pub what: String,
}

/// Where in its file a lie is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// No byte of it is wrong by itself: what it says is.
    Whole,
    /// This byte.
    Byte(u64),
    /// One or more of so many bytes from here on.
    Within {
        from: u64,
        length: u64,
    },
    From(u64),
}

impl Place {
    /// This byte if it is known, else where to look.
    pub fn of(byte: Option<u64>, from: u64, length: u64) -> Place {
        byte.map_or(Place::Within { from, length }, Place::Byte)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Whole => Ok(()),
            Place::Byte(byte) => write!(f, ", byte {byte}"),
            Place::Within { from, length } => write!(f, ", bytes {from} to {}", from + length),
            Place::From(from) => write!(f, ", from byte {from} on"),
        }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.file.display(), self.place)?;
        if let Some(group) = self.group {
            write!(f, ", group {group}")?;
        }
        if let Some(doc) = self.doc {
            write!(f, ", document {doc}")?;
        }
        if let Some(rev) = self.rev {
            write!(f, ", revision {rev}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl Lie {
    pub fn new(file: PathBuf, what: impl Into<String>) -> Lie {
        Lie {
            file,
            place: Place::Whole,
            group: None,
            doc: None,
            rev: None,
            what: what.into(),
        }
    }

    pub fn at(self, place: Place) -> Lie {
        Lie { place, ..self }
    }

    pub fn of_group(self, group: GroupId) -> Lie {
        let group = Some(group);
        Lie { group, ..self }
    }

    pub fn of(self, doc: Option<DocId>, rev: Option<Revision>) -> Lie {
        Lie { doc, rev, ..self }
    }
}

/// How much was gone through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub nodes: u64,
    /// Of all nodes: each counts where it is kept.
    pub documents: u64,
    pub events: u64,
    pub pages: u64,
    pub objects: u64,
    /// Of logs, that were applied again.
    pub entries: u64,
    pub bytes: u64,
    /// Documents that nodes told of as they run.
    pub told: u64,
    /// Comparisons of one node with another.
    pub comparisons: u64,
}

/// What a receipt says of a revision: all files must make the same of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The receipt's.
    pub file: PathBuf,
    pub doc: DocId,
    pub rev: Revision,
    /// The chain hash there.
    pub hash: [u8; 32],
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    attested: Option<Attested>,
    /// Whether what a receipt is of is older than history is kept.
    is_too_old: bool,
    /// How many nodes' files make what a receipt says.
    pub confirmed: BTreeSet<PathBuf>,
    lies: BTreeSet<Lie>,
    /// Lies that are not told one by one.
    pub more: u64,
    /// What is no lie, and was not proven either.
    pub notes: Vec<String>,
    pub counts: Counts,
}

impl Report {
    pub fn lie(&mut self, lie: Lie) {
        match self.lies.len() < LIES_MAX || self.lies.contains(&lie) {
            true => {
                self.lies.insert(lie);
            }
            false => self.more += 1,
        }
    }

    pub fn of(attested: Option<Attested>) -> Report {
        Report {
            attested,
            ..Report::default()
        }
    }

    /// Whether a receipt is of this event.
    pub fn is_attested(&self, doc: &DocId, rev: Revision) -> bool {
        let is_that = |attested: &Attested| (attested.doc, attested.rev) == (*doc, rev);
        self.attested.as_ref().is_some_and(is_that)
    }

    /// The files in a folder lead to this chain hash at a revision.
    pub fn leads_to(&mut self, folder: &Path, doc: &DocId, rev: Revision, hash: Chain) {
        if !self.is_attested(doc, rev) {
            return;
        }
        match self.attested.as_ref().map(|attested| attested.hash) == Some(hash.0) {
            true => {
                self.confirmed.insert(folder.to_owned());
            }
            false => {
                let what = "its events lead to another hash than the receipt says";
                self.lie(Lie::new(folder.to_owned(), what).of(Some(*doc), Some(rev)));
            }
        }
    }

    /// A document is told from a revision on: what was before is older than history is kept.
    pub fn begins(&mut self, doc: &DocId, rev: Revision) {
        let is_older = |attested: &Attested| attested.doc == *doc && attested.rev < rev;
        self.is_too_old |= self.attested.as_ref().is_some_and(is_older);
    }

    /// All was gone through: what a receipt says was found, or is told.
    pub fn conclude(&mut self) {
        let is_silent = self.confirmed.is_empty() && self.is_clean();
        let Some(attested) = self.attested.take().filter(|_| is_silent) else {
            return;
        };
        if self.is_too_old {
            self.note(
                "what the receipt is of is older than history is kept: nobody tells it".into(),
            );
        } else {
            let lie = Lie::new(attested.file, "no node has such a revision");
            self.lie(lie.of(Some(attested.doc), Some(attested.rev)));
        }
    }

    /// Forgets of a folder what was said of files that are gone since: something else is there now.
    pub fn forget_gone(&mut self, folder: &Path) {
        self.lies
            .retain(|lie| !lie.file.starts_with(folder) || lie.file.exists());
    }

    pub fn note(&mut self, note: String) {
        if self.notes.len() < LIES_MAX {
            self.notes.push(note);
        }
    }

    /// By file and byte.
    pub fn lies(&self) -> impl ExactSizeIterator<Item = &Lie> {
        self.lies.iter()
    }

    pub fn is_clean(&self) -> bool {
        self.lies.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_of_what_is_too_old_to_be_kept_is_no_lie_and_one_of_nothing_is() {
        let (doc, rev) = (DocId::default(), Revision(7));
        let concluded = |begins: Option<u64>| {
            let (hash, file) = ([1; 32], PathBuf::from("receipt"));
            let mut report = Report::of(Some(Attested {
                doc,
                rev,
                hash,
                file,
            }));
            if let Some(begins) = begins {
                report.begins(&doc, Revision(begins));
            }
            report.conclude();
            (report.is_clean(), report.notes.len())
        };
        assert_eq!(concluded(None), (false, 0));
        assert_eq!(concluded(Some(7)), (false, 0));
        assert_eq!(concluded(Some(8)), (true, 1));
    }
}
