//! The one writer: takes all that waits, writes it once, syncs it once, tells everybody.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use codraft_proto::{ids::GroupId, tasks::Tasks};
use tokio::{sync::oneshot, time::timeout};

use super::{
    Done, Request, Shared,
    record::{self, Kind, Position},
    segment::Place,
};
use crate::disk::File;

/// An idle log says within this time up to where it is synced.
const IDLE_MARK: Duration = Duration::from_secs(1);
/// A mark in the file.
const MARK_BYTES: u64 = record::size(record::MARK) as u64;

pub async fn run(shared: Arc<Shared>, tasks: Tasks, end: Position) {
    if let Err(error) = write(&shared, &tasks, end).await {
        let reason = format!("the log cannot be written: {error}");
        tracing::error!(%error, "the log cannot be written; this process must end");
        shared.failed.send_replace(Some(reason));
        let waiting = std::mem::take(&mut shared.lock().queue);
        waiting.into_iter().for_each(|request| request.fail(&error));
    }
}

async fn write(shared: &Arc<Shared>, tasks: &Tasks, end: Position) -> io::Result<()> {
    let segment_bytes = shared.options.segment_bytes;
    let mut file = shared.segments.file(end.segment).await?;
    let mut writer = Writer {
        end,
        synced: end,
        unmarked: end.offset > 0,
        buffer: Vec::new(),
    };
    let mut next = None;
    loop {
        let mut requests = std::mem::take(&mut shared.lock().queue);
        if requests.is_empty() {
            // What only spares work rides along; it never wakes the disk by itself.
            let unmarked = writer.unmarked;
            let woken = timeout(IDLE_MARK, shared.wake.notified()).await.is_ok();
            if woken || !unmarked {
                continue;
            }
        }
        let bytes = shared.fit(&mut requests) + MARK_BYTES;
        if bytes > segment_bytes {
            // One alone: `append` lets none in that is larger.
            return Err(io::Error::other("a request is larger than a segment"));
        }
        if writer.end.offset + bytes > segment_bytes {
            let number = writer.end.segment + 1;
            let made = next.take().unwrap_or_else(|| make(shared, tasks, number));
            file = match made
                .await
                .map_err(|_| io::Error::other("the next segment was not made"))
            {
                Ok(made) => made?,
                Err(error) => return Err(error),
            };
            writer.end = Position {
                segment: number,
                offset: 0,
            };
        }
        if let Err(error) = writer.batch(shared, &file, &mut requests).await {
            requests
                .into_iter()
                .for_each(|request| request.fail(&error));
            return Err(error);
        }
        // The next file is made beside the writing, while this one is only half full.
        if next.is_none() && writer.end.offset * 2 > segment_bytes {
            next = Some(make(shared, tasks, writer.end.segment + 1));
        }
    }
}

type Made = oneshot::Receiver<io::Result<Arc<dyn File>>>;

/// Finds or makes a segment in a task of its own.
fn make(shared: &Arc<Shared>, tasks: &Tasks, number: u64) -> Made {
    let (told, made) = oneshot::channel();
    let shared = shared.clone();
    tasks.spawn("wal segment", async move {
        let file = match shared.segments.file(number).await {
            Ok(file) => Ok(file),
            Err(_) => {
                shared
                    .segments
                    .make(number, shared.options.segment_bytes)
                    .await
            }
        };
        let _ = told.send(file);
    });
    made
}

struct Writer {
    /// Where the next record goes.
    end: Position,
    /// Up to here it is durable.
    synced: Position,
    /// Whether there is more than marks behind the last mark.
    unmarked: bool,
    buffer: Vec<u8>,
}

impl Writer {
    async fn batch(
        &mut self,
        shared: &Shared,
        file: &Arc<dyn File>,
        requests: &mut Vec<Request>,
    ) -> io::Result<()> {
        let start = self.end;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mark = record::mark(self.synced);
        let mut put = |kind, group, number, payload: &[u8]| {
            let offset = start.offset + buffer.len() as u64;
            let at = Position {
                segment: start.segment,
                offset,
            };
            record::encode(&mut buffer, at, kind, group, number, payload);
            at
        };
        put(Kind::Mark, GroupId(0), 0, &mark);
        let mut placed: Vec<(GroupId, u64, Bytes, Place)> = Vec::new();
        for request in requests.iter() {
            match request {
                Request::Append {
                    group,
                    first,
                    records,
                    ..
                } => {
                    for (index, payload) in (*first..).zip(records) {
                        let at = put(Kind::Append, *group, index, payload);
                        let place = Place {
                            at,
                            length: payload.len() as u32,
                        };
                        placed.push((*group, index, payload.clone(), place));
                    }
                }
                Request::Vote { group, vote, .. } => {
                    put(Kind::Vote, *group, 0, vote);
                }
                Request::Committed { group, committed } => {
                    put(Kind::Committed, *group, 0, committed);
                }
                Request::Truncate { group, keep, .. } => {
                    put(Kind::Truncate, *group, *keep, &[]);
                }
                Request::Purge { group, up_to, .. } => {
                    put(Kind::Purge, *group, *up_to, &[]);
                }
            }
        }
        let written = buffer.len() as u64;
        self.buffer = file.write_and_sync(start.offset, buffer).await?;
        self.end.offset += written;
        self.synced = self.end;
        self.unmarked = !requests.is_empty();

        let mut done: Vec<Done> = Vec::with_capacity(requests.len());
        {
            let mut state = shared.lock();
            state.stats.syncs += 1;
            state.stats.bytes += written;
            state.stats.records += placed.len() as u64;
            for (group, index, payload, place) in placed {
                let held = state.groups.entry(group).or_default();
                held.placed(index, &payload, place, shared.options.cache_bytes);
            }
            for request in requests.drain(..) {
                let bytes = request.queue_bytes();
                state.queued_bytes = state.queued_bytes.saturating_sub(bytes);
                match request {
                    Request::Append { done: told, .. }
                    | Request::Vote { done: told, .. }
                    | Request::Truncate { done: told, .. }
                    | Request::Purge { done: told, .. } => done.push(told),
                    Request::Committed { .. } => {}
                }
            }
        }
        done.into_iter().for_each(|told| told(Ok(())));
        Ok(())
    }
}

impl Shared {
    /// Leaves in `requests` what fits one segment, at least one, and puts the rest back in
    /// front of what came meanwhile. Returns how many bytes it takes in the file.
    fn fit(&self, requests: &mut Vec<Request>) -> u64 {
        let most = self.options.segment_bytes - MARK_BYTES;
        let (mut bytes, mut count) = (0, 0);
        for request in requests.iter() {
            let more = request.bytes();
            if count > 0 && bytes + more > most {
                break;
            }
            bytes += more;
            count += 1;
        }
        if count < requests.len() {
            let rest = requests.split_off(count);
            let mut state = self.lock();
            let newer = std::mem::replace(&mut state.queue, rest);
            state.queue.extend(newer);
        }
        bytes
    }
}

impl Request {
    /// In the file.
    fn bytes(&self) -> u64 {
        let size = |payload: usize| record::size(payload) as u64;
        match self {
            Request::Append { records, .. } => records.iter().map(|r| size(r.len())).sum(),
            Request::Vote { vote, .. } => size(vote.len()),
            Request::Committed { committed, .. } => size(committed.len()),
            Request::Truncate { .. } | Request::Purge { .. } => size(0),
        }
    }

    /// As it was counted when it was queued.
    fn queue_bytes(&self) -> usize {
        match self {
            Request::Append { records, .. } => records.iter().map(Bytes::len).sum(),
            Request::Committed { .. } => 0,
            _ => 64,
        }
    }
}
