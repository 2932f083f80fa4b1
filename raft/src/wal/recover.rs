//! Reading the log back after a stop of any kind.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::ids::{GroupId, NodeId};

use super::{
    Damage, GroupState, Standing, Start, WalError, WalOptions, WalReport,
    record::{self, Found, Kind, Position, Record},
    segment::{HEADER, Header, RecordLocation, Segments, read_header},
    starts,
    state::OutOfPlace,
};
use crate::tap;

pub struct Recovered {
    pub groups: BTreeMap<GroupId, GroupState>,
    pub starts: Vec<Start>,
    pub peers: BTreeMap<NodeId, Standing>,
    pub first_segment: u64,
    /// Where the next record goes.
    pub end: Position,
    pub report: WalReport,
}

/// Reads all segments; with damage, or a log of another format, nothing is changed on the disk.
pub async fn recover(segments: &Segments, options: &WalOptions) -> Result<Recovered, WalError> {
    let mut numbers = segments.list().await?;
    if numbers.is_empty() && options.must_exist {
        return Err(WalError::Missing);
    }
    if numbers.is_empty() {
        segments.ensure(1, options.segment_bytes).await?;
        numbers.push(1);
    }
    let (mut scan, damage) = Scan::all(segments, &numbers, options).await?;
    let first_segment = numbers.first().copied().unwrap_or(1);
    if let Some(at) = damage {
        return Ok(scan.damaged(at, first_segment));
    }
    segments.tidy().await?;
    scan.report.cut_bytes = secure(segments, &scan).await?;
    Ok(scan.found(first_segment))
}

/// Reads all segments and changes nothing, whatever is found.
pub async fn look(segments: &Segments, options: &WalOptions) -> Result<Recovered, WalError> {
    let numbers = segments.list().await?;
    if numbers.is_empty() && options.must_exist {
        return Err(WalError::Missing);
    }
    let (scan, damage) = Scan::all(segments, &numbers, options).await?;
    let first_segment = numbers.first().copied().unwrap_or(1);
    Ok(match damage {
        Some(at) => scan.damaged(at, first_segment),
        None => scan.found(first_segment),
    })
}

impl<'a> Scan<'a> {
    /// All segments, and where the log is damaged, if it is.
    async fn all(
        segments: &Segments,
        numbers: &[u64],
        options: &'a WalOptions,
    ) -> Result<(Scan<'a>, Option<Position>), WalError> {
        let mut scan = Scan::from(numbers, options);
        let damage = scan.read(segments, numbers).await?;
        Ok((scan, damage))
    }

    fn from(numbers: &[u64], options: &'a WalOptions) -> Scan<'a> {
        Scan {
            options,
            groups: BTreeMap::new(),
            starts: Vec::new(),
            peers: BTreeMap::new(),
            end: Position {
                segment: numbers.first().copied().unwrap_or(1),
                offset: 0,
            },
            ends: BTreeMap::new(),
            synced: Position::default(),
            needed: 1,
            over: false,
            report: WalReport {
                segments: numbers.len(),
                ..WalReport::default()
            },
        }
    }

    fn found(self, first_segment: u64) -> Recovered {
        let Scan {
            groups,
            starts,
            peers,
            end,
            report,
            ..
        } = self;
        Recovered {
            groups,
            starts,
            peers,
            first_segment,
            end,
            report,
        }
    }
}

struct Scan<'a> {
    options: &'a WalOptions,
    groups: BTreeMap<GroupId, GroupState>,
    starts: Vec<Start>,
    peers: BTreeMap<NodeId, Standing>,
    /// Behind the last good record of an unbroken sequence.
    end: Position,
    /// The same for each segment before the last.
    ends: BTreeMap<u64, u64>,
    /// The highest mark anywhere.
    synced: Position,
    /// The first segment without which the log is not whole.
    needed: u64,
    /// The end was found: later segments were made ahead and hold nothing.
    over: bool,
    report: WalReport,
}

impl Scan<'_> {
    /// Reads all segments in their order. Returns where the log is damaged, if it is.
    async fn read(
        &mut self,
        segments: &Segments,
        numbers: &[u64],
    ) -> Result<Option<Position>, WalError> {
        let start = |segment| Position { segment, offset: 0 };
        let first = numbers.first().copied().unwrap_or(1);
        let mut expected = first;
        for number in numbers.iter().copied() {
            if number != expected {
                return Ok(Some(start(expected)));
            }
            expected += 1;
            let bytes = segments.load(number).await?;
            match read_header(&bytes, number) {
                Header::Good => {}
                Header::Other(format) => {
                    let segment = number;
                    return Err(WalError::Format { segment, format });
                }
                Header::Bad => return Ok(Some(start(number))),
            }
            if let Err(at) = self.segment(&bytes, number) {
                return Ok(Some(at));
            }
        }
        // The last one says that the log goes on: that file was there.
        if self.end.segment == expected {
            return Ok(Some(self.end));
        }
        Ok((first > self.needed).then(|| start(self.needed)))
    }

    /// # Errors
    /// Where the segment proves damage.
    fn segment(&mut self, bytes: &Bytes, number: u64) -> Result<(), Position> {
        if self.over {
            // Before anything stands here, the segment before says durably that it goes on.
            let blank = bytes.iter().skip(HEADER as usize).all(|b| *b == 0);
            return if blank { Ok(()) } else { Err(self.end) };
        }
        let mut at = Position {
            segment: number,
            offset: HEADER,
        };
        while let Found::Record(record, next) = record::decode(bytes, at.offset as usize, at) {
            self.report.records += 1;
            self.take(&record, at).map_err(|_| at)?;
            at.offset = next as u64;
            if record.kind == Kind::Roll {
                if record.number != number + 1 {
                    return Err(at);
                }
                self.ends.insert(number, at.offset);
                self.end = Position {
                    segment: record.number,
                    offset: HEADER,
                };
                return Ok(());
            }
        }
        self.over = true;
        self.end = at;
        // Marks behind a place that cannot be read say how far it was synced.
        if let Some(mark) = record::highest_mark(bytes, at) {
            self.synced = self.synced.max(mark);
        }
        if self.synced > at && mutant!("damage_cut_as_a_torn_tail") {
            self.synced = at;
        }
        if self.synced > at { Err(at) } else { Ok(()) }
    }

    fn take(&mut self, record: &Record, at: Position) -> Result<(), OutOfPlace> {
        match record.kind {
            Kind::Mark => {
                self.synced = self
                    .synced
                    .max(record::marked(record, at).unwrap_or_default());
                return Ok(());
            }
            Kind::Base => {
                self.needed = self.needed.max(record.number);
                return Ok(());
            }
            Kind::Roll => return Ok(()),
            // Said again where earlier segments went.
            Kind::Start => {
                let said = |start: &Start| start.number >= record.number;
                if let Some(start) = Start::from_payload(record.number, &record.payload)
                    && !self.starts.last().is_some_and(said)
                {
                    starts::push(&mut self.starts, start);
                }
                return Ok(());
            }
            Kind::Peer => {
                if let Some(standing) = Standing::from_payload(&record.payload) {
                    self.peers.insert(NodeId(record.number), standing);
                }
                return Ok(());
            }
            Kind::Append | Kind::Vote | Kind::Committed | Kind::Truncate | Kind::Purge => {}
        }
        if record.kind == Kind::Vote && mutant!("vote_forgotten_at_restart") {
            return Ok(());
        }
        let held = self.groups.entry(record.group).or_default();
        // Not a slice of the whole segment, which would stay in memory with it.
        let payload = Bytes::copy_from_slice(&record.payload);
        match record.kind {
            Kind::Append => {
                let location = RecordLocation {
                    at,
                    length: payload.len() as u32,
                };
                held.put(record.number, std::slice::from_ref(&payload))?;
                tap::appended(record.group, record.number, std::slice::from_ref(&payload));
                held.located(record.number, &payload, location, self.options.cache_bytes);
            }
            Kind::Vote => {
                tap::voted(record.group, &payload);
                held.vote = Some(payload);
            }
            Kind::Committed => held.committed = Some(payload),
            Kind::Truncate => {
                tap::truncated(record.group, record.number);
                held.truncate(record.number);
            }
            Kind::Purge => {
                tap::purged(record.group, record.number);
                held.purge(record.number, payload);
            }
            Kind::Mark | Kind::Base | Kind::Roll | Kind::Start | Kind::Peer => {}
        }
        Ok(())
    }

    fn damaged(self, at: Position, first_segment: u64) -> Recovered {
        let mut report = self.report;
        report.damage = Some(Damage {
            segment: at.segment,
            offset: at.offset,
        });
        if mutant!("quarantined_node_votes") {
            report.damage = None;
        }
        Recovered {
            groups: self.groups,
            starts: self.starts,
            peers: self.peers,
            first_segment,
            end: self.end,
            report,
        }
    }
}

/// What lies above the highest mark was read from the kernel's memory, perhaps, and never
/// reached the disk, perhaps after a failed sync: it is written and synced once more before
/// anybody builds on it. Behind the end everything is made zeros again, so that nothing of a
/// torn tail is ever read as a record. Returns how many bytes of it there were.
async fn secure(segments: &Segments, scan: &Scan<'_>) -> io::Result<u64> {
    let mut cut = 0;
    let since = scan.synced.max(Position {
        segment: 0,
        offset: HEADER,
    });
    let open = scan
        .ends
        .range(since.segment..)
        .map(|(number, end)| (*number, *end));
    for (number, end) in open.chain([(scan.end.segment, scan.end.offset)]) {
        let from = if number == since.segment {
            since.offset
        } else {
            HEADER
        };
        let file = segments.file(number).await?;
        let length = file.len().await?;
        let mut tail = file
            .read_at(from, length.saturating_sub(from) as usize)
            .await?;
        let used = end.saturating_sub(from) as usize;
        let dirty = tail
            .iter()
            .rposition(|b| *b != 0)
            .map_or(0, |last| last + 1)
            .max(used);
        cut += (dirty - used) as u64;
        tail.truncate(dirty);
        if let Some(torn) = tail.get_mut(used..) {
            torn.fill(0);
        }
        if !tail.is_empty() {
            file.write_and_sync(from, tail).await?;
        }
    }
    Ok(cut)
}
