//! Replays recordings through real processes.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use codraft_ot::{Delta, Limits};
use codraft_proto::{
    frame::{ClientFrame, ServerFrame},
    ids::{ClientId, Revision, Seq},
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::{
    author::Author,
    gaps::Gaps,
    patience::PATIENCE,
    rest::Rest,
    socket::{Socket, fresh_client},
    traces::Trace,
};

/// Which transaction each author's sequence numbers carry, and what has been made so far.
///
/// A shard puts what comes first to the left where two inserts meet at one place. The recordings
/// have no such inserts, but where the text between two places was deleted they become one; their
/// text is that of the lower author going first. So an operation is sent when those of lower
/// authors that do not depend on it are in: an order of arrival that the recording allows.
struct Plan {
    trace: Trace,
    /// Per transaction: how many transactions of each lower author come before the first of
    /// them that has seen it.
    after: Vec<Vec<usize>>,
    /// Per agent: how many of its operations are acknowledged.
    acked: watch::Sender<Vec<usize>>,
    /// Per agent: transaction numbers in the order sent.
    sent: Mutex<Vec<Vec<usize>>>,
    /// Per transaction and other agent: the last transaction of that agent that its author had
    /// seen, plus one; 0 for none.
    seen: Vec<Vec<usize>>,
}

impl Plan {
    fn new(trace: Trace) -> Plan {
        let agents = trace.num_agents.max(1);
        let mut seen: Vec<Vec<usize>> = Vec::with_capacity(trace.txns.len());
        for transaction in &trace.txns {
            let mut mine = vec![0; agents];
            for parent in &transaction.parents {
                for (agent, last) in seen[*parent].iter().enumerate() {
                    mine[agent] = mine[agent].max(*last);
                }
                let agent = trace.txns[*parent].agent;
                mine[agent] = mine[agent].max(parent + 1);
            }
            seen.push(mine);
        }
        let mut after = vec![vec![0; agents]; trace.txns.len()];
        let by_agent: Vec<Vec<usize>> = (0..agents)
            .map(|agent| {
                (0..trace.txns.len())
                    .filter(|i| trace.txns[*i].agent == agent)
                    .collect()
            })
            .collect();
        for (number, transaction) in trace.txns.iter().enumerate() {
            for (lower, theirs) in by_agent.iter().enumerate().take(transaction.agent) {
                // What an author has seen of another only grows.
                let has_not = |i: &usize| seen[*i][transaction.agent] <= number;
                after[number][lower] = theirs.partition_point(has_not);
            }
        }
        let acked = watch::Sender::new(vec![0; agents]);
        Plan {
            sent: Mutex::new(vec![Vec::new(); agents]),
            trace,
            after,
            acked,
            seen,
        }
    }
}

/// What a replay ended with.
pub struct Replayed {
    pub operations: u64,
    pub rev: u64,
    pub text: String,
    pub expected: String,
    /// (revision, chain hash) as the observers were told, all of them.
    pub marks: Vec<(u64, [u8; 32])>,
    pub doc: String,
    /// What the reader was told.
    pub told: Told,
}

/// A document as it was opened, and every operation since.
pub struct Told {
    pub rev: u64,
    pub text: String,
    pub operations: Vec<Delta>,
}

/// Replays a recording: one socket an agent, each transaction made against exactly what its
/// author had seen, and one reader beside them. `gaps` takes note of every acknowledgement.
pub async fn replay(rest: &Rest, trace: Trace, gaps: &Gaps) -> Result<Replayed> {
    let doc = rest.create("a recording", &trace.start_content).await?;
    gaps.typing_into(&doc);
    let expected = trace.end_content.clone();
    let agents = trace.num_agents.max(1);
    let clients: Vec<ClientId> = (0..agents).map(|_| fresh_client()).collect();
    let plan = Arc::new(Plan::new(trace));
    let (finished, finish) = watch::channel(0usize);
    let finished = Arc::new(finished);

    let mut authors = Vec::new();
    for agent in 0..agents {
        let (rest, doc, clients, plan) = (rest.clone(), doc.clone(), clients.clone(), plan.clone());
        let (finished, gaps) = (finished.clone(), gaps.clone());
        authors.push(tokio::task::spawn(async move {
            let result = write(&rest, &doc, agent, &clients, &plan, &gaps).await;
            finished.send_modify(|n| *n += 1);
            result.with_context(|| format!("author {agent}"))
        }));
    }
    let reader = {
        let (rest, doc, plan) = (rest.clone(), doc.clone(), plan.clone());
        let finish = finish.clone();
        tokio::task::spawn(async move { read(&rest, &doc, &plan, finish, agents).await })
    };
    let mut ends = Vec::new();
    let mut marks = Vec::new();
    for author in authors {
        let (rev, text, seen) = author.await??;
        ends.push((rev, text));
        marks.extend(seen);
    }
    let (told, (rev, text, seen)) = reader.await?.context("the reader")?;
    marks.extend(seen);
    for (other_rev, other) in &ends {
        ensure!(
            *other_rev == rev,
            "one ended at revision {other_rev}, another at {rev}"
        );
        ensure!(*other == text, "two observers ended with different texts");
    }
    let operations: usize = plan.sent.lock().iter().map(Vec::len).sum();
    Ok(Replayed {
        operations: operations as u64,
        rev,
        text,
        expected,
        marks,
        doc,
        told,
    })
}

type End = (u64, String, Vec<(u64, [u8; 32])>);

/// One author: shows what the recording says, types, sends one operation after another.
async fn write(
    rest: &Rest,
    doc: &str,
    agent: usize,
    clients: &[ClientId],
    plan: &Plan,
    gaps: &Gaps,
) -> Result<End> {
    let (mut socket, welcome) = Socket::open(rest, doc, clients[agent], None, false).await?;
    let mut author = Author::new(&plan.trace.start_content, welcome.rev.0)?;
    let mine: Vec<usize> = transactions(plan, agent);
    let theirs: Vec<usize> = (0..plan.trace.txns.len())
        .filter(|i| plan.trace.txns[*i].agent != agent)
        .collect();
    // What has arrived of each other agent, as the transaction after it.
    let mut arrived = vec![0; clients.len()];
    let mut counts = vec![0; clients.len()];
    let mut received = 0;
    let (mut next, mut seq) = (0, 0u64);
    let mut made = Vec::new();
    let mut marks = Vec::new();
    loop {
        // Type all that the recording allows on what has arrived.
        while let Some(transaction) = mine.get(next) {
            let seen = &plan.seen[*transaction];
            let here = (0..clients.len()).all(|a| a == agent || arrived[a] >= seen[a]);
            // Not a whole recording ahead of what is acknowledged.
            if !here || author.waiting() > 64 {
                break;
            }
            let shown = (0..clients.len())
                .filter(|a| *a != agent)
                .map(|a| seen[a])
                .max();
            author.show_below(shown.unwrap_or(0));
            if author.type_in(&plan.trace.txns[*transaction].patches)? {
                made.push(*transaction);
            } else {
                bail!("transaction {transaction} changes nothing");
            }
            next += 1;
        }
        if author.may_send() {
            // What others did meanwhile stays unread until then, so that the shard moves this
            // operation past it.
            let transaction = made[seq as usize];
            let after = &plan.after[transaction];
            let in_order = |acked: &Vec<usize>| after.iter().zip(acked).all(|(a, have)| have >= a);
            timeout(PATIENCE, plan.acked.subscribe().wait_for(in_order))
                .await
                .with_context(|| format!("transaction {transaction} waits for others"))??;
            let ops = author.send().context("nothing to send")?;
            seq += 1;
            plan.sent.lock()[agent].push(transaction);
            let op = ClientFrame::Op {
                seq: Seq(seq),
                base: Revision(author.rev),
                ops: ops.into(),
            };
            gaps.sent();
            socket.send(&op).await?;
        }
        if next == mine.len() && author.is_idle() && received == theirs.len() {
            return Ok((author.rev, author.content().text(), marks));
        }
        match socket.next().await? {
            ServerFrame::Op(op) if socket.is_mine(op.slot) => {
                ensure!(
                    op.rev == Revision(author.rev + 1),
                    "a gap: {} after {}",
                    op.rev,
                    author.rev
                );
                author.acked(op.rev.0)?;
                plan.acked.send_modify(|acked| acked[agent] += 1);
                gaps.acked();
            }
            ServerFrame::Op(op) => {
                ensure!(
                    op.rev == Revision(author.rev + 1),
                    "a gap: {} after {}",
                    op.rev,
                    author.rev
                );
                let who = socket.who.get(&op.slot).context("an unknown slot")?;
                let other = clients
                    .iter()
                    .position(|c| c == who)
                    .context("a stranger types")?;
                let transaction = transactions_at(plan, other, counts[other])?;
                counts[other] += 1;
                received += 1;
                arrived[other] = transaction + 1;
                let delta = Delta::decode(&op.ops, &Limits::default())?;
                author.remote(op.rev.0, transaction, &delta)?;
            }
            ServerFrame::Already { seq: repeated, rev } => {
                bail!("{repeated} was answered as a repeat at {rev}, its event never came");
            }
            ServerFrame::Mark(at) => marks.push((at.rev.0, at.hash)),
            ServerFrame::Who(_) | ServerFrame::Saving { .. } | ServerFrame::Pong => {}
            other => bail!("unexpected: {other:?}"),
        }
    }
}

fn transactions(plan: &Plan, agent: usize) -> Vec<usize> {
    (0..plan.trace.txns.len())
        .filter(|i| plan.trace.txns[*i].agent == agent)
        .collect()
}

/// The transaction that an agent's operation number `n` carries.
fn transactions_at(plan: &Plan, agent: usize, n: usize) -> Result<usize> {
    let sent = plan.sent.lock();
    sent[agent]
        .get(n)
        .copied()
        .context("an operation that nobody sent")
}

/// A reader from the first revision to the last.
async fn read(
    rest: &Rest,
    doc: &str,
    plan: &Plan,
    mut finish: watch::Receiver<usize>,
    agents: usize,
) -> Result<(Told, End)> {
    let (mut socket, welcome) = Socket::open(rest, doc, fresh_client(), None, false).await?;
    let start = welcome.doc.context("no document")?;
    let limits = Limits::default();
    let start = Delta::decode(&start, &limits)?;
    let mut content = codraft_ot::Content::from_delta(codraft_ot::Kind::Text, &start, &limits)?;
    let mut rev = welcome.rev;
    let mut told = Told {
        rev: rev.0,
        text: content.text(),
        operations: Vec::new(),
    };
    let first = 1;
    let mut marks = vec![(welcome.rev.0, welcome.hash)];
    loop {
        let sent = || plan.sent.lock().iter().map(Vec::len).sum::<usize>();
        if *finish.borrow_and_update() == agents && rev == Revision(first + sent() as u64) {
            return Ok((told, (rev.0, content.text(), marks)));
        }
        let frame = tokio::select! {
            biased;
            frame = socket.next() => frame?,
            changed = finish.changed() => {
                changed?;
                continue;
            }
        };
        match frame {
            ServerFrame::Op(op) => {
                ensure!(op.rev == rev + 1, "a gap: {} after {rev}", op.rev);
                let delta = Delta::decode(&op.ops, &limits)?;
                content.apply(&delta, &limits)?;
                told.operations.push(delta);
                rev = op.rev;
            }
            ServerFrame::Mark(at) => marks.push((at.rev.0, at.hash)),
            ServerFrame::Who(_) | ServerFrame::Saving { .. } | ServerFrame::Pong => {}
            other => bail!("unexpected: {other:?}"),
        }
    }
}

/// All marks of one revision agree.
pub fn check_marks(marks: &[(u64, [u8; 32])]) -> Result<usize> {
    let mut by_rev = std::collections::BTreeMap::new();
    for (rev, hash) in marks {
        let held = by_rev.entry(*rev).or_insert(*hash);
        ensure!(held == hash, "two chain hashes at revision {rev}");
    }
    Ok(by_rev.len())
}
