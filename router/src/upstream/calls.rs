//! Requests that are not operations: create, describe, grant. Each waits for its reply, and
//! looks for the leader as operations do.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use codraft_proto::{
    ids::{DocId, GroupId, NodeId},
    reject::Code,
    v1::{self, call, message::Body, reply},
};
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};

use super::{Route, Upstream};
use crate::ids::LinkId;

/// A request is given up after so long; long enough for a failover.
const DEADLINE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// Requests that may wait at once.
const CALLS_MAX: usize = 4_096;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    pub message: String,
    pub retry_after_ms: Option<u32>,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self {
            code,
            message: String::new(),
            retry_after_ms: None,
        }
    }
}

impl From<v1::Problem> for Problem {
    fn from(problem: v1::Problem) -> Self {
        let retry_after_ms = Some(problem.retry_after_ms).filter(|ms| *ms > 0);
        let code = Code::from_number(problem.code).unwrap_or(Code::Internal);
        Self {
            code,
            message: problem.message,
            retry_after_ms,
        }
    }
}

#[derive(Default)]
pub struct PendingCalls {
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
}

struct Waiting {
    link: LinkId,
    /// Whose leader may answer it as well; none where it must not be asked for again.
    group: Option<GroupId>,
    reply: oneshot::Sender<v1::Reply>,
}

impl PendingCalls {
    pub fn replied(&self, reply: v1::Reply) {
        if let Some(waiting) = self.waiting.lock().remove(&reply.id) {
            // Nobody waits any more: the request was given up.
            let _ = waiting.reply.send(reply);
        }
    }

    fn admit(&self, id: u64, asked: Waiting) -> Option<CallPermit<'_>> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= CALLS_MAX {
            return None;
        }
        waiting.insert(id, asked);
        Some(CallPermit(self, id))
    }

    /// A group has another leader: what was asked of the one before, which may stand still, is asked
    /// of this one.
    pub fn moved(&self, group: GroupId, to: LinkId) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, asked| asked.group != Some(group) || asked.link == to);
    }

    /// A link broke: its requests are asked again elsewhere.
    pub fn lost(&self, link: LinkId) {
        self.waiting.lock().retain(|_, w| w.link != link);
    }
}

/// A request on the table; taken off however its future ends.
struct CallPermit<'a>(&'a PendingCalls, u64);

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().remove(&self.1);
    }
}

/// How one attempt went.
enum Attempt {
    Answered(Result<reply::Body, Problem>),
    Elsewhere(Problem),
    NotSent,
    /// It may have been done.
    Unanswered,
    TooLate,
}

impl Upstream {
    /// Asks the leader of the document's group: see [`Upstream::call_group`].
    pub async fn call(
        &self,
        doc: DocId,
        user: &str,
        body: call::Body,
    ) -> Result<reply::Body, Problem> {
        self.call_group(self.group_of(doc), doc, user, body).await
    }

    /// Asks the leader of a group, whoever that is by then, again where a reply is
    /// lost; `doc` is all zeros where it is about none. A change of a role, of a title or of whether
    /// the document is there is not asked for again: done twice, the second time would undo what others
    /// did after the first.
    pub async fn call_group(
        &self,
        group: GroupId,
        doc: DocId,
        user: &str,
        body: call::Body,
    ) -> Result<reply::Body, Problem> {
        let once = matches!(
            body,
            call::Body::Grant(_)
                | call::Body::Title(_)
                | call::Body::Delete(_)
                | call::Body::Undelete(_)
        );
        let deadline = Instant::now() + DEADLINE;
        let mut pause = PAUSE_MIN;
        let mut last = Problem::from(Code::NoLeader);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if let Some(route) = self.to_leader(group).or_else(|| self.to_any(group)) {
                let call = v1::Call {
                    id: self.calls.next.fetch_add(1, Ordering::Relaxed) + 1,
                    doc: doc.to_bytes(),
                    user: user.to_owned(),
                    deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
                    body: Some(body.clone()),
                };
                let again = (!once).then_some(group);
                match self.attempt(&route, call, again, left).await {
                    Attempt::Answered(answer) => return answer,
                    Attempt::Elsewhere(problem) => last = problem,
                    Attempt::Unanswered if once => {
                        return Err(Problem {
                            message: "it may have been done, and may still be".into(),
                            ..Code::Timeout.into()
                        });
                    }
                    Attempt::Unanswered | Attempt::NotSent => {}
                    Attempt::TooLate => return Err(Code::Timeout.into()),
                }
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if matches!(last.code, Code::NotLeader | Code::WrongGroup) {
            last = Code::NoLeader.into();
        }
        Err(last)
    }

    /// Asks one node, once; given up when `group` has another leader.
    async fn attempt(
        &self,
        route: &Route,
        call: v1::Call,
        group: Option<GroupId>,
        left: Duration,
    ) -> Attempt {
        let (reply_to, reply) = oneshot::channel();
        let asked = Waiting {
            link: route.link,
            group,
            reply: reply_to,
        };
        let _permit = match self.calls.admit(call.id, asked) {
            Some(permit) => permit,
            None => return Attempt::Answered(Err(Code::Busy.into())),
        };
        if !route.send(Body::Call(call)) {
            return Attempt::NotSent;
        }
        match tokio::time::timeout(left, reply).await {
            Ok(Ok(reply)) => match self.judge(route.node, reply) {
                Err(problem) if elsewhere(problem.code) => Attempt::Elsewhere(problem),
                answer => Attempt::Answered(answer),
            },
            Ok(Err(_)) => Attempt::Unanswered,
            Err(_) => Attempt::TooLate,
        }
    }

    fn judge(&self, from: NodeId, reply: v1::Reply) -> Result<reply::Body, Problem> {
        match reply.body {
            Some(reply::Body::Problem(problem)) => {
                if let Some(lead) = &problem.leader {
                    self.told(from, lead);
                }
                Err(problem.into())
            }
            Some(body) => Ok(body),
            None => Err(Code::Internal.into()),
        }
    }

    pub fn replied(&self, reply: v1::Reply) {
        self.calls.replied(reply);
    }
}

/// Whether another attempt, perhaps elsewhere, may go better.
fn elsewhere(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeader | Code::NoLeader | Code::WrongGroup | Code::ShuttingDown
    )
}
