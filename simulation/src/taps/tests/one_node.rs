//! Writes through a group of one node, as production starts it, twice on one disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use codraft_ot::{Delta, Kind};
use codraft_proto::{
    disk::memory::MemoryDisk,
    ids::{ClientId, DocId, GroupId, NodeId, Revision, Role, Seq},
    link::Outbox,
    outside::{Outside, SystemClock},
    tasks::Tasks,
    transport::Tcp,
};
use codraft_raft::{
    command::{Algebra, Command, Create, Edit, Grant},
    group::{
        AppliedSink, BulkLink, GroupEvents, Groups, Kept, Leadership, LogId, Origin, Peers,
        ProposeResult, RaftConfig, Sinks,
    },
    machine::{Applied, Shard},
    pages::PageOptions,
    wal::{Wal, WalOptions},
};
use tokio::sync::mpsc;

pub const DOC: DocId = DocId([9; 16]);
pub const CLIENT: ClientId = ClientId([8; 16]);
const NODE: NodeId = NodeId(7);
const GROUP: GroupId = GroupId(2);

struct Nobody;

impl Peers for Nobody {
    fn linked(&self) -> Vec<Outbox> {
        Vec::new()
    }

    fn level(&self, _: NodeId) -> Option<u32> {
        None
    }

    fn bulk(&self, _: NodeId) -> Option<Box<dyn BulkLink>> {
        None
    }

    fn outbox(&self, _: NodeId) -> Option<Outbox> {
        None
    }
}

struct Answers(mpsc::Sender<ProposeResult>);

impl AppliedSink for Answers {
    fn applied(&mut self, _: &Shard, _: LogId, _: &[Applied]) {}
    fn leadership_changed(&mut self, _: Leadership) {}
}

impl GroupEvents for Answers {
    fn answered(&mut self, _: Origin, answer: ProposeResult) {
        self.0.try_send(answer).unwrap();
    }
}

struct Zeros;

impl codraft_proto::outside::Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn inserts(text: &str) -> Delta {
    let mut delta = Delta::new();
    delta.insert(text);
    delta
}

pub async fn write_and_come_back() {
    let disk = Arc::new(MemoryDisk::new());
    let mut insert = Delta::new();
    insert.retain(5).insert("!");
    let edit = Command::Edit(Edit {
        doc: DOC,
        client: CLIENT,
        user: "ada".into(),
        seq: Seq(1),
        base: Revision(1),
        ops: insert.to_bytes().into(),
    });
    let create = Command::Create(Create {
        doc: DOC,
        kind: Kind::Text,
        algebra: Algebra::Delta1,
        title: "t".into(),
        owner: "ada".into(),
        initial: Some(inserts("hello").to_bytes().into()),
    });
    let grant = Command::Grant(Grant {
        doc: DOC,
        by: "ada".into(),
        user: "bob".into(),
        role: Some(Role::Editor),
    });
    // Enough that some entry is one whose state is told.
    let repeats = std::iter::repeat_n(edit.clone(), 20);
    life(&disk, [create, edit, grant].into_iter().chain(repeats)).await;
    life(&disk, std::iter::empty()).await;
}

async fn life(disk: &Arc<MemoryDisk>, commands: impl Iterator<Item = Command>) {
    let tasks = Tasks::new();
    let options = WalOptions {
        segment_bytes: 64 << 10,
        ..WalOptions::default()
    };
    let (wal, _) = Wal::open(&tasks, disk.clone(), PathBuf::from("/wal"), options)
        .await
        .unwrap();
    let outside = Outside {
        transport: Arc::new(Tcp),
        clock: Arc::new(SystemClock),
        seed: 1,
        entropy: Arc::new(Zeros),
    };
    let (told, mut answers) = mpsc::channel(64);
    let config = RaftConfig::new(NODE, vec![(GROUP, vec![NODE])]);
    let events = |_| Sinks::new(Box::new(Answers(told.clone())));
    let kept = Kept::open(disk.clone(), Path::new("/data"), PageOptions::default());
    let groups = Groups::start(
        config,
        wal,
        Arc::new(Nobody),
        &tasks,
        &outside,
        kept.await.unwrap(),
        events,
    );
    let groups = groups.await.unwrap();
    let group = groups.group(GROUP).unwrap();
    for command in commands {
        while group
            .submit(command.clone(), Origin { link: 1, tag: 1 })
            .is_err()
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        answers.recv().await.unwrap().unwrap();
    }
    groups.shutdown().await;
    tasks.shutdown().await;
}
