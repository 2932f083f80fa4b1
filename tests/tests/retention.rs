//! A cluster that keeps history for a time: what is older is gone on every node, and says so; what is left
//! is told, and proven.
#![allow(clippy::disallowed_methods)] // reads and writes files, and starts the command, outside the product

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    forge,
    patience::PATIENCE,
    processes::{Folder, Processes, program},
    rest::Rest,
    travel::text_of,
    typist::Typist,
};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

const TIGHT: [(&str, &str); 2] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "1000"),
];
const KEPT: [&str; 2] = ["--retention-ms", "1500"];

async fn get(rest: &Rest, path: &str) -> Result<Value> {
    let (status, answer) = rest.call(Method::GET, path, None).await?;
    ensure!(status == StatusCode::OK, "{path}: {status} {answer}");
    Ok(answer)
}

/// The oldest revision that is told, where another one is not any more.
async fn erased(rest: &Rest, method: Method, path: &str, body: Option<&Value>) -> Result<u64> {
    let (status, answer) = rest.call(method, path, body).await?;
    let is_erased = status == StatusCode::GONE && answer["code"] == "erased";
    ensure!(is_erased, "{path}: {status} {answer}");
    let detail = answer["detail"].as_str().unwrap_or_default();
    let number = detail.split(' ').find_map(|word| word.parse().ok());
    number.with_context(|| format!("{detail:?} names no revision"))
}

/// Types, a round of the archive each time, until the first revision is gone.
async fn until_erased(rest: &Rest, doc: &str, typist: &mut Typist) -> Result<u64> {
    let first = format!("/v1/docs/{doc}/history?version=1");
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        typist.append("x").await?;
        let snapshots = format!("/v1/docs/{doc}/snapshots");
        let (status, answer) = rest.call(Method::POST, &snapshots, None).await?;
        ensure!(status == StatusCode::OK, "{answer}");
        typist
            .reach(answer["version"].as_u64().context("no version")?)
            .await?;
        if let Ok(oldest) = erased(rest, Method::GET, &first, None).await {
            return Ok(oldest);
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "revision 1 is still told"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Exit code and what was said.
fn codraft(args: &[&str], data: &Path) -> Result<(i32, String)> {
    let mut command = Command::new(program()?);
    let output = command.args(args).arg("--data").arg(data).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.code().context("it was killed")?, said))
}

/// What cannot be told any more is refused alike, and names what can.
async fn all_say_so(rest: &Rest, doc: &str, oldest: u64, before_ms: u64) -> Result<()> {
    let restore = json!({ "version": oldest - 1 });
    for (method, asked, body) in [
        (Method::GET, format!("history?version={}", oldest - 1), None),
        (Method::GET, format!("history?at={before_ms}"), None),
        (Method::GET, "history/authors?version=1".into(), None),
        (
            Method::GET,
            format!("history/diff?from=1&to={oldest}"),
            None,
        ),
        (
            Method::GET,
            format!("history/diff?from={oldest}&to=1"),
            None,
        ),
        (Method::GET, "ops?from=1".into(), None),
        (Method::GET, format!("ops?from={oldest}"), None),
        (
            Method::GET,
            format!("revisions/{}/receipt", oldest - 1),
            None,
        ),
        (Method::POST, "restore".into(), Some(&restore)),
    ] {
        let path = format!("/v1/docs/{doc}/{asked}");
        assert_eq!(erased(rest, method, &path, body).await?, oldest, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_older_than_history_is_kept_is_erased_and_the_rest_is_proven() -> Result<()> {
    let folder = Folder::fresh("retention");
    let cluster = Processes::start_in(&folder, &KEPT, &TIGHT)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    // In its group nobody goes on with it.
    let doc = rest.create("Minutes", "One.").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    typist.append(" Two.").await?;
    let created = get(&rest, &format!("/v1/docs/{doc}/history?version=1")).await?;
    let created_ms = created["at"].as_u64().context("no time")?;

    let receipt = get(&rest, &format!("/v1/docs/{doc}/revisions/2/receipt")).await?;
    let oldest = until_erased(&rest, &doc, &mut typist).await?;
    all_say_so(&rest, &doc, oldest, created_ms).await?;
    // From the oldest one on all is told, and can be had back.
    let head = typist.rev;
    let history = format!("/v1/docs/{doc}/history");
    let first = get(&rest, &format!("{history}?version={oldest}")).await?;
    assert!(text_of(&first)?.starts_with("One. Two."), "{first}");
    let at = first["at"].as_u64().context("no time")?;
    assert_eq!(get(&rest, &format!("{history}?at={at}")).await?["at"], at);
    get(&rest, &format!("{history}/authors?version={oldest}")).await?;
    get(&rest, &format!("{history}/diff?from={oldest}&to={head}")).await?;
    let ops = get(&rest, &format!("/v1/docs/{doc}/ops?from={}", oldest + 1)).await?;
    assert_eq!(ops["from"], oldest + 1);
    get(&rest, &format!("/v1/docs/{doc}/revisions/{oldest}/receipt")).await?;
    let restore = json!({ "version": oldest });
    let path = format!("/v1/docs/{doc}/restore");
    let (status, answer) = rest.call(Method::POST, &path, Some(&restore)).await?;
    ensure!(status == StatusCode::OK, "{answer}");
    let rev = answer["rev"].as_u64().context("no revision")?;
    typist.reach(rev).await?;
    assert_eq!(typist.text(), text_of(&first)?);
    drop(typist);
    cluster.stop();

    // The files prove what is left, on each node and of all nodes alike.
    let (code, said) = codraft(&["verify"], folder.path())?;
    assert_eq!(code, 0, "{said}");
    // A receipt of a revision that is gone is one still, whether a log has it yet or not.
    let file = folder.path().with_extension("receipt");
    std::fs::write(&file, receipt.to_string())?;
    let name = file.to_str().context("a name")?;
    let checked = codraft(&["verify", "--receipt", name], folder.path());
    std::fs::remove_file(&file)?;
    let (code, said) = checked?;
    assert_eq!(code, 0, "{said}");
    // Where it is to be kept for longer, what is gone is missing.
    for (kept, is_proven) in [("600000", false), ("0", false), ("1500", true)] {
        for node in (1..=3).map(|id| folder.path().join(format!("node-{id}"))) {
            let identity = std::fs::read_to_string(node.join("identity"))?;
            let line = identity
                .lines()
                .find(|line| line.starts_with("retention_ms"));
            let now = format!("retention_ms {kept}");
            forge::identity(&node, line.context("no retention")?, &now)?;
        }
        let (code, said) = codraft(&["verify"], folder.path())?;
        assert_eq!(code == 0, is_proven, "{said}");
        let named = said.contains("what was before");
        assert_eq!(named, !is_proven, "{said}");
    }
    // For how long was fixed with the cluster.
    let (code, said) = codraft(&["dev", "--retention-ms", "2000"], folder.path())?;
    assert!(code != 0 && said.contains("retention-ms"), "{said}");
    let cluster = Processes::start_in(&folder, &[], &TIGHT)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let first = format!("/v1/docs/{doc}/history?version=1");
    assert!(erased(&rest, Method::GET, &first, None).await? >= oldest);
    cluster.stop();

    // What is missing for another reason is a lie.
    let archive = folder.path().join("node-2/archive");
    for of_group in std::fs::read_dir(&archive)? {
        for object in std::fs::read_dir(of_group?.path())? {
            let path = object?.path();
            if std::fs::read(&path)?.starts_with(b"codraftP") {
                std::fs::remove_file(&path)?;
            }
        }
    }
    let (code, said) = codraft(&["verify"], folder.path())?;
    assert!(code == 1 && said.contains("node-2/archive"), "{said}");
    Ok(())
}
