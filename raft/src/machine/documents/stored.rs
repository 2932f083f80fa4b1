//! A document to and from its stored form.

use std::sync::OnceLock;

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_ot::{Chain, Content, Delta, Encoding, Kind};
use codraft_proto::ids::{ClientId, DocId, Revision, Seq, UserId};

use super::Document;
use crate::{
    command::{Algebra, Input, put_blob, put_varint},
    machine::{
        Comments, MachineLimits, Versions,
        clients::Clients,
        grants::Grants,
        stored::{
            FORMAT, StateError, TAG_CLIENTS, TAG_COMMENTS, TAG_CONTENT, TAG_GRANTS, TAG_HEAD,
            TAG_VERSIONS, TAG_WINDOW, begin_section, end_section, put_apart, section, take_apart,
            take_section, whole,
        },
        window::Window,
    },
};

impl Document {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut storing = self.storing();
        while !storing.step(out) {}
    }

    /// The stored form in steps, so that others have their turn between two of them.
    pub fn storing(&self) -> Storing<'_> {
        Storing {
            document: self,
            start: 0,
            stage: Stage::Head,
        }
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.push(self.kind as u8);
        out.push(self.algebra as u8);
        put_blob(out, self.title.as_bytes());
        put_blob(out, self.creator.as_bytes());
        out.extend_from_slice(&self.created_as);
        put_varint(out, self.created_ms);
        put_varint(out, self.updated_ms);
        put_varint(out, self.rev.0);
        out.extend_from_slice(&self.hash.0);
        put_varint(out, self.expired.0);
        put_apart(out, self.quarantined_ms, self.deleted_ms);
    }

    /// The document of a stored form. It goes on exactly as the one that was stored.
    ///
    /// # Errors
    /// Whatever `encode` would not have written. Nothing is allocated by a length that is only
    /// declared.
    pub fn decode(stored: &Bytes, limits: &MachineLimits) -> Result<Self, StateError> {
        let Sections {
            head,
            content,
            window,
            clients,
            grants,
            comments,
            versions,
        } = Sections::of(stored)?;
        let mut document = Self::decode_head(&head)?;
        document.content = read_content(&content, document.kind, limits)?;
        document.window = whole(&window, |input| {
            Window::decode(input, document.id, &limits.ot)
        })?;
        document.clients = whole(&clients, |input| {
            Clients::decode(input, document.window.floor(), document.rev)
        })?;
        document.grants = whole(&grants, |input| Grants::decode(input, document.rev))?;
        let (floor, head) = (document.window.floor(), document.rev);
        document.comments = whole(&comments, |input| Comments::decode(input, floor, head))?;
        document.versions = whole(&versions, |input| Versions::decode(input, head))?;
        let (rev, hash, ts_ms) = document.window.last();
        let joins = (rev, hash) == (document.rev.0, document.hash)
            && ts_ms.is_none_or(|ts_ms| ts_ms == document.updated_ms);
        match joins {
            true => Ok(document),
            false => Err(StateError::Invalid("window: it does not reach the head")),
        }
    }

    /// With nothing in it yet.
    fn decode_head(section: &Bytes) -> Result<Self, StateError> {
        let document = whole(section, |input| {
            let id = DocId(input.array("doc")?);
            let kind = input.number("document kind", Kind::from_number)?;
            let mut document = Self {
                id,
                kind,
                algebra: input.number("algebra", Algebra::from_number)?,
                title: input.text("title")?.into(),
                creator: input.text("creator")?.into(),
                created_as: input.array("created as")?,
                created_ms: input.varint("created ms")?,
                updated_ms: input.varint("updated ms")?,
                rev: Revision(input.varint("rev")?),
                hash: Chain(input.array("hash")?),
                expired: Revision(input.varint("expired")?),
                quarantined_ms: None,
                deleted_ms: None,
                content: Content::new(kind),
                window: Window::default(),
                clients: Clients::default(),
                grants: Grants::of_owner(UserId::default(), Revision(1)),
                comments: Comments::default(),
                versions: Versions::default(),
                changing: false,
                digest: OnceLock::new(),
            };
            (document.quarantined_ms, document.deleted_ms) = take_apart(input)?;
            Ok(document)
        })?;
        let possible = document.rev > Revision(0)
            && document.expired <= document.rev
            && document.created_ms <= document.updated_ms;
        match possible {
            true => Ok(document),
            false => Err(StateError::Invalid("head")),
        }
    }
}

/// What a reader starts from: a part of a stored document that stands there as readers are told it.
pub struct AtRest {
    pub rev: Revision,
    /// The chain hash at `rev`.
    pub hash: Chain,
    /// In ot's binary form.
    pub content: Bytes,
    clients: Clients,
}

impl AtRest {
    /// Of bytes that are known, by their digest, to be what `encode` wrote: the text and the window
    /// are not looked at. Only who applies something to it needs those, and has to `decode`.
    ///
    /// # Errors
    /// Where there are no such parts.
    pub fn of(stored: &Bytes) -> Result<Self, StateError> {
        let sections = Sections::of(stored)?;
        let Document { rev, hash, .. } = Document::decode_head(&sections.head)?;
        let floor = Revision(Input::new(&sections.window).varint("floor")?);
        Ok(Self {
            rev,
            hash,
            // A slice would keep the window in memory, too.
            content: Bytes::copy_from_slice(&sections.content),
            clients: whole(&sections.clients, |input| {
                Clients::decode(input, floor, rev)
            })?,
        })
    }

    /// As [`Document::acked`] says.
    pub fn acked(&self, user: &UserId, client: ClientId) -> Option<(Seq, Revision)> {
        self.clients.acked(user, client)
    }
}

/// The bodies of a stored document's sections.
struct Sections {
    head: Bytes,
    content: Bytes,
    window: Bytes,
    clients: Bytes,
    grants: Bytes,
    comments: Bytes,
    versions: Bytes,
}

impl Sections {
    fn of(stored: &Bytes) -> Result<Self, StateError> {
        let mut input = Input::new(stored);
        match input.byte("format")? {
            FORMAT => {}
            other => return Err(StateError::Format(other)),
        }
        let sections = Self {
            head: take_section(&mut input, TAG_HEAD)?,
            content: take_section(&mut input, TAG_CONTENT)?,
            window: take_section(&mut input, TAG_WINDOW)?,
            clients: take_section(&mut input, TAG_CLIENTS)?,
            grants: take_section(&mut input, TAG_GRANTS)?,
            comments: take_section(&mut input, TAG_COMMENTS)?,
            versions: take_section(&mut input, TAG_VERSIONS)?,
        };
        match input.left() {
            0 => Ok(sections),
            _ => Err(StateError::LaterSection(input.byte("tag")?)),
        }
    }
}

/// Writes the stored form of a document.
pub struct Storing<'a> {
    document: &'a Document,
    /// Where the body of the section begins that is being written.
    start: usize,
    stage: Stage<'a>,
}

#[allow(clippy::large_enum_variant)] // one at a time
enum Stage<'a> {
    Head,
    Content(Encoding<'a>),
    /// How many events are written.
    Window(usize),
    Rest,
}

/// Events that one step writes.
const STEP_EVENTS: usize = 256;

impl Storing<'_> {
    /// Appends some more; whether that was all. Nothing else may be appended meanwhile.
    pub fn step(&mut self, out: &mut Vec<u8>) -> bool {
        let document = self.document;
        match &mut self.stage {
            Stage::Head => {
                out.push(FORMAT);
                section(out, TAG_HEAD, |out| document.encode_head(out));
                self.start = begin_section(out, TAG_CONTENT);
                self.stage = Stage::Content(document.content.encoding());
            }
            Stage::Content(encoding) => {
                if encoding.step(out) {
                    end_section(out, self.start);
                    self.start = begin_section(out, TAG_WINDOW);
                    document.window.encode_head(out);
                    self.stage = Stage::Window(0);
                }
            }
            Stage::Window(from) => {
                let some = document.window.encode_events(out, *from, STEP_EVENTS);
                *from += some;
                if some < STEP_EVENTS {
                    end_section(out, self.start);
                    self.stage = Stage::Rest;
                }
            }
            Stage::Rest => {
                let records = match mutant!("records_left_out_of_pages") {
                    true => &Clients::default(),
                    false => &document.clients,
                };
                section(out, TAG_CLIENTS, |out| records.encode(out));
                section(out, TAG_GRANTS, |out| document.grants.encode(out));
                let comments = match mutant!("comments_left_out_of_pages") {
                    true => &Comments::default(),
                    false => &document.comments,
                };
                section(out, TAG_COMMENTS, |out| comments.encode(out));
                section(out, TAG_VERSIONS, |out| document.versions.encode(out));
                return true;
            }
        }
        false
    }
}

fn read_content(
    section: &Bytes,
    kind: Kind,
    limits: &MachineLimits,
) -> Result<Content, StateError> {
    let delta = Delta::decode(section, &limits.ot.of_document()).map_err(StateError::Content)?;
    let content = Content::from_delta(kind, &delta, &limits.ot).map_err(StateError::Content)?;
    let mut again = Vec::with_capacity(section.len());
    content.encode(&mut again);
    match again == section[..] {
        true => Ok(content),
        false => Err(StateError::Invalid("content: not its one spelling")),
    }
}
