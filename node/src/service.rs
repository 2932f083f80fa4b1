//! What all links of routers share.

use std::sync::Arc;

use codraft_archive::History;
use codraft_proto::{receipt::ReceiptKey, tasks::Tasks};

use crate::{checks::Checks, hosted::HostedGroups, metrics::Metrics, routers::Routers};

pub(crate) struct Service {
    pub groups: Arc<HostedGroups>,
    pub routers: Arc<Routers>,
    pub metrics: Arc<Metrics>,
    pub history: Arc<History>,
    pub checks: Arc<Checks>,
    /// Receipts are signed with it; none: they are refused.
    pub receipt_key: Option<ReceiptKey>,
    pub tasks: Tasks,
}
