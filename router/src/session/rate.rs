//! How fast one socket may send.

/// Two buckets that fill by the second: operations and bytes. A second's worth may come at
/// once.
#[derive(Debug, Clone)]
pub struct Rate {
    ops: Bucket,
    bytes: Bucket,
}

#[derive(Debug, Clone)]
struct Bucket {
    a_second: u64,
    /// In thousandths, so that a millisecond fills a whole number.
    left: u64,
    at_ms: u64,
}

impl Bucket {
    fn new(a_second: u64, now_ms: u64) -> Self {
        let a_second = a_second.max(1);
        Self {
            a_second,
            left: a_second * 1000,
            at_ms: now_ms,
        }
    }
    fn fill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms).min(1000);
        self.left = (self.left + passed * self.a_second).min(self.a_second * 1000);
        self.at_ms = now_ms;
    }
    /// Milliseconds until so much is there; more than a full bucket waits for a full one.
    fn wait_ms(&self, amount: u64) -> u64 {
        let wanted = (amount * 1000).min(self.a_second * 1000);
        wanted.saturating_sub(self.left).div_ceil(self.a_second)
    }
}

impl Rate {
    pub fn new(ops_a_second: u64, bytes_a_second: u64, now_ms: u64) -> Self {
        let ops = Bucket::new(ops_a_second, now_ms);
        Self {
            ops,
            bytes: Bucket::new(bytes_a_second, now_ms),
        }
    }

    /// Takes so many operations more, that were let through already.
    pub fn charge(&mut self, ops: usize) {
        self.ops.left = self.ops.left.saturating_sub(ops as u64 * 1000);
    }

    /// Takes one operation of so many bytes, or says how many milliseconds to wait.
    pub fn take(&mut self, bytes: usize, now_ms: u64) -> Result<(), u32> {
        self.ops.fill(now_ms);
        self.bytes.fill(now_ms);
        let wait_ms = self.ops.wait_ms(1).max(self.bytes.wait_ms(bytes as u64));
        if wait_ms > 0 {
            return Err(u32::try_from(wait_ms).unwrap_or(u32::MAX));
        }
        self.ops.left = self.ops.left.saturating_sub(1000);
        self.bytes.left = self.bytes.left.saturating_sub(bytes as u64 * 1000);
        Ok(())
    }
}
