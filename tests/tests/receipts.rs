//! Receipts: signed by the cluster, checked by anybody who has its key.
#![allow(clippy::disallowed_methods)] // reads and writes files, outside the product

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, program},
    rest::Rest,
    typist::Typist,
};
use codraft_proto::{
    frame::json::hex,
    ids::Revision,
    receipt::{ReceiptKey, Signed},
};
use hyper::{Method, StatusCode};
use serde_json::Value;

const TIGHT: [(&str, &str); 2] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "1000"),
];

fn path(doc: &str, rev: impl std::fmt::Display) -> String {
    format!("/v1/docs/{doc}/revisions/{rev}/receipt")
}

async fn get(rest: &Rest, path: &str) -> Result<Value> {
    let (status, answer) = rest.call(Method::GET, path, None).await?;
    ensure!(status == StatusCode::OK, "{path}: {status} {answer}");
    Ok(answer)
}

async fn refused(rest: &Rest, path: &str) -> Result<(u16, String)> {
    let (status, answer) = rest.call(Method::GET, path, None).await?;
    let code = answer["code"].as_str().unwrap_or_default();
    Ok((status.as_u16(), code.to_owned()))
}

/// Exit code and what was said of a receipt in a file.
fn check(folder: &Folder, receipt: &str, key: &[&str]) -> Result<(i32, String)> {
    let file = folder.path().with_extension("receipt");
    std::fs::write(&file, receipt)?;
    let answer = run(&file, folder.path(), key);
    std::fs::remove_file(&file)?;
    answer
}

fn run(file: &Path, data: &Path, key: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(program()?);
    command.arg("verify").arg("--receipt").arg(file).args(key);
    if key.is_empty() {
        command.arg("--data").arg(data);
    }
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.code().context("it was killed")?, said))
}

#[tokio::test]
async fn a_receipt_proves_a_revision_and_a_changed_one_does_not() -> Result<()> {
    let folder = Folder::fresh("receipts");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let rest = |user| Ok::<_, anyhow::Error>(Rest::new(&cluster.ready.http, &cluster.token(user)?));
    let (owner, viewer, stranger) = (rest("ana")?, rest("cy")?, rest("dee")?);
    let doc = owner.create("Minutes", "One.").await?;
    let mut ana = Typist::open(&owner, &doc).await?;
    ana.append(" Two.").await?;
    let snapshots = format!("/v1/docs/{doc}/snapshots");
    let (status, kept) = owner.call(Method::POST, &snapshots, None).await?;
    ensure!(status == StatusCode::OK, "{kept}");
    owner.grant(&doc, "cy", "viewer").await?;
    let head = ana.append(" Three.").await?.rev;
    assert_eq!(head, 5);

    let receipt = get(&owner, &path(&doc, head)).await?;
    let there = get(&owner, &format!("/v1/docs/{doc}/history?version={head}")).await?;
    assert_eq!(receipt["hash"], there["hash"]);
    assert_eq!(
        (&receipt["doc"], &receipt["rev"]),
        (&doc.clone().into(), &5.into())
    );
    assert!(
        receipt["term"].is_u64() && receipt["index"].is_u64(),
        "{receipt}"
    );
    assert_eq!(get(&viewer, &path(&doc, head)).await?, receipt);
    let key = get(&viewer, "/v1/receipt-key").await?;
    assert_eq!(
        (&key["key"], &key["algorithm"]),
        (&receipt["key"], &"EdDSA".into())
    );
    let archived = get(&owner, &path(&doc, 1)).await?;
    assert!(
        archived["term"].is_null() == archived["index"].is_null(),
        "{archived}"
    );

    let key = key["key"].as_str().context("no key")?;
    for receipt in [&receipt, &archived] {
        let text = receipt.to_string();
        for key in [&[][..], &["--key", key]] {
            let (code, said) = check(&folder, &text, key)?;
            assert_eq!(code, 0, "{said}");
            assert!(said.contains(&doc) && said.contains("ok"), "{said}");
            let files = "the files of 3 nodes make of the document what the receipt says";
            assert_eq!(said.contains(files), key.is_empty(), "{said}");
        }
        let hash = receipt["hash"].as_str().context("no hash")?;
        let digit = if hash.starts_with('0') { "1" } else { "0" };
        let changed = text.replace(hash, &format!("{digit}{}", &hash[1..]));
        let (code, said) = check(&folder, &changed, &[])?;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("it was changed since it was signed"),
            "{said}"
        );
        let (code, said) = check(&folder, &text, &["--key", &"ab".repeat(32)])?;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("another key"), "{said}");
    }
    assert_eq!(check(&folder, "{}", &[])?.0, 1);
    assert_eq!(run(Path::new("/nowhere"), folder.path(), &[])?.0, 2);

    // Signed by the cluster, and not what its files say: of before they were put back, or rewritten.
    let keys = std::fs::read_to_string(folder.path().join("keys.toml"))?;
    let private = keys
        .split("private = \"")
        .nth(1)
        .and_then(|rest| rest.get(..64));
    let signs = ReceiptKey::from_hex(private.context("no private key")?)?;
    for (rev, what) in [
        (5, "another hash than the receipt says"),
        (6, "no node has such a revision"),
    ] {
        let mut other = Signed::parse(receipt.to_string().as_bytes())?.receipt;
        (other.rev, other.hash) = (Revision(rev), [7; 32]);
        let signature = hex(&signs.sign(other).signature);
        let told = receipt["signature"].as_str().context("no signature")?;
        let hash = receipt["hash"].as_str().context("no hash")?;
        let forged = receipt
            .to_string()
            .replace(told, &signature)
            .replace(hash, &"07".repeat(32));
        let forged = forged.replace("\"rev\":5", &format!("\"rev\":{rev}"));
        assert_eq!(check(&folder, &forged, &["--key", key])?.0, 0, "{forged}");
        let (code, said) = check(&folder, &forged, &[])?;
        assert!(code == 1 && said.contains(what), "{said}");
    }

    for (asks, rev, answer) in [
        (&owner, "0", (404, "no_version")),
        (&owner, "6", (404, "no_version")),
        (&owner, "-1", (400, "malformed")),
        (&owner, "one", (400, "malformed")),
        (&owner, "18446744073709551616", (400, "malformed")),
        (&viewer, "3", (403, "forbidden")),
        (&stranger, "5", (404, "not_found")),
    ] {
        let (status, code) = refused(asks, &path(&doc, rev)).await?;
        assert_eq!((status, &*code), answer, "{rev}");
    }
    Ok(())
}

/// What the op log lets go of is in the archive, which knows of no log entries.
#[tokio::test]
async fn a_receipt_says_what_is_known_of_the_log_and_no_more() -> Result<()> {
    let folder = Folder::fresh("old-receipts");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let owner = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = owner.create("Minutes", "One.").await?;
    let mut ana = Typist::open(&owner, &doc).await?;
    let known = get(&owner, &path(&doc, 1)).await?;
    assert!(known["index"].is_u64(), "{known}");
    let snapshots = format!("/v1/docs/{doc}/snapshots");
    let (status, kept) = owner.call(Method::POST, &snapshots, None).await?;
    ensure!(status == StatusCode::OK, "{kept}");
    let mut old = known.clone();
    // The op log lets go of it with the next state that is kept.
    for _ in 0..1_000 {
        ana.append("x").await?;
        old = get(&owner, &path(&doc, 1)).await?;
        if old["index"].is_null() {
            break;
        }
    }
    assert!(old["term"].is_null() && old["index"].is_null(), "{old}");
    assert_eq!(old["hash"], known["hash"]);
    for receipt in [known, old] {
        assert_eq!(check(&folder, &receipt.to_string(), &[])?.0, 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_without_a_key_says_so() -> Result<()> {
    let folder = Folder::fresh("no-receipts");
    drop(Processes::start_in(&folder, &["--port", "0"], &TIGHT)?);
    let file = folder.path().join("keys.toml");
    let keys = std::fs::read_to_string(&file)?;
    let (without, _) = keys.split_once("[receipt]").context("no [receipt]")?;
    std::fs::write(&file, without)?;
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let owner = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = owner.create("Minutes", "One.").await?;
    for asked in [path(&doc, 1), "/v1/receipt-key".to_owned()] {
        let (status, answer) = owner.call(Method::GET, &asked, None).await?;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert_eq!(answer["code"], "unsupported");
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("[receipt]"), "{answer}");
    }
    let (code, said) = check(&folder, "{}", &[])?;
    assert_eq!(code, 2, "no key to check with: {said}");
    Ok(())
}
