//! The accepting side: a set of tasks for each connection, a link when both its lanes have
//! said hello.

use std::{sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Accept, BATCH_BYTES_MAX, Inbound, Lane, LinkError, LinkOptions, Outbox,
    handshake::{self, Refusals, first, introduce},
    lanes::{self, Incoming},
    outbox::LaneStream,
};
use crate::{
    tasks::{Executor, Tasks},
    transport::{Io, Listener, Remote},
    v1::{Batch, Hello, link_server},
};

/// HTTP/2's own credit. It never holds a lane back for long, since a reader hands on
/// without waiting: it only has to cover what is under way.
pub(super) const STREAM_WINDOW: u32 = 8 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 16 << 20;
pub(super) const FRAME_BYTES: u32 = 256 << 10;
pub(super) const SEND_BUFFER: usize = 1 << 20;

/// The pause after the listener itself failed (no more file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts links until `tasks` ends.
pub fn serve(
    tasks: &Tasks,
    mut listener: Box<dyn Listener>,
    hello: Hello,
    accept: Arc<dyn Accept>,
    options: LinkOptions,
) {
    let kept = tasks.clone();
    tasks.spawn("link listener", async move {
        let places = Arc::new(Semaphore::new(options.connections));
        let refusals = Arc::new(Refusals::default());
        loop {
            let (io, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a link");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::warn!(
                    address = remote.address,
                    "too many connections: link refused"
                );
                continue;
            };
            let (hello, accept, options) = (hello.clone(), accept.clone(), options.clone());
            let refusals = refusals.clone();
            // The set of the connection itself; its keeper is not of it, to outlive it.
            let connection = kept.child();
            kept.spawn("link keeper", async move {
                let address = remote.address.clone();
                let (meeting, link) = Meeting::new(hello, remote, accept, refusals, options);
                let end = carry(&connection, io, meeting, link).await;
                connection.shutdown().await;
                match end {
                    Ok(()) => {}
                    // Why is said where it is judged.
                    Err(LinkError::WrongPeer(_)) => tracing::debug!(address, "refused"),
                    Err(error) => tracing::info!(address, %error, "no link"),
                }
                drop(place);
            });
        }
    });
}

/// One connection, from its first byte to its last.
async fn carry(
    tasks: &Tasks,
    io: Box<dyn Io>,
    meeting: Arc<Meeting>,
    link: oneshot::Receiver<Link>,
) -> Result<(), LinkError> {
    let options = meeting.options.clone();
    let service = link_server::LinkServer::new(Lanes { meeting })
        .max_decoding_message_size(BATCH_BYTES_MAX)
        .max_encoding_message_size(BATCH_BYTES_MAX);
    let driver = http2::Builder::new(Executor(tasks.clone(), "link stream"))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(2)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let (over, broken) = oneshot::channel();
    tasks.spawn("link connection", async move {
        let reason = match driver.await {
            Ok(()) => "connection closed".to_owned(),
            Err(error) => error.to_string(),
        };
        let _ = over.send(LinkError::Broke(reason));
    });
    let mut broken = std::pin::pin!(async move {
        broken
            .await
            .unwrap_or_else(|_| LinkError::Broke("connection dropped".into()))
    });
    let limit = options.handshake;
    let made = tokio::select! {
        biased;
        link = link => link,
        error = &mut broken => return Err(error),
        () = tokio::time::sleep(limit) => return Err(LinkError::Deadline(limit.as_millis() as u64)),
    };
    let Ok(Link {
        outbox,
        inbound,
        control,
        data,
    }) = made
    else {
        // Refused: the peer reads why and goes; it has the handshake's time for that.
        let _ = tokio::time::timeout(limit, broken).await;
        return Err(LinkError::WrongPeer("refused".into()));
    };
    let ending = outbox.clone();
    let running = lanes::run(tasks, &outbox, inbound, control, data);
    tokio::pin!(running);
    tokio::select! {
        biased;
        _ = &mut running => return Ok(()),
        error = broken => ending.end(error),
    }
    running.await;
    Ok(())
}

/// A link whose two lanes have met.
struct Link {
    outbox: Outbox,
    inbound: Arc<dyn Inbound>,
    control: Incoming,
    data: Incoming,
}

/// Where the two lanes of a connection find each other.
struct Meeting {
    hello: Hello,
    remote: Remote,
    accept: Arc<dyn Accept>,
    refusals: Arc<Refusals>,
    options: LinkOptions,
    state: Mutex<State>,
}

enum State {
    Nobody(oneshot::Sender<Link>),
    One(Box<Waiting>),
    /// Linked or refused; a connection carries one link.
    Over,
}

/// One lane, which waits for the other and to be told the outbox.
struct Waiting {
    made: oneshot::Sender<Link>,
    lane: Lane,
    peer: Hello,
    incoming: Incoming,
    told: oneshot::Sender<Result<Outbox, LinkError>>,
}

impl Meeting {
    /// And where its link comes out.
    fn new(
        hello: Hello,
        remote: Remote,
        accept: Arc<dyn Accept>,
        refusals: Arc<Refusals>,
        options: LinkOptions,
    ) -> (Arc<Self>, oneshot::Receiver<Link>) {
        let (made, link) = oneshot::channel();
        let meeting = Self {
            hello,
            remote,
            accept,
            refusals,
            options,
            state: Mutex::new(State::Nobody(made)),
        };
        (Arc::new(meeting), link)
    }

    /// A lane arrives; resolves when the link is there.
    async fn meet(&self, lane: Lane, mut stream: Streaming<Batch>) -> Result<Outbox, LinkError> {
        let (peer, early) = first(&mut stream).await?;
        if let Err(error) = handshake::check(&self.hello, &peer) {
            if self.refusals.is_new(&error.to_string()) {
                tracing::error!(%error, "a link is refused");
            }
            return Err(error);
        }
        let incoming = Incoming { stream, early };
        let wait = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Over) {
                State::Nobody(made) => {
                    let (told, wait) = oneshot::channel();
                    *state = State::One(Box::new(Waiting {
                        made,
                        lane,
                        peer,
                        incoming,
                        told,
                    }));
                    wait
                }
                State::One(waiting) => {
                    drop(state);
                    let Waiting {
                        made,
                        lane: other,
                        peer: other_peer,
                        incoming: half,
                        told,
                    } = *waiting;
                    let outbox = if other == lane {
                        Err(LinkError::WrongPeer("the same lane twice".into()))
                    } else {
                        self.link(made, lane, (other_peer, half), (peer, incoming))
                    };
                    let _ = told.send(outbox.clone());
                    return outbox;
                }
                State::Over => return Err(LinkError::WrongPeer("one link a connection".into())),
            }
        };
        wait.await
            .unwrap_or_else(|_| Err(LinkError::Broke("gone".into())))
    }

    fn link(
        &self,
        made: oneshot::Sender<Link>,
        last: Lane,
        first: (Hello, Incoming),
        second: (Hello, Incoming),
    ) -> Result<Outbox, LinkError> {
        handshake::same(&first.0, &second.0)?;
        let hello = introduce(&self.hello, first.0.link);
        let outbox = Outbox::new(&hello, &self.options);
        let inbound = self.accept.accept(&first.0, &self.remote, outbox.clone())?;
        let (control, data) = match last {
            Lane::Data => (first.1, second.1),
            Lane::Control => (second.1, first.1),
        };
        match made.send(Link {
            outbox: outbox.clone(),
            inbound,
            control,
            data,
        }) {
            Ok(()) => Ok(outbox),
            Err(link) => {
                // The keeper gave up in this very moment; whoever accepted must know.
                let gone = LinkError::Broke("gone".into());
                link.inbound.closed(&gone);
                Err(gone)
            }
        }
    }
}

struct Lanes {
    meeting: Arc<Meeting>,
}

impl Lanes {
    async fn lane(
        &self,
        lane: Lane,
        request: Request<Streaming<Batch>>,
    ) -> Result<Response<LaneStream>, Status> {
        match self.meeting.meet(lane, request.into_inner()).await {
            Ok(outbox) => Ok(Response::new(outbox.stream(lane))),
            Err(error) => Err(handshake::status(&error)),
        }
    }
}

#[tonic::async_trait]
impl link_server::Link for Lanes {
    type ControlStream = LaneStream;
    type DataStream = LaneStream;

    async fn control(&self, r: Request<Streaming<Batch>>) -> Result<Response<LaneStream>, Status> {
        self.lane(Lane::Control, r).await
    }

    async fn data(&self, r: Request<Streaming<Batch>>) -> Result<Response<LaneStream>, Status> {
        self.lane(Lane::Data, r).await
    }
}
