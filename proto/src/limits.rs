//! The limits of the edges, all of them configurable (`[limits]`). Those of documents and
//! operations are not here: they are judged in `apply` and must be the same on every replica.

use serde::Deserialize;

/// The largest `frame_bytes` and `body_bytes`: a node takes operations of twice that.
pub const FRAME_BYTES_MAX: u32 = 4 << 20;
/// The default of `group_state_bytes`.
pub const GROUP_STATE_BYTES: u64 = 2 << 30;
/// The default of `group_memory_bytes`, and the least.
pub const GROUP_MEMORY_BYTES: u64 = 64 << 20;
const GROUP_MEMORY_BYTES_MIN: u64 = 1 << 20;
/// The default of `snapshot_commands`.
pub const SNAPSHOT_COMMANDS: u64 = 100_000;
/// The default of `bulk_bytes_per_second`, and the least.
pub const BULK_BYTES_PER_SECOND: u64 = 64 << 20;
const BULK_BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// The default of `unarchived_bytes`, and the least: some groups' rounds fit.
pub const UNARCHIVED_BYTES: u64 = 8 << 30;
const UNARCHIVED_BYTES_MIN: u64 = 64 << 20;
/// The least: a document of the greatest size fits, with its history.
const GROUP_STATE_BYTES_MIN: u64 = 64 << 20;
/// The least: a hello fits.
const FRAME_BYTES_MIN: u32 = 1 << 10;
/// The default of `presence_ttl_ms`, and the least: pages are asked once in a third of it.
pub const PRESENCE_TTL_MS: u64 = 30_000;
const PRESENCE_TTL_MS_MIN: u64 = 3_000;
/// A longer time is none.
const MS_MAX: u64 = 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeLimits {
    /// One message of a client.
    pub frame_bytes: u32,
    /// From a message's first byte to its last.
    pub frame_ms: u64,
    /// Operations of a user a second, and how many may come at once. One that is late costs more.
    pub ops_per_second: u32,
    /// Bytes of a user a second: of operations and of bodies of the REST interface.
    pub bytes_per_second: u32,
    /// Upgrades and reopened documents of a user a second; ten seconds' worth may come at once.
    pub opens_per_second: u32,
    /// Tickets of a user a second; ten seconds' worth may come at once.
    pub tickets_per_second: u32,
    /// Requests of a user a second, tickets included; ten seconds' worth may come at once.
    pub requests_per_second: u32,
    /// Requests without a token, or with a wrong one, that are refused a second; a second's worth
    /// may come at once, and the others wait for it, up to five seconds.
    pub refusals_per_second: u32,
    /// What may wait for a socket that reads slowly.
    pub socket_queue_bytes: u32,
    /// A reader that takes less than this of the document it opened, or of what it missed, is let go.
    pub catch_up_bytes_per_second: u32,
    pub sockets_per_user_and_document: u32,
    /// Over all documents.
    pub sockets_per_user: u32,
    /// Sockets of one router.
    pub sockets: u32,
    /// Changes of where somebody is that leave this router a second, the latest alone.
    pub presence_per_second: u32,
    /// Who was not heard for so long is no longer here.
    pub presence_ttl_ms: u64,
    /// From the upgrade to the first frame.
    pub hello_ms: u64,
    /// A body of the REST interface.
    pub body_bytes: u32,
    /// From a request's head to the end of its body.
    pub body_ms: u64,
    /// What a group's documents may take in a node's memory. Judged by the leader before the log.
    pub group_state_bytes: u64,
    /// What a group's documents take in a node's memory before those that were not used for longest
    /// leave it.
    pub group_memory_bytes: u64,
    /// A node writes a group's state to its disk after so many commands.
    pub snapshot_commands: u64,
    /// How fast a node gives pages to replicas that lag too far for the log.
    pub bulk_bytes_per_second: u64,
    /// What events may take on a node's disk that are not archived, before no document is made.
    pub unarchived_bytes: u64,
}

/// Those of operations: not configurable, the same in every process.
pub fn of_operations() -> codraft_ot::Limits {
    codraft_ot::Limits::default()
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 256 << 10,
            frame_ms: 30_000,
            ops_per_second: 3_000,
            bytes_per_second: 1 << 20,
            opens_per_second: 20,
            tickets_per_second: 20,
            requests_per_second: 100,
            refusals_per_second: 200,
            socket_queue_bytes: 1 << 20,
            catch_up_bytes_per_second: 64 << 10,
            sockets_per_user_and_document: 64,
            sockets_per_user: 256,
            sockets: 100_000,
            presence_per_second: 10,
            presence_ttl_ms: PRESENCE_TTL_MS,
            hello_ms: 5_000,
            body_bytes: 1 << 20,
            body_ms: 10_000,
            group_state_bytes: GROUP_STATE_BYTES,
            group_memory_bytes: GROUP_MEMORY_BYTES,
            snapshot_commands: SNAPSHOT_COMMANDS,
            bulk_bytes_per_second: BULK_BYTES_PER_SECOND,
            unarchived_bytes: UNARCHIVED_BYTES,
        }
    }
}

/// Two values that cannot both be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits.{name} = {value} is {relation} {bound}{of}")]
pub struct LimitError {
    name: &'static str,
    value: u64,
    relation: &'static str,
    bound: u64,
    /// What the bound is.
    of: &'static str,
}

impl EdgeLimits {
    /// Whether they can all be kept. Asked by every process and every router at its start.
    ///
    /// # Errors
    /// The first that contradicts another one, with both values.
    pub fn validate(&self) -> Result<(), LimitError> {
        self.at_most()?;
        self.at_least()?;
        self.of_presence()?;
        self.of_nodes()
    }

    fn at_most(&self) -> Result<(), LimitError> {
        let frame = u64::from(self.frame_bytes);
        let node = u64::from(FRAME_BYTES_MAX);
        for (name, value, most, of) in [
            ("frame_bytes", frame, node, ", the most that a node takes"),
            (
                "body_bytes",
                self.body_bytes.into(),
                node,
                ", the most that a node takes",
            ),
            ("frame_ms", self.frame_ms, MS_MAX, ", an hour"),
            ("presence_ttl_ms", self.presence_ttl_ms, MS_MAX, ", an hour"),
            (
                "presence_per_second",
                self.presence_per_second.into(),
                10,
                "",
            ),
            ("hello_ms", self.hello_ms, MS_MAX, ", an hour"),
            ("body_ms", self.body_ms, MS_MAX, ", an hour"),
        ] {
            LimitError::unless(value <= most, name, value, ("above", most, of))?;
        }
        Ok(())
    }

    fn at_least(&self) -> Result<(), LimitError> {
        let frame = u64::from(self.frame_bytes);
        let queue = u64::from(self.socket_queue_bytes);
        let per_document = u64::from(self.sockets_per_user_and_document);
        let per_user = u64::from(self.sockets_per_user);
        for (name, value, least, of) in [
            ("frame_bytes", frame, u64::from(FRAME_BYTES_MIN), ""),
            ("frame_ms", self.frame_ms, 1, ""),
            ("ops_per_second", self.ops_per_second.into(), 1, ""),
            // Else the largest message would never be let in.
            (
                "bytes_per_second",
                self.bytes_per_second.into(),
                frame,
                " = limits.frame_bytes",
            ),
            ("opens_per_second", self.opens_per_second.into(), 1, ""),
            ("tickets_per_second", self.tickets_per_second.into(), 1, ""),
            (
                "requests_per_second",
                self.requests_per_second.into(),
                1,
                "",
            ),
            (
                "refusals_per_second",
                self.refusals_per_second.into(),
                1,
                "",
            ),
            // What may come in must fit what may wait to go out.
            (
                "socket_queue_bytes",
                queue,
                2 * frame,
                " = 2 * limits.frame_bytes",
            ),
            (
                "catch_up_bytes_per_second",
                self.catch_up_bytes_per_second.into(),
                1,
                "",
            ),
            ("sockets_per_user_and_document", per_document, 1, ""),
            (
                "sockets_per_user",
                per_user,
                per_document,
                " = limits.sockets_per_user_and_document",
            ),
            (
                "sockets",
                self.sockets.into(),
                per_user,
                " = limits.sockets_per_user",
            ),
            ("hello_ms", self.hello_ms, 1, ""),
            ("body_bytes", self.body_bytes.into(), 1, ""),
            ("body_ms", self.body_ms, 1, ""),
        ] {
            LimitError::unless(value >= least, name, value, ("below", least, of))?;
        }
        Ok(())
    }

    fn of_presence(&self) -> Result<(), LimitError> {
        for (name, value, least, of) in [
            (
                "presence_per_second",
                self.presence_per_second.into(),
                1,
                "",
            ),
            (
                "presence_ttl_ms",
                self.presence_ttl_ms,
                PRESENCE_TTL_MS_MIN,
                ", three times what a page is waited for",
            ),
        ] {
            LimitError::unless(value >= least, name, value, ("below", least, of))?;
        }
        Ok(())
    }

    fn of_nodes(&self) -> Result<(), LimitError> {
        let state = self.group_state_bytes;
        for (name, value, least, of) in [
            (
                "group_state_bytes",
                state,
                GROUP_STATE_BYTES_MIN,
                ", which a large document takes",
            ),
            (
                "group_state_bytes",
                state,
                self.group_memory_bytes,
                " = limits.group_memory_bytes",
            ),
            (
                "group_memory_bytes",
                self.group_memory_bytes,
                GROUP_MEMORY_BYTES_MIN,
                "",
            ),
            ("snapshot_commands", self.snapshot_commands, 1, ""),
            (
                "bulk_bytes_per_second",
                self.bulk_bytes_per_second,
                BULK_BYTES_PER_SECOND_MIN,
                "",
            ),
            (
                "unarchived_bytes",
                self.unarchived_bytes,
                UNARCHIVED_BYTES_MIN,
                "",
            ),
        ] {
            LimitError::unless(value >= least, name, value, ("below", least, of))?;
        }
        Ok(())
    }
}

impl LimitError {
    fn unless(
        fits: bool,
        name: &'static str,
        value: u64,
        (relation, bound, of): (&'static str, u64, &'static str),
    ) -> Result<(), LimitError> {
        let error = LimitError {
            name,
            value,
            relation,
            bound,
            of,
        };
        if fits { Ok(()) } else { Err(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_possible() {
        assert_eq!(EdgeLimits::default().validate(), Ok(()));
    }

    /// The last value that can be, and the first that cannot.
    #[test]
    fn each_limit_from_both_sides() {
        type Set = fn(&mut EdgeLimits, u64);
        let table: &[(Set, u64, u64, &str)] = &[
            (
                |l, v| l.frame_bytes = v as u32,
                1024,
                1023,
                "limits.frame_bytes = 1023 is below 1024",
            ),
            (
                |l, v| {
                    (l.frame_bytes, l.socket_queue_bytes, l.bytes_per_second) =
                        (v as u32, u32::MAX, u32::MAX)
                },
                4 << 20,
                (4 << 20) + 1,
                "limits.frame_bytes = 4194305 is above 4194304, the most that a node takes",
            ),
            (
                |l, v| l.socket_queue_bytes = v as u32,
                512 << 10,
                (512 << 10) - 1,
                "limits.socket_queue_bytes = 524287 is below 524288 = 2 * limits.frame_bytes",
            ),
            (
                |l, v| l.bytes_per_second = v as u32,
                256 << 10,
                (256 << 10) - 1,
                "limits.bytes_per_second = 262143 is below 262144 = limits.frame_bytes",
            ),
            (
                |l, v| l.sockets_per_user = v as u32,
                64,
                63,
                "limits.sockets_per_user = 63 is below 64 = limits.sockets_per_user_and_document",
            ),
            (
                |l, v| l.sockets = v as u32,
                256,
                255,
                "limits.sockets = 255 is below 256 = limits.sockets_per_user",
            ),
            (
                |l, v| l.sockets_per_user_and_document = v as u32,
                1,
                0,
                "limits.sockets_per_user_and_document = 0 is below 1",
            ),
            (
                |l, v| l.ops_per_second = v as u32,
                1,
                0,
                "limits.ops_per_second = 0 is below 1",
            ),
            (
                |l, v| l.opens_per_second = v as u32,
                1,
                0,
                "limits.opens_per_second = 0 is below 1",
            ),
            (
                |l, v| l.tickets_per_second = v as u32,
                1,
                0,
                "limits.tickets_per_second = 0 is below 1",
            ),
            (
                |l, v| l.requests_per_second = v as u32,
                1,
                0,
                "limits.requests_per_second = 0 is below 1",
            ),
            (
                |l, v| l.refusals_per_second = v as u32,
                1,
                0,
                "limits.refusals_per_second = 0 is below 1",
            ),
            (
                |l, v| l.catch_up_bytes_per_second = v as u32,
                1,
                0,
                "limits.catch_up_bytes_per_second = 0 is below 1",
            ),
            (
                |l, v| l.frame_ms = v,
                1,
                0,
                "limits.frame_ms = 0 is below 1",
            ),
            (
                |l, v| l.frame_ms = v,
                3_600_000,
                3_600_001,
                "limits.frame_ms = 3600001 is above 3600000, an hour",
            ),
            (
                |l, v| l.presence_per_second = v as u32,
                1,
                0,
                "limits.presence_per_second = 0 is below 1",
            ),
            (
                |l, v| l.presence_per_second = v as u32,
                10,
                11,
                "limits.presence_per_second = 11 is above 10",
            ),
            (
                |l, v| l.presence_ttl_ms = v,
                3_000,
                2_999,
                "limits.presence_ttl_ms = 2999 is below 3000, three times what a page is waited for",
            ),
            (
                |l, v| l.presence_ttl_ms = v,
                3_600_000,
                3_600_001,
                "limits.presence_ttl_ms = 3600001 is above 3600000, an hour",
            ),
            (
                |l, v| l.hello_ms = v,
                1,
                0,
                "limits.hello_ms = 0 is below 1",
            ),
            (
                |l, v| l.hello_ms = v,
                3_600_000,
                3_600_001,
                "limits.hello_ms = 3600001 is above 3600000, an hour",
            ),
            (|l, v| l.body_ms = v, 1, 0, "limits.body_ms = 0 is below 1"),
            (
                |l, v| l.body_ms = v,
                3_600_000,
                3_600_001,
                "limits.body_ms = 3600001 is above 3600000, an hour",
            ),
            (
                |l, v| l.body_bytes = v as u32,
                1,
                0,
                "limits.body_bytes = 0 is below 1",
            ),
            (
                |l, v| l.group_memory_bytes = v,
                1 << 20,
                (1 << 20) - 1,
                "limits.group_memory_bytes = 1048575 is below 1048576",
            ),
            (
                |l, v| l.group_memory_bytes = v,
                2 << 30,
                (2 << 30) + 1,
                "limits.group_state_bytes = 2147483648 is below 2147483649 = limits.group_memory_bytes",
            ),
            (
                |l, v| l.snapshot_commands = v,
                1,
                0,
                "limits.snapshot_commands = 0 is below 1",
            ),
            (
                |l, v| l.bulk_bytes_per_second = v,
                64 << 10,
                (64 << 10) - 1,
                "limits.bulk_bytes_per_second = 65535 is below 65536",
            ),
            (
                |l, v| l.unarchived_bytes = v,
                64 << 20,
                (64 << 20) - 1,
                "limits.unarchived_bytes = 67108863 is below 67108864",
            ),
            (
                |l, v| l.group_state_bytes = v,
                64 << 20,
                (64 << 20) - 1,
                "limits.group_state_bytes = 67108863 is below 67108864, which a large document",
            ),
            (
                |l, v| l.body_bytes = v as u32,
                4 << 20,
                (4 << 20) + 1,
                "limits.body_bytes = 4194305 is above 4194304",
            ),
        ];
        for (set, good, bad, words) in table {
            let with = |value| {
                let mut limits = EdgeLimits::default();
                set(&mut limits, value);
                limits.validate().map_err(|error| error.to_string())
            };
            assert_eq!(with(*good), Ok(()), "{words}");
            let said = with(*bad);
            assert!(
                said.as_ref().is_err_and(|s| s.starts_with(words)),
                "{said:?}, not {words}"
            );
        }
        // `EdgeLimits { name: value, … }`
        let all = format!("{:?}", EdgeLimits::default());
        for name in all
            .split(['{', ','])
            .filter_map(|pair| Some(pair.split_once(':')?.0))
        {
            let row = format!("limits.{} = ", name.trim());
            let has_one = table.iter().any(|(_, _, _, words)| words.starts_with(&row));
            assert!(has_one, "no row for {row}");
        }
    }
}
