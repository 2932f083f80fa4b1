//! A second text model, written against the documents of the formats and sharing no code with
//! the product's: slow, plain, and only for checking.
//!
//! A content is a list of UTF-16 units, each with its attributes; an embed is one unit.

mod decode;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Attributes, Edit, Hash};

pub use decode::{decode, varint};

/// Stands for an embed in a text.
const EMBED: u16 = 0xfffc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    code: u16,
    /// Into `Content::attributes`.
    attributes: u32,
    /// Into `Content::embeds`; 0: it is text.
    embed: u32,
}

/// Why an operation does not fit a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    Beyond,
    SplitsPair,
    NotInserts,
}

#[derive(Debug, Clone, Default)]
pub struct Content {
    units: Vec<Unit>,
    attributes: Names<Attributes>,
    embeds: Names<String>,
}

/// Values by small numbers; the default one is 0.
#[derive(Debug, Clone, Default)]
struct Names<T> {
    values: Vec<T>,
    numbers: BTreeMap<T, u32>,
}

impl<T: Ord + Clone + Default> Names<T> {
    fn number(&mut self, value: &T) -> u32 {
        if *value == T::default() {
            return 0;
        }
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        self.values.push(value.clone());
        let number = self.values.len() as u32;
        self.numbers.insert(value.clone(), number);
        number
    }

    fn value(&self, number: u32) -> T {
        match number.checked_sub(1) {
            Some(at) => self.values[at as usize].clone(),
            None => T::default(),
        }
    }
}

impl Content {
    /// From the inserts that make it.
    pub fn of(inserts: &[Edit]) -> Result<Content, Unfit> {
        let inserting = |edit: &Edit| matches!(edit, Edit::Insert(..) | Edit::Embed(..));
        if !inserts.iter().all(inserting) {
            return Err(Unfit::NotInserts);
        }
        let mut content = Content::default();
        content.apply(inserts)?;
        Ok(content)
    }

    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// The text, embeds as U+FFFC.
    pub fn text(&self) -> String {
        let codes: Vec<u16> = self.units.iter().map(|unit| unit.code).collect();
        String::from_utf16_lossy(&codes)
    }

    /// Nothing has changed where it does not fit.
    pub fn apply(&mut self, edits: &[Edit]) -> Result<(), Unfit> {
        self.fits(edits)?;
        let mut at = 0;
        for edit in edits {
            match edit {
                Edit::Retain(units, changes) => {
                    let end = at + *units as usize;
                    if !changes.is_empty() {
                        self.format(at, end, changes);
                    }
                    at = end;
                }
                Edit::Delete(units) => {
                    self.units.drain(at..at + *units as usize);
                }
                Edit::Insert(text, attributes) => {
                    let attributes = self.attributes.number(&without_nulls(attributes));
                    let unit = |code| Unit {
                        code,
                        attributes,
                        embed: 0,
                    };
                    let new: Vec<Unit> = text.encode_utf16().map(unit).collect();
                    let end = at + new.len();
                    self.units.splice(at..at, new);
                    at = end;
                }
                Edit::Embed(json, attributes) => {
                    let unit = Unit {
                        code: EMBED,
                        attributes: self.attributes.number(&without_nulls(attributes)),
                        embed: self.embeds.number(json),
                    };
                    self.units.insert(at, unit);
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn format(&mut self, from: usize, to: usize, changes: &Attributes) {
        let mut known = BTreeMap::new();
        for at in from..to {
            let before = self.units[at].attributes;
            let after = *known.entry(before).or_insert_with(|| {
                let mut map: BTreeMap<_, _> = self.attributes.value(before).into_iter().collect();
                map.extend(changes.iter().cloned());
                let after = map.into_iter().filter(|(_, value)| value != "null");
                self.attributes.number(&after.collect())
            });
            self.units[at].attributes = after;
        }
    }

    fn fits(&self, edits: &[Edit]) -> Result<(), Unfit> {
        let mut at = 0;
        self.whole(at)?;
        for edit in edits {
            if let Edit::Retain(units, _) | Edit::Delete(units) = edit {
                at += *units as usize;
                if at > self.units.len() {
                    return Err(Unfit::Beyond);
                }
                self.whole(at)?;
            }
        }
        Ok(())
    }

    /// Whether no pair of surrogates stands across `at`.
    fn whole(&self, at: usize) -> Result<(), Unfit> {
        let high = |unit: &Unit| (0xd800..0xdc00).contains(&unit.code);
        let low = |unit: &Unit| (0xdc00..0xe000).contains(&unit.code);
        let before = at.checked_sub(1).and_then(|at| self.units.get(at));
        match (before, self.units.get(at)) {
            (Some(before), Some(after)) if high(before) && low(after) => Err(Unfit::SplitsPair),
            _ => Ok(()),
        }
    }

    /// BLAKE3 of the content, spelled run by run: `t` or `e`, the bytes of what follows in
    /// decimal, `:`, the text or the embed's JSON, then the attributes as a JSON object. A run
    /// of text is as long as its attributes are the same; an embed is a run of its own.
    pub fn digest(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let same =
            |a: &Unit, b: &Unit| a.embed == 0 && b.embed == 0 && a.attributes == b.attributes;
        for run in self.units.chunk_by(same) {
            let first = run[0];
            let (kind, spelled) = match first.embed {
                0 => {
                    let codes: Vec<u16> = run.iter().map(|unit| unit.code).collect();
                    ('t', String::from_utf16_lossy(&codes))
                }
                embed => ('e', self.embeds.value(embed)),
            };
            hasher.update(format!("{kind}{}:", spelled.len()).as_bytes());
            hasher.update(spelled.as_bytes());
            let attributes = self.attributes.value(first.attributes);
            hasher.update(decode::object(&attributes).as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

fn without_nulls(attributes: &Attributes) -> Attributes {
    let mut out = attributes.clone();
    out.retain(|(_, value)| value != "null");
    out
}

/// UTF-16 units that an edit inserts.
pub fn inserted(edit: &Edit) -> u64 {
    match edit {
        Edit::Insert(text, _) => text.encode_utf16().count() as u64,
        Edit::Embed(..) => 1,
        Edit::Retain(..) | Edit::Delete(_) => 0,
    }
}

/// One spelling of operations that do the same: at each place what is inserted stands before
/// what is deleted, neighbours of one sort are one, and no plain retain stands last.
pub fn canonical(edits: &[Edit]) -> Vec<Edit> {
    let mut out: Vec<Edit> = Vec::new();
    let mut deleted = 0;
    for edit in edits {
        match edit {
            Edit::Delete(units) => deleted += units,
            Edit::Retain(0, _) => {}
            Edit::Retain(..) => {
                settle(&mut out, &mut deleted);
                join(&mut out, edit.clone());
            }
            Edit::Insert(text, _) if text.is_empty() => {}
            Edit::Insert(..) | Edit::Embed(..) => join(&mut out, edit.clone()),
        }
    }
    settle(&mut out, &mut deleted);
    while matches!(out.last(), Some(Edit::Retain(_, attributes)) if attributes.is_empty()) {
        out.pop();
    }
    out
}

fn settle(out: &mut Vec<Edit>, deleted: &mut u64) {
    if *deleted > 0 {
        out.push(Edit::Delete(std::mem::take(deleted)));
    }
}

fn join(out: &mut Vec<Edit>, edit: Edit) {
    match (out.last_mut(), &edit) {
        (Some(Edit::Retain(units, a)), Edit::Retain(more, b)) if a == b => *units += more,
        (Some(Edit::Insert(text, a)), Edit::Insert(more, b)) if a == b => text.push_str(more),
        _ => out.push(edit),
    }
}

/// An operation, looked at from the document that it was made for.
struct Plan<'a> {
    /// What is inserted before a place of the document.
    inserts: BTreeMap<u64, Vec<&'a Edit>>,
    /// What is done to the units from a place on, up to the next place.
    stretches: BTreeMap<u64, Option<&'a Edit>>,
}

impl<'a> Plan<'a> {
    fn of(edits: &'a [Edit]) -> Self {
        let (mut inserts, mut stretches) = (BTreeMap::new(), BTreeMap::new());
        let mut at = 0;
        for edit in edits {
            match edit {
                Edit::Retain(units, _) | Edit::Delete(units) => {
                    stretches.insert(at, Some(edit));
                    at += units;
                }
                Edit::Insert(..) | Edit::Embed(..) => {
                    inserts.entry(at).or_insert_with(Vec::new).push(edit);
                }
            }
        }
        stretches.insert(at, None);
        Self { inserts, stretches }
    }

    /// What is done to the unit at a place.
    fn at(&self, place: u64) -> Option<&'a Edit> {
        let (_, edit) = self.stretches.range(..=place).next_back()?;
        *edit
    }
}

/// `later`, made for the same document as `earlier`, as it is to be done after `earlier`: what
/// both insert at one place stands in the order of the two, and an attribute that both set
/// stays as `earlier` set it.
pub fn transform(earlier: &[Edit], later: &[Edit]) -> Vec<Edit> {
    let (earlier, later) = (canonical(earlier), canonical(later));
    let (first, second) = (Plan::of(&earlier), Plan::of(&later));
    let mut places: BTreeSet<u64> = BTreeSet::new();
    for plan in [&first, &second] {
        places.extend(plan.inserts.keys().chain(plan.stretches.keys()));
    }
    let places: Vec<u64> = places.into_iter().collect();
    let mut out = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let theirs = first.inserts.get(place).into_iter().flatten();
        out.push(Edit::Retain(
            theirs.map(|edit| inserted(edit)).sum(),
            Vec::new(),
        ));
        let ours = second.inserts.get(place).into_iter().flatten();
        out.extend(ours.map(|edit| (*edit).clone()));
        let Some(next) = places.get(i + 1) else { break };
        let units = next - place;
        match (first.at(*place), second.at(*place)) {
            (Some(Edit::Delete(_)), _) => {}
            (_, Some(Edit::Delete(_))) => out.push(Edit::Delete(units)),
            (set, Some(Edit::Retain(_, attributes))) => {
                let mut attributes = attributes.clone();
                if let Some(Edit::Retain(_, set)) = set {
                    attributes.retain(|(key, _)| !set.iter().any(|(other, _)| other == key));
                }
                out.push(Edit::Retain(units, attributes));
            }
            _ => out.push(Edit::Retain(units, Vec::new())),
        }
    }
    canonical(&out)
}
