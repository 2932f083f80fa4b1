//! Asks what a document was, has it back as it was, and has it kept whole.

use anyhow::{Context, Result};
use codraft_ot::{Content, Kind, Limits};
use codraft_proto::{frame::json, ids::DocId};
use http::Method;
use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::Client;
use crate::{
    convert, overrides, plan,
    record::{ClientSeen, Seen},
    shared::Shared,
    socket::Speaker,
};

/// Asks on its user's behalf, beside the socket.
pub(super) struct Asker {
    speaker: Speaker,
    pub shared: Shared,
    router: String,
    pub user: u32,
    pub doc: DocId,
}

impl Client {
    pub(super) fn asker(&self) -> Asker {
        Asker {
            speaker: self.speaker.clone(),
            shared: self.shared.clone(),
            router: plan::Host::Router(self.router).to_string(),
            user: self.plan.user,
            doc: self.doc,
        }
    }

    /// Not waited for: a person goes on typing.
    pub(super) fn look_back(&self, rng: &mut StdRng) {
        let (asker, known) = (self.asker(), self.known());
        let version = rng.random_range(1..=known);
        spawn_local(async move {
            // No answer, or a refusal: there is nothing to compare.
            if let Ok(Some(oldest)) = asker.look_back(version).await {
                let _ = asker.look_back(oldest).await;
            }
            let _ = asker.list().await;
        });
    }

    /// Half of them think better of it, and have back what was there before.
    pub(super) fn restore(&self, rng: &mut StdRng) {
        let (asker, known) = (self.asker(), self.known());
        let version = rng.random_range(1..=known);
        let and_back = rng.random_bool(0.5);
        spawn_local(async move {
            let done = asker.restore(version).await.is_ok();
            if done && and_back {
                let _ = asker.restore(known).await;
            }
        });
    }

    pub(super) fn snapshot(&self) {
        let asker = self.asker();
        spawn_local(async move {
            let path = format!("/v1/docs/{}/snapshots", asker.doc);
            let answer = asker.call(Method::POST, &path, &Value::Null).await;
            let version = answer.ok().and_then(|answer| answer["version"].as_u64());
            if let Some(version) = version {
                asker.shared.recorder.mark("snapshot_asked");
                // It is there, and says what the document was.
                let _ = asker.look_back(version).await;
            }
        });
    }

    /// The last revision that it heard of.
    fn known(&self) -> u64 {
        let document = self.store.document.as_ref();
        document.map_or(1, |document| document.rev().0.max(1))
    }
}

impl Asker {
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.speaker.call(&self.router, method, path, body).await?;
        anyhow::ensure!((200..300).contains(&status), "{path}: {status}");
        Ok(answer)
    }

    /// With a key by which a repeat is known.
    pub async fn call_once(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        key: u64,
    ) -> Result<Value> {
        let (speaker, key) = (&self.speaker, key.to_string());
        let call = speaker.call_once(&self.router, method, path, body, &key);
        let (status, answer) = call.await?;
        anyhow::ensure!((200..300).contains(&status), "{path}: {status}");
        Ok(answer)
    }

    async fn restore(&self, version: u64) -> Result<()> {
        let path = format!("/v1/docs/{}/restore", self.doc);
        let body = json!({ "version": version });
        let answer = self.call(Method::POST, &path, &body).await?;
        self.shared.recorder.mark("restored");
        self.shared
            .recorder
            .note(Seen::Client(ClientSeen::Restored {
                user: self.user,
                doc: self.doc.0,
                version,
                rev: answer["rev"].as_u64().unwrap_or(0),
            }));
        Ok(())
    }

    /// All documents of its user, two at a time.
    async fn list(&self) -> Result<()> {
        let ask = self.shared.next_ask();
        let recorder = &self.shared.recorder;
        recorder.note(Seen::Client(ClientSeen::ListAsked { ask }));
        let (mut docs, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/docs?limit=2{after}");
            let page = self.call(Method::GET, &path, &Value::Null).await?;
            for document in page["documents"].as_array().context("no documents")? {
                let id: DocId = document["id"].as_str().unwrap_or_default().parse()?;
                docs.push(id.0);
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        recorder.mark("listed");
        let user = self.user;
        recorder.note(Seen::Client(ClientSeen::Listed { ask, user, docs }));
        Ok(())
    }

    /// The oldest revision that is kept, where this one is not any more.
    async fn look_back(&self, version: u64) -> Result<Option<u64>> {
        let asked = overrides::elapsed();
        let of = format!("/v1/docs/{}/history", self.doc);
        let path = format!("{of}?version={version}");
        let call = self
            .speaker
            .call(&self.router, Method::GET, &path, &Value::Null);
        let (status, told) = call.await?;
        if status == 410 {
            let oldest = self.erased(version, &told)?;
            return Ok(Some(oldest));
        }
        anyhow::ensure!((200..300).contains(&status), "{path}: {status}");
        let kind = match told["kind"].as_str() {
            Some("rich") => Kind::Rich,
            _ => Kind::Text,
        };
        let limits = Limits::default().of_document();
        let inserts = json::delta_of(&told["content"], &limits)?;
        let (text, digest) = convert::view(&Content::from_delta(kind, &inserts, &limits)?);
        let path = format!("{of}/authors?version={version}");
        let authors = self.call(Method::GET, &path, &Value::Null).await?;
        let runs = authors["runs"].as_array().context("no authors")?;
        let run = |run: &Value| Some((run["units"].as_u64()?, run["user"].as_str()?.to_owned()));
        self.shared.recorder.mark("history_told");
        self.shared.recorder.note(Seen::Client(ClientSeen::Told {
            user: self.user,
            doc: self.doc.0,
            version: told["version"].as_u64().unwrap_or(0),
            text,
            digest,
            authors: runs.iter().filter_map(run).collect(),
            asked,
        }));
        Ok(None)
    }

    /// Notes what a refusal says of where history begins.
    fn erased(&self, version: u64, problem: &Value) -> Result<u64> {
        let mut words = problem["detail"].as_str().unwrap_or_default().split(' ');
        let oldest = words.find_map(|word| word.parse().ok());
        let oldest = oldest.context("no oldest revision")?;
        self.shared.recorder.note(Seen::Client(ClientSeen::Erased {
            user: self.user,
            doc: self.doc.0,
            version,
            oldest,
        }));
        Ok(oldest)
    }
}
