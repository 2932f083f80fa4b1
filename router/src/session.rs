//! One client's session on one document, without a socket, a clock or a runtime: events go
//! in, what is to be done comes out. The shard judges operations; the session keeps their
//! order, and the one that is in flight until it is answered.

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    ids::{ClientId, Revision, Role, Seq, UserId},
    reject::Code,
};

use crate::ids::LinkId;

/// An operation on its way: kept until its event or another answer comes, to be sent again
/// to whoever leads next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inflight {
    pub seq: Seq,
    pub base: Revision,
    /// ot's binary form, as the client sent it.
    pub ops: Bytes,
    /// When the client sent it, in milliseconds of the router's own time.
    pub since_ms: u64,
    /// The link it was last sent on; `None`: waits for one.
    pub link: Option<LinkId>,
    /// When it was last sent on.
    pub sent_ms: Option<u64>,
}

pub struct Session {
    pub client: ClientId,
    /// The same, as it travels.
    pub client_bytes: Bytes,
    pub user: UserId,
    pub role: Option<Role>,
    /// The last that this client was told of as applied: (seq, rev).
    pub acked: Option<(Seq, Revision)>,
    inflight: Option<Inflight>,
}

/// What to do with an operation that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpAction {
    /// It is in flight now: send it.
    Submit,
    /// A repeat of what is in flight: nothing to do, its answer is on the way.
    Repeat,
    /// Not proposed; the client sends it again.
    Refuse(Code),
}

/// An attempt to have an operation applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub user: String,
    pub client: ClientId,
    pub seq: Seq,
    pub base: Revision,
}

/// An answer of the shard that is not the event itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Already {
        rev: Revision,
    },
    Refused {
        code: Code,
        message: String,
    },
    Retry {
        code: Code,
        message: String,
        retry_after_ms: u32,
    },
    Rebase {
        floor: Revision,
        head: Revision,
    },
}

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerAction {
    /// Of another attempt, or the feed will say it better.
    Nothing,
    /// Goes to the client as it is.
    Client(Answer),
    /// Not the client's business: try again.
    Again(Code),
}

impl Session {
    pub fn new(client: ClientId, user: UserId) -> Self {
        let client_bytes = client.to_bytes();
        Self {
            client,
            client_bytes,
            user,
            role: None,
            acked: None,
            inflight: None,
        }
    }

    #[cfg(test)]
    pub fn inflight(&self) -> Option<&Inflight> {
        self.inflight.as_ref()
    }

    /// Whether an operation is in flight.
    pub fn is_busy(&self) -> bool {
        self.inflight.is_some()
    }

    /// The client sent an operation.
    pub fn op(&mut self, seq: Seq, base: Revision, ops: Bytes, now_ms: u64) -> OpAction {
        match &self.inflight {
            Some(own) if own.seq == seq && own.base == base && own.ops == ops => OpAction::Repeat,
            Some(own) if own.seq == seq => OpAction::Refuse(Code::SeqConflict),
            Some(_) => OpAction::Refuse(Code::Busy),
            None => {
                let (since_ms, link, sent_ms) = (now_ms, None, None);
                self.inflight = Some(Inflight {
                    seq,
                    base,
                    ops,
                    since_ms,
                    link,
                    sent_ms,
                });
                OpAction::Submit
            }
        }
    }

    /// What has to be sent on this link: the operation in flight, unless it already was.
    pub fn unsent_on(&self, link: LinkId) -> Option<&Inflight> {
        self.inflight.as_ref().filter(|own| own.link != Some(link))
    }

    pub fn sent(&mut self, link: LinkId, now_ms: u64) {
        if let Some(own) = &mut self.inflight {
            own.link = Some(link);
            own.sent_ms = Some(now_ms);
        }
    }

    /// Takes back what a node has not answered for so long. Returns true if there was something.
    pub fn unstick(&mut self, now_ms: u64, after_ms: u64) -> bool {
        match &mut self.inflight {
            Some(own)
                if own.link.is_some() && own.sent_ms.is_some_and(|s| now_ms >= s + after_ms) =>
            {
                own.link = None;
                true
            }
            _ => false,
        }
    }

    /// The link is gone, or its other end did not take the operation.
    pub fn unsent(&mut self) {
        if let Some(own) = &mut self.inflight {
            own.link = None;
        }
    }

    /// The client starts over: what it still has to send it sends again.
    pub fn start_over(&mut self) {
        self.inflight = None;
    }

    /// An event of this client went by on the feed: the acknowledgement. The operation it
    /// acknowledges, when it is the one in flight.
    pub fn applied(&mut self, seq: Seq, rev: Revision) -> Option<Inflight> {
        self.acked = Some((seq, rev));
        if self.inflight.as_ref().is_some_and(|own| own.seq <= seq) {
            return self.inflight.take();
        }
        None
    }

    /// The document was opened, and this is what the shard last applied of this client. An
    /// operation in flight that is covered by it was acknowledged by it.
    pub fn opened(&mut self, role: Role, acked: Option<(Seq, Revision)>) {
        self.role = Some(role);
        self.acked = acked;
        if let (Some(own), Some((seq, _))) = (&self.inflight, acked)
            && own.seq <= seq
        {
            self.inflight = None;
        }
    }

    /// The shard answered an attempt. `delivered` is the last revision that this client was
    /// sent: an `already` above it is said by the feed, in its place.
    pub fn answered(
        &mut self,
        seq: Seq,
        base: Revision,
        answer: Answer,
        delivered: Revision,
    ) -> AnswerAction {
        if !self
            .inflight
            .as_ref()
            .is_some_and(|own| own.seq == seq && own.base == base)
        {
            return AnswerAction::Nothing;
        }
        match answer {
            Answer::Already { rev }
                if rev > delivered && !mutant!("acknowledged_before_the_feed") =>
            {
                AnswerAction::Nothing
            }
            Answer::Retry { code, .. } if again(code) => {
                self.unsent();
                AnswerAction::Again(code)
            }
            Answer::Already { rev } => {
                self.acked = Some((seq, rev));
                self.inflight = None;
                AnswerAction::Client(answer)
            }
            _ => {
                self.inflight = None;
                AnswerAction::Client(answer)
            }
        }
    }
}

/// Whether the router itself tries again, unseen by the client.
fn again(code: Code) -> bool {
    match code {
        Code::NotLeader
        | Code::NoLeader
        | Code::WrongGroup
        | Code::Busy
        | Code::Timeout
        | Code::ShuttingDown
        | Code::Internal => true,
        // The client has to do something first, or to be told why nothing is saved.
        _ => false,
    }
}

#[cfg(test)]
mod tests;
