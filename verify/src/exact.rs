//! Which byte it is, where a hash alone says that one is wrong.

/// Bytes of which each bit may be tried: it costs a hash of all for each bit of all.
const TRIED_MAX: usize = 8 << 10;
/// And of which each may be tried as any other.
const TRIED_WHOLE_MAX: usize = 1 << 10;

/// The first byte that differs from a copy that is right.
pub fn first_difference(content: &[u8], copy: &[u8]) -> u64 {
    let differs = content.iter().zip(copy).position(|(a, b)| a != b);
    differs.unwrap_or(content.len().min(copy.len())) as u64
}

/// The one byte that is wrong, by a single bit where there are many, and the content as it was; only
/// where there are few enough to try.
pub fn mended(content: &[u8], is_right: impl Fn(&[u8]) -> bool) -> Option<(u64, Vec<u8>)> {
    let mut tried = content.to_vec();
    let few = Some(content.len()).filter(|length| *length <= TRIED_MAX)?;
    let is_tried = |bits: &u8| bits.is_power_of_two() || few <= TRIED_WHOLE_MAX;
    for byte in 0..few {
        for bits in (1..=u8::MAX).filter(is_tried) {
            tried[byte] ^= bits;
            if is_right(&tried) {
                return Some((byte as u64, tried));
            }
            tried[byte] ^= bits;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_found_by_trying_and_a_byte_by_a_copy() {
        let content = b"as it was written, and hashed".to_vec();
        let hash = blake3::hash(&content);
        let is_right = |tried: &[u8]| blake3::hash(tried) == hash;
        let mut wrong = content.clone();
        wrong[7] ^= 0x10;
        assert_eq!(mended(&wrong, is_right), Some((7, content.clone())));
        wrong[7] ^= 0x03;
        assert_eq!(mended(&wrong, is_right), Some((7, content.clone())));
        wrong[8] ^= 0x01;
        assert_eq!(mended(&wrong, is_right), None);
        assert_eq!(first_difference(&wrong, &content), 7);
        assert_eq!(first_difference(&content[..9], &content), 9);
    }
}
