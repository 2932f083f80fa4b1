//! What stands in for the router in the control: takes all that the hostile client sends, says
//! what it waits for, and does nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame, Welcome, binary, json},
    reject::Code,
};
use futures_util::{SinkExt, StreamExt};
use http::header;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::sleep,
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

/// What an answer takes, about as long as at a router that such a client is hard on: else it
/// would get more done here, and cost the machine more.
const TAKES: Duration = Duration::from_millis(20);

/// What it takes to refuse the 128 at once who show no token, of whom a router refuses 200 a second.
const REFUSING_TAKES: Duration = Duration::from_millis(640);

/// On a thread of its own, so that honest writers do not wait for it.
pub struct Sink {
    pub address: String,
    /// It ends with this.
    _stop: oneshot::Sender<()>,
}

impl Sink {
    /// Answers each hello with this welcome.
    pub fn start(welcome: Welcome) -> Result<Sink> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        let frames = [ServerFrame::Welcome(Box::new(welcome))];
        let mut bytes = Vec::new();
        binary::encode_server(&mut bytes, &mut binary::Clock::default(), &frames);
        let says = (
            Message::Binary(bytes.into()),
            Message::Text(json::encode_server(&frames)?.into()),
        );
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stopped => Ok(()),
                    ended = accept(listener, says) => ended,
                }
            })
        });
        Ok(Sink {
            address,
            _stop: stop,
        })
    }
}

async fn accept(listener: std::net::TcpListener, says: (Message, Message)) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn(serve(stream, says.clone()));
    }
}

async fn serve(stream: TcpStream, says: (Message, Message)) -> Result<()> {
    let mut first = [0; 4];
    stream.peek(&mut first).await?;
    if &first == b"GET " {
        return socket(stream, says).await;
    }
    calls(stream).await
}

/// Every other call is answered as if it had made a ticket or a document.
async fn calls(mut stream: TcpStream) -> Result<()> {
    const BODY: &str = r#"{"id":"0","ticket":"0.0","expires_at":0,"role":"viewer"}"#;
    let answer = format!(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
        // Nobody reads the body of a client without a token.
        if !text.contains("\r\nauthorization:") {
            sleep(REFUSING_TAKES).await;
            let refused = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(refused).await?;
            return Ok(());
        }
        let length = text.split("content-length:").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
        let end = head + length.unwrap_or(0usize);
        while read.len() < end {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        read.drain(..end);
        sleep(TAKES).await;
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn socket(
    stream: TcpStream,
    (binary_welcome, json_welcome): (Message, Message),
) -> Result<()> {
    let mut encoding = Encoding::Binary;
    #[allow(clippy::result_large_err)] // the library's signature
    let shake = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let offered = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let first = offered.and_then(|o| o.to_str().ok()?.split(',').next());
        if first.is_some_and(|name| name.trim() == Encoding::Json.subprotocol()) {
            encoding = Encoding::Json;
        }
        let name = http::HeaderValue::from_static(encoding.subprotocol());
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        Ok(response)
    };
    let mut stream = accept_hdr_async(stream, shake).await?;
    let limits = codraft_ot::Limits::default();
    while let Some(message) = stream.next().await {
        let frames = match message? {
            Message::Binary(bytes) => binary::decode_client(&bytes)?,
            Message::Text(text) => json::decode_client(text.as_bytes(), &limits)?,
            Message::Close(_) => return Ok(()),
            _ => continue,
        };
        for frame in frames {
            let answer = match frame {
                ClientFrame::Hello { .. } if encoding == Encoding::Json => json_welcome.clone(),
                ClientFrame::Hello { .. } => binary_welcome.clone(),
                ClientFrame::Op { seq, base, .. } => {
                    let refused = ServerFrame::Reject {
                        seq,
                        base,
                        last: true,
                        code: Code::Surrogate,
                        message: String::new(),
                        retry_after_ms: 0,
                    };
                    let mut bytes = Vec::new();
                    binary::encode_server(&mut bytes, &mut binary::Clock::default(), &[refused]);
                    Message::Binary(bytes.into())
                }
                _ => continue,
            };
            sleep(TAKES).await;
            stream.send(answer).await.context("the client has gone")?;
        }
    }
    Ok(())
}
