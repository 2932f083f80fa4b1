//! An operation that may be long, such as all that was written in an hour offline.
//!
//! `Delta::transform` and `Delta::compose` go through all of it for each operation of another's
//! and for each keystroke. Here it lies in a balanced tree that knows the lengths of the document
//! before and after it: what is touched is gone through, and the rest is stepped over in
//! logarithmic time. The results are the same, one by one.
//!
//! `Late` stays beside it: its effort, piece by piece, is what replicas agree on when they refuse
//! an operation, it reads events where they lie, and it needs no more than the moved operation.

mod tree;

use codraft_mutant::cost::{Work, spend};

use crate::{
    Attrs, Component, Delta, OpError,
    attributes::{self, bytes_of},
};
use tree::{Segment, Tree, Trees, after, before};

/// One operation, made of many, on its way past many.
#[derive(Debug, Clone, Default)]
pub struct Branch {
    root: Tree,
    trees: Trees,
}

impl Branch {
    pub fn new(delta: Delta) -> Branch {
        let mut branch = Branch::default();
        for component in delta.into_components() {
            let segment = match component {
                Component::Delete { units } => Segment::delete(units.into()),
                Component::Retain { units, attributes } => {
                    Segment::retain(units.into(), attributes)
                }
                insert => Segment::insert(vec![insert]),
            };
            branch.put_segment(segment);
        }
        branch.root = branch.trees.chop(branch.root.take());
        branch
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// What it cost so far: components and segments gone through, and nodes of the tree.
    pub fn effort(&self) -> u64 {
        self.trees.visited
    }

    /// Moves it past `earlier`, made against the same document: what
    /// `earlier.transform(&branch, true)` gives. Returns what `earlier` is to the document with
    /// the branch in it: what `branch.transform(&earlier, false)` gives.
    pub fn pass(&mut self, earlier: &Delta) -> Delta {
        let visited = self.trees.visited;
        let mut moved = Delta::with_capacity(earlier.components().len() + 1);
        let mut rest = self.root.take();
        for component in earlier.components() {
            self.trees.visited += 1;
            let units = u64::from(component.units());
            if component.is_insert() {
                // Theirs came first in the order, so it goes first at one place.
                moved.push(component.clone());
                self.put_segment(Segment::retain(units, None));
                continue;
            }
            let (part, others) = self.trees.split_before(rest, units);
            rest = others;
            let beyond = units - before(&part);
            match component {
                Component::Delete { .. } => {
                    self.deleted_by(part, &mut moved);
                    moved.delete(count(beyond));
                    continue;
                }
                Component::Retain {
                    attributes: Some(_),
                    ..
                } => self.formatted_by(part, component.attributes(), &mut moved),
                _ => {
                    moved.retain(count(after(&part)));
                    self.put(part);
                }
            }
            let attributes = component.attributes().clone();
            let units = count(beyond);
            moved.push(Component::Retain { units, attributes });
            self.put_segment(Segment::retain(beyond, None));
        }
        self.put(rest);
        self.root = self.trees.chop(self.root.take());
        spend(Work::Transformed, (self.trees.visited - visited) as usize);
        moved.chop()
    }

    /// Adds what was done after it: what `branch.compose(&next)` gives.
    ///
    /// # Errors
    /// `SplitSurrogate` where `next` cuts a pair that it inserts; nothing has changed then.
    pub fn compose(&mut self, next: &Delta) -> Result<(), OpError> {
        self.check(next)?;
        let mut rest = self.root.take();
        for component in next.components() {
            self.trees.visited += 1;
            let units = u64::from(component.units());
            if component.is_insert() {
                self.put_segment(Segment::insert(vec![component.clone()]));
                continue;
            }
            let (part, others) = self.trees.split_after(rest, units);
            rest = others;
            let beyond = units - after(&part);
            match component.attributes() {
                _ if matches!(component, Component::Delete { .. }) => {
                    // What was inserted here and is deleted was never there.
                    self.put_segment(Segment::delete(before(&part) + beyond));
                    continue;
                }
                None => self.put(part),
                new => self.format(part, new),
            }
            let attributes = component.attributes().clone();
            self.put_segment(Segment::retain(beyond, attributes));
        }
        self.put(rest);
        self.root = self.trees.chop(self.root.take());
        Ok(())
    }

    /// As one operation, in canonical form.
    pub fn finish(self) -> Delta {
        let mut delta = Delta::new();
        tree::each(self.root, &mut |segment| {
            for insert in segment.inserts {
                delta.push(insert);
            }
            delta.delete(count(segment.deleted));
            delta.push(Component::Retain {
                units: count(segment.retained),
                attributes: segment.attributes,
            });
        });
        delta.chop()
    }

    fn check(&self, next: &Delta) -> Result<(), OpError> {
        let mut at = 0;
        for component in next.components().iter().filter(|c| !c.is_insert()) {
            at += u64::from(component.units());
            if tree::splits_pair(&self.root, at) {
                let position = count(at);
                return Err(OpError::SplitSurrogate { position });
            }
        }
        Ok(())
    }

    fn put(&mut self, tree: Tree) {
        self.root = self.trees.join(self.root.take(), tree);
    }

    fn put_segment(&mut self, segment: Segment) {
        let tree = self.trees.node(segment);
        self.put(tree);
    }

    /// What is left of a part when another has deleted what it is about.
    fn deleted_by(&mut self, part: Tree, moved: &mut Delta) {
        let mut inserts = Vec::new();
        tree::each(part, &mut |mut segment| {
            self.trees.visited += 1;
            moved.retain(count(segment.inserted));
            moved.delete(count(segment.retained));
            inserts.append(&mut segment.inserts);
        });
        self.put_segment(Segment::insert(inserts));
    }

    /// And when another has formatted that.
    fn formatted_by(&mut self, part: Tree, theirs: &Attrs, moved: &mut Delta) {
        tree::each(part, &mut |mut segment| {
            self.trees.visited += 1;
            moved.retain(count(segment.inserted));
            moved.push(Component::Retain {
                units: count(segment.retained),
                attributes: theirs.clone(),
            });
            segment.attributes = attributes::transform(bytes_of(theirs), &segment.attributes, true);
            self.put_segment(segment);
        });
    }

    /// A part after which this is formatted.
    fn format(&mut self, part: Tree, new: &Attrs) {
        tree::each(part, &mut |mut segment| {
            self.trees.visited += 1;
            for insert in &mut segment.inserts {
                if let Component::Insert { attributes, .. } | Component::Embed { attributes, .. } =
                    insert
                {
                    *attributes = attributes::compose(attributes, new, false);
                }
            }
            segment.attributes = attributes::compose(&segment.attributes, new, true);
            self.put_segment(segment);
        });
    }
}

/// Counts stop at the top instead of wrapping: no document is that long, `apply` refuses.
fn count(units: u64) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}
