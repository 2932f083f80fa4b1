//! Who wrote a stretch of text, run by run, and its spelling.
//!
//! ```text
//! authorship = users varint · (length varint · user)* · runs varint · (units varint · user's number varint)*
//! ```
//!
//! Users in the order in which they come, each once; neighbours are of different users.

use codraft_ot::varint;
use codraft_proto::ids::UserId;

use crate::segment::{SegmentError, blob, put_blob};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorship {
    pub users: Vec<UserId>,
    /// UTF-16 units, and the place of who wrote them in `users`.
    pub runs: Vec<(u32, u32)>,
}

impl Authorship {
    /// Of runs whose authors are known by their places in `users`.
    pub fn of(users: &[UserId], runs: impl IntoIterator<Item = (u32, u32)>) -> Authorship {
        let mut own = Authorship::default();
        let mut places = vec![None; users.len()];
        for (units, author) in runs {
            let (Some(user), Some(place)) =
                (users.get(author as usize), places.get_mut(author as usize))
            else {
                continue;
            };
            let place = *place.get_or_insert_with(|| {
                own.users.push(user.clone());
                own.users.len() as u32 - 1
            });
            match own.runs.last_mut() {
                Some((more, last)) if *last == place => *more = more.saturating_add(units),
                _ => own.runs.push((units, place)),
            }
        }
        own
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &UserId)> {
        let runs = self.runs.iter();
        runs.filter_map(|(units, user)| Some((*units, self.users.get(*user as usize)?)))
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.users.len() as u64);
        for user in &self.users {
            put_blob(out, user.as_bytes());
        }
        varint::put(out, self.runs.len() as u64);
        for (units, user) in &self.runs {
            varint::put(out, (*units).into());
            varint::put(out, (*user).into());
        }
    }

    /// All of some bytes.
    ///
    /// # Errors
    /// When they are not the spelling of any.
    pub fn decode(mut bytes: &[u8]) -> Result<Authorship, SegmentError> {
        let authorship = Self::take(&mut bytes)?;
        match bytes.is_empty() {
            true => Ok(authorship),
            false => Err(SegmentError::Invalid("bytes behind authors")),
        }
    }

    /// The one at the beginning of some bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(rest: &mut &[u8]) -> Result<Authorship, SegmentError> {
        let mut authorship = Authorship::default();
        for _ in 0..varint::take(rest)? {
            let user = std::str::from_utf8(blob(rest)?);
            let user = user.map_err(|_| SegmentError::Invalid("user"))?;
            authorship.users.push(user.into());
        }
        for _ in 0..varint::take(rest)? {
            let (units, user) = (varint::take(rest)?, varint::take(rest)?);
            let run = u32::try_from(units).ok().zip(u32::try_from(user).ok());
            let known = run.filter(|(_, user)| (*user as usize) < authorship.users.len());
            let known = known.ok_or(SegmentError::Invalid("author"))?;
            authorship.runs.push(known);
        }
        Ok(authorship)
    }
}
