//! The hostile client's thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep},
};

use super::{attacks::Case, scene::Scene};
use crate::patience::{PATIENCE, within};

/// What went wrong for honest people, by name.
pub type Harm = BTreeMap<String, u64>;

/// What a client and its starter tell each other.
#[derive(Clone)]
pub struct Turn {
    over: watch::Receiver<bool>,
    attempts: Arc<AtomicU64>,
    /// Why the last attempt that failed did.
    failure: Arc<Mutex<String>>,
}

impl Turn {
    /// One more thing is done.
    pub fn did(&self) {
        self.attempts.fetch_add(1, Relaxed);
    }

    pub fn failed(&self, error: &anyhow::Error) {
        let mut failure = self.failure.lock();
        *failure = format!("{error:#}");
    }

    /// Until the client has to stop.
    pub async fn over(&self) {
        // A starter that has gone waits for nothing more.
        let _ = self.over.clone().wait_for(|over| *over).await;
    }
}

/// A hostile client that runs, on a thread of its own.
pub struct Client {
    over: watch::Sender<bool>,
    turn: Turn,
    harm: oneshot::Receiver<Result<Harm>>,
}

impl Client {
    pub fn start(case: &'static Case, scene: Scene) -> Client {
        let (over, is_over) = watch::channel(false);
        let turn = Turn {
            over: is_over,
            attempts: Arc::default(),
            failure: Arc::default(),
        };
        let (tell, harm) = oneshot::channel();
        let its_turn = turn.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build();
            let harm = runtime
                .context("the hostile client's runtime")
                .and_then(|runtime| runtime.block_on((case.attack)(scene, its_turn)));
            let _ = tell.send(harm);
        });
        Client { over, turn, harm }
    }

    pub async fn has_done_something(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.turn.attempts.load(Relaxed) == 0 {
            if Instant::now() > end {
                let failure = self.turn.failure.lock().clone();
                bail!("the hostile client got nothing done; what failed last: {failure:?}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub async fn end(self) -> Result<(u64, Harm)> {
        let _ = self.over.send(true);
        let harm = within(PATIENCE, "the hostile client to stop", self.harm).await?;
        let harm = harm.context("the hostile client panicked")??;
        Ok((self.turn.attempts.load(Relaxed), harm))
    }
}
