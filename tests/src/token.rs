//! Tokens as a stranger would forge them: signed by hand, with any header and claims.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|t| t.as_secs()).unwrap_or_default()
}

/// The secret that tokens of the cluster in `data` are signed with.
pub fn secret(data: &Path) -> Result<String> {
    let keys = std::fs::read_to_string(data.join("keys.toml"))?;
    let line = keys
        .lines()
        .find_map(|line| line.strip_prefix("token = "))
        .context("no key")?;
    Ok(line.trim().trim_matches('"').to_owned())
}

/// Who the cluster's own tokens are from, and for whom.
pub const NAME: &str = "codraft";

/// A token with this header and these claims; `None` signs nothing.
pub fn forge(header: &Value, claims: &Value, secret: Option<&str>) -> String {
    let part = |value: &Value| base64(value.to_string().as_bytes());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = secret.map(|key| hmac(key.as_bytes(), text.as_bytes()));
    format!(
        "{text}.{}",
        base64(signature.as_ref().map_or(&[], |s| s.as_slice()))
    )
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

/// base64url without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize] as char);
        }
    }
    text
}
