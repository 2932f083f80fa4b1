//! Streams of bytes: turmoil's, watched.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use codraft_proto::transport::{BoxFuture, Io, Listener, Remote, Transport};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::network::{Dial, Name, Network, Stream};
use crate::trace::{Trace, line, short};

/// The round trip after which a machine without the process says so.
const REFUSAL: Duration = Duration::from_millis(3);
/// The first pause before a dial that nobody answered is sent again; doubled up to the second.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// The network as one host has it; an address is a host's name and a port.
#[derive(Clone)]
pub struct HostNetwork {
    pub host: Name,
    pub network: Network,
    pub trace: Trace,
}

fn split(address: &str) -> io::Result<(&str, u16)> {
    let bad = || {
        let what = format!("{address} is not host:port");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    Ok((host, port.parse().map_err(|_| bad())?))
}

impl HostNetwork {
    /// Dials until somebody answers or refuses, as a kernel does.
    async fn connect(&self, address: &str) -> io::Result<Watched> {
        let (host, port) = split(address)?;
        let to: Name = host.into();
        let mut again = AGAIN;
        loop {
            match self.network.dial(&self.host, &to) {
                Dial::Refused => {
                    tokio::time::sleep(REFUSAL).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                Dial::Silence => {}
                Dial::Answered => match TcpStream::connect((host, port)).await {
                    Ok(stream) => {
                        let key = stream.local_addr()?;
                        return Ok(self.watch(stream, key, 0));
                    }
                    Err(_) => self.network.dial_lost(&self.host, &to),
                },
            }
            tokio::time::sleep(again).await;
            again = (again * 2).min(AGAIN_MAX);
        }
    }

    fn watch(&self, stream: TcpStream, key: SocketAddr, end: usize) -> Watched {
        Watched {
            stream,
            shared: self.network.open(key, end, &self.host),
            at: self.clone(),
            key,
            end,
        }
    }
}

impl Transport for HostNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            // turmoil knows which host it is on.
            let (_, port) = split(address)?;
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            self.network.listens(&self.host, true);
            Ok(Box::new(SimulatedListener {
                listener,
                at: self.clone(),
                address: address.to_owned(),
            }) as Box<dyn Listener>)
        })
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async move { Ok(Box::new(self.connect(address).await?) as Box<dyn Io>) })
    }
}

struct SimulatedListener {
    listener: TcpListener,
    at: HostNetwork,
    address: String,
}

impl Drop for SimulatedListener {
    fn drop(&mut self) {
        self.at.network.listens(&self.at.host, false);
    }
}

impl Listener for SimulatedListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, Remote)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            let stream = self.at.watch(stream, peer, 1);
            Ok((Box::new(stream) as Box<dyn Io>, Remote::at(peer)))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.address.clone())
    }
}

/// One end of a stream.
struct Watched {
    stream: TcpStream,
    shared: Arc<Mutex<Stream>>,
    at: HostNetwork,
    key: SocketAddr,
    end: usize,
}

impl Watched {
    fn shared(&self) -> MutexGuard<'_, Stream> {
        self.shared.lock()
    }

    /// Whether the stream was reset; if not, who is to be woken when it is.
    fn is_broken(&self, waker: &Waker) -> bool {
        let mut shared = self.shared();
        let place = &mut shared.wakers[self.end];
        if !place.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *place = Some(waker.clone());
        }
        shared.broken
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_broken(cx.waker()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        {
            let mut shared = self.shared();
            shared.read[self.end] += bytes as u64;
            shared.unblock();
        }
        line!(self.at.trace, "{} < {} {bytes}", self.at.host, self.key);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = {
            let mut shared = self.shared();
            if shared.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = shared.room(self.end);
            if room == 0 && !bytes.is_empty() {
                shared.blocked = Some(cx.waker().clone());
                return Poll::Pending;
            }
            usize::try_from(room).unwrap_or(usize::MAX)
        };
        let bytes = &bytes[..bytes.len().min(room)];
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        {
            let mut shared = self.shared();
            shared.written[self.end] += written as u64;
            self.at.network.send(&mut shared, self.end);
        }
        let hash = short(&bytes[..written], 16);
        line!(
            self.at.trace,
            "{} > {} {written} {hash}",
            self.at.host,
            self.key
        );
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared().broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut shared = self.shared();
        shared.closed[self.end] = true;
        shared.unblock();
        self.at.network.send(&mut shared, self.end);
    }
}
