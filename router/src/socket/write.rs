//! How messages get onto a socket's connection.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use codraft_proto::frame::Encoding;
use futures_util::{SinkExt, TryFutureExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Duration, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error,
        protocol::frame::{
            FrameHeader,
            coding::{Data, OpCode},
        },
    },
};

/// Larger messages are written in parts of this.
const FRAGMENT: usize = 16 << 10;
/// Of a frame from a server, at most: the other end's mask is what it lacks of the library's.
const HEAD: usize = 10;
/// So many of one message before the tasks of other sockets go on.
const FRAGMENTS_A_TURN: usize = 4;
/// A peer that takes nothing of a message for so long is gone; a slow one may take long for all
/// of it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a socket runs on.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Writes a message, a large one in fragments, from where its parts lie: the library would copy each
/// frame into a buffer, and keep that of the largest for as long as the socket lives.
pub async fn send<T: Stream>(
    web: &mut WebSocketStream<T>,
    encoding: Encoding,
    mut parts: VecDeque<Bytes>,
) -> Result<(), Error> {
    let mut kind = match encoding {
        Encoding::Binary => Data::Binary,
        Encoding::Json => Data::Text,
    };
    // Answers to pings, which the library writes, are not to end up in the middle.
    taken(web.flush()).await?;
    let io = web.get_mut();
    parts.retain(|part| !part.is_empty());
    let mut fragments = 0;
    while let Some(mut part) = parts.pop_front() {
        if part.len() > FRAGMENT {
            parts.push_front(part.split_off(FRAGMENT));
        }
        // The kernel takes megabytes at once; other sockets have their turn in between.
        fragments += 1;
        if fragments % FRAGMENTS_A_TURN == 0 {
            tokio::task::yield_now().await;
        }
        let header = FrameHeader {
            is_final: parts.is_empty(),
            opcode: OpCode::Data(kind),
            ..FrameHeader::default()
        };
        let (mut head, mut room) = ([0; HEAD], HEAD);
        let mut free = &mut head[..];
        header.format(part.len() as u64, &mut free)?;
        room -= free.len();
        let mut frame = head[..room].chain(part);
        taken(io.write_all_buf(&mut frame).map_err(Error::Io)).await?;
        kind = Data::Continue;
    }
    Ok(())
}

/// `None` if it took longer than so many bytes may.
pub async fn in_time<R>(
    bytes: usize,
    a_second: u32,
    written: impl Future<Output = R>,
) -> Option<R> {
    let allowed = WRITE_TIMEOUT + Duration::from_secs(bytes as u64 / u64::from(a_second.max(1)));
    timeout(allowed, written).await.ok()
}

pub async fn taken(part: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let taken = timeout(WRITE_TIMEOUT, part).await;
    taken.unwrap_or(Err(Error::ConnectionClosed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt, DuplexStream, duplex},
        time::Instant,
    };
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

    use super::*;

    const MESSAGE: usize = 256 << 10;

    async fn sends_to(reader: impl AsyncFnOnce(DuplexStream)) -> bool {
        let (near, far) = duplex(4 << 10);
        let config = WebSocketConfig::default().write_buffer_size(0);
        let mut web = WebSocketStream::from_raw_socket(near, Role::Server, Some(config)).await;
        let message = Bytes::from(vec![7; MESSAGE]);
        let sends = send(&mut web, Encoding::Binary, [message].into());
        tokio::select! {
            sent = sends => sent.is_ok(),
            () = async { reader(far).await; std::future::pending().await } => false,
        }
    }

    /// Four KiB a second.
    async fn reads_slowly(mut far: DuplexStream) {
        let mut part = vec![0; 4 << 10];
        while far.read_exact(&mut part).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_reader_starts_from_has_a_time_for_its_bytes() {
        let just = in_time(MESSAGE, 4 << 10, sends_to(reads_slowly));
        assert_eq!(just.await, Some(true));
        let faster = in_time(MESSAGE, 16 << 10, sends_to(reads_slowly));
        assert_eq!(faster.await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_has_time_and_one_that_reads_nothing_has_not() {
        let began = Instant::now();
        assert!(sends_to(reads_slowly).await);
        assert!(began.elapsed() > 5 * WRITE_TIMEOUT);
        let stuck = sends_to(async |_far| std::future::pending().await);
        assert!(!stuck.await);
    }
}
