//! How long anything is waited for, and the words when it was in vain.

use std::{fmt::Display, time::Duration};

use anyhow::{Context, Result};

/// Nothing takes longer than this, on the busiest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something at most so long.
///
/// # Errors
/// When it did not come, with what was waited for.
pub async fn within<T>(
    most: Duration,
    what: impl Display,
    work: impl Future<Output = T>,
) -> Result<T> {
    let done = tokio::time::timeout(most, work).await;
    done.with_context(|| format!("waited {} s in vain for {what}", most.as_secs_f64()))
}
