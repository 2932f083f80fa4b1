//! Streams of bytes: turmoil's.

use std::{io, net::Ipv4Addr};

use codraft_proto::transport::{BoxFuture, Io, Listener, Transport};
use turmoil::net::{TcpListener, TcpStream};

/// The network between turmoil's hosts; an address is the host's name and a port.
pub struct SimulatedNetwork;

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
            let stream = TcpStream::connect(split(address)?).await?;
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
