//! A late operation on its way past many earlier ones.
//!
//! `Delta::transform` past each would walk the whole operation for each. Here it lies in pieces
//! that know their length: an earlier operation steps over those that it only retains and goes
//! through the others alone. Text is moved and never copied, and is joined once at the end.

use codraft_mutant::{
    cost::{Work, spend},
    mutant,
};

use crate::{
    Component, Delta, attributes,
    packed::NO_ATTRIBUTES,
    steps::{Step, Steps},
};

/// The most components of a piece when it is made; one that grows to twice as many is cut.
const PIECE_MAX: usize = 16;

/// What a component costs where attributes meet attributes.
const FORMAT_EFFORT: u64 = 4;

/// An operation that is moved past one earlier operation after another: each step gives what
/// `earlier.transform(&late, true)` gives.
#[derive(Debug)]
pub struct Late {
    pieces: Vec<Piece>,
    piece_max: usize,
    /// Kept to spare an allocation a step.
    spare: Vec<Component>,
    effort: u64,
}

#[derive(Debug)]
struct Piece {
    /// Units of the document that it walks over.
    base_units: u64,
    /// Whether it sets or takes away attributes.
    formats: bool,
    /// In canonical order, but neighbouring inserts stay apart: joined at every step, a long
    /// text would be copied again and again.
    components: Vec<Component>,
}

impl Piece {
    fn new(components: Vec<Component>) -> Piece {
        let mut piece = Piece {
            base_units: 0,
            formats: false,
            components,
        };
        piece.measure();
        piece
    }

    fn measure(&mut self) {
        let walked = self.components.iter().filter(|c| !c.is_insert());
        (self.base_units, self.formats) = walked.fold((0, false), |(units, formats), c| {
            let formats = formats || c.attributes().is_some();
            (units + u64::from(c.units()), formats)
        });
    }

    /// Whether `earlier` does nothing to it, nor right behind it, where its end may be concerned.
    fn is_passed_by(&self, earlier: &Steps<'_>) -> bool {
        let Some(Step::Retain(attributes)) = earlier.step() else {
            return false;
        };
        (attributes == NO_ATTRIBUTES || !self.formats)
            && u64::from(earlier.left()) > self.base_units
    }
}

impl Late {
    pub fn new(delta: Delta) -> Late {
        Late::in_pieces_of(PIECE_MAX, delta)
    }

    /// With small pieces, so that tests meet their edges.
    #[doc(hidden)]
    pub fn in_pieces_of(piece_max: usize, delta: Delta) -> Late {
        let mut late = Late {
            pieces: vec![Piece::new(delta.into_components())],
            piece_max,
            spare: Vec::new(),
            effort: 0,
        };
        if late.pieces[0].components.len() > 2 * piece_max {
            late.cut();
        }
        late
    }

    /// What it cost so far: components gone through, of both sides, and pieces stepped over.
    pub fn effort(&self) -> u64 {
        self.effort
    }

    /// Moves it past `earlier`, made against the same document, in the binary form that
    /// `Delta::encode` wrote.
    pub fn pass(&mut self, earlier: &[u8]) {
        let priority = !mutant!("transform_side_flipped");
        let before = self.effort;
        let mut earlier = Steps::new(earlier);
        // A delete at the end of a piece: an insert behind it would have to go before it.
        let mut carry = 0;
        let mut uneven = false;
        let count = self.pieces.len();
        for (piece, place) in self.pieces.iter_mut().zip(1..) {
            if carry == 0 {
                if earlier.step().is_none() {
                    break;
                }
                self.effort += 1;
                if piece.is_passed_by(&earlier) {
                    earlier.skip(piece.base_units as u32);
                    continue;
                }
            }
            let is_last = place == count;
            let mut old = std::mem::replace(&mut piece.components, std::mem::take(&mut self.spare));
            self.effort += match (piece.formats, earlier.step()) {
                (true, Some(Step::Retain(set))) if set != NO_ATTRIBUTES => {
                    old.len() as u64 * FORMAT_EFFORT
                }
                _ => old.len() as u64,
            };
            if carry > 0 {
                piece.components.push(Component::Delete { units: carry });
            }
            pass_piece(&mut old, &mut piece.components, &mut earlier, priority);
            carry = 0;
            if !is_last {
                while priority && earlier.at_insert() {
                    retain(&mut piece.components, &mut earlier);
                }
                if let Some(Component::Delete { units }) = piece.components.last() {
                    carry = *units;
                    piece.components.pop();
                }
            }
            piece.measure();
            self.spare = old;
            let length = piece.components.len();
            uneven |= length == 0 || length > 2 * self.piece_max;
        }
        self.effort += earlier.count;
        spend(Work::Transformed, (self.effort - before) as usize);
        if uneven {
            self.cut();
        }
    }

    /// Brings the pieces to their size; empty ones go.
    fn cut(&mut self) {
        let mut cut = Vec::with_capacity(self.pieces.len() + 1);
        for piece in self.pieces.drain(..) {
            if piece.components.len() <= 2 * self.piece_max {
                if !piece.components.is_empty() {
                    cut.push(piece);
                }
                continue;
            }
            let mut rest = piece.components.into_iter().peekable();
            while rest.peek().is_some() {
                cut.push(Piece::new(rest.by_ref().take(self.piece_max).collect()));
            }
        }
        self.pieces = cut;
    }

    /// The operation as it is now.
    pub fn finish(self) -> Delta {
        let mut delta = Delta::with_capacity(self.pieces.iter().map(|p| p.components.len()).sum());
        for component in self.pieces.into_iter().flat_map(|piece| piece.components) {
            delta.push(component);
        }
        delta.chop()
    }
}

fn pass_piece(
    old: &mut Vec<Component>,
    out: &mut Vec<Component>,
    earlier: &mut Steps<'_>,
    priority: bool,
) {
    for component in old.drain(..) {
        if component.is_insert() {
            while priority && earlier.at_insert() {
                retain(out, earlier);
            }
            put(out, component);
            continue;
        }
        let mut left = component.units();
        while left > 0 {
            let units = left.min(earlier.left());
            match (earlier.step(), &component) {
                (Some(Step::Insert), _) => {
                    retain(out, earlier);
                    continue;
                }
                (Some(Step::Delete), _) => {}
                (_, Component::Delete { .. }) => put(out, Component::Delete { units }),
                (step, _) => {
                    let mine = match step {
                        Some(Step::Retain(mine)) => mine,
                        _ => NO_ATTRIBUTES,
                    };
                    let attributes = component.attributes();
                    let attributes = attributes::transform(mine, attributes, priority);
                    put(out, Component::Retain { units, attributes });
                }
            }
            earlier.skip(units);
            left -= units;
        }
    }
}

/// What the earlier operation inserted is there now, to be stepped over.
fn retain(out: &mut Vec<Component>, earlier: &mut Steps<'_>) {
    let units = earlier.left();
    let attributes = None;
    put(out, Component::Retain { units, attributes });
    earlier.skip(units);
}

/// As `Delta::push`, but for neighbouring inserts.
fn put(out: &mut Vec<Component>, new: Component) {
    match (out.last_mut(), &new) {
        (Some(Component::Delete { units }), Component::Delete { units: more }) => {
            *units = units.saturating_add(*more);
        }
        (
            Some(Component::Retain { units, attributes }),
            Component::Retain {
                units: more,
                attributes: other,
            },
        ) if attributes == other => *units = units.saturating_add(*more),
        (Some(Component::Delete { .. }), _) if new.is_insert() => out.insert(out.len() - 1, new),
        _ => out.push(new),
    }
}
