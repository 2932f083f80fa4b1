//! What hostile clients do, each inside every limit: names as in the reading that found them.

mod documents;
mod doors;

use std::pin::Pin;

use anyhow::Result;

use super::{
    client::{Harm, Turn},
    scene::{Scene, Setting},
};

type Work<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

pub struct Case {
    pub name: &'static str,
    pub says: &'static str,
    pub(super) prepare: fn(Setting) -> Work<Scene>,
    pub(super) attack: fn(Scene, Turn) -> Work<Harm>,
}

pub const CASES: &[Case] = &[
    Case {
        name: "c1",
        says: "a quarter of a megabyte with an old base, refused only when it is applied, again and again",
        prepare: |setting| Box::pin(documents::late(setting)),
        attack: |scene, turn| Box::pin(documents::late_pastes(scene, turn)),
    },
    Case {
        name: "c2",
        says: "letters of which each has attributes of its own, as many bytes a second as may be",
        prepare: |setting| Box::pin(documents::rich(setting, 0)),
        attack: |scene, turn| Box::pin(documents::shapes(scene, turn)),
    },
    Case {
        name: "c3",
        says: "a rich document of two megabytes, opened by 32 at a time in a loop",
        prepare: |setting| Box::pin(documents::rich(setting, 2 << 20)),
        attack: |scene, turn| Box::pin(documents::opens(scene, turn)),
    },
    Case {
        name: "c5",
        says: "a viewer comes in under the client id of one whose connection broke",
        prepare: |setting| Box::pin(Scene::among_honest(setting)),
        attack: |scene, turn| Box::pin(doors::stolen_ids(scene, turn)),
    },
    Case {
        name: "c6",
        says: "bodies without a token: large ones that parse to more, and such that never end",
        prepare: |setting| Box::pin(Scene::among_honest(setting)),
        attack: |scene, turn| Box::pin(doors::bodies(scene, turn)),
    },
    Case {
        name: "c8",
        says: "tickets, each used once, as fast as they are given",
        prepare: |setting| Box::pin(Scene::among_honest(setting)),
        attack: |scene, turn| Box::pin(doors::tickets(scene, turn)),
    },
    Case {
        name: "c9",
        says: "64 sockets of one user on eight documents, an operation a round trip each",
        prepare: |setting| Box::pin(documents::rich(setting, 0)),
        attack: |scene, turn| Box::pin(documents::flood(scene, turn)),
    },
    Case {
        name: "c15",
        says: "a viewer opens and closes one tab after another on a document of the honest",
        prepare: |setting| Box::pin(Scene::among_honest(setting)),
        attack: |scene, turn| Box::pin(doors::tabs(scene, turn)),
    },
];
