//! One spelling of the state, for hashing only.

/// Feeds fields to BLAKE3 so that no two states spell the same bytes: every number has
/// eight bytes, every text its length before it.
pub(super) struct StateHash(blake3::Hasher);

impl StateHash {
    /// `what` tells the hashes of different things, and of different versions, apart.
    pub fn new(what: &str) -> Self {
        let mut hash = Self(blake3::Hasher::new());
        hash.bytes(what.as_bytes());
        hash
    }
    pub fn number(&mut self, n: u64) -> &mut Self {
        self.0.update(&n.to_le_bytes());
        self
    }
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
        self
    }
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
