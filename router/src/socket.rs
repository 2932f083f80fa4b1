//! One client's WebSocket: the only file that knows the socket library. One task does both
//! directions; what waits for the client goes out as one message and one write.

mod metered;
mod write;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use bytes::Bytes;
use codraft_proto::{
    frame::{At, ClientFrame, Encoding, FrameError, ServerFrame, binary, json},
    ids::{ClientId, DocId},
    limits,
    reject::Code,
    transport::Io,
};
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Duration, Instant, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::{CapacityError, ProtocolError},
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    Shared,
    accounts::{Account, Bucket, One, Sitting},
    auth::Principal,
    feed::Hello,
    hub::{Hub, Joining},
    ids::ReaderId,
    metrics::Received,
    queue::{CatchUp, Chunk, End, Queue, Taken},
    socket::{
        metered::Metered,
        write::{Stream, in_time, send, taken},
    },
    wire,
};

/// Idle sockets hold so much for reading, and nothing for writing.
const READ_BUFFER: usize = 1 << 10;
/// The first message is a hello, which is small.
const HELLO_BYTES: usize = 64 << 10;
const TOKENS_PER_SECOND: u64 = 4;
const PING_AFTER: Duration = Duration::from_secs(30);
/// Silence, answers to pings included, after which the peer is gone.
const GONE_AFTER: Duration = Duration::from_secs(75);
/// How long a peer may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Of a control frame from a client: two bytes and the mask.
const CONTROL_HEAD: usize = 6;

/// The answer to a handshake's key.
pub fn accept_key(key: &[u8]) -> String {
    derive_accept_key(key)
}

/// One of the sockets that this router may have.
pub struct SocketPermit(Arc<Shared>);

impl SocketPermit {
    pub fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.sockets.fetch_add(1, Ordering::Relaxed);
        shared.metrics.sockets.inc();
        let permit = Self(shared.clone());
        (before < shared.limits.sockets as usize).then_some(permit)
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.sockets.dec();
    }
}

/// Who is at the other end, of what.
pub struct Peer {
    pub principal: Principal,
    pub account: Arc<Account>,
    pub doc: DocId,
    pub encoding: Encoding,
    /// It has shown a ticket, which said that it is to come here.
    pub placed: bool,
}

/// Serves an upgraded connection until it ends. What it is made of is handed on and not held twice.
pub fn run(
    shared: Arc<Shared>,
    upgraded: Upgraded,
    peer: Peer,
) -> impl Future<Output = ()> + Send + use<> {
    let frame_bytes = shared.limits.frame_bytes as usize;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes));
    let queue = Arc::new(Queue::new(shared.limits.socket_queue_bytes as usize));
    let now = Instant::now();
    let now_ms = shared.now_ms();
    let remaining_ms = shared.auth.remaining_ms(&peer.principal);
    let account = peer.account.clone();
    let socket = Socket {
        hello_by: now + Duration::from_millis(shared.limits.hello_ms),
        heard: now,
        pinged: now,
        expires: now + Duration::from_millis(remaining_ms),
        finish_by: None,
        joined: None,
        sitting: None,
        tokens: Bucket::new(TOKENS_PER_SECOND, TOKENS_PER_SECOND, now_ms),
        said_goodbye: false,
        shared,
        peer,
        queue,
    };
    // Straight on the connection where hyper gives it back, without its wrapping. What was read
    // ahead is copied: it is little, in a buffer of 8 KiB.
    let (io, read): (Box<dyn Io>, Vec<u8>) = match upgraded.downcast::<TokioIo<Box<dyn Io>>>() {
        Ok(parts) => (parts.io.into_inner(), parts.read_buf.to_vec()),
        Err(upgraded) => (Box::new(TokioIo::new(upgraded)), Vec::new()),
    };
    socket.serve(Metered::new(io, account), read, config)
}

struct Socket {
    shared: Arc<Shared>,
    peer: Peer,
    queue: Arc<Queue>,
    /// Of new tokens, each of which is a signature to check. Their bytes are counted with the rest.
    tokens: Bucket,
    /// The document and this socket's number there, once it said hello.
    joined: Option<(Arc<Hub>, ReaderId)>,
    /// Its place among its user's sockets, likewise.
    sitting: Option<Sitting>,
    hello_by: Instant,
    expires: Instant,
    /// The message that is on its way has to be here by then.
    finish_by: Option<Instant>,
    heard: Instant,
    pinged: Instant,
    /// The peer closes: nothing is written behind the library's answer.
    said_goodbye: bool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(end) = self.queue.ended() {
            self.shared.metrics.closed(end.code);
        }
        if let Some((hub, member)) = self.joined.take() {
            hub.leave(&self.shared, member);
        }
    }
}

/// What the socket's task does next.
enum Step {
    Write(Taken),
    Read(Option<Result<Message, Error>>),
    /// A message began to arrive.
    Began,
    Time,
}

impl Socket {
    async fn serve(mut self, io: Metered<Box<dyn Io>>, read: Vec<u8>, config: WebSocketConfig) {
        let mut web =
            WebSocketStream::from_partially_read(io, read, Role::Server, Some(config)).await;
        let mut timer = pin!(tokio::time::sleep_until(self.next_time()));
        let frame_time = Duration::from_millis(self.shared.limits.frame_ms);
        loop {
            let step = tokio::select! {
                // Out first: it frees memory. A read follows each write, so neither starves.
                biased;
                taken = self.queue.take() => Step::Write(taken),
                step = arrives(&mut web, &mut self.finish_by, frame_time) => step,
                () = &mut timer => Step::Time,
            };
            match step {
                Step::Write(_) if self.said_goodbye => {
                    let _ = taken(web.flush()).await;
                    return;
                }
                Step::Write(taken) => {
                    let end = taken.end;
                    if !self.write(&mut web, taken).await {
                        return;
                    }
                    if let Some(end) = end {
                        // Boxed, like all that is rare: each socket's task has room for the largest.
                        Box::pin(close(&mut web, end)).await;
                        return;
                    }
                    if let Some(read) = web.next().now_or_never()
                        && !self.read(read, web.get_mut())
                    {
                        return;
                    }
                }
                Step::Read(read) => {
                    if !self.read(read, web.get_mut()) {
                        return;
                    }
                }
                Step::Began => {}
                Step::Time => {
                    if !Box::pin(self.time(&mut web)).await {
                        return;
                    }
                    timer.as_mut().reset(self.next_time());
                }
            }
            // A shorter token, or a message that began, is due before all that was.
            if self.next_time() < timer.deadline() {
                timer.as_mut().reset(self.next_time());
            }
        }
    }

    fn end(&self, code: Code, reason: &'static str) {
        self.queue.end(End {
            reason,
            ..End::because(code)
        });
    }

    async fn write<T: Stream>(&self, web: &mut WebSocketStream<Metered<T>>, taken: Taken) -> bool {
        let mut frames = VecDeque::new();
        for chunk in taken.chunks {
            match chunk {
                Chunk::Frames(bytes) => frames.push_back(bytes),
                Chunk::CatchUp(catch_up) => {
                    if !self.write_frames(web, std::mem::take(&mut frames)).await
                        || !Box::pin(self.catch_up(web, *catch_up)).await
                    {
                        return false;
                    }
                }
            }
        }
        if let Some(end) = taken.end {
            let bye = ServerFrame::Bye {
                code: end.code,
                reason: end.reason.to_owned(),
                retry_after_ms: end.retry_after_ms.unwrap_or(0),
            };
            frames.push_back(wire::frame(self.peer.encoding, &bye));
        }
        self.write_frames(web, frames).await
    }

    async fn write_frames<T: Stream>(
        &self,
        web: &mut WebSocketStream<Metered<T>>,
        frames: VecDeque<Bytes>,
    ) -> bool {
        match wire::join(self.peer.encoding, frames) {
            Some(message) => self.write_message(web, [message].into()).await,
            None => true,
        }
    }

    /// Writes what the reader starts from: of any size, but in its time.
    async fn catch_up<T: Stream>(
        &self,
        web: &mut WebSocketStream<Metered<T>>,
        catch_up: CatchUp,
    ) -> bool {
        let mut parts = VecDeque::from([catch_up.start]);
        if let Some((state, end)) = catch_up.document {
            let Some(document) = state.encoded(self.peer.encoding).await else {
                self.end(Code::Internal, "the document cannot be read");
                return true;
            };
            parts.extend([document, end]);
        }
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let a_second = self.shared.limits.catch_up_bytes_per_second;
        let written = in_time(bytes, a_second, self.write_message(web, parts));
        written.await.unwrap_or_else(|| {
            self.end(Code::SlowConsumer, "");
            false
        })
    }

    async fn write_message<T: Stream>(
        &self,
        web: &mut WebSocketStream<Metered<T>>,
        parts: VecDeque<Bytes>,
    ) -> bool {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        self.shared.metrics.messages.inc();
        self.shared.metrics.written_bytes.inc_by(bytes as u64);
        let mut send = pin!(send(web, self.peer.encoding, parts));
        // Mostly the kernel takes it at once, and no timer is needed.
        if let Some(sent) = send.as_mut().now_or_never() {
            return sent.is_ok();
        }
        tokio::select! {
            biased;
            sent = &mut send => sent.is_ok(),
            () = self.queue.overflowed() => {
                matches!(timeout(CLOSE_TIMEOUT, send).await, Ok(Ok(())))
            }
        }
    }

    /// `false` when the connection is over.
    fn read<T>(&mut self, read: Option<Result<Message, Error>>, io: &mut Metered<T>) -> bool {
        self.heard = Instant::now();
        let now_ms = self.shared.now_ms();
        if let Some(sitting) = &self.sitting {
            sitting.heard(now_ms);
        }
        match &read {
            Some(Ok(Message::Ping(said) | Message::Pong(said))) => {
                io.finished(CONTROL_HEAD + said.len());
            }
            Some(Ok(_)) => io.all_finished(),
            _ => {}
        }
        let message = match self.message(read, io) {
            Ok(message) => message,
            Err(goes_on) => return goes_on,
        };
        if self.queue.ended().is_some() {
            return true; // nothing counts any more; the end is on its way
        }
        let bytes = match (self.peer.encoding, message) {
            (Encoding::Binary, Message::Binary(bytes)) => bytes,
            (Encoding::Json, Message::Text(text)) => text.into(),
            // The library answers pings, and a close when the stream is read to its end.
            (_, Message::Ping(_) | Message::Pong(_)) => return true,
            (_, Message::Close(_)) => {
                self.said_goodbye = true;
                return true;
            }
            _ => {
                self.shared.metrics.rejected(Code::Malformed);
                self.end(
                    Code::Malformed,
                    "text for codraft.v1, binary for codraft.v1.bin",
                );
                return true;
            }
        };
        if let Err(wait_ms) = self.peer.account.message(bytes.len(), now_ms) {
            self.shared.metrics.rejected(Code::Rate);
            self.queue.end(End {
                reason: "more frames or bytes a second than a user may send",
                retry_after_ms: Some(wait_ms),
                ..End::because(Code::Rate)
            });
            return true;
        }
        match self.decode(&bytes) {
            Ok(frames) => {
                let more = frames.len().saturating_sub(1);
                self.peer.account.more_frames(more);
                frames.into_iter().for_each(|frame| self.take(frame));
            }
            Err(error) => {
                tracing::debug!(doc = %self.peer.doc, %error, "a frame that cannot be taken");
                self.shared.metrics.rejected(error.code);
                self.end(error.code, refusal(error.code));
            }
        }
        true
    }

    /// The message that was read; or an error, with whether the connection goes on until its
    /// end is told.
    fn message<T>(
        &self,
        read: Option<Result<Message, Error>>,
        io: &Metered<T>,
    ) -> Result<Message, bool> {
        match read {
            Some(Ok(message)) => return Ok(message),
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                self.end(Code::FrameTooLarge, "a message above the limit");
            }
            // Gone without a word, as tabs and networks go.
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                return Err(false);
            }
            Some(Err(Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt)) => {
                self.end(Code::Malformed, "not a WebSocket message");
            }
            Some(Err(Error::Io(_))) if io.exceeded() => {
                self.end(Code::Rate, "too many unfinished messages at once");
            }
            // The peer has gone.
            None | Some(Err(_)) => return Err(false),
        }
        Err(true)
    }

    fn decode(&self, bytes: &Bytes) -> Result<Vec<ClientFrame>, FrameError> {
        if self.joined.is_none() && bytes.len() > HELLO_BYTES {
            let message = "the first message is too large".to_owned();
            Err(FrameError {
                code: Code::FrameTooLarge,
                message,
            })
        } else {
            match self.peer.encoding {
                Encoding::Binary => binary::decode_client(bytes),
                Encoding::Json => json::decode_client(bytes, &limits::of_operations()),
            }
        }
    }

    fn take(&mut self, frame: ClientFrame) {
        let metrics = &self.shared.metrics;
        let Some((hub, member)) = &self.joined else {
            return match frame {
                ClientFrame::Hello {
                    client,
                    resume,
                    unsent,
                } => {
                    metrics.received(Received::Hello);
                    self.join(client, hello(resume, unsent));
                }
                _ => {
                    metrics.rejected(Code::UnknownFrame);
                    self.end(Code::UnknownFrame, "the first frame is hello");
                }
            };
        };
        match frame {
            ClientFrame::Op { seq, base, ops } => {
                metrics.received(Received::Op);
                hub.op(&self.shared, *member, seq, base, ops);
            }
            ClientFrame::Ping => {
                metrics.received(Received::Ping);
                self.queue
                    .push(wire::frame(self.peer.encoding, &ServerFrame::Pong));
            }
            ClientFrame::Auth { token } => {
                metrics.received(Received::Auth);
                match self.tokens.take(1, self.shared.now_ms()) {
                    Ok(()) => self.renew(&token),
                    Err(_) => self.end(Code::Rate, "too many tokens at once"),
                }
            }
            ClientFrame::Hello { resume, unsent, .. } => {
                metrics.received(Received::Hello);
                let opens = self.peer.account.one(One::Open, self.shared.now_ms());
                if let Err(wait_ms) = opens {
                    metrics.rejected(Code::Rate);
                    self.queue.end(End {
                        reason: "the document is opened too often",
                        retry_after_ms: Some(wait_ms),
                        ..End::because(Code::Rate)
                    });
                } else if !hub.rejoin(&self.shared, *member, hello(resume, unsent)) {
                    metrics.rejected(Code::UnknownFrame);
                    self.end(Code::UnknownFrame, "hello was said already");
                }
            }
            ClientFrame::Presence { rev, presence } => {
                metrics.received(Received::Presence);
                hub.presence(&self.shared, *member, rev, presence);
            }
            ClientFrame::Here => {
                metrics.received(Received::Here);
                hub.page_runs(&self.shared, *member);
            }
            ClientFrame::Check { rev, digest } => {
                metrics.received(Received::Check);
                hub.check(&self.shared, *member, rev, digest);
            }
        }
    }

    fn join(&mut self, client: ClientId, hello: Hello) {
        let Peer { account, doc, .. } = &self.peer;
        let joining = Joining {
            user: self.peer.principal.user.clone(),
            name: self.peer.principal.name.clone(),
            account: account.clone(),
            client,
            hello,
            encoding: self.peer.encoding,
            placed: self.peer.placed,
            queue: self.queue.clone(),
        };
        let now_ms = self.shared.now_ms();
        let joined = account
            .sit(*doc, joining.client, &self.queue, now_ms)
            .map(|sitting| (self.shared.hubs.join(&self.shared, *doc, joining), sitting));
        match joined {
            Ok((joined, sitting)) => {
                (self.joined, self.sitting) = (Some(joined), Some(sitting));
            }
            Err(code) => {
                self.shared.metrics.rejected(code);
                self.end(code, "");
            }
        }
    }

    /// A new token for the same user.
    fn renew(&mut self, token: &str) {
        let renewed = self.shared.auth.token(token);
        match renewed {
            Ok(principal) if principal.user == self.peer.principal.user => {
                let left_ms = self.shared.auth.remaining_ms(&principal);
                self.peer.principal = principal;
                self.expires = Instant::now() + Duration::from_millis(left_ms);
            }
            Ok(_) => self.end(Code::TokenInvalid, "the token is another user's"),
            Err(refusal) => self.end(refusal.code, refusal.detail),
        }
    }

    fn next_time(&self) -> Instant {
        let ping = self.heard.max(self.pinged) + PING_AFTER;
        let mut next = ping.min(self.heard + GONE_AFTER).min(self.expires);
        if self.joined.is_none() {
            next = next.min(self.hello_by);
        }
        self.finish_by.map_or(next, |by| next.min(by))
    }

    /// Something is due; which, the clock says.
    async fn time<T: Stream>(&mut self, web: &mut WebSocketStream<Metered<T>>) -> bool {
        let now = Instant::now();
        if now >= self.heard + GONE_AFTER {
            return false;
        }
        if now >= self.expires {
            self.end(Code::TokenExpired, "");
            // Once is enough: the end is on its way.
            self.expires = now + GONE_AFTER;
        } else if self.joined.is_none() && now >= self.hello_by {
            self.end(Code::HelloTimeout, "");
            self.hello_by = now + GONE_AFTER;
        } else if self.finish_by.is_some_and(|by| now >= by) {
            self.end(Code::Unfinished, "the rest of a message did not come");
            self.finish_by = None;
        } else if now >= self.heard.max(self.pinged) + PING_AFTER {
            self.pinged = now;
            if let Some(sitting) = &self.sitting {
                sitting.pinged(self.shared.now_ms());
            }
            return taken(web.send(Message::Ping(Bytes::new()))).await.is_ok();
        }
        true
    }
}

/// The next message, or the beginning of one, which then has its time. Safe to cancel.
async fn arrives<T: Stream>(
    web: &mut WebSocketStream<Metered<T>>,
    finish_by: &mut Option<Instant>,
    frame_time: Duration,
) -> Step {
    poll_fn(|context| {
        if let Poll::Ready(read) = web.poll_next_unpin(context) {
            return Poll::Ready(Step::Read(read));
        }
        let by = web.get_ref().since().map(|since| since + frame_time);
        if std::mem::replace(finish_by, by) == by {
            return Poll::Pending;
        }
        // It is polled again at once, so nothing is missed.
        Poll::Ready(Step::Began)
    })
    .await
}

fn hello(resume: Option<At>, unsent: bool) -> Hello {
    Hello {
        resume,
        unsent,
        follows: false,
    }
}

fn refusal(code: Code) -> &'static str {
    match code {
        Code::Malformed => "a frame that cannot be read",
        Code::UnknownFrame => "a frame that this protocol does not have",
        Code::FrameTooLarge => "a message above the limit",
        _ => "an operation that can never be valid",
    }
}

/// Says goodbye, and gives the peer a moment to answer.
async fn close<T: Stream>(web: &mut WebSocketStream<T>, end: End) {
    let code = CloseCode::from(end.code.close_code());
    let frame = CloseFrame {
        code,
        reason: end.code.as_str().into(),
    };
    let goodbye = async {
        if web.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = web.next().await {}
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
}
