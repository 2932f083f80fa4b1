//! The stored form of a batch, pinned by `tests/vectors/commands.json`.
//!
//! ```text
//! batch   = format u8 · ts_ms varint · count varint · command*
//! command = kind u8 · fields
//!   1 edit    doc 16 · client 16 · user text · seq varint · base varint · ops blob
//!   2 create  doc 16 · kind u8 · algebra u8 · title text · owner text · initial (0 | 1 · blob)
//!   3 grant   doc 16 · by text · user text · role u8 (0 takes it away)
//!   4 level   level varint
//!   5 trim    doc 16 · floor varint
//!   6 title   doc 16 · by text · title text
//!   9 restore  as an edit · version varint · authors blob
//!   7 comment  doc 16 · by text · thread 16 · (1 open · at varint · start varint · end varint · text text
//!              | 2 reply · comment 16 · text text | 3 resolve | 4 reopen | 5 delete · comment 16)
//!   8 named version  doc 16 · by text · id 16 · version (0 | 1 · varint) · name text
//!  10 delete  doc 16 · by text
//!  13 expire  doc 16 · below varint
//!  14 quarantine  doc 16 · on u8
//!  15 checkpoint  doc 16 · by text
//!  16 undelete  doc 16 · by text
//!  18 anchored  as an edit · count varint · (start varint · units varint)*
//! text    = blob of UTF-8          blob = length varint · bytes
//! varint  = LEB128 of a u64, shortest form only
//! ```
//!
//! Bytes that are in the log were agreed on, so every replica must read them alike: the
//! form has one spelling, and whatever this build cannot read is an error that stops the
//! group here, never something to skip. For the same reason limits (how long a title, a
//! user id, an operation may be) are not judged here but in `apply`, which refuses.

use bytes::Bytes;
use codraft_ot::{
    Kind,
    varint::{self, VarintError},
};
use codraft_proto::ids::{ClientId, DocId, NoteId, Revision, Role, Seq};

use super::{
    Algebra, Anchor, Anchored, Batch, Checkpoint, Command, Comment, Commenting, Create, Deletion,
    Edit, Expire, Grant, Level, Quarantine, Restore, Title, Trim, Version, put_varint,
};

/// The first byte of every batch.
pub const FORMAT: u8 = 1;

/// The highest level whose commands this build can apply.
pub const LEVEL: u32 = 1;

/// Ids of commands. Never used again for something else.
mod kind {
    pub const EDIT: u8 = 1;
    pub const CREATE: u8 = 2;
    pub const GRANT: u8 = 3;
    pub const LEVEL: u8 = 4;
    pub const TRIM: u8 = 5;
    pub const EXPIRE: u8 = 13;
    pub const QUARANTINE: u8 = 14;
    pub const RESTORE: u8 = 9;
    pub const CHECKPOINT: u8 = 15;
    pub const COMMENT: u8 = 7;
    pub const VERSION: u8 = 8;
    pub const TITLE: u8 = 6;
    pub const DELETE: u8 = 10;
    pub const UNDELETE: u8 = 16;
    pub const ANCHORED: u8 = 18;
    /// Spoken for, by commands of later levels.
    pub const RESERVED: [(u8, &str); 2] = [(11, "marks"), (12, "slot move")];
}

/// Why a stored batch cannot be read. All of these stop the group on this replica: the
/// entry is committed, so to skip it would be to diverge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("batch has format {0}, this build reads {FORMAT}")]
    Format(u8),
    #[error("log is at level {0}, this build reads up to {LEVEL}")]
    Level(u64),
    #[error("unknown command kind {0}")]
    UnknownKind(u8),
    #[error("command kind {0} ({1}) is of a later level")]
    LaterKind(u8, &'static str),
    #[error("unknown {field} {number}")]
    UnknownNumber { field: &'static str, number: u8 },
    #[error("ends within {0}")]
    Truncated(&'static str),
    #[error("{0} is not a shortest varint of 64 bits")]
    Varint(&'static str),
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    #[error("{0} bytes after the last command")]
    Trailing(usize),
}

impl Batch {
    /// The stored form, made once by the leader.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(
            16 + self
                .commands
                .iter()
                .map(Command::encoded_bytes)
                .sum::<usize>(),
        );
        out.push(FORMAT);
        put_varint(&mut out, self.ts_ms);
        put_varint(&mut out, self.commands.len() as u64);
        for command in &self.commands {
            put_command(&mut out, command);
        }
        out.into()
    }

    /// Reads a stored batch; operations are slices of `stored`, not copies.
    pub fn decode(stored: &Bytes) -> Result<Batch, DecodeError> {
        let mut input = Input::new(stored);
        let format = input.byte("format")?;
        if format != FORMAT {
            return Err(DecodeError::Format(format));
        }
        let ts_ms = input.varint("ts_ms")?;
        let count = input.varint("count")?;
        // A declared count allocates only so much before the commands are there.
        let mut commands = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(1_024));
        for _ in 0..count {
            commands.push(input.command()?);
        }
        match input.left() {
            0 => Ok(Batch { ts_ms, commands }),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}

impl Command {
    /// An upper bound of its stored size, for a proposer that bounds its batches.
    pub fn encoded_bytes(&self) -> usize {
        const FIXED: usize = 1 + 16 + 16 + 4 * 10;
        FIXED
            + match self {
                Command::Edit(edit) => edit.user.len() + edit.ops.len(),
                Command::Create(create) => {
                    create.title.len()
                        + create.owner.len()
                        + create.initial.as_ref().map_or(0, Bytes::len)
                }
                Command::Grant(grant) => grant.by.len() + grant.user.len(),
                Command::Restore(Restore { edit, authors, .. }) => {
                    const NUMBERS: usize = 2 * 10;
                    NUMBERS + edit.user.len() + edit.ops.len() + authors.len()
                }
                Command::Anchored(Anchored { edit, anchors }) => {
                    const ANCHOR: usize = 2 * 5;
                    10 + edit.user.len() + edit.ops.len() + anchors.len() * ANCHOR
                }
                Command::Checkpoint(checkpoint) => checkpoint.by.len(),
                Command::Comment(comment) => {
                    comment.by.len()
                        + match &comment.what {
                            Commenting::Open { text, .. } | Commenting::Reply { text, .. } => {
                                text.len()
                            }
                            Commenting::Resolve(_) | Commenting::Delete { .. } => 0,
                        }
                }
                Command::Version(version) => version.by.len() + version.name.len(),
                Command::Title(title) => title.by.len() + title.title.len(),
                Command::Delete(deletion) | Command::Undelete(deletion) => deletion.by.len(),
                Command::Trim(_)
                | Command::Expire(_)
                | Command::Level(_)
                | Command::Quarantine(_) => 0,
            }
    }
}

fn put_command(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::Edit(edit) => {
            out.push(kind::EDIT);
            put_edit(out, edit);
        }
        Command::Restore(restore) => {
            out.push(kind::RESTORE);
            put_edit(out, &restore.edit);
            put_varint(out, restore.version.0);
            put_blob(out, &restore.authors);
        }
        Command::Anchored(anchored) => {
            out.push(kind::ANCHORED);
            put_anchored(out, anchored);
        }
        Command::Checkpoint(checkpoint) => {
            out.push(kind::CHECKPOINT);
            out.extend_from_slice(&checkpoint.doc.0);
            put_blob(out, checkpoint.by.as_bytes());
        }
        Command::Delete(deletion) => {
            out.push(kind::DELETE);
            put_deletion(out, deletion);
        }
        Command::Undelete(deletion) => {
            out.push(kind::UNDELETE);
            put_deletion(out, deletion);
        }
        Command::Comment(comment) => {
            out.push(kind::COMMENT);
            put_comment(out, comment);
        }
        Command::Version(version) => {
            out.push(kind::VERSION);
            put_version(out, version);
        }
        Command::Title(title) => {
            out.push(kind::TITLE);
            put_title(out, title);
        }
        Command::Create(create) => {
            out.push(kind::CREATE);
            put_create(out, create);
        }
        Command::Grant(grant) => {
            out.push(kind::GRANT);
            put_grant(out, grant);
        }
        Command::Level(level) => {
            out.push(kind::LEVEL);
            put_varint(out, level.level.into());
        }
        Command::Trim(trim) => {
            out.push(kind::TRIM);
            out.extend_from_slice(&trim.doc.0);
            put_varint(out, trim.floor.0);
        }
        Command::Expire(expire) => {
            out.push(kind::EXPIRE);
            out.extend_from_slice(&expire.doc.0);
            put_varint(out, expire.below.0);
        }
        Command::Quarantine(quarantine) => {
            out.push(kind::QUARANTINE);
            out.extend_from_slice(&quarantine.doc.0);
            out.push(quarantine.on.into());
        }
    }
}

fn put_edit(out: &mut Vec<u8>, edit: &Edit) {
    out.extend_from_slice(&edit.doc.0);
    out.extend_from_slice(&edit.client.0);
    put_blob(out, edit.user.as_bytes());
    put_varint(out, edit.seq.0);
    put_varint(out, edit.base.0);
    put_blob(out, &edit.ops);
}

fn put_title(out: &mut Vec<u8>, title: &Title) {
    out.extend_from_slice(&title.doc.0);
    put_blob(out, title.by.as_bytes());
    put_blob(out, title.title.as_bytes());
}

fn put_anchored(out: &mut Vec<u8>, anchored: &Anchored) {
    put_edit(out, &anchored.edit);
    put_varint(out, anchored.anchors.len() as u64);
    for anchor in &anchored.anchors {
        put_varint(out, anchor.start.into());
        put_varint(out, anchor.units.into());
    }
}

fn put_grant(out: &mut Vec<u8>, grant: &Grant) {
    out.extend_from_slice(&grant.doc.0);
    put_blob(out, grant.by.as_bytes());
    put_blob(out, grant.user.as_bytes());
    out.push(grant.role.map_or(0, |role| role as u8));
}

fn put_deletion(out: &mut Vec<u8>, deletion: &Deletion) {
    out.extend_from_slice(&deletion.doc.0);
    put_blob(out, deletion.by.as_bytes());
}

fn put_version(out: &mut Vec<u8>, version: &Version) {
    out.extend_from_slice(&version.doc.0);
    put_blob(out, version.by.as_bytes());
    out.extend_from_slice(&version.id.0);
    match version.version {
        None => out.push(0),
        Some(version) => {
            out.push(1);
            put_varint(out, version.0);
        }
    }
    put_blob(out, version.name.as_bytes());
}

fn put_create(out: &mut Vec<u8>, create: &Create) {
    out.extend_from_slice(&create.doc.0);
    out.push(create.kind as u8);
    out.push(create.algebra as u8);
    put_blob(out, create.title.as_bytes());
    put_blob(out, create.owner.as_bytes());
    match &create.initial {
        None => out.push(0),
        Some(initial) => {
            out.push(1);
            put_blob(out, initial);
        }
    }
}

fn put_comment(out: &mut Vec<u8>, comment: &Comment) {
    out.extend_from_slice(&comment.doc.0);
    put_blob(out, comment.by.as_bytes());
    out.extend_from_slice(&comment.thread.0);
    match &comment.what {
        Commenting::Open {
            at,
            start,
            end,
            text,
        } => {
            out.push(1);
            for number in [at.0, (*start).into(), (*end).into()] {
                put_varint(out, number);
            }
            put_blob(out, text.as_bytes());
        }
        Commenting::Reply { comment, text } => {
            out.push(2);
            out.extend_from_slice(&comment.0);
            put_blob(out, text.as_bytes());
        }
        Commenting::Resolve(true) => out.push(3),
        Commenting::Resolve(false) => out.push(4),
        Commenting::Delete { comment } => {
            out.push(5);
            out.extend_from_slice(&comment.0);
        }
    }
}

/// Length, then the bytes.
pub(crate) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a stored form; what it gives out are slices of it.
pub(crate) struct Input<'a> {
    stored: &'a Bytes,
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(stored: &'a Bytes) -> Self {
        Self { stored, at: 0 }
    }

    /// Bytes that are not read yet.
    pub fn left(&self) -> usize {
        self.stored.len() - self.at
    }

    /// Moves past `len` bytes and returns where they are.
    fn take(&mut self, len: usize, field: &'static str) -> Result<(usize, usize), DecodeError> {
        if len > self.left() {
            return Err(DecodeError::Truncated(field));
        }
        let start = self.at;
        self.at += len;
        Ok((start, self.at))
    }

    pub fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (start, _) = self.take(1, field)?;
        Ok(self.stored[start])
    }

    /// A byte that says whether something follows.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        self.number(field, |n| match n {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })
    }

    pub fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut rest = &self.stored[self.at..];
        let number = varint::take(&mut rest).map_err(|error| match error {
            VarintError::Truncated => DecodeError::Truncated(field),
            VarintError::NotCanonical => DecodeError::Varint(field),
        })?;
        self.at = self.stored.len() - rest.len();
        Ok(number)
    }

    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (start, end) = self.take(N, field)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.stored[start..end]);
        Ok(array)
    }

    pub fn bytes(&mut self, len: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        let (start, end) = self.take(len, field)?;
        Ok(self.stored.slice(start..end))
    }

    fn length(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        usize::try_from(self.varint(field)?).map_err(|_| DecodeError::Truncated(field))
    }

    pub fn blob(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.length(field)?;
        self.bytes(len, field)
    }

    pub fn text(&mut self, field: &'static str) -> Result<&str, DecodeError> {
        let len = self.length(field)?;
        let (start, end) = self.take(len, field)?;
        std::str::from_utf8(&self.stored[start..end]).map_err(|_| DecodeError::Text(field))
    }

    pub fn number<T>(
        &mut self,
        field: &'static str,
        known: impl FnOnce(u32) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let number = self.byte(field)?;
        known(number.into()).ok_or(DecodeError::UnknownNumber { field, number })
    }

    fn edit(&mut self) -> Result<Edit, DecodeError> {
        Ok(Edit {
            doc: DocId(self.array("doc")?),
            client: ClientId(self.array("client")?),
            user: self.text("user")?.into(),
            seq: Seq(self.varint("seq")?),
            base: Revision(self.varint("base")?),
            ops: self.blob("ops")?,
        })
    }

    fn anchors(&mut self) -> Result<Vec<Anchor>, DecodeError> {
        let count = self.varint("anchors")?;
        let mut anchors = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(64));
        for _ in 0..count {
            anchors.push(Anchor {
                start: self.units("start of an anchor")?,
                units: self.units("units of an anchor")?,
            });
        }
        Ok(anchors)
    }

    fn comment(&mut self) -> Result<Comment, DecodeError> {
        Ok(Comment {
            doc: DocId(self.array("doc")?),
            by: self.text("by")?.into(),
            thread: NoteId(self.array("thread")?),
            what: match self.byte("what")? {
                1 => Commenting::Open {
                    at: Revision(self.varint("at")?),
                    start: self.units("start")?,
                    end: self.units("end")?,
                    text: self.text("text")?.into(),
                },
                2 => Commenting::Reply {
                    comment: NoteId(self.array("comment")?),
                    text: self.text("text")?.into(),
                },
                3 => Commenting::Resolve(true),
                4 => Commenting::Resolve(false),
                5 => Commenting::Delete {
                    comment: NoteId(self.array("comment")?),
                },
                number => {
                    let field = "what of a comment";
                    return Err(DecodeError::UnknownNumber { field, number });
                }
            },
        })
    }

    fn deletion(&mut self) -> Result<Deletion, DecodeError> {
        Ok(Deletion {
            doc: DocId(self.array("doc")?),
            by: self.text("by")?.into(),
        })
    }

    fn version(&mut self) -> Result<Version, DecodeError> {
        Ok(Version {
            doc: DocId(self.array("doc")?),
            by: self.text("by")?.into(),
            id: NoteId(self.array("id")?),
            version: match self.flag("version")? {
                false => None,
                true => Some(Revision(self.varint("version")?)),
            },
            name: self.text("name")?.into(),
        })
    }

    fn create(&mut self) -> Result<Create, DecodeError> {
        Ok(Create {
            doc: DocId(self.array("doc")?),
            kind: self.number("document kind", Kind::from_number)?,
            algebra: self.number("algebra", Algebra::from_number)?,
            title: self.text("title")?.into(),
            owner: self.text("owner")?.into(),
            initial: match self.flag("initial")? {
                false => None,
                true => Some(self.blob("initial")?),
            },
        })
    }

    /// Units of a document, which are less than 4 Gi.
    pub fn units(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint(field)?).map_err(|_| DecodeError::Varint(field))
    }

    fn command(&mut self) -> Result<Command, DecodeError> {
        Ok(match self.byte("kind")? {
            kind::COMMENT => Command::Comment(self.comment()?),
            kind::VERSION => Command::Version(self.version()?),
            kind::DELETE => Command::Delete(self.deletion()?),
            kind::UNDELETE => Command::Undelete(self.deletion()?),
            kind::EDIT => Command::Edit(self.edit()?),
            kind::RESTORE => Command::Restore(Restore {
                edit: self.edit()?,
                version: Revision(self.varint("version")?),
                authors: self.blob("authors")?,
            }),
            kind::TITLE => Command::Title(Title {
                doc: DocId(self.array("doc")?),
                by: self.text("by")?.into(),
                title: self.text("title")?.into(),
            }),
            kind::ANCHORED => Command::Anchored(Anchored {
                edit: self.edit()?,
                anchors: self.anchors()?,
            }),
            kind::CHECKPOINT => Command::Checkpoint(Checkpoint {
                doc: DocId(self.array("doc")?),
                by: self.text("by")?.into(),
            }),
            kind::CREATE => Command::Create(self.create()?),
            kind::GRANT => Command::Grant(Grant {
                doc: DocId(self.array("doc")?),
                by: self.text("by")?.into(),
                user: self.text("user")?.into(),
                role: self.number("role", |n| match n {
                    0 => Some(None),
                    n => Role::from_number(n).map(Some),
                })?,
            }),
            kind::LEVEL => {
                let level = self.varint("level")?;
                match u32::try_from(level) {
                    Ok(level) if level <= LEVEL => Command::Level(Level { level }),
                    _ => return Err(DecodeError::Level(level)),
                }
            }
            kind::TRIM => Command::Trim(Trim {
                doc: DocId(self.array("doc")?),
                floor: Revision(self.varint("floor")?),
            }),
            kind::EXPIRE => Command::Expire(Expire {
                doc: DocId(self.array("doc")?),
                below: Revision(self.varint("below")?),
            }),
            kind::QUARANTINE => Command::Quarantine(Quarantine {
                doc: DocId(self.array("doc")?),
                on: self.flag("on")?,
            }),
            other => {
                let later = kind::RESERVED.iter().find(|(id, _)| *id == other);
                return Err(match later {
                    Some((id, name)) => DecodeError::LaterKind(*id, name),
                    None => DecodeError::UnknownKind(other),
                });
            }
        })
    }
}
