//! Streams of bytes: turmoil's.

use std::{
    collections::BTreeSet,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use codraft_proto::transport::{BoxFuture, Io, Listener, Transport};
use turmoil::net::{TcpListener, TcpStream};

/// The round trip after which a machine without the process says so.
const REFUSAL: Duration = Duration::from_millis(3);

/// The network between turmoil's hosts; an address is the host's name and a port.
#[derive(Clone, Default)]
pub struct SimulatedNetwork {
    /// Hosts that are up while their process is not: there, a dial is refused. By itself turmoil
    /// leaves it unanswered, as if the machine were gone too.
    refusing: Arc<Mutex<BTreeSet<String>>>,
}

impl SimulatedNetwork {
    /// Says whether a host refuses to be dialled.
    pub fn refuse(&self, host: &str, refuses: bool) {
        let mut refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        if refuses {
            refusing.insert(host.to_owned());
        } else {
            refusing.remove(host);
        }
    }

    fn refuses(&self, host: &str) -> bool {
        let refusing = self.refusing.lock();
        refusing
            .unwrap_or_else(PoisonError::into_inner)
            .contains(host)
    }
}

fn split(address: &str) -> io::Result<(&str, u16)> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address} is not host:port"),
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    Ok((host, port.parse().map_err(|_| bad())?))
}

impl Transport for SimulatedNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            // turmoil knows which host it is on.
            let (_, port) = split(address)?;
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            Ok(Box::new(SimulatedListener {
                listener,
                address: address.to_owned(),
            }) as Box<dyn Listener>)
        })
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let (host, port) = split(address)?;
            if self.refuses(host) {
                tokio::time::sleep(REFUSAL).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let stream = TcpStream::connect((host, port)).await?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

struct SimulatedListener {
    listener: TcpListener,
    address: String,
}

impl Listener for SimulatedListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, String)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok((Box::new(stream) as Box<dyn Io>, peer.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.address.clone())
    }
}
