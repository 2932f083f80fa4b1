//! How much one document may hold. Judged in `apply`, so these figures are part of what is
//! replicated: all replicas of a group use the same.

use codraft_ot::Limits;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineLimits {
    /// On operations and on the document that they make.
    pub ot: Limits,
    /// Events in the window of history; above it the window is cut to half.
    pub window_events: usize,
    /// What the window's events take in memory (`Event::window_bytes`); above it cut to half.
    pub window_bytes: usize,
    /// Components of the window's operations, which a late operation is transformed past; above
    /// it cut to half.
    pub window_components: usize,
    /// What it may cost to transform one operation (`codraft_ot::Late::effort`).
    pub transform_effort: u64,
    /// Clients of a document whose record lives by a refusal alone.
    pub refusal_records: usize,
    /// Users with a role in a document.
    pub grants: usize,
    pub title_bytes: usize,
    /// Threads of comments of a document.
    pub threads: usize,
    /// What all comments of a document may take (`Comments::heap_bytes`), and one's text.
    pub comments_bytes: usize,
    pub comment_bytes: usize,
    /// Versions of a document that have a name, and how long one may be.
    pub versions: usize,
    pub version_bytes: usize,
}

impl Default for MachineLimits {
    fn default() -> Self {
        Self {
            ot: Limits::default(),
            window_events: 4_096,
            window_bytes: 2 << 20,
            window_components: 32_768,
            transform_effort: 8 << 20,
            refusal_records: 1_024,
            grants: 1_024,
            title_bytes: 1_024,
            threads: 1_000,
            comments_bytes: 1 << 20,
            comment_bytes: 8 << 10,
            versions: 1_000,
            version_bytes: 256,
        }
    }
}
