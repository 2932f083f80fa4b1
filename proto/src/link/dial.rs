use std::sync::Arc;
use super::{Dialled, LinkOptions};
use crate::{outside::Outside, tasks::Tasks, v1::Hello};

/// A dialled link that is kept up.
#[derive(Clone)]
pub struct LinkHandle {}

impl LinkHandle {
    /// Ends the pause between two attempts.
    pub fn redial_now(&self) {
        todo!()
    }
    /// Ends the link for good.
    pub fn close(&self) {
        todo!()
    }
}

pub fn dial(
    _tasks: &Tasks,
    _outside: &Outside,
    _address: String,
    _hello: Hello,
    _dialled: Arc<dyn Dialled>,
    _options: LinkOptions,
) -> LinkHandle {
    todo!()
}
