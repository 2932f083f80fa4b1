//! What waits to be sent on a link, and the streams that send it.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use codraft_mutant::cost::{Work, spend};
use futures_util::Stream;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::watch;

use super::{BATCH_BYTES_MAX, Lane, LinkError, LinkOptions, SendError};
use crate::v1::{Batch, Hello, Message, message::Body};

/// The sending half of a link; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    control: Mutex<Queue>,
    data: Mutex<Queue>,
    queue_bytes: usize,
    queue_messages: usize,
    batch_bytes: usize,
    batch_messages: usize,
    closed: watch::Sender<Option<LinkError>>,
}

#[derive(Default)]
struct Queue {
    /// Each with its encoded length in bytes.
    waiting: VecDeque<(usize, Message)>,
    bytes: usize,
    closed: bool,
    /// Of the lane's stream, when it found nothing.
    waker: Option<Waker>,
}

impl Shared {
    fn queue(&self, lane: Lane) -> &Mutex<Queue> {
        match lane {
            Lane::Control => &self.control,
            Lane::Data => &self.data,
        }
    }
}

impl Outbox {
    /// An outbox whose two lanes begin with `hello`.
    pub(super) fn new(hello: &Hello, options: &LinkOptions) -> Self {
        let queue = || {
            let message = Message {
                body: Some(Body::Hello(hello.clone())),
            };
            let bytes = message.encoded_len();
            Mutex::new(Queue {
                waiting: VecDeque::from([(bytes, message)]),
                bytes,
                ..Queue::default()
            })
        };
        Self::with_queues(queue(), queue(), options)
    }

    fn with_queues(control: Mutex<Queue>, data: Mutex<Queue>, options: &LinkOptions) -> Self {
        let shared = Shared {
            control,
            data,
            queue_bytes: options.queue_bytes,
            queue_messages: options.queue_messages,
            batch_bytes: options.batch_bytes,
            batch_messages: options.batch_messages,
            closed: watch::Sender::new(None),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// An outbox without a link: what is sent is read with [`Outbox::take`]. For tests of
    /// what sends.
    pub fn detached() -> Self {
        Self::with_queues(Mutex::default(), Mutex::default(), &LinkOptions::default())
    }

    /// Takes all that waits in a lane. For tests with [`Outbox::detached`].
    pub fn take(&self, lane: Lane) -> Vec<Message> {
        let mut queue = self.shared.queue(lane).lock();
        queue.bytes = 0;
        queue.waiting.drain(..).map(|(_, m)| m).collect()
    }

    /// Waits until something waits in a lane and takes it; none when the outbox is closed.
    /// One waiter a lane. For tests with [`Outbox::detached`].
    pub async fn taken(&self, lane: Lane) -> Option<Vec<Message>> {
        std::future::poll_fn(|cx| {
            let mut queue = self.shared.queue(lane).lock();
            if queue.closed {
                return Poll::Ready(None);
            }
            if queue.waiting.is_empty() {
                queue.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            queue.bytes = 0;
            Poll::Ready(Some(queue.waiting.drain(..).map(|(_, m)| m).collect()))
        })
        .await
    }

    /// Queues a message for the lane's next batch; never waits.
    pub fn send(&self, lane: Lane, message: Message) -> Result<(), SendError> {
        let bytes = message.encoded_len();
        spend(Work::Sent, 1);
        spend(Work::Bytes, bytes);
        let mut queue = self.shared.queue(lane).lock();
        if queue.closed {
            return Err(SendError::Closed);
        }
        // One message always fits an empty queue, up to what the peer takes in at all.
        let alone = queue.waiting.is_empty() && bytes < BATCH_BYTES_MAX - 16;
        let fits = queue.bytes + bytes <= self.shared.queue_bytes
            && queue.waiting.len() < self.shared.queue_messages;
        if !fits && !alone {
            return Err(SendError::Full);
        }
        queue.bytes += bytes;
        queue.waiting.push_back((bytes, message));
        let (waiting, bound) = (queue.waiting.len(), self.shared.queue_messages);
        if waiting.is_power_of_two() || waiting > bound {
            tracing::trace!(target: "codraft_record", what = "filled", of = "outbox", most = waiting, bound);
        }
        let (most, bound) = (queue.bytes, self.shared.queue_bytes);
        if most > bound && !alone {
            tracing::trace!(target: "codraft_record", what = "filled", of = "outbox bytes", most, bound);
        }
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
        Ok(())
    }

    /// Bytes (encoded) that wait in a lane.
    pub fn queued_bytes(&self, lane: Lane) -> usize {
        self.shared.queue(lane).lock().bytes
    }

    /// Ends the link; the peer sees it closed. What still waits is not sent.
    pub fn close(&self) {
        self.end(LinkError::Broke("closed by this side".into()));
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.borrow().is_some()
    }

    /// Whether two are the same link's.
    pub fn same_link(&self, other: &Outbox) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Ends the link for a reason; the first one counts.
    pub(super) fn end(&self, reason: LinkError) {
        for lane in [Lane::Control, Lane::Data] {
            let mut queue = self.shared.queue(lane).lock();
            queue.closed = true;
            queue.bytes = 0;
            let dropped = std::mem::take(&mut queue.waiting);
            let waker = queue.waker.take();
            drop(queue);
            drop(dropped);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        self.shared.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert(reason);
            first
        });
    }

    /// Resolves when the link has ended, with the reason.
    pub(super) async fn ended(&self) -> LinkError {
        let mut watch = self.shared.closed.subscribe();
        let reason = watch
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|r| r.clone());
        reason.unwrap_or_else(|| LinkError::Broke("gone".into()))
    }

    /// The stream that sends a lane; one a lane.
    pub(super) fn stream(&self, lane: Lane) -> LaneStream {
        LaneStream {
            outbox: self.clone(),
            lane,
        }
    }
}

/// The body of one lane's HTTP/2 stream: it takes straight from the queue when the
/// connection has room, so there is no writer task and no second queue.
pub(super) struct LaneStream {
    outbox: Outbox,
    lane: Lane,
}

impl LaneStream {
    fn poll_batch(&self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let shared = &self.outbox.shared;
        let mut queue = shared.queue(self.lane).lock();
        if queue.closed {
            return Poll::Ready(None);
        }
        if queue.waiting.is_empty() {
            match &queue.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                _ => queue.waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let mut taken = 0;
        let mut count = 0;
        for (bytes, _) in queue.waiting.iter().take(shared.batch_messages) {
            if count > 0 && taken + bytes > shared.batch_bytes {
                break;
            }
            taken += bytes;
            count += 1;
        }
        queue.bytes -= taken;
        let messages = queue.waiting.drain(..count).map(|(_, m)| m).collect();
        Poll::Ready(Some(Batch { messages }))
    }
}

/// What the accepting side sends.
impl Stream for LaneStream {
    type Item = Result<Batch, tonic::Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_batch(cx).map(|b| b.map(Ok))
    }
}

/// The same for the dialling side, whose items cannot be errors.
pub(super) struct RequestStream(pub LaneStream);

impl Stream for RequestStream {
    type Item = Batch;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        self.0.poll_batch(cx)
    }
}

impl Drop for LaneStream {
    /// The connection gave the stream up: without one lane there is no link.
    fn drop(&mut self) {
        self.outbox.end(LinkError::Broke("stream ended".into()));
    }
}
