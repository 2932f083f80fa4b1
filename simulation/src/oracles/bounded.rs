//! O19: queues and tables stay under their bounds.

use super::{Notes, Oracle, named};
use crate::{
    record::{Entry, NodeSeen, Seen},
    verdict::Violation,
};

pub struct Bounded {
    notes: Notes,
}

impl Default for Bounded {
    fn default() -> Self {
        let promised = "queues and tables stay under their bounds";
        Self {
            notes: Notes::new("bounded", "O19", promised),
        }
    }
}

impl Oracle for Bounded {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        if let Seen::Node(NodeSeen::Filled {
            node,
            what,
            most,
            bound,
        }) = &entry.seen
            && most > bound
        {
            let of = format!("too much in: {what}");
            let broken = || format!("node {node}: {most}, of at most {bound}");
            self.notes.broken(found, entry.at, &of, broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::record::NodeSeen;

    #[test]
    fn too_much_is_found() {
        let filled = |most| NodeSeen::Filled {
            node: 1,
            what: "socket".into(),
            most,
            bound: 9,
        };
        let mut story = story();
        story.node(filled(9));
        assert_clean(story.clone());
        story.node(filled(10));
        assert_found(story, "O19 too much in: socket");
    }
}
