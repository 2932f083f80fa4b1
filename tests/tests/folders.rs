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
    processes::{Folder, Processes, codraft, kill, program, refused, until},
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
    std::fs::create_dir_all(&data)?;
    let write = |format: u32, rest: &str| {
        let disk = "abababababababababababababababab";
        let lines = format!("codraft-identity {format}\nelsewhere\n2\n{disk}\n{rest}");
        let sealed = format!("{lines}{:08x}\n", crc32(lines.as_bytes()));
        std::fs::write(data.join("identity"), sealed)
    };
    write(2, "log\n4096\n1\n2\n2\n")?;
    untouched(
        folder.path(),
        &node,
        &config(1),
        &["node 2", "\"elsewhere\"", "node 1"],
    )?;
    // And one that an older version made.
    write(1, "3\nlog\n")?;
    let formats = ["of format 1", "format 2", "the version that wrote it"];
    untouched(folder.path(), &node, &config(1), &formats)?;
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

#[tokio::test]
async fn what_is_fixed_for_a_cluster_stays() -> Result<()> {
    let folder = Folder::fresh("fixed");
    let processes = Processes::start_in(&folder, &[], &[])?;
    let doc = rest(&processes).create("kept", "here").await?;

    // A router that was told something else is refused by the nodes, and says so once.
    let cluster = folder.path().join("cluster.toml");
    let text = std::fs::read_to_string(&cluster)?;
    std::fs::write(
        folder.path().join("other.toml"),
        text.replace("groups = 2", "groups = 3"),
    )?;
    let config = std::fs::read_to_string(folder.path().join("router.toml"))?;
    let listen = config
        .split("listen = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let config = config
        .replace(listen.context("no address")?, &free_address()?)
        .replace("\"cluster.toml\"", "\"other.toml\"");
    let other = folder.path().join("other-router.toml");
    std::fs::write(&other, config)?;
    let log = folder.path().join("router.log");
    let mut router = Command::new(program()?)
        .args(["router", "--config"])
        .arg(&other)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log)?)
        .spawn()?;
    let words = "the router has groups = 3 in its cluster.toml";
    let lines = |path: &Path, words: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(words)).count()
    };
    let said = until("all nodes refuse it, and it says so", || {
        lines(&log, words) >= 3 && lines(&folder.log_path(), words) >= 3
    })
    .await;
    // It goes on trying, and each says it once.
    let again = folder.log_path();
    let mut typist = Typist::open(&rest(&processes), &doc).await?;
    for _ in 0..100 {
        typist.append("!").await?;
    }
    let counts = (lines(&log, words), lines(&again, words));
    kill(router.id(), libc::SIGKILL);
    router.wait()?;
    said?;
    assert_eq!(counts, (3, 3));
    processes.stop();

    // By hand and by `dev`: refused with both values, and nothing changes.
    std::fs::write(&cluster, text.replace("groups = 2", "groups = 3"))?;
    let both = ["groups = 2", "groups = 3", "put cluster.toml back"];
    let dev = ["dev", "--json", "--data"];
    untouched(folder.path(), &dev, folder.path(), &both)?;
    let one = folder.path().join("node-1.toml");
    untouched(folder.path(), &["node", "--config"], &one, &both)?;
    let fourth = format!(
        "{text}\n[[node]]\nid = 4\naddress = \"{}\"\n",
        free_address()?
    );
    std::fs::write(&cluster, fourth)?;
    untouched(
        folder.path(),
        &dev,
        folder.path(),
        &["nodes 1, 2, 3", "nodes 1, 2, 3, 4", "put cluster.toml back"],
    )?;
    std::fs::write(&cluster, &text)?;
    for (option, value, words) in [
        ("--nodes", "5", ["3 nodes", "--nodes says 5"]),
        ("--groups", "4", ["2 groups", "--groups says 4"]),
    ] {
        let args = ["dev", "--json", option, value, "--data"];
        untouched(folder.path(), &args, folder.path(), &words)?;
    }

    // Addresses may change.
    let moved = text.replace(&address_of(&text, 2)?, &free_address()?);
    std::fs::write(&cluster, moved)?;
    let processes = Processes::start_in(&folder, &["--nodes", "3", "--groups", "2"], &[])?;
    let text = Typist::open(&rest(&processes), &doc).await?.text();
    assert_eq!(text, format!("here{}", "!".repeat(100)));
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for (path, bytes) in all_in(from)? {
        let to = to.join(path.strip_prefix(from)?);
        if path.is_dir() {
            std::fs::create_dir_all(to)?;
        } else {
            std::fs::create_dir_all(to.parent().context("no parent")?)?;
            std::fs::write(to, bytes)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_older_copy_of_a_folder_has_no_say() -> Result<()> {
    let folder = Folder::fresh("older");
    let processes = Processes::start_in(&folder, &[], &[])?;
    let doc = rest(&processes).create("kept", "start ").await?;
    Typist::open(&rest(&processes), &doc)
        .await?
        .append("one ")
        .await?;
    processes.stop();
    let (own, copy) = (folder.path().join("node-3"), folder.path().join("copy"));
    copy_all(&own, &copy)?;

    let processes = Processes::start_in(&folder, &[], &[])?;
    let mut typist = Typist::open(&rest(&processes), &doc).await?;
    for _ in 0..30 {
        typist.append("more ").await?;
    }
    std::fs::rename(&own, folder.path().join("lost"))?;
    std::fs::rename(&copy, &own)?;
    let pid = processes.signal(3, libc::SIGKILL)?;
    processes.all_alive(&[pid]).await?;
    let words = "node 3 runs on an older copy of its folder";
    let says = |node: u64| {
        let name = format!("node-{node}");
        let log = folder.log();
        let lines = log
            .lines()
            .filter(|l| l.starts_with(&name) && l.contains(words));
        lines.count()
    };
    until("both peers and the node itself say so", || {
        says(1) >= 1 && says(2) >= 1 && says(3) >= 1
    })
    .await?;
    typist.append("beside ").await?;

    // It is no voter: without another true node there is no majority.
    processes.signal(2, libc::SIGSTOP)?;
    let started = typist.send(0, "alone ").await?;
    let alone =
        tokio::time::timeout(std::time::Duration::from_secs(4), typist.saved(started)).await;
    processes.signal(2, libc::SIGCONT)?;
    ensure!(
        alone.is_err(),
        "one true node and an older one acknowledged: {alone:?}"
    );
    typist.saved(started).await?;

    // Peers that start anew remember it.
    let before = (says(1), says(2));
    for node in [1, 2] {
        let pid = processes.signal(node, libc::SIGKILL)?;
        processes.all_alive(&[pid]).await?;
    }
    until("they say so again", || {
        says(1) > before.0 && says(2) > before.1
    })
    .await?;
    typist.append("after").await?;
    let expected = format!("alone start one {}beside after", "more ".repeat(30));
    assert_eq!(
        Typist::open(&rest(&processes), &doc).await?.text(),
        expected
    );

    // The folder that it had last is welcome.
    std::fs::rename(&own, &copy)?;
    std::fs::rename(folder.path().join("lost"), &own)?;
    let pid = processes.signal(3, libc::SIGKILL)?;
    processes.all_alive(&[pid]).await?;
    processes.signal(2, libc::SIGSTOP)?;
    typist.append(" again").await?;
    processes.signal(2, libc::SIGCONT)?;
    Ok(())
}
