//! Programs that follow a document: each event once, in order, by whichever router, until their role or
//! their token ends.
#![allow(clippy::disallowed_methods)] // a test outside the product, never simulated

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    kills::kill_leader,
    patience::{PATIENCE, within},
    processes::Processes,
    rest::Rest,
    token,
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Semaphore, task::JoinHandle, time::Instant};

const ROOM: [(&str, &str); 1] = [("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "10000")];

/// A stream of events, as a program reads it.
struct Stream {
    body: Incoming,
    read: String,
    connection: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[derive(Debug, PartialEq)]
enum Told {
    /// Its id, its name and what it says.
    Event(String, String, Value),
    Silence,
    End,
}

impl Stream {
    async fn open(rest: &Rest, path: &str, last: Option<u64>) -> Result<Stream> {
        let stream = TcpStream::connect(&rest.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::task::spawn(async move {
            // How it ends is seen by who reads.
            let _ = connection.await;
        });
        let mut request = Request::get(path)
            .header(header::HOST, &rest.address)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::AUTHORIZATION, format!("Bearer {}", rest.token));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let sent = sender.send_request(request.body(Empty::<Bytes>::new())?);
        let response = within(PATIENCE, "a stream", sent).await??;
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let stream = Stream {
            body: response.into_body(),
            read: String::new(),
            connection,
        };
        ensure!(status == StatusCode::OK, "{path}: {status}");
        ensure!(kind.is_some_and(|kind| kind == "text/event-stream"));
        Ok(stream)
    }

    async fn next(&mut self) -> Result<Told> {
        within(PATIENCE, "an event", self.told()).await?
    }

    async fn told(&mut self) -> Result<Told> {
        loop {
            if let Some((message, rest)) = self.read.split_once("\n\n") {
                let told = read(message)?;
                self.read = rest.to_owned();
                return Ok(told);
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => {
                    let data = frame.into_data().ok().context("no data")?;
                    self.read.push_str(std::str::from_utf8(&data)?);
                }
                None => return Ok(Told::End),
            }
        }
    }

    /// The next event: its revision and all of it.
    async fn event(&mut self) -> Result<(u64, Value)> {
        loop {
            match self.next().await? {
                Told::Silence => {}
                Told::Event(id, kind, data) => {
                    ensure!(data["rev"].as_u64() == Some(id.parse()?) && data["kind"] == *kind);
                    return Ok((id.parse()?, data));
                }
                Told::End => anyhow::bail!("it ended"),
            }
        }
    }

    /// Nothing more is told than why it ends.
    async fn ends(&mut self) -> Result<String> {
        within(PATIENCE, "the end", self.end()).await?
    }

    async fn end(&mut self) -> Result<String> {
        loop {
            match self.next().await? {
                Told::Silence => {}
                Told::Event(_, kind, data) => {
                    ensure!(kind == "bye", "{kind} {data}");
                    ensure!(self.next().await? == Told::End);
                    return Ok(data["code"].as_str().context("no code")?.to_owned());
                }
                Told::End => anyhow::bail!("it ended without a word"),
            }
        }
    }
}

fn read(message: &str) -> Result<Told> {
    if message.starts_with(':') {
        return Ok(Told::Silence);
    }
    let field = |name: &str| {
        let mut lines = message.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    let data = field("data: ").context("no data")?;
    let kind = field("event: ").context("no kind")?;
    let id = field("id: ").unwrap_or_default();
    Ok(Told::Event(id, kind, serde_json::from_str(&data)?))
}

async fn append(rest: &Rest, doc: &str, text: &str, key: &str, base: u64) -> Result<u64> {
    let path = format!("/v1/docs/{doc}/edits");
    let edit = json!({"base": base, "edits": [{"append": text}]});
    let asked = rest.call_keyed(Method::POST, &path, Some(key), Some(&edit));
    let (status, answer) = asked.await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    answer["rev"].as_u64().context("no rev")
}

async fn poll(rest: &Rest, doc: &str, query: &str) -> Result<(u16, Value)> {
    let path = format!("/v1/docs/{doc}/events{query}");
    let (status, answer) = rest.call(Method::GET, &path, None).await?;
    Ok((status.as_u16(), answer))
}

fn revs(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["rev"].as_u64()).collect()
}

#[tokio::test]
async fn a_stream_tells_each_edit_once_when_the_leader_dies_and_by_either_router() -> Result<()> {
    let cluster = Processes::start("follow", &[], &ROOM)?;
    let token = &cluster.ready.token;
    let routers = cluster.ready.routers.iter();
    let routers: Vec<_> = routers.map(|at| Rest::new(at, token)).collect();
    let doc = routers[0].create("Followed", "").await?;
    let path = format!("/v1/docs/{doc}/events");
    let mut streams = Vec::new();
    for router in &routers {
        streams.push(Stream::open(router, &format!("{path}?after=0"), None).await?);
    }
    // So far ahead of who follows: the leader dies between edits.
    let ahead = Arc::new(Semaphore::new(20));
    let edits = {
        let (rest, doc, ahead) = (routers[0].clone(), doc.clone(), ahead.clone());
        tokio::task::spawn(async move {
            for n in 0..200 {
                ahead.acquire().await?.forget();
                let (text, key) = (format!("<{n}>"), format!("edit {n}"));
                append(&rest, &doc, &text, &key, n + 1).await?;
            }
            anyhow::Ok(())
        })
    };
    for rev in 1..=201 {
        for stream in &mut streams {
            let (told, event) = stream.event().await?;
            ensure!(told == rev, "{told} instead of {rev}");
            if rev > 1 {
                let text = event["ops"].to_string();
                ensure!(text.contains(&format!("<{}>", rev - 2)), "{rev}: {text}");
            }
        }
        ahead.add_permits(1);
        if rev == 60 {
            kill_leader(&cluster, &routers[0], &doc).await?;
        }
        if rev == 120 {
            // Who comes back goes on where it was, by either router.
            streams.swap(0, 1);
            streams[0] = Stream::open(&routers[0], &format!("{path}?after=7"), Some(rev)).await?;
        }
    }
    edits.await?
}

#[tokio::test]
async fn a_poll_is_answered_when_something_comes_and_empty_after_its_wait() -> Result<()> {
    let cluster = Processes::start("follow-poll", &["--port", "0"], &ROOM)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("Polled", "one").await?;
    // Of what is there, at once; and what to ask for next.
    let (status, all) = poll(&rest, &doc, "?after=0&wait_ms=30000").await?;
    ensure!(status == 200 && revs(&all) == [1], "{all}");
    ensure!(all["next"] == 1 && all["events"][0]["kind"] == "create");
    let (_, ops) = rest
        .call(Method::GET, &format!("/v1/docs/{doc}/ops?from=1"), None)
        .await?;
    ensure!(all["events"] == ops["events"], "{all} {ops}");
    for query in ["", "?after=1", "?after=1&wait_ms=10"] {
        let (status, none) = poll(&rest, &doc, query).await?;
        ensure!(status == 200 && none == json!({"events": [], "next": 1}));
    }
    let waits = poll(&rest, &doc, "?after=1&wait_ms=30000");
    let edits = append(&rest, &doc, " two", "two", 1);
    let (answer, rev) = tokio::try_join!(waits, edits)?;
    ensure!(answer.0 == 200 && revs(&answer.1) == [rev], "{answer:?}");
    ensure!(answer.1["next"] == 2);
    // Titles and roles are events as well, also of a page.
    rest.grant(&doc, "bo", "viewer").await?;
    let (_, granted) = poll(&rest, &doc, "?after=2").await?;
    ensure!(granted["events"][0]["grant"] == json!({"user": "bo", "role": "viewer"}));
    for (query, status, code) in [
        ("?after=4", 404, "no_version"),
        ("?after=x", 400, "malformed"),
        ("?after=-1", 400, "malformed"),
        ("?after=1&wait_ms=30001", 400, "malformed"),
        ("?after=1&wait_ms=soon", 400, "malformed"),
    ] {
        let (told, problem) = poll(&rest, &doc, query).await?;
        let told = (told, problem["code"].as_str().unwrap_or_default());
        ensure!(told == (status, code), "{query}: {problem}");
    }
    let nowhere = poll(&rest, &"0".repeat(32), "?after=0").await?;
    ensure!(nowhere.0 == 404 && nowhere.1["code"] == "not_found");
    // A viewer follows from its grant on.
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let (status, problem) = poll(&bo, &doc, "?after=0").await?;
    ensure!(
        status == 403 && problem["code"] == "forbidden",
        "{status} {problem}"
    );
    let (status, own) = poll(&bo, &doc, "?after=2").await?;
    ensure!(status == 200 && revs(&own) == [3], "{own}");
    Ok(())
}

#[tokio::test]
async fn who_loses_their_role_or_token_is_told_so_and_nothing_more() -> Result<()> {
    let cluster = Processes::start("follow-ends", &["--port", "0"], &ROOM)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("Ends", "words").await?;
    let path = format!("/v1/docs/{doc}/events");
    rest.grant(&doc, "bo", "editor").await?;
    let bo = Rest::new(&cluster.ready.http, &cluster.token("bo")?);
    let mut stream = Stream::open(&bo, &path, None).await?;
    ensure!(stream.next().await? == Told::Silence, "its head, at once");
    append(&rest, &doc, "!", "one", 2).await?;
    ensure!(stream.event().await?.0 == 3);
    ensure!(stream.next().await? == Told::Silence, "after a while");
    let revoke = format!("/v1/docs/{doc}/permissions/bo");
    let waits = poll(&bo, &doc, "?after=3&wait_ms=30000");
    let revoked = async {
        // It waits by now: the stream before it does.
        let (status, _) = rest.call(Method::DELETE, &revoke, None).await?;
        ensure!(status.is_success(), "{status}");
        let started = Instant::now();
        let code = stream.ends().await?;
        Ok((code, started.elapsed()))
    };
    let (waited, (code, took)) = tokio::try_join!(waits, revoked)?;
    ensure!(code == "revoked", "{code}");
    println!("told {took:?} after the answer");
    // Where it came too late to be one of them.
    let codes = [json!("revoked"), json!("not_found")];
    ensure!(codes.contains(&waited.1["code"]), "{waited:?}");
    ensure!(Stream::open(&bo, &path, Some(3)).await.is_err());
    // A token that ends.
    let claims = json!({"sub": "cy", "iss": token::NAME, "aud": token::NAME,
        "exp": token::now() + 3, "iat": token::now()});
    let key = token::secret(cluster.data())?;
    let header = json!({"alg": "HS256", "typ": "JWT"});
    rest.grant(&doc, "cy", "viewer").await?;
    let soon = Rest::new(
        &cluster.ready.http,
        &token::forge(&header, &claims, Some(&key)),
    );
    let mut stream = Stream::open(&soon, &path, None).await?;
    ensure!(stream.ends().await? == "token_expired");
    Ok(())
}

#[tokio::test]
async fn followers_count_among_their_users_sockets_and_give_their_places_back() -> Result<()> {
    let two = [("CODRAFT_LIMITS__SOCKETS_PER_USER_AND_DOCUMENT", "2")];
    let cluster = Processes::start("follow-count", &["--port", "0"], &two)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("Counted", "").await?;
    let path = format!("/v1/docs/{doc}/events");
    let first = Stream::open(&rest, &path, None).await?;
    let _second = Stream::open(&rest, &path, None).await?;
    let third = poll(&rest, &doc, "").await?;
    ensure!(
        third.0 == 429 && third.1["code"] == "too_many_sockets",
        "{third:?}"
    );
    drop(first);
    // The router sees that it has gone.
    within(PATIENCE, "a place", async {
        while poll(&rest, &doc, "").await?.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    })
    .await??;
    Ok(())
}
