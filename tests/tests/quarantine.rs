//! A document that was set apart can be read, takes no edits, and loses none of those that wait; what
//! operators do about it is a command. That a panic sets it apart is in `raft/src/machine/tests`.

use anyhow::{Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, codraft, refused},
    rest::Rest,
    socket::{Socket, fresh_client},
    typist::Typist,
};
use codraft_ot::Delta;
use codraft_proto::{
    frame::{ClientFrame, ServerFrame},
    ids::{ClientId, Revision, Seq},
    reject::Code,
};

fn rest(processes: &Processes) -> Rest {
    Rest::new(&processes.ready.http, &processes.ready.token)
}

/// One operation; whether it was applied, else the code of a refusal that is not the last word.
async fn write(socket: &mut Socket, base: u64) -> Result<Option<Code>> {
    let mut delta = Delta::new();
    delta.insert("typed ");
    let ops = delta.to_bytes().into();
    socket
        .send(&ClientFrame::Op {
            seq: Seq(1),
            base: Revision(base),
            ops,
        })
        .await?;
    loop {
        match socket.next().await? {
            ServerFrame::Op(op) if socket.is_mine(op.slot) => return Ok(None),
            ServerFrame::Reject { last, code, .. } => {
                ensure!(!last, "{code:?} was the last word");
                return Ok(Some(code));
            }
            _ => {}
        }
    }
}

async fn open(rest: &Rest, doc: &str, client: ClientId) -> Result<(Socket, u64, String)> {
    let typist = Typist::open_as(rest, doc, client).await?;
    let (rev, text) = (typist.rev, typist.text());
    Ok((typist.into_socket(), rev, text))
}

#[tokio::test]
async fn a_document_that_was_set_apart_is_read_and_what_waits_is_not_lost() -> Result<()> {
    let folder = Folder::fresh("quarantine");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &[])?;
    let doc = rest(&cluster).create("Minutes", "kept").await?;
    let other = rest(&cluster).create("Other", "").await?;
    let list = || codraft(&["quarantine", "list", "--json", "--data"], folder.path());
    ensure!(list()?.is_empty());
    let said = codraft(&["quarantine", "set", &doc, "--data"], folder.path())?;
    ensure!(said.contains(&doc), "{said}");
    let line: serde_json::Value = serde_json::from_str(&list()?)?;
    ensure!(
        line["doc"] == doc.as_str() && line["title"] == "Minutes",
        "{line}"
    );

    let client = fresh_client();
    let (mut socket, rev, text) = open(&rest(&cluster), &doc, client).await?;
    ensure!(text == "kept", "{text}");
    ensure!(write(&mut socket, rev).await? == Some(Code::Quarantined));
    let (mut beside, rev_beside, _) = open(&rest(&cluster), &other, fresh_client()).await?;
    ensure!(
        write(&mut beside, rev_beside).await?.is_none(),
        "another document is not touched"
    );

    // It is in the log like anything else.
    drop((socket, beside));
    cluster.stop();
    let cluster = Processes::start_in(&folder, &["--port", "0"], &[])?;
    let (mut socket, rev, text) = open(&rest(&cluster), &doc, client).await?;
    ensure!(text == "kept", "{text}");
    ensure!(write(&mut socket, rev).await? == Some(Code::Quarantined));

    let said = codraft(&["quarantine", "lift", &doc, "--data"], folder.path())?;
    ensure!(said.contains("takes edits again"), "{said}");
    ensure!(list()?.is_empty());
    ensure!(
        write(&mut socket, rev).await?.is_none(),
        "the same bytes are taken now"
    );
    drop(socket);
    let (_, _, text) = open(&rest(&cluster), &doc, fresh_client()).await?;
    ensure!(text == "typed kept", "{text}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_lifted_is_said() -> Result<()> {
    let cluster = Processes::start("quarantine-refused", &["--port", "0"], &[])?;
    let missing = "0".repeat(32);
    for (doc, words) in [
        ("minutes", "not the id of a document"),
        (&missing, "not_found"),
    ] {
        let said = refused(&["quarantine", "lift", doc, "--data"], cluster.data())?;
        ensure!(said.contains(words), "{said}");
    }
    Ok(())
}
