//! The segments of an operation in a treap: a binary tree in order, that is balanced because none
//! stands above one of a higher priority, and priorities are drawn.

use crate::{Attrs, Component, cursor::byte_of, op::merge as merge_components};

/// What is inserted at one place, then what is deleted there; then what is retained up to the
/// next place. So the order is the canonical one, wherever deletions make two places one.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    pub inserts: Vec<Component>,
    /// Units of `inserts`.
    pub inserted: u64,
    pub deleted: u64,
    pub retained: u64,
    /// Of what is retained.
    pub attributes: Attrs,
}

impl Segment {
    pub fn insert(inserts: Vec<Component>) -> Segment {
        let inserted = inserts.iter().map(|c| u64::from(c.units())).sum();
        Segment {
            inserts,
            inserted,
            ..Segment::default()
        }
    }

    pub fn delete(deleted: u64) -> Segment {
        Segment {
            deleted,
            ..Segment::default()
        }
    }

    pub fn retain(retained: u64, attributes: Attrs) -> Segment {
        Segment {
            retained,
            attributes,
            ..Segment::default()
        }
    }

    /// Whether what follows is a part of it.
    fn takes(&self, next: &Segment) -> bool {
        let is_retain = next.inserted + next.deleted == 0;
        self.retained == 0 || (is_retain && self.attributes == next.attributes)
    }

    fn append(&mut self, next: Segment) {
        for insert in next.inserts {
            let merged = match self.inserts.last_mut() {
                Some(last) => merge_components(last, &insert),
                None => false,
            };
            if !merged {
                self.inserts.push(insert);
            }
        }
        self.inserted += next.inserted;
        self.deleted += next.deleted;
        self.retained += next.retained;
        self.attributes = next.attributes;
    }

    /// Keeps so many units of the inserts, and returns the rest of all.
    fn cut_inserts(&mut self, units: u64) -> Segment {
        let mut left = units;
        let mut keep = self.inserts.len();
        let mut second = None;
        for (place, insert) in self.inserts.iter_mut().enumerate() {
            if left == 0 {
                keep = place;
                break;
            }
            if u64::from(insert.units()) > left {
                second = cut(insert, left as u32);
                keep = place + 1;
                break;
            }
            left -= u64::from(insert.units());
        }
        let mut inserts: Vec<_> = second.into_iter().collect();
        inserts.extend(self.inserts.drain(keep..));
        let rest = Segment {
            inserts,
            inserted: self.inserted - units,
            deleted: std::mem::take(&mut self.deleted),
            retained: std::mem::take(&mut self.retained),
            attributes: self.attributes.take(),
        };
        self.inserted = units;
        rest
    }

    /// Keeps so many units of what is deleted and of what is retained, and returns the rest.
    fn cut_walked(&mut self, deleted: u64, retained: u64) -> Segment {
        let rest = Segment {
            deleted: self.deleted - deleted,
            retained: self.retained - retained,
            attributes: self.attributes.clone(),
            ..Segment::default()
        };
        (self.deleted, self.retained) = (deleted, retained);
        rest
    }
}

/// Keeps so many units of an inserted text, fewer than it has, and returns the rest.
fn cut(insert: &mut Component, at: u32) -> Option<Component> {
    let Component::Insert {
        text,
        units,
        attributes,
    } = insert
    else {
        return None; // One unit long, so it is never cut.
    };
    let second = text.split_off(byte_of(text, at)?);
    let more = *units - at;
    *units = at;
    Some(Component::Insert {
        text: second,
        units: more,
        attributes: attributes.clone(),
    })
}

pub(super) type Tree = Option<Box<Node>>;

#[derive(Debug, Clone)]
pub(super) struct Node {
    segment: Segment,
    left: Tree,
    right: Tree,
    priority: u32,
    /// Units of the document that this and all below walk over.
    before: u64,
    /// And units of the document that they make of it.
    after: u64,
}

impl Node {
    fn measured(mut self: Box<Self>) -> Box<Self> {
        self.measure();
        self
    }

    fn measure(&mut self) {
        let Segment {
            inserted,
            deleted,
            retained,
            ..
        } = self.segment;
        self.before = before(&self.left) + deleted + retained + before(&self.right);
        self.after = after(&self.left) + inserted + retained + after(&self.right);
    }

    fn first(&self) -> &Segment {
        let mut node = self;
        while let Some(left) = &node.left {
            node = left;
        }
        &node.segment
    }

    fn last(&self) -> &Segment {
        let mut node = self;
        while let Some(right) = &node.right {
            node = right;
        }
        &node.segment
    }

    fn append(&mut self, next: Segment) {
        match &mut self.right {
            Some(right) => right.append(next),
            None => self.segment.append(next),
        }
        self.measure();
    }
}

pub(super) fn before(tree: &Tree) -> u64 {
    tree.as_ref().map_or(0, |node| node.before)
}

pub(super) fn after(tree: &Tree) -> u64 {
    tree.as_ref().map_or(0, |node| node.after)
}

/// All segments in order.
pub(super) fn each(tree: Tree, then: &mut impl FnMut(Segment)) {
    if let Some(node) = tree {
        each(node.left, then);
        then(node.segment);
        each(node.right, then);
    }
}

/// Whether a place in the document after lies in an inserted surrogate pair.
pub(super) fn splits_pair(tree: &Tree, mut at: u64) -> bool {
    let mut tree = tree;
    while let Some(node) = tree {
        let left = after(&node.left);
        if at <= left {
            tree = &node.left;
            continue;
        }
        at -= left;
        if at < node.segment.inserted {
            for insert in &node.segment.inserts {
                let units = u64::from(insert.units());
                if at < units {
                    let text = match insert {
                        Component::Insert { text, .. } => text,
                        _ => return false,
                    };
                    return byte_of(text, at as u32).is_none();
                }
                at -= units;
            }
            return false;
        }
        let own = node.segment.inserted + node.segment.retained;
        if at <= own {
            return false;
        }
        at -= own;
        tree = &node.right;
    }
    false
}

/// Makes trees, puts them together and cuts them.
#[derive(Debug, Clone)]
pub(super) struct Trees {
    /// What was drawn last. The shape is nothing that anybody sees, so the same numbers do each
    /// time (xorshift).
    drawn: u32,
    /// How many nodes were gone through.
    pub visited: u64,
}

impl Default for Trees {
    fn default() -> Self {
        Trees {
            drawn: 1,
            visited: 0,
        }
    }
}

impl Trees {
    /// A tree of this alone; none, if it is nothing.
    pub fn node(&mut self, segment: Segment) -> Tree {
        let is_nothing = segment.inserted + segment.deleted + segment.retained == 0;
        if is_nothing {
            return None;
        }
        self.drawn ^= self.drawn << 13;
        self.drawn ^= self.drawn >> 17;
        self.drawn ^= self.drawn << 5;
        let node = Box::new(Node {
            segment,
            left: None,
            right: None,
            priority: self.drawn,
            before: 0,
            after: 0,
        });
        Some(node.measured())
    }

    /// One behind the other; what meets there is said in one way.
    pub fn join(&mut self, a: Tree, b: Tree) -> Tree {
        let Some(mut a) = a else { return b };
        let mut rest = b;
        while let Some(tree) = rest.take_if(|tree| a.last().takes(tree.first())) {
            let (first, others) = self.take_first(tree);
            a.append(first);
            rest = others;
        }
        self.merge(Some(a), rest)
    }

    fn merge(&mut self, a: Tree, b: Tree) -> Tree {
        self.visited += 1;
        let (mut a, mut b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return a.or(b),
        };
        if a.priority >= b.priority {
            a.right = self.merge(a.right.take(), Some(b));
            return Some(a.measured());
        }
        b.left = self.merge(Some(a), b.left.take());
        Some(b.measured())
    }

    fn take_first(&mut self, mut tree: Box<Node>) -> (Segment, Tree) {
        self.visited += 1;
        let Some(left) = tree.left.take() else {
            return (tree.segment, tree.right);
        };
        let (first, others) = self.take_first(left);
        tree.left = others;
        (first, Some(tree.measured()))
    }

    /// Without a plain retain at the end, which means nothing there.
    pub fn chop(&mut self, tree: Tree) -> Tree {
        let mut tree = tree?;
        self.visited += 1;
        if tree.right.is_some() {
            tree.right = self.chop(tree.right.take());
        } else if tree.segment.attributes.is_none() {
            tree.segment.retained = 0;
            if tree.segment.inserted + tree.segment.deleted == 0 {
                return tree.left;
            }
        }
        Some(tree.measured())
    }

    /// So many units of the document before, and the rest; inserts where it is cut are of the
    /// rest.
    pub fn split_before(&mut self, tree: Tree, units: u64) -> (Tree, Tree) {
        let Some(mut tree) = tree else {
            return (None, None);
        };
        self.visited += 1;
        let left = units.saturating_sub(before(&tree.left));
        if left == 0 {
            let (first, second) = self.split_before(tree.left.take(), units);
            tree.left = second;
            return (first, Some(tree.measured()));
        }
        let own = tree.segment.deleted + tree.segment.retained;
        if left >= own {
            let (first, second) = self.split_before(tree.right.take(), left - own);
            tree.right = first;
            return (Some(tree.measured()), second);
        }
        let deleted = left.min(tree.segment.deleted);
        let rest = tree.segment.cut_walked(deleted, left - deleted);
        self.split_own(tree, rest)
    }

    /// So many units of the document after, and the rest.
    pub fn split_after(&mut self, tree: Tree, units: u64) -> (Tree, Tree) {
        let Some(mut tree) = tree else {
            return (None, None);
        };
        self.visited += 1;
        let left = units.saturating_sub(after(&tree.left));
        if left == 0 {
            let (first, second) = self.split_after(tree.left.take(), units);
            tree.left = second;
            return (first, Some(tree.measured()));
        }
        let own = tree.segment.inserted + tree.segment.retained;
        if left >= own {
            let (first, second) = self.split_after(tree.right.take(), left - own);
            tree.right = first;
            return (Some(tree.measured()), second);
        }
        let rest = match left.checked_sub(tree.segment.inserted) {
            Some(retained) if retained > 0 => {
                let deleted = tree.segment.deleted;
                tree.segment.cut_walked(deleted, retained)
            }
            _ => tree.segment.cut_inserts(left),
        };
        self.split_own(tree, rest)
    }

    /// Cuts a tree behind what is left of its own segment; `rest` was that segment's too.
    fn split_own(&mut self, mut tree: Box<Node>, rest: Segment) -> (Tree, Tree) {
        let right = tree.right.take();
        let rest = self.node(rest);
        (Some(tree.measured()), self.merge(rest, right))
    }
}
