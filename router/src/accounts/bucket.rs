//! A bucket that fills by the second and is taken from.

#[derive(Debug, Clone)]
pub struct Bucket {
    a_second: u64,
    /// The rest in thousandths, so that a millisecond fills a whole number.
    most: u64,
    left: u64,
    at_ms: u64,
}

impl Bucket {
    /// Full, with so many at most.
    pub fn new(a_second: u64, most: u64, now_ms: u64) -> Self {
        let most = most.max(1).saturating_mul(1000);
        Self {
            a_second: a_second.max(1),
            most,
            left: most,
            at_ms: now_ms,
        }
    }

    fn fill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms);
        let filled = passed.saturating_mul(self.a_second);
        self.left = self.left.saturating_add(filled).min(self.most);
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// Milliseconds until so much is there; more than a full bucket waits for a full one.
    fn wait_ms(&mut self, amount: u64, now_ms: u64) -> u64 {
        self.fill(now_ms);
        let wanted = amount.saturating_mul(1000).min(self.most);
        wanted.saturating_sub(self.left).div_ceil(self.a_second)
    }

    /// Takes so much, or says how many milliseconds to wait.
    pub fn take(&mut self, amount: u64, now_ms: u64) -> Result<(), u32> {
        waited(self.wait_ms(amount, now_ms))?;
        self.charge(amount);
        Ok(())
    }

    /// From two, or from none.
    pub fn take_both(
        (one, of_one): (&mut Bucket, u64),
        (other, of_other): (&mut Bucket, u64),
        now_ms: u64,
    ) -> Result<(), u32> {
        waited(
            one.wait_ms(of_one, now_ms)
                .max(other.wait_ms(of_other, now_ms)),
        )?;
        one.charge(of_one);
        other.charge(of_other);
        Ok(())
    }

    /// Takes what was let through already.
    pub fn charge(&mut self, amount: u64) {
        self.left = self.left.saturating_sub(amount.saturating_mul(1000));
    }

    pub fn is_full(&mut self, now_ms: u64) -> bool {
        self.wait_ms(u64::MAX, now_ms) == 0
    }
}

fn waited(wait_ms: u64) -> Result<(), u32> {
    match wait_ms {
        0 => Ok(()),
        _ => Err(u32::try_from(wait_ms).unwrap_or(u32::MAX)),
    }
}
