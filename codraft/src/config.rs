//! The configuration of one process: a TOML file with overrides from the environment,
//! checked before anything starts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use codraft_proto::limits::EdgeLimits;
use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `cluster.toml`.
    pub cluster: PathBuf,
    /// `keys.toml`: what tokens and tickets are signed with.
    pub keys: PathBuf,
    pub node: Option<NodeSection>,
    pub router: Option<RouterSection>,
    #[serde(default)]
    pub limits: EdgeLimits,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    pub id: u64,
    /// The folder of this node's log and identity.
    pub data: PathBuf,
    /// Where `/metrics` of the node is served; nowhere when not given.
    pub metrics_listen: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterSection {
    pub listen: String,
    /// The origin at which clients reach this router and no other one; empty: tickets send nobody
    /// here.
    #[serde(default)]
    pub public_url: String,
    /// Exact origins of pages that may open sockets.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Where `/metrics` of the router is served; beside the rest when not given.
    pub metrics_listen: Option<String>,
    /// Serve the built-in page.
    #[serde(default)]
    pub page: bool,
    /// Development: the file that says which processes run.
    pub dev_state: Option<PathBuf>,
}

/// The limits that the environment sets for every process that is started in it.
pub fn check_environment() -> Result<()> {
    let limits = Figment::new().merge(Env::prefixed("CODRAFT_LIMITS__"));
    let limits: EdgeLimits = limits.extract().context("the limits of the environment")?;
    Ok(limits.validate()?)
}

impl Config {
    /// What may be said of it before anything is opened or listened on.
    fn check(&self) -> Result<()> {
        self.limits.validate()?;
        if let Some(router) = &self.router {
            codraft_router::check_origins(&router.origins)?;
            codraft_router::check_public_url(&router.public_url)?;
        }
        Ok(())
    }

    pub fn load(path: &Path) -> Result<Config> {
        if !path.is_file() {
            bail!(
                "there is no configuration at {}; `codraft init` writes one",
                path.display()
            );
        }
        let mut config: Config = Figment::new()
            .merge(Toml::file_exact(path))
            .merge(Env::prefixed("CODRAFT_").split("__").filter(|key| {
                // `split` has made dots of the underscores.
                let section = key.as_str().split('.').next().unwrap_or_default();
                ["cluster", "keys", "node", "router", "limits"]
                    .iter()
                    .any(|known| section.eq_ignore_ascii_case(known))
            }))
            .extract()
            .with_context(|| format!("the configuration {} is not right", path.display()))?;
        config.check().with_context(|| {
            format!("the configuration {} (and its environment)", path.display())
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let from_base = |path: &mut PathBuf| *path = base.join(&*path);
        from_base(&mut config.cluster);
        from_base(&mut config.keys);
        if let Some(node) = &mut config.node {
            from_base(&mut node.data);
        }
        if let Some(state) = config.router.as_mut().and_then(|r| r.dev_state.as_mut()) {
            from_base(state);
        }
        Ok(config)
    }
}
