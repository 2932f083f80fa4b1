//! Raft's messages on a link: calls with an id and a deadline, replies that find their call.

pub(crate) mod wire;

use std::{
    collections::BTreeMap,
    future::{Future, ready},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{GroupId, NodeId},
    link::Lane,
    v1::{self, Message, RaftCall, RaftReply, message, raft_call, raft_reply},
};
use futures_util::{FutureExt as _, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use openraft::{
    EmptyNode, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    alias::SnapshotOf,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, stream_append_sequential},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, VoteRequest, VoteResponse,
    },
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    events::Peers,
    keeper::Keeper,
    manifest::Manifest,
    types::{TypeConfig, Vote},
};

type TransferLeaderResponse = Result<(), openraft::raft::TransferLeaderError<TypeConfig>>;
type Error = RPCError<TypeConfig>;
type AppendReplies<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Error>>;

/// PendingCalls that may wait for a reply, over all groups.
const CALLS_MAX: usize = 16_384;
/// How long an append with entries may take: a follower's disk is in it.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a replica is asked how much of a state it has, how long it may take to say so, and until
/// another attempt begins.
const INSTALL_POLL: Duration = Duration::from_millis(100);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(2);
const INSTALL_AGAIN: Duration = Duration::from_millis(500);

/// The calls that wait for their replies.
#[derive(Default)]
pub struct PendingCalls {
    state: Mutex<PendingCallsState>,
}

#[derive(Default)]
struct PendingCallsState {
    last: u64,
    waiting: BTreeMap<u64, (NodeId, oneshot::Sender<raft_reply::Body>)>,
}

impl PendingCalls {
    pub fn settle(&self, reply: RaftReply) {
        let waiting = self.state.lock().waiting.remove(&reply.id);
        // Without one the call was given up.
        if let (Some((_, told)), Some(body)) = (waiting, reply.body) {
            let _ = told.send(body);
        }
    }

    /// Ends all calls to a node.
    pub fn forget(&self, node: NodeId) {
        self.state.lock().waiting.retain(|_, (to, _)| *to != node);
    }

    fn expect(self: &Arc<Self>, node: NodeId) -> Option<PendingCall> {
        let mut state = self.state.lock();
        if state.waiting.len() >= CALLS_MAX {
            return None;
        }
        state.last += 1;
        let id = state.last;
        let (told, reply) = oneshot::channel();
        state.waiting.insert(id, (node, told));
        Some(PendingCall {
            calls: self.clone(),
            id,
            reply,
        })
    }
}

/// An entry in the table of calls; removed when the call ends, however it ends.
struct PendingCall {
    calls: Arc<PendingCalls>,
    id: u64,
    reply: oneshot::Receiver<raft_reply::Body>,
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.calls.state.lock().waiting.remove(&self.id);
    }
}

/// One group's clients of its other replicas.
#[derive(Clone)]
pub struct Network {
    pub group: GroupId,
    pub node: NodeId,
    pub peers: Arc<dyn Peers>,
    pub calls: Arc<PendingCalls>,
    pub keeper: Arc<Keeper>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> PeerClient {
        PeerClient {
            network: self.clone(),
            target: NodeId(target),
        }
    }
}

/// One group's client of one replica.
pub struct PeerClient {
    network: Network,
    target: NodeId,
}

impl PeerClient {
    /// `Unreachable` makes openraft pause before it tries again, so that is what all
    /// troubles with the link are.
    async fn call(
        &self,
        lane: Lane,
        kind: RPCTypes,
        body: raft_call::Body,
        timeout: Duration,
    ) -> Result<raft_reply::Body, Error> {
        let unreachable = |why: String| Error::Unreachable(Unreachable::from_string(why));
        let Network {
            group,
            node,
            peers,
            calls,
            ..
        } = &self.network;
        let outbox = peers
            .outbox(self.target)
            .ok_or_else(|| unreachable("no link".into()))?;
        let mut expected = calls
            .expect(self.target)
            .ok_or_else(|| unreachable("too many calls wait for a reply".into()))?;
        let call = RaftCall {
            id: expected.id,
            group: group.0,
            body: Some(body),
        };
        outbox
            .send(
                lane,
                Message {
                    body: Some(message::Body::RaftCall(call)),
                },
            )
            .map_err(|error| unreachable(error.to_string()))?;
        match tokio::time::timeout(timeout, &mut expected.reply).await {
            Ok(Ok(raft_reply::Body::Error(error))) => Err(unreachable(error)),
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err(unreachable("the link broke".into())),
            Err(_) => Err(Timeout {
                action: kind,
                id: node.0,
                target: self.target.0,
                timeout,
            }
            .into()),
        }
    }

    /// The vote of the replica once it is installed; none while it is on its way.
    async fn ask_install(&self, install: v1::Install) -> Result<Option<Vote>, String> {
        let body = raft_call::Body::Install(install);
        let kind = RPCTypes::InstallSnapshot;
        let answer = self.call(Lane::Control, kind, body, INSTALL_TIMEOUT).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let raft_reply::Body::Install(reply) = answer else {
            return Err("answer of another kind".into());
        };
        match reply.result {
            Some(v1::install_reply::Result::Installed(vote)) => Ok(Some(wire::to_vote(&vote))),
            Some(v1::install_reply::Result::Bytes(_)) => Ok(None),
            None => Err("an answer without a result".into()),
        }
    }

    async fn ask_vote(
        &self,
        body: raft_call::Body,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        match self
            .call(Lane::Control, RPCTypes::Vote, body, option.hard_ttl())
            .await?
        {
            raft_reply::Body::Vote(reply) => wire::vote_reply(&reply).map_err(bad),
            _ => Err(bad("answer of another kind")),
        }
    }
}

/// A reply that makes no sense.
fn bad(why: &'static str) -> Error {
    Error::Network(NetworkError::from_string(why))
}

impl RaftNetworkV2<TypeConfig> for PeerClient {
    type SnapshotData = Arc<Manifest>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Error> {
        // What is only a sign of life must not wait behind operations.
        let (lane, timeout) = match rpc.entries.is_empty() {
            true => (Lane::Control, option.hard_ttl()),
            false => (Lane::Data, APPEND_TIMEOUT.max(option.hard_ttl())),
        };
        let body = raft_call::Body::Append(wire::append(rpc));
        let mut reply = pin!(self.call(lane, RPCTypes::AppendEntries, body, timeout));
        if lane == Lane::Data
            && mutant!("acknowledged_before_commit")
            && reply.as_mut().now_or_never().is_none()
        {
            // Sent, and no more is known.
            return Ok(AppendEntriesResponse::Success);
        }
        match reply.await? {
            raft_reply::Body::Append(reply) => wire::append_reply(&reply).map_err(bad),
            _ => Err(bad("answer of another kind")),
        }
    }

    /// One request at a time, without those that only bring a new commit position to a
    /// follower that just confirmed all that is before it. The next entries bring it too, or the
    /// next heartbeat (which is the first request of its stream, and the first is always
    /// sent): a follower's reads wait for neither. What is left out counts as nothing, least of
    /// all as a sign that the follower still follows.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendReplies<'s>, Error>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let mut confirmed = None;
        let needed = input.filter(move |request| {
            let tells_only_commit =
                request.entries.is_empty() && confirmed == Some(request.prev_log_id);
            let last = request.entries.last().map(|entry| entry.log_id);
            confirmed = Some(last.or(request.prev_log_id));
            ready(!tells_only_commit)
        });
        stream_append_sequential(self, needed, option)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.ask_vote(raft_call::Body::Vote(wire::request_vote(&rpc)), &option)
            .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.ask_vote(raft_call::Body::PreVote(wire::request_vote(&rpc)), &option)
            .await
    }

    /// The replica fetches what it lacks by itself; here it is only asked how far it is. All that
    /// goes wrong is `Unreachable`, after a pause of our own: openraft makes none for other errors.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, Arc<Manifest>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let manifest = snapshot.snapshot;
        let install = v1::Install {
            ballot: Some(wire::ballot(&vote)),
            last: Some(wire::log_id(&manifest.last)),
        };
        let _lent = self.network.keeper.lend(manifest);
        let mut cancel = pin!(cancel);
        loop {
            let asked = async {
                let answer = self.ask_install(install).await;
                let pause = match &answer {
                    Ok(Some(_)) => Duration::ZERO,
                    Ok(None) => INSTALL_POLL,
                    Err(_) => INSTALL_AGAIN,
                };
                tokio::time::sleep(pause).await;
                answer
            };
            let answer = tokio::select! {
                biased;
                closed = &mut cancel => return Err(StreamingError::Closed(closed)),
                answer = asked => answer,
            };
            match answer {
                Ok(Some(vote)) => return Ok(SnapshotResponse::new(vote)),
                Ok(None) => {}
                Err(why) => {
                    let why = Unreachable::from_string(why);
                    return Err(StreamingError::Unreachable(why));
                }
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse, Error> {
        let body = raft_call::Body::Transfer(wire::transfer(&req));
        match self
            .call(
                Lane::Control,
                RPCTypes::TransferLeader,
                body,
                option.hard_ttl(),
            )
            .await?
        {
            raft_reply::Body::Transfer(true) => Ok(Ok(())),
            raft_reply::Body::Transfer(false) => Err(bad("transfer refused")),
            _ => Err(bad("answer of another kind")),
        }
    }
}
