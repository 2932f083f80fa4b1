//! Reading the log back after a stop of any kind.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use codraft_proto::ids::GroupId;

use super::{
    GroupState, WalError, WalOptions, WalReport,
    record::{self, ALIGN, Found, Kind, Position, Record},
    segment::{Place, Segments},
};
use crate::disk::Disk;

type Recovered = (BTreeMap<GroupId, GroupState>, Position, Segments, WalReport);

pub async fn recover(
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: &WalOptions,
) -> Result<Recovered, WalError> {
    let segments = Segments::new(disk, dir);
    let numbers = segments.list().await?;
    let mut groups = BTreeMap::new();
    let mut report = WalReport {
        segments: numbers.len(),
        ..WalReport::default()
    };
    let Some((first, last)) = numbers.first().zip(numbers.last()) else {
        segments.make(1, options.segment_bytes).await?;
        return Ok((
            groups,
            Position {
                segment: 1,
                offset: 0,
            },
            segments,
            report,
        ));
    };
    if let Some(missing) = (*first..=*last).find(|n| !numbers.contains(n)) {
        return Err(WalError::Damaged {
            segment: missing,
            offset: 0,
        });
    }

    let mut end = Position {
        segment: *first,
        offset: 0,
    };
    let mut synced = Position::default();
    let mut stopped = None;
    for number in &numbers {
        let bytes = segments.load(*number).await?;
        let mut at = Position {
            segment: *number,
            offset: 0,
        };
        if stopped.is_none() {
            // Written segments follow each other; an unused one was made ahead.
            loop {
                match record::decode(&bytes, at) {
                    Found::Record(record) => {
                        report.records += 1;
                        let size = record::size(record.payload.len()) as u64;
                        if let Some(mark) = marked(&record) {
                            synced = synced.max(mark);
                        }
                        take(&mut groups, &record, at, options);
                        at.offset += size;
                        end = at;
                    }
                    Found::End => break,
                    Found::Bad => {
                        stopped = Some(at);
                        break;
                    }
                }
            }
        }
        // Records behind a place that cannot be read, or behind the end, say how far it was
        // synced: only a mark's own checksum makes one.
        let from = if stopped.is_some_and(|s| s.segment < *number) {
            0
        } else {
            at.offset
        };
        if let Some(mark) = highest_mark(
            &bytes,
            Position {
                segment: *number,
                offset: from,
            },
        ) {
            synced = synced.max(mark);
        }
    }
    let cut = stopped.unwrap_or(end);
    if synced > cut {
        return Err(WalError::Damaged {
            segment: cut.segment,
            offset: cut.offset,
        });
    }
    report.cut_bytes = clear(&segments, &numbers, cut).await?;
    Ok((groups, cut, segments, report))
}

/// Makes everything from `cut` on zeros again, so that nothing of a torn tail is ever read as a
/// record. Returns how many bytes were not zero.
async fn clear(segments: &Segments, numbers: &[u64], cut: Position) -> Result<u64, WalError> {
    let mut cleared = 0;
    for number in numbers.iter().filter(|n| **n >= cut.segment) {
        let from = if *number == cut.segment {
            cut.offset as usize
        } else {
            0
        };
        let bytes = segments.load(*number).await?;
        let dirty = bytes.get(from..).unwrap_or_default();
        let Some(last) = dirty.iter().rposition(|b| *b != 0) else {
            continue;
        };
        cleared += last as u64 + 1;
        let file = segments.file(*number).await?;
        file.write_and_sync(from as u64, vec![0; last + 1]).await?;
    }
    Ok(cleared)
}

fn marked(record: &Record) -> Option<Position> {
    (record.kind == Kind::Mark)
        .then(|| record::read_mark(&record.payload))
        .flatten()
}

fn highest_mark(bytes: &Bytes, from: Position) -> Option<Position> {
    let offsets = (from.offset as usize..bytes.len()).step_by(ALIGN);
    let marks = offsets.filter_map(|offset| {
        // Cheap first: a mark has 16 bytes of payload and its kind in the third word.
        let head = bytes.get(offset..offset + 12)?;
        if head[..4] != 16u32.to_le_bytes() || head[8..] != (Kind::Mark as u32).to_le_bytes() {
            return None;
        }
        match record::decode(
            bytes,
            Position {
                segment: from.segment,
                offset: offset as u64,
            },
        ) {
            Found::Record(record) => marked(&record),
            _ => None,
        }
    });
    marks.max()
}

fn take(
    groups: &mut BTreeMap<GroupId, GroupState>,
    record: &Record,
    at: Position,
    options: &WalOptions,
) {
    if record.kind == Kind::Mark {
        return;
    }
    let held = groups.entry(record.group).or_default();
    // Not a slice of the whole segment, which would stay in memory with it.
    let payload = Bytes::copy_from_slice(&record.payload);
    match record.kind {
        Kind::Append => {
            let place = Place {
                at,
                length: payload.len() as u32,
            };
            held.put(record.number, std::slice::from_ref(&payload));
            held.placed(record.number, &payload, place, options.cache_bytes);
        }
        Kind::Vote => held.vote = Some(payload),
        Kind::Committed => held.committed = Some(payload),
        Kind::Truncate => held.truncate(record.number),
        Kind::Purge => held.purge(record.number),
        Kind::Mark => {}
    }
}
