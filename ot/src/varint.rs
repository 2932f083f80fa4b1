//! Numbers in as few bytes as they need: seven bits a byte, the lowest first, 0x80 on all but the
//! last (LEB128).

/// Why no number stands at the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarintError {
    /// The bytes end before it does.
    Truncated,
    /// It takes more bytes than it needs, or more than 64 bits.
    NotCanonical,
}

pub fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// How many bytes `put` appends.
pub fn len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a number off the front.
///
/// # Errors
/// Nothing is taken then.
pub fn take(bytes: &mut &[u8]) -> Result<u64, VarintError> {
    let mut n = 0u64;
    for (i, &byte) in bytes.iter().enumerate() {
        // The tenth byte has the one bit that is left.
        if i == 9 && byte > 1 {
            break;
        }
        n |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                break;
            }
            *bytes = &bytes[i + 1..];
            return Ok(n);
        }
    }
    match bytes.iter().take(10).all(|byte| byte & 0x80 != 0) && bytes.len() < 10 {
        true => Err(VarintError::Truncated),
        false => Err(VarintError::NotCanonical),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_come_back_in_as_many_bytes_as_was_said() {
        let powers = (0..64).map(|bit| 1u64 << bit);
        for n in powers.flat_map(|n| [n - 1, n, n + 1]).chain([u64::MAX]) {
            let mut bytes = Vec::new();
            put(&mut bytes, n);
            assert_eq!(bytes.len(), len(n), "{n}");
            for cut in 0..bytes.len() {
                assert_eq!(take(&mut &bytes[..cut]), Err(VarintError::Truncated));
            }
            bytes.push(7);
            let mut rest = &bytes[..];
            assert_eq!((take(&mut rest).unwrap(), rest), (n, &[7][..]));
        }
    }

    #[test]
    fn a_number_has_one_form() {
        let long = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        for bytes in [&[0x80, 0][..], &[0xff, 0x80, 0], &long, &[0xff; 11]] {
            let mut rest = bytes;
            assert_eq!(take(&mut rest), Err(VarintError::NotCanonical));
            assert_eq!(rest, bytes);
        }
    }
}
