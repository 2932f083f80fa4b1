//! The closed table of codes: every refusal on every wire is one of these.

use codraft_ot::OpError;

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $http:literal, $close:literal; )*) => {
        /// Why something was refused. Numbers are on the wire between processes, names on
        /// the wire to clients; neither changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Code { $( $(#[$doc])* $variant = $number, )* }

        impl Code {
            pub const ALL: &'static [Code] = &[ $( Code::$variant, )* ];
            pub fn as_str(self) -> &'static str {
                match self { $( Code::$variant => $name, )* }
            }
            /// The HTTP status that carries it.
            pub fn http_status(self) -> u16 {
                match self { $( Code::$variant => $http, )* }
            }
            /// The WebSocket close code when it ends a socket: 44xx do not reconnect as
            /// you are, 45xx reconnect.
            pub fn close_code(self) -> u16 {
                match self { $( Code::$variant => $close, )* }
            }
            pub fn from_number(n: u32) -> Option<Code> {
                match n { $( $number => Some(Code::$variant), )* _ => None }
            }
            pub fn from_name(s: &str) -> Option<Code> {
                match s { $( $name => Some(Code::$variant), )* _ => None }
            }
        }
    };
}

codes! {
    // What a client sent can never be valid.
    /// Not parseable as a frame or operation.
    Malformed = 1, "malformed", 400, 4400;
    /// A frame type this protocol does not have, or not at this point.
    UnknownFrame = 2, "unknown_frame", 400, 4402;
    /// Frame above the limit.
    FrameTooLarge = 3, "frame_too_large", 413, 4403;
    /// The operation's length does not fit the document.
    LengthMismatch = 4, "length_mismatch", 422, 4404;
    /// Splits a surrogate pair or holds half of one.
    Surrogate = 5, "surrogate", 422, 4405;
    /// Too many components.
    TooManyComponents = 6, "too_many_components", 413, 4406;
    /// Attributes too many, too deep or too large.
    Attributes = 7, "attributes", 422, 4407;
    /// Embed too large or not an object.
    Embed = 8, "embed", 422, 4408;
    /// The document would grow above its limit.
    DocumentFull = 9, "document_full", 413, 4409;
    /// Not allowed in this kind of document (formatting in plain text, the last line of a rich one).
    KindMismatch = 10, "kind_mismatch", 422, 4410;
    /// The same sequence number with other bytes.
    SeqConflict = 11, "seq_conflict", 409, 4411;
    /// A sequence number that skips one.
    SeqGap = 12, "seq_gap", 409, 4412;
    /// Retired: a client is known by its user and its id, so no id is another user's.
    ForeignClient = 13, "foreign_client", 403, 4413;
    /// The role does not allow it.
    Forbidden = 14, "forbidden", 403, 4414;
    /// No such document, or not for this user.
    NotFound = 15, "not_found", 404, 4415;
    /// The document was deleted.
    Deleted = 16, "deleted", 410, 4416;
    /// Already there (create).
    Exists = 17, "exists", 409, 4417;
    /// A change of grants that is not possible (the last owner, too many).
    Grant = 18, "grant", 409, 4418;
    /// An algebra, format, version or key this cluster does not have.
    Unsupported = 19, "unsupported", 422, 4419;
    /// To apply it failed as nothing may; it was left out, and its document is in quarantine.
    Fault = 20, "fault", 500, 4420;
    /// The document has no such revision: ahead of its head, or before its beginning.
    NoVersion = 21, "no_version", 404, 4421;
    /// The revision is older than history is kept.
    Erased = 22, "erased", 410, 4422;
    /// The text that an edit names is not in the document.
    NoMatch = 23, "no_match", 422, 4423;
    /// The text that an edit names is there more than once.
    Ambiguous = 24, "ambiguous", 409, 4424;
    /// Somebody changed the text that an edit names since its base.
    Touched = 25, "touched", 409, 4425;
    /// The base of what was asked for lies below the window: what came since has to be fetched first.
    BaseTooOld = 26, "base_too_old", 412, 4426;
    /// The document has no such thread of comments, or no such comment in it.
    NoComment = 28, "no_comment", 404, 4428;

    // Who gets in.
    /// No token, or one that does not verify.
    TokenInvalid = 32, "token_invalid", 401, 4432;
    TokenExpired = 33, "token_expired", 401, 4433;
    /// The page's origin is not on the list.
    Origin = 34, "origin", 403, 4434;
    /// The user's last permission was taken away.
    Revoked = 36, "revoked", 403, 4436;
    /// Another live socket took this client id over.
    Replaced = 37, "replaced", 409, 4437;

    // Try again.
    /// The base lies ahead of the document here: open again.
    BaseAhead = 64, "base_ahead", 409, 4564;
    /// Too many operations or bytes a second.
    Rate = 65, "rate", 429, 4565;
    /// No leader at the moment.
    NoLeader = 66, "no_leader", 503, 4566;
    /// Another node leads; inside the cluster only.
    NotLeader = 67, "not_leader", 503, 4567;
    /// Another group has this document; inside the cluster only.
    WrongGroup = 68, "wrong_group", 503, 4568;
    /// A queue is full.
    Busy = 69, "busy", 503, 4569;
    /// This socket read too slowly.
    SlowConsumer = 70, "slow_consumer", 503, 4570;
    /// The shard cannot prove its state.
    Unproven = 71, "unproven", 503, 4571;
    /// The process is going away.
    ShuttingDown = 72, "shutting_down", 503, 4572;
    /// It took too long; the outcome is unknown.
    Timeout = 73, "timeout", 504, 4573;
    /// Too many sockets of one user in one document, or in all.
    TooManySockets = 74, "too_many_sockets", 429, 4574;
    /// Something of ours failed.
    Internal = 75, "internal", 500, 4575;
    /// No hello within the time; a slow network is reason enough.
    HelloTimeout = 76, "hello_timeout", 408, 4576;
    /// The rest of a body or of a message did not come within the time.
    Unfinished = 77, "unfinished", 408, 4577;
    /// The documents beside this one take all the memory that they may. What only deletes is
    /// still taken.
    GroupFull = 78, "group_full", 507, 4578;
    /// The document was set apart, by a fault or an operator: it can be read, and what is written
    /// waits until it is let go on.
    Quarantined = 79, "quarantined", 503, 4579;
    /// The leader's disk is full, or would be before what waits on it is archived: what is there can be
    /// read, and what would make it fuller is not taken.
    DiskFull = 80, "disk_full", 507, 4580;
}

impl Code {
    /// Whether the same bytes may be accepted later.
    pub fn may_retry(self) -> bool {
        self as u32 >= 64
    }
}

/// The algebra's errors in the words of the wire.
impl From<&OpError> for Code {
    fn from(error: &OpError) -> Code {
        match error {
            OpError::Malformed | OpError::ZeroCount | OpError::Overflow => Code::Malformed,
            OpError::LengthMismatch { .. } => Code::LengthMismatch,
            OpError::SplitSurrogate { .. } => Code::Surrogate,
            OpError::TooManyComponents { .. } => Code::TooManyComponents,
            OpError::TooManyAttributes { .. }
            | OpError::AttributeTooLarge { .. }
            | OpError::TooDeep { .. }
            | OpError::ReservedAttribute => Code::Attributes,
            OpError::EmbedTooLarge { .. } => Code::Embed,
            OpError::DocumentTooLong { .. } | OpError::DocumentTooRich { .. } => Code::DocumentFull,
            OpError::NotPlain | OpError::LastLine => Code::KindMismatch,
        }
    }
}
