//! What is typed: each unit but once in a run, as far as Unicode reaches, so that it can be
//! followed through all that is made of it.

use rand::{Rng, rngs::StdRng};

/// Clients that have letters of their own; more share.
const CLIENTS: u32 = 16;
/// Han and Hangul: one unit each.
const BMP: (u32, u32) = (0x3400, 0xa000);
const HANGUL: (u32, u32) = (0xac00, 0xd7a4);
/// Two units each.
const ASTRAL: (u32, u32) = (0x20000, 0x2fff0);
/// For what documents start with: a private area.
const START: (u32, u32) = (0xe000, 0xf8ff);
const DOCUMENTS: u32 = 4;

/// What large texts are filled up with: a unit of three bytes that nobody types.
pub const FILLER: char = '\u{2026}';
/// A document that starts with more units starts with fillers.
const MANY: u32 = 100_000;

/// A range's part for one of `of`.
fn part((from, to): (u32, u32), number: u32, of: u32) -> std::ops::Range<u32> {
    let size = (to - from) / of;
    let start = from + (number % of) * size;
    start..start + size
}

pub struct Letters {
    bmp: std::iter::Chain<std::ops::Range<u32>, std::ops::Range<u32>>,
    astral: std::iter::Cycle<std::ops::Range<u32>>,
}

impl Letters {
    pub fn of_client(number: u32) -> Self {
        let bmp = part(BMP, number, CLIENTS).chain(part(HANGUL, number, CLIENTS));
        let astral = part(ASTRAL, number, CLIENTS).cycle();
        Self { bmp, astral }
    }

    /// The next letter: of one unit mostly, now and then of two.
    pub fn next(&mut self, rng: &mut StdRng) -> char {
        let bmp = if rng.random_bool(0.85) {
            self.bmp.next()
        } else {
            None
        };
        let code = bmp.or_else(|| self.astral.next());
        code.and_then(char::from_u32).unwrap_or('?')
    }

    /// So many units, or one more.
    pub fn text(&mut self, units: u32, rng: &mut StdRng) -> String {
        let mut text = String::new();
        let mut have = 0;
        while have < units {
            let letter = self.next(rng);
            have += letter.len_utf16() as u32;
            text.push(letter);
        }
        text
    }
}

/// What a document starts with.
pub fn first_text(document: u32, units: u32) -> String {
    let own = part(START, document, DOCUMENTS).filter_map(char::from_u32);
    let filler = if units > MANY { FILLER } else { '.' };
    own.chain(std::iter::repeat(filler))
        .take(units as usize)
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn no_two_clients_type_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..CLIENTS {
            let mut rng = StdRng::seed_from_u64(u64::from(number));
            let mut letters = Letters::of_client(number);
            for _ in 0..3_000 {
                let letter = letters.next(&mut rng);
                assert!(seen.insert(letter), "{letter:?} of {number} came before");
            }
        }
        for document in 0..DOCUMENTS {
            for letter in first_text(document, 1_500).chars() {
                assert!(seen.insert(letter), "{letter:?} came before");
            }
        }
    }
}
