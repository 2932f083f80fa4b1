//! A document followed by programs: its events as they come, in a stream that stays or poll by poll. The
//! hub says how far the document is; what happened is read from the leader, as `/ops` reads it, so that
//! every page of it is judged by the reader's role, and nothing is missing or told twice.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use codraft_proto::{
    ids::{ClientId, DocId, Revision, UserId},
    reject::Code,
    v1,
};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant, sleep, sleep_until, timeout},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    doc_id,
    history::{self, Event},
    refusals::{OfAll, OfDocuments, OfVersions},
};
use crate::{
    Shared,
    accounts::Sitting,
    auth::Principal,
    hub::{Follower, Hub},
    ids::ReaderId,
    problem::Failure,
    queue::Queue,
    socket::SocketPermit,
};

pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const WAIT_MS_MAX: u64 = 30_000;
/// After so much silence a stream says that it is there.
const SILENCE: Duration = Duration::from_secs(15);
/// Whoever takes nothing for so long is cut.
const STALLED: Duration = Duration::from_secs(30);
/// How long a document may take to be opened; long enough for a failover.
const OPENS_WITHIN: Duration = Duration::from_secs(5);
/// Between two reads: under load one read brings many events.
const PAUSE: Duration = Duration::from_millis(20);
/// What waits to be taken: one piece, and the room for a goodbye.
const WAITING: usize = 2;

#[derive(Deserialize, IntoParams)]
pub struct Asked {
    /// The last revision that is known; without it, and without a `Last-Event-ID`, the document's last one.
    #[param(value_type = Option<u64>)]
    after: Option<String>,
    /// How long to wait where nothing came yet, 0 (as without it) to 30,000 ms. Not for a stream.
    #[param(value_type = Option<u64>)]
    wait_ms: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Followed {
    /// As `/ops` tells them; none when nothing came in time.
    events: Vec<Event>,
    /// What to ask for as `after` next.
    next: u64,
}

#[derive(Serialize)]
struct Bye {
    code: &'static str,
}

/// What happens to a document from a revision on, as it happens.
///
/// With `Accept: text/event-stream` a stream of server-sent events: `id` is the revision, `event` the kind,
/// `data` what `/ops` says of it. A comment each 15 s of silence; `event: bye` with `{code}` when it ends.
/// Otherwise an answer as soon as there is something, or after `wait_ms`.
#[utoipa::path(
    get,
    path = "/v1/docs/{id}/events",
    tag = "history",
    params(
        ("id" = String, Path, description = "The document"),
        Asked,
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, and before it: the last `id` of a stream"),
    ),
    responses(
        (status = 200, content((Followed = "application/json"), (String = "text/event-stream"))),
        OfAll,
        OfDocuments,
        OfVersions,
    )
)]
pub async fn follow(
    State(shared): State<Arc<Shared>>,
    asks: Principal,
    id: Path<String>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let id = doc_id(&id)?;
    let after = after(&headers, asked.after)?;
    let wait = wait(asked.wait_ms)?;
    let mut following = Following::begin(&shared, asks, id)?;
    let first = following.first(after).await?;
    if !takes_stream(&headers) {
        return Ok(Json(following.poll(first, wait).await?).into_response());
    }
    let (to, mut from) = mpsc::channel(WAITING);
    let tasks = shared.tasks.clone();
    tasks.spawn_contained("follower", stream(following, first, to));
    let pieces = stream::poll_fn(move |context| from.poll_recv(context));
    let pieces = pieces.map(Ok::<Bytes, Infallible>);
    let kind = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((kind, Body::from_stream(pieces)).into_response())
}

fn after(headers: &HeaderMap, after: Option<String>) -> Result<Option<u64>, Failure> {
    let Some(last) = headers.get(LAST_EVENT_ID) else {
        return after.map(|rev| history::number("after", &rev)).transpose();
    };
    // What is no text is no number either.
    let last = last.to_str().unwrap_or("-");
    history::number("Last-Event-ID", last).map(Some)
}

fn wait(wait_ms: Option<String>) -> Result<Duration, Failure> {
    let wait_ms = wait_ms.map(|ms| history::number("wait_ms", &ms));
    match wait_ms.transpose()?.unwrap_or_default() {
        ms if ms <= WAIT_MS_MAX => Ok(Duration::from_millis(ms)),
        _ => Err(Failure::new(Code::Malformed, "wait_ms is 30,000 at most")),
    }
}

fn takes_stream(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).into_iter();
    let items = lines.filter_map(|line| line.to_str().ok());
    let mut kinds = items.flat_map(|line| line.split(','));
    kinds.any(|item| {
        let kind = item.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// One follower, counted among its user's sockets and this router's for as long as it is here.
struct Following {
    hub: Arc<Hub>,
    reader: ReaderId,
    reading: Reading,
    ends: Ends,
    _sitting: Sitting,
    _permit: SocketPermit,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.hub.unfollow(&self.reading.shared, self.reader);
    }
}

impl Following {
    fn begin(shared: &Arc<Shared>, asks: Principal, doc: DocId) -> Result<Self, Failure> {
        if shared.is_draining() {
            return Err(Code::ShuttingDown.into());
        }
        let permit = SocketPermit::take(shared).ok_or(Code::TooManySockets)?;
        let now_ms = shared.now_ms();
        let queue = Arc::new(Queue::new(shared.limits.socket_queue_bytes as usize));
        // A name of its own: no other one of its user takes its place.
        let mut client = ClientId([0; 16]);
        shared.outside.entropy.fill(&mut client.0);
        let account = shared.accounts.of(&asks.user, now_ms)?;
        let sitting = account.sit(doc, client, &queue, now_ms)?;
        let left_ms = shared.auth.remaining_ms(&asks);
        let (told, head) = watch::channel(Revision(0));
        let follower = Follower {
            user: asks.user.clone(),
            head: told,
            queue: queue.clone(),
        };
        let (hub, reader) = shared.hubs.follow(shared, doc, follower);
        Ok(Self {
            hub,
            reader,
            reading: Reading {
                shared: shared.clone(),
                doc,
                user: asks.user,
                after: 0,
                head,
                not_before: Instant::now(),
            },
            ends: Ends {
                queue,
                expires: Instant::now() + Duration::from_millis(left_ms),
            },
            _sitting: sitting,
            _permit: permit,
        })
    }

    /// What is there already, so that who may not have it is refused and not sent away.
    async fn first(&mut self, after: Option<u64>) -> Result<Vec<v1::Event>, Failure> {
        let Self { reading, ends, .. } = self;
        tokio::select! {
            biased;
            code = ends.ended() => Err(code.into()),
            first = reading.first(after) => first,
        }
    }

    async fn poll(mut self, first: Vec<v1::Event>, wait: Duration) -> Result<Followed, Failure> {
        let Self { reading, ends, .. } = &mut self;
        let events = match first.is_empty() && !wait.is_zero() {
            false => first,
            true => tokio::select! {
                biased;
                code = ends.ended() => return Err(code.into()),
                next = reading.next() => next?,
                () = sleep(wait) => Vec::new(),
            },
        };
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            told.push(history::spelled(event).await?);
        }
        Ok(Followed {
            events: told,
            next: reading.after,
        })
    }
}

/// Why it ends, besides that nobody follows any more.
struct Ends {
    queue: Arc<Queue>,
    expires: Instant,
}

impl Ends {
    async fn ended(&self) -> Code {
        let queue = async {
            loop {
                if let Some(end) = self.queue.take().await.end {
                    return end.code;
                }
            }
        };
        tokio::select! {
            biased;
            code = queue => code,
            () = sleep_until(self.expires) => Code::TokenExpired,
        }
    }
}

/// What was read, and what is to be.
struct Reading {
    shared: Arc<Shared>,
    doc: DocId,
    user: UserId,
    /// The last revision that was read.
    after: u64,
    head: watch::Receiver<Revision>,
    not_before: Instant,
}

impl Reading {
    async fn first(&mut self, after: Option<u64>) -> Result<Vec<v1::Event>, Failure> {
        let opened = timeout(OPENS_WITHIN, self.head_above(0)).await;
        let head = opened.map_err(|_| Code::NoLeader)??;
        self.after = after.unwrap_or(head);
        match self.after {
            after if after < head => self.next().await,
            after if after == head => Ok(Vec::new()),
            _ => {
                let detail = format!("its revisions are 1 to {head}");
                Err(Failure::new(Code::NoVersion, detail))
            }
        }
    }

    /// What comes next, a page at most, as soon as there is something. Safe to cancel.
    async fn next(&mut self) -> Result<Vec<v1::Event>, Failure> {
        self.head_above(self.after).await?;
        sleep_until(self.not_before).await;
        self.not_before = Instant::now() + PAUSE;
        let from = self.after + 1;
        let to = history::page_end(from);
        let events = history::between(&self.shared, self.doc, &self.user, from, to).await;
        let events = events.map_err(|failure| match failure.code {
            // It had a role when the document was opened.
            Code::NotFound => Code::Revoked.into(),
            _ => failure,
        })?;
        let last = events.last().ok_or(Code::Internal)?;
        self.after = last.rev;
        Ok(events)
    }

    async fn head_above(&mut self, rev: u64) -> Result<u64, Code> {
        let head = self.head.wait_for(|head| head.0 > rev).await;
        head.map(|head| head.0).map_err(|_| Code::Internal)
    }
}

/// Tells it all until it ends, and why it does.
async fn stream(mut following: Following, first: Vec<v1::Event>, to: mpsc::Sender<Bytes>) {
    let Ok(goodbye) = to.clone().reserve_owned().await else {
        return;
    };
    let Following { reading, ends, .. } = &mut following;
    let code = tokio::select! {
        biased;
        () = to.closed() => return,
        code = ends.ended() => code,
        failure = tell(reading, first, &to) => failure.code,
    };
    reading.shared.metrics.closed(code);
    let bye = Bye {
        code: code.as_str(),
    };
    if let Ok(data) = serde_json::to_string(&bye) {
        goodbye.send(format!("event: bye\ndata: {data}\n\n").into());
    }
}

/// Returns why it cannot go on.
async fn tell(reading: &mut Reading, first: Vec<v1::Event>, to: &mpsc::Sender<Bytes>) -> Failure {
    let mut events = Ok(first);
    // So that the head of the answer does not wait for an event.
    let mut piece = Bytes::from_static(b":\n\n");
    loop {
        let told = async {
            send(to, piece).await?;
            for event in events? {
                send(to, message(event).await?).await?;
            }
            Ok::<(), Failure>(())
        };
        if let Err(failure) = told.await {
            return failure;
        }
        (events, piece) = match timeout(SILENCE, reading.next()).await {
            Ok(next) => (next, Bytes::new()),
            Err(_) => (Ok(Vec::new()), Bytes::from_static(b":\n\n")),
        };
    }
}

async fn send(to: &mpsc::Sender<Bytes>, piece: Bytes) -> Result<(), Failure> {
    if piece.is_empty() {
        return Ok(());
    }
    match timeout(STALLED, to.send(piece)).await {
        Ok(Ok(())) => Ok(()),
        // Whoever took it has gone, which is looked at elsewhere.
        Ok(Err(_)) | Err(_) => Err(Code::SlowConsumer.into()),
    }
}

async fn message(event: v1::Event) -> Result<Bytes, Failure> {
    let (rev, kind) = (event.rev, codraft_proto::event::name(event.kind));
    let data = history::spelled(event).await?;
    let data = serde_json::to_string(&data).map_err(|_| Code::Internal)?;
    Ok(format!("id: {rev}\nevent: {kind}\ndata: {data}\n\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_and_who_takes_late_is_not() {
        let (to, mut from) = mpsc::channel(WAITING);
        let _goodbye = to.clone().reserve_owned().await.unwrap();
        let piece = || Bytes::from_static(b"piece");
        send(&to, piece()).await.unwrap();
        let late = async {
            sleep(STALLED / 2).await;
            from.recv().await
        };
        let (sent, taken) = tokio::join!(send(&to, piece()), late);
        assert_eq!((sent, taken), (Ok(()), Some(piece())));
        let cut = send(&to, piece()).await.map_err(|failure| failure.code);
        assert_eq!(cut, Err(Code::SlowConsumer));
    }

    #[test]
    fn a_stream_is_for_who_accepts_it() {
        let accepts = |value: &'static str| {
            let value = http::HeaderValue::from_static(value);
            takes_stream(&HeaderMap::from_iter([(header::ACCEPT, value)]))
        };
        assert!(accepts("text/event-stream"));
        assert!(accepts("application/json, Text/Event-Stream;q=0.9"));
        assert!(!accepts("*/*") && !takes_stream(&HeaderMap::new()));
    }
}
