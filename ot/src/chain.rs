//! The chain of hashes over a document's events: two that agree at a revision agree below it.

/// `H(v) = BLAKE3(H(v-1) ‖ canonical event v)`; 32 zero bytes before the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    pub fn next(&self, canonical_event: &[u8]) -> Chain {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(canonical_event);
        Chain(*hasher.finalize().as_bytes())
    }
}
