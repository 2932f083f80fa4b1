//! Two routers of one cluster: what one was told holds at the other, and the sockets of a document
//! meet at one of them.
#![allow(clippy::disallowed_methods)] // a test outside the product, never simulated

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, codraft, refused},
    rest::{Rest, Ticket},
    socket::{Socket, fresh_client},
    typist::Typist,
};
use codraft_proto::{
    frame::{ClientFrame, ServerFrame},
    ids::{ClientId, Revision, Seq},
    reject::Code,
};
use hyper::Method;
use tokio_tungstenite::tungstenite;

struct Scene {
    processes: Processes,
    /// Each router, as its owner sees it.
    routers: [Rest; 2],
}

impl Scene {
    fn start(name: &str) -> Result<Scene> {
        let processes = Processes::start(name, &[], &[])?;
        let ready = &processes.ready;
        let [one, two] = &*ready.routers else {
            bail!("not two routers: {:?}", ready.routers);
        };
        let routers = [one, two].map(|at| Rest::new(at, &ready.token));
        Ok(Scene { processes, routers })
    }

    /// The number of a router, from 0 on, by its address in a ticket.
    fn number(&self, url: &str) -> Result<usize> {
        let at = self.processes.ready.routers.iter().position(|r| r == url);
        at.with_context(|| format!("{url} is no router's address"))
    }

    /// A socket of a page of the first router, where a ticket sends it.
    async fn socket(&self, ticket: &Ticket, doc: &str, client: ClientId) -> Result<Socket> {
        let origin = &self.processes.ready.http;
        Socket::connect_by(&ticket.ticket, &ticket.url, origin, doc, client).await
    }

    async fn typist(&self, ticket: &Ticket, doc: &str) -> Result<Typist> {
        let socket = self.socket(ticket, doc, fresh_client()).await?;
        Typist::open_on(socket).await
    }

    /// The first ticket that sends a socket to this router.
    async fn sent_to(&self, asked: &Rest, doc: &str, url: &str) -> Result<Ticket> {
        for _ in 0..1_500 {
            match asked.ticket(doc, &[]).await {
                Ok(ticket) if ticket.url == url => return Ok(ticket),
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
        bail!("no ticket sends a socket to {url}")
    }
}

/// Status, code and detail of an upgrade that was refused.
fn upgrade_refused(socket: Result<Socket>) -> Result<(u16, String, String)> {
    let Err(error) = socket else {
        bail!("it was let in");
    };
    match error.downcast::<tungstenite::Error>()? {
        tungstenite::Error::Http(answer) => {
            let body = answer.body().as_deref().context("no body")?;
            let problem: serde_json::Value = serde_json::from_slice(body)?;
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            Ok((answer.status().as_u16(), text("code"), text("detail")))
        }
        other => bail!("no answer: {other}"),
    }
}

#[tokio::test]
async fn what_one_router_granted_is_taken_at_once_by_the_other() -> Result<()> {
    let scene = Scene::start("routers-grant")?;
    let bo = scene.processes.token("bo")?;
    let bo = scene.routers.clone().map(|of| Rest {
        token: bo.clone(),
        ..of
    });
    for turn in 0..20 {
        let (here, there) = (turn % 2, 1 - turn % 2);
        let doc = scene.routers[here].create("shared", "").await?;
        scene.routers[here].grant(&doc, "bo", "editor").await?;
        let mut typist = Typist::open(&bo[there], &doc).await?;
        typist.append("taken").await?;
        // And on a socket that is open: its next operation is judged by what was granted elsewhere.
        scene.routers[here].grant(&doc, "bo", "viewer").await?;
        typist.send(0, "not taken").await?;
        let mut socket = typist.into_socket();
        let refused = loop {
            if let ServerFrame::Reject { code, .. } = socket.next().await? {
                break code;
            }
        };
        ensure!(refused == Code::Forbidden, "{refused:?}");
        scene.routers[there].grant(&doc, "bo", "editor").await?;
        let mut again = Typist::open(&bo[here], &doc).await?;
        again.append(" again").await?;
        ensure!(again.text() == "taken again", "{:?}", again.text());
    }
    Ok(())
}

#[tokio::test]
async fn sockets_of_a_document_meet_whichever_router_gave_the_ticket() -> Result<()> {
    let scene = Scene::start("routers-meet")?;
    let mut met = [0; 2];
    while met.contains(&0) {
        let doc = scene.routers[0].create("met", "").await?;
        let ours = scene.routers[0].ticket(&doc, &[]).await?;
        let theirs = scene.routers[1].ticket(&doc, &[]).await?;
        ensure!(ours.url == theirs.url, "{ours:?} and {theirs:?}");
        let (mut a, mut b) = (
            scene.typist(&ours, &doc).await?,
            scene.typist(&theirs, &doc).await?,
        );
        let acked = a.append("seen").await?;
        b.reach(acked.rev).await?;
        ensure!(b.text() == "seen");
        met[scene.number(&ours.url)?] += 1;
        // Who cannot reach that one is sent to the other, and then stays where an answer came from.
        let next = scene.routers[0].ticket(&doc, &[&ours.url]).await?;
        ensure!(ours.others == [next.url.clone()], "{ours:?} and {next:?}");
        let all = [&*ours.url, &*next.url];
        let last = scene.routers[1].ticket(&doc, &all).await?;
        ensure!(last.url == scene.processes.ready.routers[1], "{last:?}");
        scene.typist(&last, &doc).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_ticket_is_good_once_and_only_at_its_router() -> Result<()> {
    let scene = Scene::start("routers-once")?;
    let doc = scene.routers[0].create("once", "").await?;
    let (ready, client) = (&scene.processes.ready, fresh_client());
    for asked in &scene.routers {
        let right = asked.ticket(&doc, &[]).await?;
        let wrong = &right.others[0];
        let elsewhere = Socket::connect_by(&right.ticket, wrong, &ready.http, &doc, client).await;
        let (status, code, detail) = upgrade_refused(elsewhere)?;
        ensure!(
            (status, &*code) == (401, "token_invalid"),
            "{status} {code}"
        );
        ensure!(detail.contains("another router"), "{detail}");
        scene
            .socket(&right, &doc, client)
            .await?
            .hello(None, false)
            .await?;
        for url in [wrong, &right.url] {
            let again = Socket::connect_by(&right.ticket, url, &ready.http, &doc, client).await;
            let (status, code, _) = upgrade_refused(again)?;
            ensure!(
                (status, &*code) == (401, "token_invalid"),
                "{status} {code}"
            );
        }
    }
    let many = ["http://127.0.0.1:9"; 9].join(",");
    let path = format!("/v1/collab/{doc}/ticket?not={many}");
    let (status, answer) = scene.routers[0].call(Method::POST, &path, None).await?;
    ensure!(
        (status.as_u16(), &answer["code"]) == (400, &"malformed".into()),
        "{answer}"
    );
    Ok(())
}

/// Who types on through the death of a router, with one operation in flight.
struct Cut {
    client: ClientId,
    op: ClientFrame,
}

impl Cut {
    /// Sends an operation, of which nothing is read.
    async fn send(typist: Typist, seq: u64, text: &str) -> Result<(Cut, Socket)> {
        let (base, client) = (Revision(typist.rev), typist.client());
        let mut delta = codraft_ot::Delta::new();
        delta.retain(typist.units());
        delta.insert(text);
        let (seq, ops) = (Seq(seq), delta.to_bytes().into());
        let op = ClientFrame::Op { seq, base, ops };
        let mut socket = typist.into_socket();
        socket.send(&op).await?;
        Ok((Cut { client, op }, socket))
    }

    /// Sends it again on another socket, until it is known to be applied.
    async fn settle(&self, scene: &Scene, ticket: &Ticket, doc: &str) -> Result<()> {
        let socket = scene.socket(ticket, doc, self.client).await?;
        let (mut socket, _) = socket.hello(None, true).await?;
        while socket.has_more() {
            socket.next().await?;
        }
        socket.send(&self.op).await?;
        loop {
            match socket.next().await? {
                ServerFrame::Already { .. } => return Ok(()),
                ServerFrame::Op(op) if socket.is_mine(op.slot) => return Ok(()),
                ServerFrame::Reject { code, .. } => bail!("refused: {code:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn sockets_meet_elsewhere_when_their_router_dies_and_come_back_with_it() -> Result<()> {
    let scene = Scene::start("routers-die")?;
    let ready = &scene.processes.ready;
    let doc = scene.routers[0].create("moved", "").await?;
    let first = scene.routers[0].ticket(&doc, &[]).await?;
    let dies = scene.number(&first.url)?;
    let (stays, url) = (&scene.routers[1 - dies], &ready.routers[1 - dies]);
    let mut ana = scene.typist(&first, &doc).await?;
    let mut bo = scene
        .typist(&scene.routers[1].ticket(&doc, &[]).await?, &doc)
        .await?;
    for _ in 0..20 {
        ana.append("a").await?;
        bo.reach(ana.rev).await?;
        bo.append("b").await?;
        ana.reach(bo.rev).await?;
    }

    // It stays dead, with an operation of each in flight.
    scene.processes.restarts(false);
    let (ana, ana_socket) = Cut::send(ana, 21, "[ana]").await?;
    let (bo, bo_socket) = Cut::send(bo, 21, "[bo]").await?;
    let kill = format!("/dev/kill?router={}", dies + 1);
    let (status, killed) = stays.call(Method::POST, &kill, None).await?;
    ensure!(status.is_success(), "{status} {killed}");
    drop((ana_socket, bo_socket));
    let ticket = scene.sent_to(stays, &doc, url).await?;
    ana.settle(&scene, &ticket, &doc).await?;
    bo.settle(&scene, &stays.ticket(&doc, &[]).await?, &doc)
        .await?;
    let mut reader = scene.typist(&stays.ticket(&doc, &[]).await?, &doc).await?;
    let text = reader.text();
    ensure!(
        text.starts_with(&"ab".repeat(20)),
        "acknowledged and lost: {text}"
    );
    let once = ["[ana][bo]", "[bo][ana]"].contains(&&text[40..]);
    ensure!(once, "in flight, and not once: {text}");
    ensure!(
        reader.rev == 43,
        "the document, and 42 operations: {}",
        reader.rev
    );

    // Once it is there again, sockets are sent back to it.
    scene.processes.restarts(true);
    let ticket = scene.sent_to(stays, &doc, &first.url).await?;
    let mut socket = reader.into_socket();
    let bye = loop {
        if let bye @ ServerFrame::Bye { .. } = socket.next().await? {
            break bye;
        }
    };
    let ServerFrame::Bye {
        code,
        retry_after_ms,
        ..
    } = bye
    else {
        unreachable!()
    };
    ensure!(
        code == Code::ShuttingDown && retry_after_ms > 0,
        "{code:?} {retry_after_ms}"
    );
    reader = scene.typist(&ticket, &doc).await?;
    ensure!(reader.text() == text);
    Ok(())
}

#[test]
fn an_address_that_clients_cannot_be_sent_to_starts_nothing() -> Result<()> {
    let folder = Folder::fresh("routers-address");
    let init = ["init", "--routers", "2", "--data"];
    codraft(&init, folder.path())?;
    let text = std::fs::read_to_string(folder.path().join("router-2.toml"))?;
    for line in [
        "listen = \"127.0.0.1:7410\"",
        "public_url = \"http://127.0.0.1:7410\"",
    ] {
        ensure!(text.contains(&format!("\n{line}\n")), "{text}");
    }
    for page in ["http://127.0.0.1:7400", "http://localhost:7410"] {
        ensure!(text.contains(&format!("\"{page}\"")), "{text}");
    }
    let config = folder.path().join("router-2.toml");
    for (url, word) in [
        ("http://a/b", "path"),
        ("a:1", "http"),
        ("http://a;b", "scheme://host"),
    ] {
        std::fs::write(
            &config,
            text.replace("http://127.0.0.1:7410\"\n#", &format!("{url}\"\n#")),
        )?;
        let said = refused(&["router", "--config"], &config)?;
        ensure!(
            said.contains(word) && said.contains("public_url"),
            "{url}: {said}"
        );
    }
    for (routers, word) in [
        ("127.0.0.1:1,127.0.0.1:1", "each needs its own"),
        ("127.0.0.1:65530", "address"),
    ] {
        let other = Folder::fresh("routers-twice");
        let init = ["init", "--routers", "2", "--router", routers, "--data"];
        let said = refused(&init, other.path())?;
        ensure!(said.contains(word), "{routers}: {said}");
    }
    Ok(())
}
