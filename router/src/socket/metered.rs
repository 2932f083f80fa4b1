//! Counts what arrived of a message that is not all here yet: the library keeps it until it is.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::accounts::Account;

pub struct Metered<T> {
    io: T,
    account: Arc<Account>,
    /// Bytes since the last message.
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// The user has too many of them, over all sockets.
    exceeded: bool,
}

impl<T> Metered<T> {
    pub fn new(io: T, account: Arc<Account>) -> Self {
        Self {
            io,
            account,
            bytes: 0,
            since: None,
            exceeded: false,
        }
    }

    /// Since when a message is on its way.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    pub fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// So many bytes were a message: one of control may come in the middle of another. What was
    /// read ahead of the next one is at most a buffer full, and not counted.
    pub fn finished(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.account.finished(bytes);
        self.bytes -= bytes;
        if self.bytes == 0 {
            self.since = None;
        }
    }

    /// All of them were.
    pub fn all_finished(&mut self) {
        self.finished(self.bytes);
    }
}

impl<T> Drop for Metered<T> {
    fn drop(&mut self) {
        self.account.finished(self.bytes);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            self.since.get_or_insert_with(Instant::now);
            self.bytes += bytes;
            if !self.account.unfinished(bytes) {
                self.exceeded = true;
                return Poll::Ready(Err(io::Error::other("too many unfinished messages")));
            }
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
