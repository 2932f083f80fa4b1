use std::sync::Arc;
use super::{Accept, LinkOptions};
use crate::{tasks::Tasks, transport::Listener, v1::Hello};

/// Accepts links until `tasks` ends.
pub fn serve(
    _tasks: &Tasks,
    _listener: Box<dyn Listener>,
    _hello: Hello,
    _accept: Arc<dyn Accept>,
    _options: LinkOptions,
) {
    todo!()
}
