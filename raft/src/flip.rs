//! Which byte of checksummed bytes is another one than was written, told by the checksum (CRC-32, IEEE)
//! alone: the difference of two checksums depends on where the bytes differ, and on nothing else.

/// The polynomial, its bits the other way round.
const POLYNOMIAL: u32 = 0xedb8_8320;
const TABLE: [u32; 256] = table();
/// Of each highest byte, which entry of the table has it: all of them differ.
const BY_HIGHEST: [u8; 256] = by_highest();
/// More places than this tell nothing.
const PLACES_MAX: usize = 16;

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut entry, mut bit) = (byte as u32, 0);
        while bit < 8 {
            entry = (entry >> 1) ^ (POLYNOMIAL * (entry & 1));
            bit += 1;
        }
        table[byte] = entry;
        byte += 1;
    }
    table
}

const fn by_highest() -> [u8; 256] {
    let mut places = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        places[(TABLE[byte] >> 24) as usize] = byte as u8;
        byte += 1;
    }
    places
}

/// Where one byte of `covered` bytes may have been changed for their checksum to differ by
/// `difference`, and by which bits. The last place first; at most a few, since in a large record some
/// fit by chance.
pub fn places(difference: u32, covered: usize) -> Vec<(usize, u8)> {
    let (mut places, mut difference) = (Vec::new(), difference);
    if difference == 0 {
        return places;
    }
    for place in (0..covered).rev() {
        let bits = BY_HIGHEST[(difference >> 24) as usize];
        let before = difference ^ TABLE[bits as usize];
        if before == 0 {
            places.push((place, bits));
            if places.len() == PLACES_MAX {
                break;
            }
        }
        // As it was one byte before.
        difference = before << 8 | u32::from(bits);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        let written: Vec<u8> = (0..4_000u32).map(|n| ((n * n) >> 3) as u8).collect();
        let checksum = crc32fast::hash(&written);
        for (at, bits) in [(0, 1), (1, 0xff), (1_234, 0x80), (2_000, 0x5a), (3_999, 1)] {
            let mut changed = written.clone();
            changed[at] ^= bits;
            let found = places(checksum ^ crc32fast::hash(&changed), written.len());
            assert_eq!(found, [(at, bits)]);
        }
        assert_eq!(places(0, written.len()), []);
    }
}
