//! Threads of comments, each about a range of the document's text.
//!
//! An anchor names the revision that its range counts in. It stays as it is while the window has the
//! events since, so that what is typed costs it nothing; those that leave the window move it first.

use std::{collections::BTreeMap, sync::Arc};

use codraft_mutant::mutant;
use codraft_ot::{Delta, Limits};
use codraft_proto::{
    event::Commented,
    ids::{NoteId, Revision, Seq, UserId},
    reject::Code,
};

use super::{Event, MachineLimits, Outcome, Refusal, stored::StateError};
use crate::command::{self, Commenting, Input, put_blob, put_varint};

/// Where a thread belongs: the units `start..end` of the revision `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    pub at: Revision,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub id: NoteId,
    pub user: UserId,
    /// The revision that it took.
    pub rev: Revision,
    pub ts_ms: u64,
    /// None once its author has deleted it.
    pub text: Option<Box<str>>,
    /// The revision that deleted it, or made it.
    touched: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    pub anchor: Anchor,
    pub resolved: bool,
    /// The first one opened it.
    pub comments: Vec<Comment>,
}

impl Thread {
    fn comment(&self, id: &NoteId) -> Option<&Comment> {
        self.comments.iter().find(|comment| comment.id == *id)
    }

    /// Whether nobody can ask for anything of it again: all is deleted, and was below `floor`.
    fn is_over(&self, floor: Revision) -> bool {
        let over = |comment: &Comment| comment.text.is_none() && comment.touched < floor;
        self.comments.iter().all(over)
    }
}

/// The threads of one document. Clones share them: a comment is rare.
#[derive(Debug, Clone, Default)]
pub struct Comments {
    threads: Arc<BTreeMap<NoteId, Thread>>,
    bytes: usize,
}

/// What is there in memory beside a comment's text and the name of its author, in bytes.
const COMMENT_BYTES: usize = 160;

fn comment_bytes(comment: &Comment) -> usize {
    COMMENT_BYTES + comment.user.len() + comment.text.as_deref().map_or(0, str::len)
}

/// A document as a comment meets it.
pub(super) struct Meets {
    pub floor: Revision,
    pub head: Revision,
    /// Units of the document that the comment is about; none where there is no such revision.
    pub units: Option<u32>,
    pub may_comment: bool,
}

impl Comments {
    /// By their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&NoteId, &Thread)> {
        self.threads.iter()
    }

    pub fn len(&self) -> usize {
        self.threads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// What they take in memory; the same in every build, since replicas judge by it.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a command takes a revision; `set` performs it.
    pub(super) fn judge(
        &self,
        command: &command::Comment,
        meets: &Meets,
        limits: &MachineLimits,
    ) -> Result<(), Outcome> {
        let refused =
            |code, message: &'static str| Err(Outcome::Refused(Refusal::new(code, message)));
        if !meets.may_comment && !mutant!("viewer_comments") {
            return refused(Code::Forbidden, "the role does not allow comments");
        }
        let thread = self.threads.get(&command.thread);
        match (&command.what, thread) {
            (Commenting::Open { .. }, None) => self.judge_first(command, meets, limits),
            (Commenting::Open { text, .. }, Some(thread)) => {
                Err(again(&thread.comments[0], &command.by, text))
            }
            (_, None) => refused(Code::NoComment, "no such thread of comments"),
            (Commenting::Reply { comment, text }, Some(thread)) => match thread.comment(comment) {
                Some(there) => Err(again(there, &command.by, text)),
                None => self.judge_text(text, limits),
            },
            (Commenting::Resolve(on), Some(thread)) => match thread.resolved == *on {
                true => Err(already(meets.head)),
                false => Ok(()),
            },
            (Commenting::Delete { comment }, Some(thread)) => match thread.comment(comment) {
                None => refused(Code::NoComment, "no such comment"),
                Some(there) if there.user != command.by => {
                    refused(Code::Forbidden, "it is somebody else's comment")
                }
                Some(there) if there.text.is_none() => Err(already(there.touched)),
                Some(_) => Ok(()),
            },
        }
    }

    fn judge_first(
        &self,
        command: &command::Comment,
        meets: &Meets,
        limits: &MachineLimits,
    ) -> Result<(), Outcome> {
        let Commenting::Open {
            at,
            start,
            end,
            text,
        } = &command.what
        else {
            return Ok(());
        };
        self.judge_text(text, limits)?;
        let Meets { floor, head, .. } = *meets;
        if *at > head {
            return Err(Outcome::Retry(Code::BaseAhead));
        }
        let Some(units) = meets.units else {
            return Err(Outcome::Rebase { floor, head });
        };
        if start >= end || *end > units {
            let message = format!("{start} to {end} is no range of {units} units");
            let refusal = Refusal::new(Code::LengthMismatch, message);
            return Err(Outcome::Refused(refusal));
        }
        if self.threads.len() >= limits.threads {
            let message = format!("more than {} threads of comments", limits.threads);
            let refusal = Refusal::new(Code::DocumentFull, message);
            return Err(Outcome::Refused(refusal));
        }
        Ok(())
    }

    fn judge_text(&self, text: &str, limits: &MachineLimits) -> Result<(), Outcome> {
        let (code, message) = if text.is_empty() || text.len() > limits.comment_bytes {
            let most = limits.comment_bytes;
            (Code::Malformed, format!("a comment has 1 to {most} bytes"))
        } else if self.bytes + COMMENT_BYTES + text.len() > limits.comments_bytes {
            let message = "the document's comments are at their limit";
            (Code::DocumentFull, message.to_owned())
        } else {
            return Ok(());
        };
        Err(Outcome::Refused(Refusal::new(code, message)))
    }

    /// Performs what `judge` let pass.
    pub(super) fn set(&mut self, command: &command::Comment, rev: Revision, ts_ms: u64) {
        let threads = Arc::make_mut(&mut self.threads);
        let said = |id: NoteId, text: &str| Comment {
            id,
            user: command.by.clone(),
            rev,
            ts_ms,
            text: Some(text.into()),
            touched: rev,
        };
        if let Commenting::Open {
            at,
            start,
            end,
            text,
        } = &command.what
        {
            let first = said(command.thread, text);
            self.bytes += comment_bytes(&first);
            let anchor = Anchor {
                at: *at,
                start: *start,
                end: *end,
            };
            let thread = Thread {
                anchor,
                resolved: false,
                comments: vec![first],
            };
            threads.insert(command.thread, thread);
        }
        let Some(thread) = threads.get_mut(&command.thread) else {
            return;
        };
        match &command.what {
            Commenting::Open { .. } => {}
            Commenting::Reply { comment, text } => {
                let reply = said(*comment, text);
                self.bytes += comment_bytes(&reply);
                thread.comments.push(reply);
            }
            Commenting::Resolve(on) => thread.resolved = *on,
            Commenting::Delete { comment } => {
                for there in thread.comments.iter_mut().filter(|c| c.id == *comment) {
                    self.bytes -= there.text.take().map_or(0, |text| text.len());
                    there.touched = rev;
                }
            }
        }
    }

    /// Takes over where the threads belong now that the window begins at `floor`, and lets those go
    /// of which nothing is left.
    pub(super) fn leave(&mut self, moving: Moving, floor: Revision) {
        let places = moving.finish();
        let over = self.threads.values().any(|thread| thread.is_over(floor));
        if places.is_empty() && !over {
            return;
        }
        let threads = Arc::make_mut(&mut self.threads);
        for (id, (start, end)) in places {
            if let Some(thread) = threads.get_mut(&id) {
                thread.anchor = Anchor {
                    at: floor,
                    start,
                    end,
                };
            }
        }
        threads.retain(|_, thread| !thread.is_over(floor));
        self.bytes = all_bytes(threads);
    }

    /// Appends the stored form: see `stored.rs`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.threads.len() as u64);
        for (id, thread) in self.threads.iter() {
            out.extend_from_slice(&id.0);
            let Anchor { at, start, end } = thread.anchor;
            for number in [at.0, start.into(), end.into()] {
                put_varint(out, number);
            }
            out.push(thread.resolved.into());
            put_varint(out, thread.comments.len() as u64);
            for comment in &thread.comments {
                out.extend_from_slice(&comment.id.0);
                put_blob(out, comment.user.as_bytes());
                put_varint(out, comment.rev.0);
                put_varint(out, comment.ts_ms);
                put_varint(out, comment.touched.0);
                out.push(comment.text.is_some().into());
                if let Some(text) = &comment.text {
                    put_blob(out, text.as_bytes());
                }
            }
        }
    }

    /// Reads the threads of a document whose window holds the events `floor + 1 ..= head`.
    pub(super) fn decode(
        input: &mut Input<'_>,
        floor: Revision,
        head: Revision,
    ) -> Result<Self, StateError> {
        let mut threads = BTreeMap::new();
        for _ in 0..input.varint("threads")? {
            let id = NoteId(input.array("thread")?);
            let anchor = Anchor {
                at: Revision(input.varint("at")?),
                start: input.units("start")?,
                end: input.units("end")?,
            };
            let mut thread = Thread {
                anchor,
                resolved: input.flag("resolved")?,
                comments: Vec::new(),
            };
            for _ in 0..input.varint("comments")? {
                thread.comments.push(read_comment(input)?);
            }
            let joins = (floor..=head).contains(&anchor.at)
                && anchor.start <= anchor.end
                && thread.comments.first().is_some_and(|first| first.id == id)
                && thread
                    .comments
                    .iter()
                    .all(|comment| comment.touched <= head);
            let rises = threads.last_key_value().is_none_or(|(last, _)| *last < id);
            if !joins || !rises {
                return Err(StateError::Invalid("thread of comments"));
            }
            threads.insert(id, thread);
        }
        Ok(Self {
            bytes: all_bytes(&threads),
            threads: Arc::new(threads),
        })
    }
}

fn read_comment(input: &mut Input<'_>) -> Result<Comment, StateError> {
    Ok(Comment {
        id: NoteId(input.array("comment")?),
        user: input.text("user")?.into(),
        rev: Revision(input.varint("rev")?),
        ts_ms: input.varint("ts ms")?,
        touched: Revision(input.varint("touched")?),
        text: match input.flag("text")? {
            false => None,
            true => Some(input.text("text")?.into()),
        },
    })
}

fn all_bytes(threads: &BTreeMap<NoteId, Thread>) -> usize {
    let comments = threads.values().flat_map(|thread| &thread.comments);
    comments.map(comment_bytes).sum()
}

/// What was said before is not said twice.
fn again(there: &Comment, by: &UserId, text: &str) -> Outcome {
    let is_same = there.user == *by && there.text.as_deref().is_none_or(|said| said == text);
    match is_same {
        true => already(there.rev),
        false => Outcome::Refused(Refusal::new(Code::Exists, "there is a comment of this id")),
    }
}

fn already(rev: Revision) -> Outcome {
    Outcome::Already { seq: Seq(0), rev }
}

/// The event's body of a command that was let pass.
pub(super) fn commented(command: &command::Comment) -> Commented<'_> {
    let thread = command.thread;
    match &command.what {
        Commenting::Open {
            at,
            start,
            end,
            text,
        } => Commented::Opened {
            thread,
            at: *at,
            start: *start,
            end: *end,
            text,
        },
        Commenting::Reply { comment, text } => Commented::Replied {
            thread,
            comment: *comment,
            text,
        },
        Commenting::Resolve(true) => Commented::Resolved { thread },
        Commenting::Resolve(false) => Commented::Reopened { thread },
        Commenting::Delete { comment } => Commented::Deleted {
            thread,
            comment: *comment,
        },
    }
}

/// One end of many ranges, in the order of their places.
#[derive(Debug, Default)]
struct Ends {
    places: Vec<u32>,
    threads: Vec<NoteId>,
}

impl Ends {
    fn add(&mut self, place: u32, thread: NoteId) {
        let nth = self.places.partition_point(|before| *before <= place);
        self.places.insert(nth, place);
        self.threads.insert(nth, thread);
    }
}

/// Anchors on their way past events, one by one: an event costs its components and the anchors
/// together.
#[derive(Debug, Default)]
pub struct Moving {
    /// Those that count in a later revision than the last event's; the earliest at the end.
    joining: Vec<(NoteId, Anchor)>,
    starts: Ends,
    ends: Ends,
    /// Whether the anchors were taken in.
    has_begun: bool,
}

impl Moving {
    pub fn of(comments: &Comments) -> Self {
        let threads = comments.iter();
        let mut joining: Vec<_> = threads.map(|(id, thread)| (*id, thread.anchor)).collect();
        joining.sort_by_key(|(id, anchor)| (std::cmp::Reverse(anchor.at), *id));
        Self {
            joining,
            has_begun: true,
            ..Self::default()
        }
    }

    /// An event leaves the window. Before the first one nothing is looked at: nearly all that is applied
    /// makes none leave.
    pub(super) fn leave(&mut self, event: &Event, comments: &Comments, limits: &Limits) {
        if !self.has_begun {
            *self = Self::of(comments);
        }
        self.pass(event, limits);
    }

    /// The revision behind which events are needed; none where there is nothing to move.
    pub fn from(&self) -> Option<Revision> {
        self.joining.last().map(|(_, anchor)| anchor.at)
    }

    /// Moves all that stand before `event` past it. Text at the very ends of a range does not join it.
    pub fn pass(&mut self, event: &Event, limits: &Limits) {
        while let Some((id, anchor)) = self.joining.pop_if(|(_, anchor)| anchor.at < event.rev) {
            self.starts.add(anchor.start, id);
            self.ends.add(anchor.end, id);
        }
        if self.starts.places.is_empty() || mutant!("anchors_left_behind") {
            return;
        }
        // What was applied reads back.
        if let Some(Ok(delta)) = event.operation().map(|ops| Delta::decode(ops, limits)) {
            delta.transform_positions(&mut self.starts.places, false);
            delta.transform_positions(&mut self.ends.places, true);
        }
    }

    /// Where those are that were moved. A range whose text is gone is empty, and stays so.
    pub fn finish(self) -> BTreeMap<NoteId, (u32, u32)> {
        let ends: BTreeMap<_, _> = self
            .ends
            .threads
            .into_iter()
            .zip(self.ends.places)
            .collect();
        let starts = self.starts.threads.into_iter().zip(self.starts.places);
        starts
            .map(|(id, start)| {
                let end = ends.get(&id).copied().unwrap_or(start);
                (id, (start.min(end), end))
            })
            .collect()
    }
}
