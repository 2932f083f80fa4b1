//! How the document is opened for its readers, and what they start from.

use codraft_proto::{frame::At, reject::Code};

use super::{
    Action, HOLD_MS, Hello, Message, Opened, Opening, Phase, Reader, ReaderPhase, Start, Turn,
    is_elsewhere,
};
use crate::ids::{LinkId, OpenTag, ReaderId};
use codraft_proto::ids::Revision;

impl Turn<'_> {
    pub(super) fn joined(&mut self, id: ReaderId, hello: Hello, leader: Option<LinkId>) {
        self.feed.remove(id);
        let phase = ReaderPhase::Waiting;
        let reader = Box::new(Reader {
            phase,
            hello,
            no_use: None,
            needs_state: false,
        });
        self.feed.readers.insert(id, reader);
        self.feed.waiting.insert(id);
        self.connect_if_cut_off(leader);
        self.release_if_old();
        self.open(id);
    }

    pub(super) fn open_waiting(&mut self) {
        self.release_if_old();
        for id in std::mem::take(&mut self.feed.waiting) {
            self.feed.waiting.insert(id);
            self.open(id);
        }
    }

    /// Asks for the document of a reader that waits for it. Not while the feed is found again: an
    /// answer must take its place in a feed that stands.
    pub(super) fn open(&mut self, id: ReaderId) {
        let Some(link) = self.feed.link else { return };
        let reader = self.feed.readers.get(&id);
        let Some(reader) = reader.filter(|r| r.phase == ReaderPhase::Waiting) else {
            return;
        };
        if matches!(self.feed.phase, Phase::Following { .. }) {
            return;
        }
        let (hello, no_use, needs_state) = (reader.hello, reader.no_use, reader.needs_state);
        let held = self.feed.held.map(|(at, _)| at);
        let held = held.filter(|at| no_use.is_none_or(|rev| at.rev > Revision(rev)));
        let held = held.filter(|_| !hello.follows);
        // One state at a time is on its way, and then it is there for all.
        let wanted = hello.resume.is_none() || needs_state;
        let bring = held.is_none() && wanted && !hello.follows;
        if bring && self.feed.opening.contains_key(&self.feed.bringing) {
            return;
        }
        self.feed.next_tag += 1;
        let tag = OpenTag(self.feed.next_tag);
        if bring {
            self.feed.bringing = tag;
        }
        self.feed.set_phase(id, ReaderPhase::Opening(tag));
        let opening = Box::new(Opening {
            reader: id,
            since_ms: self.now_ms,
            held,
            bring,
        });
        self.feed.opening.insert(tag, opening);
        let message = Message::Open {
            tag,
            reader: id,
            hello,
            held,
            bring,
        };
        self.send(link, message);
    }

    pub(super) fn release_if_old(&mut self) {
        let now_ms = self.now_ms;
        self.release(|(_, until_ms)| now_ms >= until_ms);
    }

    pub(super) fn release(&mut self, if_so: impl Fn((At, u64)) -> bool) {
        if self.feed.held.take_if(|held| if_so(*held)).is_some() {
            self.act(Action::Release);
        }
    }

    /// What the reader starts from, if it is what was asked for; a state that came is held.
    pub(super) fn start(&mut self, opening: &Opening, opened: &mut Opened) -> Option<At> {
        match std::mem::replace(&mut opened.start, Start::Held) {
            Start::Resume => {
                opened.start = Start::Resume;
                self.feed.readers.get(&opening.reader)?.hello.resume
            }
            Start::Held => {
                let held = self.feed.held.map(|(at, _)| at);
                held.filter(|at| opening.held == Some(*at))
            }
            Start::State { at, state, kept } => {
                let at_ms = self.now_ms + HOLD_MS;
                self.feed.held = Some((at, at_ms));
                self.act(Action::Hold { state, kept });
                self.act(Action::WakeAt { at_ms });
                Some(at)
            }
            Start::Nothing => {
                let follows = self.feed.readers.get(&opening.reader)?.hello.follows;
                follows.then(|| opened.head.at())
            }
        }
    }

    pub(super) fn opened(&mut self, link: LinkId, tag: OpenTag, answer: Result<Box<Opened>, Code>) {
        let Some(opening) = self.feed.opening.remove(&tag) else {
            return;
        };
        if !self.feed.is_from(link) {
            return;
        }
        let waits = self.feed.is_opening(opening.reader, tag);
        let opened = match answer {
            Ok(opened) => opened,
            Err(code) if waits => return self.not_opened(opening.reader, code),
            Err(_) => return self.open_waiting(),
        };
        match (self.feed.phase, self.feed.position) {
            (Phase::Live, Some(position)) if position.rev == opened.head.rev => {}
            (Phase::Cold, _) => {
                self.feed.phase = Phase::Live;
                self.feed.position = Some(opened.head);
                self.found();
            }
            _ => {
                // Not in its place: the feed is found again, then this one is asked again.
                self.open_again(opening.reader, tag);
                if self.feed.phase == Phase::Live {
                    self.refollow();
                }
                return;
            }
        }
        if self.welcome(&opening, opened, waits) {
            self.open_waiting();
        }
    }

    /// Returns false if it was no answer to what was asked.
    pub(super) fn welcome(
        &mut self,
        opening: &Opening,
        mut opened: Box<Opened>,
        waits: bool,
    ) -> bool {
        let id = opening.reader;
        let nothing = opened.start == Start::Nothing;
        // What was asked for is not there, or was let go of meanwhile.
        let anew = match opened.start {
            Start::Nothing => !opening.bring,
            Start::Held => opening.held.is_some(),
            Start::Resume | Start::State { .. } => false,
        };
        let from = self.start(opening, &mut opened);
        match from {
            _ if !waits => {}
            Some(from) => {
                self.feed.set_phase(id, ReaderPhase::Live);
                // What the feed counts its next event's time from.
                if let Some(position) = &mut self.feed.position {
                    position.ts_ms = position.ts_ms.max(opened.head.ts_ms);
                }
                let reader = id;
                self.act(Action::Welcome {
                    reader,
                    from,
                    opened,
                });
                self.act(Action::Submit { reader });
            }
            None if anew => {
                if let Some(reader) = self.feed.readers.get_mut(&id).filter(|_| nothing) {
                    // What it resumes from stays: a grant may let it see all by then.
                    reader.needs_state = true;
                    reader.no_use = opening
                        .held
                        .map(|at| at.rev)
                        .or(reader.no_use.map(Revision))
                        .map(|n| n.0);
                }
                self.feed.set_phase(id, ReaderPhase::Waiting);
            }
            None => {
                self.not_opened(id, Code::Internal);
                return false;
            }
        }
        true
    }

    /// The reader waits for this answer no longer.
    pub(super) fn open_again(&mut self, reader: ReaderId, tag: OpenTag) {
        if self.feed.is_opening(reader, tag) {
            self.feed.set_phase(reader, ReaderPhase::Waiting);
        }
    }

    pub(super) fn not_opened(&mut self, reader: ReaderId, code: Code) {
        if !is_elsewhere(code) {
            self.feed.remove(reader);
            self.act(Action::End { reader, code });
            return self.open_waiting();
        }
        self.feed.set_phase(reader, ReaderPhase::Waiting);
        if matches!(code, Code::NotLeader | Code::NoLeader) && self.feed.phase == Phase::Cold {
            self.disconnect();
        }
        self.retry_later();
    }
}
