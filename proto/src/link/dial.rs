//! The dialling side: one task keeps one link up.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::Notify, time::Instant};

use super::{
    BATCH_BYTES_MAX, Dialled, Lane, LinkError, LinkOptions, Outbox,
    handshake::{self, first, introduce},
    lanes::{self, Incoming},
    outbox::RequestStream,
    serve::{CONNECTION_WINDOW, FRAME_BYTES, SEND_BUFFER, STREAM_WINDOW},
};
use crate::{
    outside::Outside,
    tasks::{Executor, Tasks},
    transport::Transport,
    v1::{Hello, link_client::LinkClient},
};

/// A link that breaks sooner than this after it came up counts as a failed attempt: no
/// tight loop between a peer that accepts and one that breaks at once.
const SETTLED: Duration = Duration::from_secs(1);

/// A dialled link that is kept up. Dropping it changes nothing.
#[derive(Clone)]
pub struct LinkHandle {
    shared: Arc<Shared>,
}

struct Shared {
    wake: Notify,
    closed: AtomicBool,
}

impl LinkHandle {
    /// Ends the pause between two attempts; nothing when the link is up.
    pub fn redial_now(&self) {
        self.shared.wake.notify_waiters();
    }

    /// Ends the link for good.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake.notify_waiters();
    }

    fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    async fn closed(&self) {
        loop {
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            // Counts as a waiter before the flag is read, or the wake could be missed.
            woken.as_mut().enable();
            if self.is_closed() {
                return;
            }
            woken.await;
        }
    }
}

/// Dials `address` and keeps a link to it for as long as `tasks` runs: when it breaks it is
/// dialled again at once, then with pauses that double from `redial_min` to `redial_max`,
/// each jittered by up to a quarter.
pub fn dial(
    tasks: &Tasks,
    outside: &Outside,
    address: String,
    hello: Hello,
    dialled: Arc<dyn Dialled>,
    options: LinkOptions,
) -> LinkHandle {
    let handle = LinkHandle {
        shared: Arc::new(Shared {
            wake: Notify::new(),
            closed: AtomicBool::new(false),
        }),
    };
    let seed = address.bytes().fold(
        outside.seed ^ hello.id ^ hello.incarnation.rotate_left(32),
        |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3),
    );
    let dialler = Dialler {
        tasks: tasks.clone(),
        transport: outside.transport.clone(),
        address,
        hello,
        dialled,
        options,
        random: SplitMix(seed),
    };
    let kept = handle.clone();
    tasks.spawn("link dialler", async move { dialler.keep(&kept).await });
    handle
}

struct Dialler {
    tasks: Tasks,
    transport: Arc<dyn Transport>,
    address: String,
    hello: Hello,
    dialled: Arc<dyn Dialled>,
    options: LinkOptions,
    random: SplitMix,
}

impl Dialler {
    async fn keep(mut self, handle: &LinkHandle) {
        let mut pause = self.options.redial_min;
        while !handle.is_closed() {
            match self.attempt(handle).await {
                Ok(lived) if lived >= SETTLED => {
                    pause = self.options.redial_min;
                    continue;
                }
                Ok(_) => {}
                Err(error) => self.dialled.down(&error),
            }
            let nanos = pause.as_nanos() as u64;
            let jittered = nanos - self.random.next() % (nanos / 4).max(1);
            tokio::select! {
                biased;
                () = handle.closed() => {}
                () = handle.shared.wake.notified() => pause = self.options.redial_min,
                () = tokio::time::sleep(Duration::from_nanos(jittered)) => {
                    pause = (pause * 2).min(self.options.redial_max);
                }
            }
        }
    }

    /// One link, from the dialling to its end; how long it lived.
    async fn attempt(&mut self, handle: &LinkHandle) -> Result<Duration, LinkError> {
        let link = self.random.next();
        let limit = self.options.handshake;
        let opened = tokio::select! {
            biased;
            () = handle.closed() => return Ok(SETTLED),
            opened = tokio::time::timeout(limit, self.open(link)) => opened,
        };
        let opened = opened.map_err(|_| LinkError::Deadline(limit.as_millis() as u64))??;
        let Opened {
            peer,
            control,
            data,
            connection,
        } = opened;
        let since = Instant::now();
        let outbox = connection.outbox.clone();
        let inbound = self.dialled.up(&peer, outbox.clone())?;
        let (handle, closing) = (handle.clone(), outbox.clone());
        connection.tasks.spawn("link closer", async move {
            handle.closed().await;
            closing.close();
        });
        let reason = lanes::run(&connection.tasks, &outbox, inbound, control, data).await;
        tracing::info!(address = %self.address, peer = peer.id, %reason, "link ended");
        Ok(since.elapsed())
    }

    async fn open(&self, link: u64) -> Result<Opened, LinkError> {
        let io = self
            .transport
            .dial(&self.address)
            .await
            .map_err(|e| self.failed(e))?;
        let hello = &introduce(&self.hello, link);
        let outbox = Outbox::new(hello, &self.options);
        let mut connection = Connection {
            tasks: self.tasks.child(),
            outbox: outbox.clone(),
            _sender: None,
        };
        let options = &self.options;
        let (sender, driver) =
            http2::Builder::new(Executor(connection.tasks.clone(), "link stream"))
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME_BYTES)
                .max_send_buf_size(SEND_BUFFER)
                .keep_alive_interval(options.keepalive_interval)
                .keep_alive_timeout(options.keepalive_timeout)
                .keep_alive_while_idle(true)
                .handshake(TokioIo::new(io))
                .await
                .map_err(|e| LinkError::Broke(e.to_string()))?;
        let ending = outbox.clone();
        connection.tasks.spawn("link connection", async move {
            let reason = match driver.await {
                Ok(()) => "connection closed".to_owned(),
                Err(error) => error.to_string(),
            };
            ending.end(LinkError::Broke(reason));
        });
        connection._sender = Some(sender.clone());
        // Only the authority of it reaches the wire.
        let origin = http::Uri::from_static("http://link.codraft");
        let client = LinkClient::with_origin(Sender(sender), origin)
            .max_decoding_message_size(BATCH_BYTES_MAX)
            .max_encoding_message_size(BATCH_BYTES_MAX);
        let lane = |lane| {
            let (mut client, stream) = (client.clone(), RequestStream(outbox.stream(lane)));
            async move {
                let answer = match lane {
                    Lane::Control => client.control(stream).await,
                    Lane::Data => client.data(stream).await,
                };
                let mut stream = answer.map_err(|s| handshake::refusal(&s))?.into_inner();
                let (peer, early) = first(&mut stream).await?;
                handshake::check(hello, &peer)?;
                if peer.link != link {
                    return Err(LinkError::WrongPeer("answers another link".into()));
                }
                Ok((peer, Incoming { stream, early }))
            }
        };
        let (control, data) =
            futures_util::future::try_join(lane(Lane::Control), lane(Lane::Data)).await?;
        handshake::same(&control.0, &data.0)?;
        Ok(Opened {
            peer: control.0,
            control: control.1,
            data: data.1,
            connection,
        })
    }

    fn failed(&self, error: io::Error) -> LinkError {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => LinkError::Refused {
                address: self.address.clone(),
            },
            _ => LinkError::Broke(error.to_string()),
        }
    }
}

struct Opened {
    peer: Hello,
    control: Incoming,
    data: Incoming,
    connection: Connection,
}

/// The tasks of one connection; they end with this value, so that an attempt that is given
/// up leaves no connection behind.
struct Connection {
    tasks: Tasks,
    outbox: Outbox,
    /// hyper closes a connection that nobody could make another request on.
    _sender: Option<http2::SendRequest<tonic::body::Body>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outbox.close();
        self.tasks.abort();
    }
}

/// hyper's sender as the service that the generated client asks for.
#[derive(Clone)]
struct Sender(http2::SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for Sender {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = crate::transport::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Jitter and link names, from the seed alone.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
