//! Which attributes stand where in a rich document: runs, in a tree whose nodes know their sums
//! and which clones share.
//!
//! An operation goes down where it does something and passes over all else. A leaf keeps its
//! styles packed, those that repeat once, so that a run takes few bytes however many there are.
//! Neighbours of one style are one run, also across leaves: the runs, and what they count for,
//! follow from the document alone and not from how it came about.

mod leaf;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{Component, Delta, Limits, OpError, cursor::Cursor};
use leaf::Leaf;
pub(crate) use leaf::{Piece, Style};

/// The most children of an inner node.
const CHILDREN_MAX: usize = 32;

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Inner(Box<[Child]>),
}

#[derive(Debug, Clone)]
struct Child {
    sum: Sum,
    node: Arc<Node>,
}

/// Of the runs below a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    /// UTF-16 code units.
    units: u32,
    /// What they count for in `Limits::rich_bytes`.
    rich_bytes: u64,
    /// What the nodes take in memory.
    heap_bytes: u64,
}

/// What an allocation takes, as common allocators round it.
pub(crate) fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => ((bytes + 8).next_multiple_of(16)).max(32),
    }
}

/// An `Arc` of a node: two counts before it.
const NODE_BYTES: usize = 16 + size_of::<Node>();

impl Child {
    fn leaf(leaf: Leaf) -> Child {
        Child {
            sum: leaf.sum(),
            node: Arc::new(Node::Leaf(leaf)),
        }
    }

    fn inner(children: Box<[Child]>) -> Child {
        let heap = allocated(NODE_BYTES) + allocated(size_of_val(&*children));
        let mut sum = Sum {
            heap_bytes: heap as u64,
            ..Sum::default()
        };
        for child in &children {
            sum.units += child.sum.units;
            sum.rich_bytes += child.sum.rich_bytes;
            sum.heap_bytes += child.sum.heap_bytes;
        }
        Child {
            sum,
            node: Arc::new(Node::Inner(children)),
        }
    }

    /// Both as one node, where both are small and of one height.
    fn join(&self, next: &Child) -> Option<Child> {
        match (&*self.node, &*next.node) {
            (Node::Leaf(one), Node::Leaf(other)) => one.join(other).map(Child::leaf),
            (Node::Inner(one), Node::Inner(other)) => {
                let few = one.len() + other.len() <= CHILDREN_MAX / 2;
                few.then(|| Child::inner(one.iter().chain(other).cloned().collect()))
            }
            _ => None,
        }
    }
}

/// The runs of a document, in order, without a gap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    root: Option<Child>,
}

impl Runs {
    /// Of what a rich document starts with.
    pub(crate) fn of_line_break() -> Runs {
        let piece = Piece {
            units: 1,
            style: Style::default(),
        };
        Runs {
            root: Some(Child::leaf(Leaf::new(&[piece]))),
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            stack: vec![self.root.as_slice().iter()],
            leaf: None,
        }
    }

    fn sum(&self) -> Sum {
        self.root.as_ref().map_or(Sum::default(), |root| root.sum)
    }

    pub(crate) fn units(&self) -> u32 {
        self.sum().units
    }

    /// What they count for in `Limits::rich_bytes`.
    pub(crate) fn rich_bytes(&self) -> u64 {
        self.sum().rich_bytes
    }

    /// What it takes in memory.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.sum().heap_bytes
    }

    /// The runs after an operation whose lengths fit.
    ///
    /// # Errors
    /// `TooManyAttributes` where text would end with more than an operation may give it;
    /// `DocumentTooRich`.
    pub(crate) fn after(&self, delta: &Delta, limits: &Limits) -> Result<Runs, OpError> {
        let before = self.sum();
        let mut pass = Pass {
            delta: Cursor::new(delta.components()),
            limits,
            left: before.units,
            open: Vec::new(),
        };
        let mut nodes = Vec::new();
        match &self.root {
            Some(root) => pass.walk(root, &mut nodes)?,
            None => {
                pass.insert();
                leaf::write(&mut pass.open, |leaf| push(&mut nodes, Child::leaf(leaf)));
            }
        }
        while nodes.len() > 1 {
            let children = std::mem::take(&mut nodes);
            group(children, &mut nodes);
        }
        let mut root = nodes.pop();
        while let Some(Child { node, .. }) = &root
            && let Node::Inner(children) = &**node
            && let [only] = &**children
        {
            root = Some(only.clone());
        }
        let after = Runs { root };
        let bytes = after.sum().rich_bytes;
        if bytes > limits.rich_bytes as u64 && bytes > before.rich_bytes {
            return Err(OpError::DocumentTooRich {
                most_bytes: limits.rich_bytes,
            });
        }
        Ok(after)
    }
}

/// Adds a node at the end; small neighbours become one.
fn push(nodes: &mut Vec<Child>, new: Child) {
    if let Some(last) = nodes.last_mut()
        && let Some(joined) = last.join(&new)
    {
        *last = joined;
        return;
    }
    nodes.push(new);
}

/// Makes inner nodes of children: halves of what grew too large, so that the next finds room.
fn group(children: Vec<Child>, into: &mut Vec<Child>) {
    if children.is_empty() {
        return;
    }
    let parts = children.len().div_ceil(CHILDREN_MAX);
    let size = children.len().div_ceil(parts);
    let mut children = children.into_iter();
    for _ in 0..parts {
        push(into, Child::inner(children.by_ref().take(size).collect()));
    }
}

/// An operation on its way through the tree.
struct Pass<'a> {
    delta: Cursor<'a>,
    limits: &'a Limits,
    /// Units of the old document that are not passed yet.
    left: u32,
    /// Runs to be written. Between two leaves it is the last run of the first, which may go on
    /// in the second.
    open: Vec<Piece<'a>>,
}

impl<'a> Pass<'a> {
    /// The nodes that take the place of `child`.
    fn walk(&mut self, child: &'a Child, out: &mut Vec<Child>) -> Result<(), OpError> {
        let units = child.sum.units;
        let kept = self.keeps(units);
        if kept && self.open.is_empty() {
            self.delta.skip(units);
            self.left -= units;
            push(out, child.clone());
            return Ok(());
        }
        if let Some(Component::Delete { .. }) = self.delta.peek()
            && self.delta.left() >= units
            && self.left > units
        {
            self.delta.skip(units);
            self.left -= units;
            return Ok(());
        }
        match &*child.node {
            Node::Inner(children) => {
                let mut nodes = Vec::with_capacity(children.len() + 2);
                for child in children {
                    self.walk(child, &mut nodes)?;
                }
                group(nodes, out);
            }
            Node::Leaf(leaf) => {
                for piece in leaf.pieces() {
                    self.take(piece)?;
                }
                let mut carry = None;
                if self.left == 0 {
                    self.insert();
                } else if !kept || self.open.len() == 1 {
                    carry = self.open.pop();
                }
                leaf::write(&mut self.open, |leaf| push(out, Child::leaf(leaf)));
                self.open.extend(carry);
            }
        }
        Ok(())
    }

    /// Whether the operation does nothing to the next `units`, nor right behind them.
    fn keeps(&self, units: u32) -> bool {
        match self.delta.peek() {
            None => true,
            Some(Component::Retain {
                attributes: None, ..
            }) => self.delta.left() > units,
            _ => false,
        }
    }

    /// Takes what is inserted here.
    fn insert(&mut self) {
        while let Some(component) = self.delta.peek() {
            let style = match component {
                Component::Insert { attributes, .. } => Style::new(&[], attributes),
                Component::Embed { value, attributes } => Style::new(value.bytes(), attributes),
                _ => return,
            };
            let units = component.units();
            self.push(Piece { units, style });
            self.delta.skip(units);
        }
    }

    /// Passes an old run.
    fn take(&mut self, piece: Piece<'a>) -> Result<(), OpError> {
        self.left -= piece.units;
        let mut rest = piece.units;
        while rest > 0 {
            self.insert();
            let units = rest.min(self.delta.left());
            let kept = Piece {
                units,
                style: piece.style.clone(),
            };
            match self.delta.peek() {
                Some(Component::Delete { .. }) => {}
                Some(Component::Retain {
                    attributes: Some(set),
                    ..
                }) => {
                    let style = piece.style.with(set);
                    if style.attribute_count() > self.limits.attributes as u64 {
                        return Err(OpError::TooManyAttributes {
                            most: self.limits.attributes,
                        });
                    }
                    self.push(Piece { units, style });
                }
                _ => self.push(kept),
            }
            self.delta.skip(units);
            rest -= units;
        }
        Ok(())
    }

    fn push(&mut self, piece: Piece<'a>) {
        match self.open.last_mut() {
            Some(last) if !last.style.is_embed() && last.style == piece.style => {
                last.units += piece.units;
            }
            _ => self.open.push(piece),
        }
    }
}

/// The runs in order.
pub(crate) struct Iter<'a> {
    stack: Vec<std::slice::Iter<'a, Child>>,
    leaf: Option<leaf::Pieces<'a>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            if let Some(piece) = self.leaf.as_mut().and_then(Iterator::next) {
                return Some(piece);
            }
            match self.stack.last_mut()?.next() {
                None => {
                    self.stack.pop();
                }
                Some(child) => match &*child.node {
                    Node::Leaf(leaf) => self.leaf = Some(leaf.pieces()),
                    Node::Inner(children) => self.stack.push(children.iter()),
                },
            }
        }
    }
}
