//! Comments on what it sees, answers, and asks where all threads are.

use anyhow::{Context, Result};
use http::Method;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::{Client, past::Asker};
use crate::record::{ClientSeen, Range, Seen};

/// What is done beside opening a thread.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Answer,
    Settle,
    Delete,
}

impl Client {
    /// Not waited for: a person goes on typing.
    pub(super) fn comment(&self, rng: &mut StdRng) {
        let asker = self.asker();
        let document = self.store.document.as_ref();
        let at = document.map_or(0, |document| document.rev().0);
        // What it shows has more than `at` has where something is unsent; such a range may be none.
        let units = document.map_or(0, |document| document.content().units());
        let (from, to) = (rng.random_range(0..=units), rng.random_range(0..=units));
        let range = Range {
            start: from.min(to).into(),
            end: from.max(to).into(),
        };
        let then = [Then::Nothing, Then::Answer, Then::Settle, Then::Delete];
        let then = then.choose(rng).copied().unwrap_or(Then::Nothing);
        let key: u64 = rng.random();
        let repeats = rng.random_bool(0.3);
        spawn_local(async move {
            for _ in 0..1 + u32::from(repeats) {
                let _ = asker.comment(at, range, key, then).await;
            }
            let _ = asker.threads().await;
        });
    }
}

impl Asker {
    async fn comment(&self, at: u64, range: Range, key: u64, then: Then) -> Result<()> {
        let of = format!("/v1/docs/{}/comments", self.doc);
        let body =
            json!({"rev": at, "start": range.start, "end": range.end, "text": format!("{key}")});
        let made = self.call_once(Method::POST, &of, &body, key).await?;
        let thread = made["id"].as_str().context("no id")?.to_owned();
        self.shared.recorder.mark("commented");
        self.shared
            .recorder
            .note(Seen::Client(ClientSeen::Commented {
                user: self.user,
                doc: self.doc.0,
                thread: thread.clone(),
                at,
                range,
                rev: made["rev"].as_u64().unwrap_or(0),
            }));
        match then {
            Then::Nothing => {}
            Then::Answer => {
                let path = format!("{of}/{thread}/replies");
                let body = json!({"text": "because"});
                self.call_once(Method::POST, &path, &body, key).await?;
            }
            Then::Settle => {
                let path = format!("{of}/{thread}/resolve");
                self.call(Method::POST, &path, &Value::Null).await?;
            }
            Then::Delete => {
                let doc = self.doc.0;
                let deletes = ClientSeen::Uncommented {
                    doc,
                    thread: thread.clone(),
                };
                self.shared.recorder.note(Seen::Client(deletes));
                let path = format!("{of}/{thread}/{thread}");
                self.call(Method::DELETE, &path, &Value::Null).await?;
            }
        }
        Ok(())
    }

    async fn threads(&self) -> Result<()> {
        let path = format!("/v1/docs/{}/comments", self.doc);
        let answer = self.call(Method::GET, &path, &Value::Null).await?;
        let threads = answer["threads"].as_array().context("no threads")?;
        let place = |thread: &Value| {
            let range = Range {
                start: thread["start"].as_u64()?,
                end: thread["end"].as_u64()?,
            };
            Some((thread["id"].as_str()?.to_owned(), range))
        };
        self.shared.recorder.mark("comments_told");
        self.shared.recorder.note(Seen::Client(ClientSeen::Threads {
            user: self.user,
            doc: self.doc.0,
            rev: answer["rev"].as_u64().unwrap_or(0),
            threads: threads.iter().filter_map(place).collect(),
        }));
        Ok(())
    }
}
