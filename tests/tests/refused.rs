//! Configuration that cannot be right: each process says what is wrong and what to do, ends with an
//! exit code of its own, and changes nothing on disk.
#![allow(clippy::disallowed_methods)] // reads and writes files, outside the product

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Result, ensure};
use codraft_e2e::processes::{Folder, codraft, program};

/// Every file below a folder.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.display().to_string();
                    all.insert(name, std::fs::read(path)?);
                }
            }
        }
    }
    Ok(all)
}

/// Runs a command that has to refuse; what it said.
fn refused(args: &[&str], env: &[(&str, &str)], folder: &Path) -> Result<String> {
    let before = files(folder)?;
    let mut command = Command::new(program()?);
    command.args(args).envs(env.iter().copied());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{args:?} {env:?} did not refuse");
    ensure!(!said.contains("panicked"), "{args:?}: {said}");
    ensure!(
        files(folder)? == before,
        "{args:?} changed something on disk"
    );
    Ok(said)
}

fn cluster(name: &str) -> Result<Folder> {
    let folder = Folder::fresh(name);
    // Addresses that nothing else listens on are not needed: nothing gets so far.
    codraft(&["init", "--data"], folder.path())?;
    Ok(folder)
}

#[test]
fn limits_and_origins_that_cannot_be_end_every_process() -> Result<()> {
    let folder = cluster("refused-limits")?;
    let router = folder.path().join("router.toml").display().to_string();
    let node = folder.path().join("node-1.toml").display().to_string();
    let limits: &[((&str, &str), &[&str])] = &[
        (
            ("CODRAFT_LIMITS__SOCKET_QUEUE_BYTES", "1000"),
            &["socket_queue_bytes = 1000", "524288"],
        ),
        (
            ("CODRAFT_LIMITS__FRAME_BYTES", "0"),
            &["frame_bytes = 0", "1024"],
        ),
        (
            ("CODRAFT_LIMITS__FRAME_BYTES", "9000000"),
            &["frame_bytes = 9000000", "4194304"],
        ),
        (
            ("CODRAFT_LIMITS__BYTES_PER_SECOND", "262143"),
            &["bytes_per_second = 262143", "262144 = limits.frame_bytes"],
        ),
        (
            ("CODRAFT_LIMITS__SOCKETS_PER_USER", "63"),
            &["sockets_per_user = 63", "64"],
        ),
        (
            ("CODRAFT_LIMITS__SOCKETS", "255"),
            &["sockets = 255", "256"],
        ),
        (
            ("CODRAFT_LIMITS__OPS_PER_SECOND", "0"),
            &["ops_per_second = 0"],
        ),
        (
            ("CODRAFT_LIMITS__OPENS_PER_SECOND", "0"),
            &["opens_per_second = 0"],
        ),
        (
            ("CODRAFT_LIMITS__TICKETS_PER_SECOND", "0"),
            &["tickets_per_second = 0"],
        ),
        (
            ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "0"),
            &["requests_per_second = 0"],
        ),
        (
            ("CODRAFT_LIMITS__REFUSALS_PER_SECOND", "0"),
            &["refusals_per_second = 0"],
        ),
        (
            ("CODRAFT_LIMITS__CATCH_UP_BYTES_PER_SECOND", "0"),
            &["catch_up_bytes_per_second = 0"],
        ),
        (
            ("CODRAFT_LIMITS__SOCKETS_PER_USER_AND_DOCUMENT", "0"),
            &["sockets_per_user_and_document = 0"],
        ),
        (("CODRAFT_LIMITS__FRAME_MS", "0"), &["frame_ms = 0"]),
        (
            ("CODRAFT_LIMITS__FRAME_MS", "3600001"),
            &["frame_ms = 3600001"],
        ),
        (
            ("CODRAFT_LIMITS__HELLO_MS", "3600001"),
            &["hello_ms = 3600001"],
        ),
        (
            ("CODRAFT_LIMITS__BODY_MS", "3600001"),
            &["body_ms = 3600001"],
        ),
        (("CODRAFT_LIMITS__BODY_BYTES", "0"), &["body_bytes = 0"]),
        (
            ("CODRAFT_LIMITS__GROUP_STATE_BYTES", "1000000"),
            &["group_state_bytes = 1000000", "67108864"],
        ),
    ];
    for (env, words) in limits {
        let data = folder.path().display().to_string();
        let dev = ["dev", "--data", &data];
        for args in [
            dev,
            ["router", "--config", &router],
            ["node", "--config", &node],
        ] {
            let said = refused(&args, &[*env], folder.path())?;
            for word in *words {
                ensure!(said.contains(word), "{env:?}: {said}");
            }
        }
    }
    for (origins, word) in [
        (r#"["http://localhost:7400/"]"#, "http://localhost:7400"),
        (r#"["*"]"#, "pattern"),
        (r#"["localhost:7400"]"#, "scheme"),
    ] {
        let env = [("CODRAFT_ROUTER__ORIGINS", origins)];
        let said = refused(&["router", "--config", &router], &env, folder.path())?;
        ensure!(
            said.contains(word) && said.contains("origin"),
            "{origins}: {said}"
        );
    }
    Ok(())
}

#[test]
fn a_key_without_an_issuer_or_an_audience_starts_nothing() -> Result<()> {
    let folder = cluster("refused-keys")?;
    let router = folder.path().join("router.toml").display().to_string();
    let path = folder.path().join("keys.toml");
    let good = std::fs::read_to_string(&path)?;
    for name in ["issuer", "audience"] {
        let without = good.lines().filter(|line| !line.starts_with(name));
        std::fs::write(&path, without.collect::<Vec<_>>().join("\n"))?;
        let said = refused(&["router", "--config", &router], &[], folder.path())?;
        ensure!(said.contains(&format!("`{name}`")), "{said}");
        let data = folder.path().display().to_string();
        let said = refused(
            &["token", "--user", "ana", "--data", &data],
            &[],
            folder.path(),
        )?;
        ensure!(said.contains(&format!("`{name}`")), "{said}");
    }
    Ok(())
}

#[test]
fn no_token_is_made_that_a_router_refuses() -> Result<()> {
    let folder = cluster("refused-tokens")?;
    let data = folder.path().display().to_string();
    let long = "u".repeat(200);
    for user in ["", ".", "..", "two\nlines", &long] {
        let said = refused(
            &["token", "--data", &data, "--user", user],
            &[],
            folder.path(),
        )?;
        ensure!(said.contains("a user "), "{user:?}: {said}");
    }
    for seconds in ["0", "18446744073709551615", "1000000000000"] {
        let args = [
            "token",
            "--data",
            &data,
            "--user",
            "ana",
            "--seconds",
            seconds,
        ];
        let said = refused(&args, &[], folder.path())?;
        ensure!(said.contains(seconds), "{seconds}: {said}");
    }
    Ok(())
}
