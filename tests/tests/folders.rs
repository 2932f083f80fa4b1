//! A folder belongs to one process and one node of one cluster; who may not have it changes
//! nothing in it, and says what to do.
#![allow(clippy::disallowed_methods)] // outside the product: files, children

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, codraft, program, refused},
    rest::Rest,
    typist::Typist,
};

fn rest(processes: &Processes) -> Rest {
    Rest::new(&processes.ready.http, &processes.ready.token)
}

/// All that lies in a folder, folders too.
fn all_in(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(path, Vec::new());
            } else {
                let bytes = std::fs::read(&path)?;
                found.insert(path, bytes);
            }
        }
    }
    Ok(found)
}

/// Refused with these words, and nothing in the folder is another.
fn untouched(folder: &Path, args: &[&str], path: &Path, words: &[&str]) -> Result<()> {
    let before = all_in(folder)?;
    let said = refused(args, path)?;
    for word in words {
        ensure!(said.contains(word), "{args:?} said {said:?}, not {word:?}");
    }
    let after = all_in(folder)?;
    for (path, bytes) in &after {
        ensure!(
            before.get(path) == Some(bytes),
            "{} was changed",
            path.display()
        );
    }
    ensure!(before.len() == after.len(), "something is gone");
    Ok(())
}

/// The same, while the folder's own processes write.
fn kept(folder: &Folder, args: &[&str], path: &Path, words: &[&str]) -> Result<()> {
    let names = [
        "cluster.toml",
        "router.toml",
        "node-1.toml",
        "node-1/identity",
        "node-1/peers",
    ];
    let read = || names.map(|name| std::fs::read(folder.path().join(name)).ok());
    let before = read();
    let said = refused(args, path)?;
    for word in words {
        ensure!(said.contains(word), "{args:?} said {said:?}, not {word:?}");
    }
    ensure!(before == read(), "{args:?} changed something");
    Ok(())
}

/// A configuration of node 1 beside its own, with a cluster file that says something else.
fn other_config(folder: &Path, change: impl FnOnce(String) -> String) -> Result<PathBuf> {
    let cluster = std::fs::read_to_string(folder.join("cluster.toml"))?;
    std::fs::write(folder.join("other-cluster.toml"), change(cluster))?;
    let config = std::fs::read_to_string(folder.join("node-1.toml"))?;
    let path = folder.join("other-node-1.toml");
    std::fs::write(
        &path,
        config.replace("\"cluster.toml\"", "\"other-cluster.toml\""),
    )?;
    Ok(path)
}

fn address_of(cluster: &str, node: u64) -> Result<String> {
    let at = cluster
        .find(&format!("id = {node}\n"))
        .context("no such node")?;
    let rest = cluster[at..]
        .split_once("address = \"")
        .context("no address")?
        .1;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[tokio::test]
async fn a_folder_in_use_is_nobody_elses() -> Result<()> {
    let folder = Folder::fresh("in-use");
    let processes = Processes::start_in(&folder, &[], &[])?;
    let doc = rest(&processes).create("kept", "start ").await?;
    let mut typist = Typist::open(&rest(&processes), &doc).await?;
    typist.append("one ").await?;

    // A forgotten terminal.
    let dev = ["dev", "--json", "--data"];
    let page = processes.ready.http.clone();
    kept(
        &folder,
        &dev,
        folder.path(),
        &["runs in", "already", &page, "--data"],
    )?;
    kept(&folder, &["init", "--data"], folder.path(), &["runs in"])?;
    // A node of it by hand: where it listens already, and elsewhere.
    let node = ["node", "--config"];
    let own = folder.path().join("node-1.toml");
    kept(&folder, &node, &own, &["does this node run already"])?;
    let free = free_address()?;
    let cluster = std::fs::read_to_string(folder.path().join("cluster.toml"))?;
    let address = address_of(&cluster, 1)?;
    let moved = other_config(folder.path(), |text| text.replace(&address, &free))?;
    kept(
        &folder,
        &node,
        &moved,
        &["in use by another process", "folder of its own"],
    )?;

    typist.append("two ").await?;
    processes.stop();
    let processes = Processes::start_in(&folder, &[], &[])?;
    let text = Typist::open(&rest(&processes), &doc).await?.text();
    assert_eq!(text, "start one two ");
    Ok(())
}

#[tokio::test]
async fn of_two_starts_at_once_one_runs() -> Result<()> {
    let folder = Folder::fresh("at-once");
    let start = || Processes::start_in(&folder, &[], &[]);
    let (left, right) = std::thread::scope(|scope| {
        // What this thread starts ends with it, so the winner is started again below.
        let other = scope.spawn(|| start().map(Processes::stop).is_ok());
        let mine = start();
        (mine, other.join().unwrap_or(false))
    });
    ensure!(
        left.is_ok() != right,
        "one of two: {} and {right}",
        left.is_ok()
    );
    ensure!(folder.log().contains("already"), "the other one says why");
    drop(left);
    // Killed without a word, it leaves nothing that keeps the next one out.
    let processes = Processes::start_in(&folder, &[], &[])?;
    let doc = rest(&processes).create("kept", "here").await?;
    processes.kill()?;
    let processes = Processes::start_in(&folder, &[], &[])?;
    let text = Typist::open(&rest(&processes), &doc).await?.text();
    assert_eq!(text, "here");
    Ok(())
}

/// The files of a cluster that does not run.
fn described(folder: &Folder) -> Result<()> {
    let [one, two, three, router] = [(); 4].map(|()| free_address().unwrap_or_default());
    let nodes = format!("{one},{two},{three}");
    codraft(
        &["init", "--nodes", &nodes, "--router", &router, "--data"],
        folder.path(),
    )?;
    Ok(())
}

#[tokio::test]
async fn a_strange_folder_is_left_alone() -> Result<()> {
    let folder = Folder::fresh("strange");
    std::fs::create_dir_all(folder.path())?;
    std::fs::write(folder.path().join("precious.txt"), "mine")?;
    let dev = ["dev", "--json", "--data"];
    untouched(
        folder.path(),
        &dev,
        folder.path(),
        &["precious.txt", "--data"],
    )?;
    std::fs::remove_file(folder.path().join("precious.txt"))?;

    described(&folder)?;
    let node = ["node", "--config"];
    let config = |id: u64| folder.path().join(format!("node-{id}.toml"));
    let data = folder.path().join("node-1");
    std::fs::create_dir_all(&data)?;
    std::fs::write(data.join("precious.txt"), "mine")?;
    untouched(
        folder.path(),
        &node,
        &config(1),
        &["precious.txt", "not empty", "empty folder"],
    )?;
    std::fs::remove_file(data.join("precious.txt"))?;

    // A log that does not say whose it is.
    std::fs::create_dir_all(data.join("wal"))?;
    untouched(folder.path(), &node, &config(1), &["does not say whose"])?;
    std::fs::remove_dir_all(&data)?;

    // The folder of another node, and of another cluster.
    let identity = "codraft-identity 1\nelsewhere\n2\nabababababababababababababababab\n3\nlog\n";
    let sealed = format!("{identity}{:08x}\n", crc32(identity.as_bytes()));
    std::fs::create_dir_all(&data)?;
    std::fs::write(data.join("identity"), sealed)?;
    untouched(
        folder.path(),
        &node,
        &config(1),
        &["node 2", "\"elsewhere\"", "node 1"],
    )?;
    std::fs::remove_dir_all(&data)?;

    // A router inside, of which nothing is said.
    let joined = ["node", "--router", "--config"];
    untouched(
        folder.path(),
        &joined,
        &config(1),
        &["[router]", "node-1.toml"],
    )?;
    Ok(())
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_said_so() -> Result<()> {
    let folder = Folder::fresh("read-only");
    described(&folder)?;
    let data = folder.path().join("node-1");
    std::fs::create_dir_all(&data)?;
    let before = all_in(folder.path())?;
    for path in [&data, &folder.path().to_owned()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o555))?;
    }
    let mut command = Command::new(program()?);
    command
        .args(["node", "--config"])
        .arg(folder.path().join("node-1.toml"));
    std::fs::set_permissions(
        folder.path().join("keys.toml"),
        std::fs::Permissions::from_mode(0o644),
    )?;
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        command.uid(65_534).gid(65_534); // who may do anything cannot be kept out
    }
    let output = command.stdin(Stdio::null()).output()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "{:?}: {said}",
        output.status
    );
    ensure!(said.contains("give the folder"), "{said}");
    assert_eq!(all_in(folder.path())?, before);
    Ok(())
}

#[tokio::test]
async fn an_address_that_somebody_has_is_said_so() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let folder = Folder::fresh("port");
    let said = refused(&["dev", "--json", "--port", &port, "--data"], folder.path())?;
    ensure!(
        said.contains(&port) && said.contains("choose another --port"),
        "{said}"
    );
    ensure!(all_in(folder.path())?.is_empty(), "nothing is written");

    let init = [
        "init",
        "--nodes",
        "127.0.0.1:7511",
        "--router",
        "127.0.0.1:7511",
        "--data",
    ];
    let said = refused(&init, folder.path())?;
    ensure!(
        said.contains("127.0.0.1:7511") && said.contains("node 1"),
        "{said}"
    );
    ensure!(all_in(folder.path())?.is_empty(), "nothing is written");

    // What is there is not written over.
    std::fs::write(folder.path().join("router.toml"), "mine")?;
    untouched(
        folder.path(),
        &["init", "--data"],
        folder.path(),
        &["router.toml", "--data"],
    )?;
    Ok(())
}
