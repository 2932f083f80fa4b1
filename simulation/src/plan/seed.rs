//! A plan from a seed.

use codraft_proto::ids::{GroupId, NodeId};
use codraft_proto::limits::UNARCHIVED_BYTES;
use codraft_proto::placement;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{Act, Client, Document, Fault, FaultKind, Host, Plan, Role, VERSION, What, World};

/// A stream of randomness of its own: others do not move when it is not used.
pub fn stream(seed: u64, what: &str, number: u64) -> StdRng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(what.as_bytes());
    StdRng::from_seed(*hasher.finalize().as_bytes())
}

impl Plan {
    pub fn from_seed(seed: u64) -> Plan {
        let world = world(seed);
        let mut rng = stream(seed, "people", 0);
        let documents = rng.random_range(1..=4);
        let clients = *[2u32, 2, 3, 3, 4, 4, 5, 6, 8, 12]
            .choose(&mut rng)
            .unwrap_or(&3);
        // Some users have two tabs.
        let users = rng.random_range(clients.div_ceil(2)..=clients);
        let rich: Vec<bool> = (0..documents).map(|_| rng.random_bool(0.4)).collect();
        let clients: Vec<Client> = (1..=clients)
            .map(|number| client(seed, &world, number, users, &rich))
            .collect();
        let document = |i: u32| document(seed, i, rich[i as usize], users, &clients);
        let documents: Vec<Document> = (0..documents).map(document).collect();
        let mut clients = clients;
        change_minds(seed, &world, &documents, &mut clients);
        let mut documents = documents;
        large(seed, &mut documents, &mut clients);
        worst(seed, &world, &documents, &mut clients);
        poison(seed, &world, &mut clients);
        look_back(seed, &world, &mut clients);
        comment(seed, &world, &mut clients);
        let faults = faults(seed, &world, &clients);
        Plan {
            version: VERSION,
            seed,
            scenario: None,
            mutant: None,
            world,
            documents,
            clients,
            faults,
        }
    }
}

fn world(seed: u64) -> World {
    let mut rng = stream(seed, "world", 0);
    let pick = |from: &[u32], rng: &mut StdRng| *from.choose(rng).unwrap_or(&1);
    let least = rng.random_range(1..=4);
    let most = least + rng.random_range(1..=20);
    let sync = rng.random_range(100..=800);
    let mut world = World {
        nodes: pick(&[3, 3, 3, 4, 5], &mut rng),
        routers: pick(&[1, 2, 2], &mut rng),
        groups: pick(&[1, 1, 2, 2, 2, 3, 4, 8], &mut rng),
        tick_ms: pick(&[1, 2, 4], &mut stream(seed, "tick", 0)).into(),
        latency_ms: (least, most),
        sync_us: (sync, sync + rng.random_range(200..=8_000)),
        window_events: pick(&[16, 16, 64, 256, 4_096, 4_096], &mut rng),
        refusal_records: pick(&[2, 2, 8, 1_024], &mut rng),
        socket_queue_bytes: pick(&[2 << 10, 8 << 10, 16 << 10, 1 << 20], &mut rng),
        safety_ms: rng.random_range(10..=30) * 1_000,
        tail_commands: pick(
            &[4, 20, 20, 100, 500, 100_000],
            &mut stream(seed, "tail", 0),
        ),
        round_bytes: pick(
            &[1 << 10, 4 << 10, 32 << 10, 8 << 20],
            &mut stream(seed, "rounds", 0),
        ),
        quiet_ms: pick(
            &[500, 2_000, 3_600_000, 3_600_000],
            &mut stream(seed, "quiet", 0),
        )
        .into(),
        memory_kib: pick(&[1, 16, 64, 256 << 10], &mut stream(seed, "memory", 0)),
        unarchived_kib: (UNARCHIVED_BYTES >> 10) as u32,
        retention_ms: 0,
    };
    forget(seed, &mut world);
    world
}

/// In one seed of five history is kept for a time, and archived in rounds that are small enough to go.
fn forget(seed: u64, world: &mut World) {
    let mut rng = stream(seed, "retention", 0);
    if !rng.random_bool(0.2) {
        return;
    }
    world.retention_ms = *[300, 1_000, 4_000].choose(&mut rng).unwrap_or(&1_000);
    world.round_bytes = *[512, 1 << 10, 2 << 10].choose(&mut rng).unwrap_or(&512);
    world.tail_commands = world.tail_commands.min(20);
}

fn document(seed: u64, number: u32, rich: bool, users: u32, clients: &[Client]) -> Document {
    let mut rng = stream(seed, "document", u64::from(number));
    let mut here: Vec<u32> = clients
        .iter()
        .filter(|client| client.document == number)
        .map(|client| client.user)
        .collect();
    here.sort_unstable();
    here.dedup();
    let owner = here
        .first()
        .copied()
        .unwrap_or_else(|| rng.random_range(1..=users));
    let mut grants = Vec::new();
    for user in here.into_iter().filter(|user| *user != owner) {
        let role = match rng.random_range(0..20) {
            0..=1 => Role::Viewer,
            2 => Role::Commenter,
            3..=5 => Role::Owner,
            _ => Role::Editor,
        };
        grants.push((user, role));
    }
    Document {
        rich,
        owner,
        initial: rng.random_range(0..400),
        grants,
    }
}

/// Owners take a role away from one who is at work, and give it back a while later.
fn change_minds(seed: u64, world: &World, documents: &[Document], clients: &mut [Client]) {
    for (number, document) in (0u32..).zip(documents) {
        let mut rng = stream(seed, "roles", u64::from(number));
        let here = |client: &&mut Client| client.document == number;
        let writes = |(_, role): &&(u32, Role)| matches!(role, Role::Owner | Role::Editor);
        let writers = document.grants.iter().filter(writes);
        let writers: Vec<u32> = writers.map(|(user, _)| *user).collect();
        let mut owners = clients.iter_mut().filter(here);
        let owner = owners.find(|client| client.user == document.owner);
        let (Some(owner), true) = (owner, rng.random_bool(0.6)) else {
            continue;
        };
        for _ in 0..rng.random_range(1..=3) {
            let Some(user) = writers.choose(&mut rng).copied() else {
                break;
            };
            let less = match rng.random_bool(0.5) {
                true => Role::Viewer,
                false => Role::Commenter,
            };
            let from = rng.random_range(world.safety_ms / 10..world.safety_ms * 3 / 4);
            let back = (from + rng.random_range(200..3_000)).min(world.safety_ms);
            for (at_ms, role) in [(from, less), (back, Role::Editor)] {
                owner.acts.push(Act {
                    at_ms,
                    seed: rng.random(),
                    what: What::Grant {
                        user,
                        role: Some(role),
                    },
                });
            }
        }
        owner.acts.sort_by_key(|act| act.at_ms);
    }
}

/// In a few seeds the first document is large, and has few clients who do little.
fn large(seed: u64, documents: &mut [Document], clients: &mut Vec<Client>) {
    let mut rng = stream(seed, "large", 0);
    let (Some(document), true) = (documents.first_mut(), rng.random_bool(1.0 / 60.0)) else {
        return;
    };
    document.initial = rng.random_range(100_001..=300_000);
    let mut there = 0;
    clients.retain(|client| {
        there += u32::from(client.document == 0);
        client.document != 0 || there <= 3
    });
    for client in clients.iter_mut().filter(|client| client.document == 0) {
        client.acts.truncate(6);
        for act in &mut client.acts {
            if let What::Type { letters, .. } = &mut act.what {
                *letters = (*letters).min(8);
            }
        }
    }
}

/// Clients that keep to every limit and do their worst within, in one seed of four.
fn worst(seed: u64, world: &World, documents: &[Document], clients: &mut [Client]) {
    let mut rng = stream(seed, "worst", 0);
    if clients.is_empty() || !rng.random_bool(0.25) {
        return;
    }
    for _ in 0..rng.random_range(1..=5) {
        let at = rng.random_range(0..clients.len());
        let client = &mut clients[at];
        let document = &documents[client.document as usize];
        let what = match rng.random_range(0..6) {
            0 => What::LatePaste {
                units: *[300, 3_000, 30_000].choose(&mut rng).unwrap_or(&300),
                ms: rng.random_range(500..4_000),
            },
            1 if document.rich => What::Shapes {
                letters: *[20, 200, 1_500].choose(&mut rng).unwrap_or(&20),
            },
            2 => What::Opens {
                times: rng.random_range(2..=24),
            },
            3 => What::Type {
                letters: rng.random_range(100..400),
                gap_ms: rng.random_range(1..6),
            },
            _ => What::Steal,
        };
        let at_ms = rng.random_range(client.joins_ms..=world.safety_ms);
        let seed = rng.random();
        client.acts.push(Act { at_ms, seed, what });
        client.acts.sort_by_key(|act| act.at_ms);
    }
}

/// In most seeds, and wherever it is kept for a time, somebody looks at what was, and in some of them has it back.
fn look_back(seed: u64, world: &World, clients: &mut [Client]) {
    let mut rng = stream(seed, "past", 0);
    let looks = rng.random_bool(0.6) || world.retention_ms > 0;
    if clients.is_empty() || !looks {
        return;
    }
    let restores = rng.random_bool(0.6);
    for _ in 0..rng.random_range(3..=20) {
        let at = rng.random_range(0..clients.len());
        let client = &mut clients[at];
        let at_ms = rng.random_range(client.joins_ms..=world.safety_ms);
        let what = match rng.random_range(0..8) {
            0 => What::Snapshot,
            1..=3 if restores => What::Restore,
            _ => What::LookBack,
        };
        let seed = rng.random();
        client.acts.push(Act { at_ms, seed, what });
        client.acts.sort_by_key(|act| act.at_ms);
    }
}

/// In most seeds people comment, some in floods.
fn comment(seed: u64, world: &World, clients: &mut [Client]) {
    let mut rng = stream(seed, "comments", 0);
    if clients.is_empty() || !rng.random_bool(0.6) {
        return;
    }
    for _ in 0..rng.random_range(3..=30) {
        let at = rng.random_range(0..clients.len());
        let client = &mut clients[at];
        let at_ms = rng.random_range(client.joins_ms..=world.safety_ms);
        let (seed, what) = (rng.random(), What::Comment);
        client.acts.push(Act { at_ms, seed, what });
        client.acts.sort_by_key(|act| act.at_ms);
    }
}

/// In one seed of twenty somebody writes what cannot be applied.
fn poison(seed: u64, world: &World, clients: &mut [Client]) {
    let mut rng = stream(seed, "poison", 0);
    if clients.is_empty() || !rng.random_bool(0.05) {
        return;
    }
    for _ in 0..rng.random_range(1..=3) {
        let at = rng.random_range(0..clients.len());
        let client = &mut clients[at];
        let at_ms = rng.random_range(client.joins_ms..=world.safety_ms);
        let (seed, what) = (rng.random(), What::Poison);
        client.acts.push(Act { at_ms, seed, what });
        client.acts.sort_by_key(|act| act.at_ms);
    }
}

fn client(seed: u64, world: &World, number: u32, users: u32, rich: &[bool]) -> Client {
    let mut rng = stream(seed, "client", u64::from(number));
    let document = rng.random_range(0..rich.len() as u32);
    // Most work together: a document with one client shows little.
    let document = if rng.random_bool(0.6) { 0 } else { document };
    let mut acts = Vec::new();
    let busy = rng.random_range(400..3_000);
    // Some come when others are at work.
    let joins_ms = match rng.random_bool(0.4) {
        true => rng.random_range(0..world.safety_ms / 2),
        false => 0,
    };
    let mut at_ms = joins_ms + rng.random_range(0..1_000);
    while at_ms < world.safety_ms {
        let what = what(&mut rng, world, users, rich[document as usize]);
        acts.push(Act {
            at_ms,
            seed: rng.random(),
            what,
        });
        at_ms += rng.random_range(50..busy);
    }
    Client {
        number,
        user: (number - 1) % users + 1,
        router: rng.random_range(0..world.routers),
        document,
        json: rng.random_bool(0.35),
        stubborn: rng.random_bool(0.4),
        joins_ms,
        acts,
    }
}

fn what(rng: &mut StdRng, world: &World, users: u32, rich: bool) -> What {
    match rng.random_range(0..100) {
        0..=37 => What::Type {
            letters: rng.random_range(1..40),
            gap_ms: rng.random_range(15..180),
        },
        38..=40 => What::Mute {
            ms: *[300, 1_000, 3_000, 3_000].choose(rng).unwrap_or(&300),
        },
        41..=44 => What::Doze {
            ms: *[2_000, 4_000, 8_000].choose(rng).unwrap_or(&2_000),
        },
        45..=52 => What::Paste {
            units: rng.random_range(5..300),
        },
        53..=62 => What::Delete {
            units: rng.random_range(1..120),
        },
        63..=68 if rich => What::Format {
            units: rng.random_range(1..60),
        },
        69..=71 if rich => What::Embed,
        72..=77 => What::Offline {
            ms: *[200, 800, 3_000, 8_000].choose(rng).unwrap_or(&800),
            letters: rng.random_range(0..30),
        },
        78..=81 => What::Reload,
        82..=84 => What::Reopen,
        85..=88 => What::Move {
            router: rng.random_range(0..world.routers),
        },
        89..=92 => What::Grant {
            user: rng.random_range(1..=users),
            role: match rng.random_range(0..10) {
                0..=1 => None,
                2 => Some(Role::Viewer),
                3 => Some(Role::Owner),
                _ => Some(Role::Editor),
            },
        },
        93..=95 => What::Resend,
        96..=98 => What::Twin,
        _ => What::Type {
            letters: rng.random_range(1..10),
            gap_ms: rng.random_range(5..50),
        },
    }
}

/// A random subset of the kinds, some of each, spread over the safety phase.
fn faults(seed: u64, world: &World, clients: &[Client]) -> Vec<Fault> {
    let mut rng = stream(seed, "faults", 0);
    const KINDS: u32 = 16;
    // One seed in twelve is calm; the others take each kind by chance, four of them most often.
    if rng.random_bool(1.0 / 12.0) {
        return Vec::new();
    }
    let share = rng.random_range(0.12..0.45);
    let mut on: Vec<u32> = (0..KINDS).filter(|_| rng.random_bool(share)).collect();
    // A disk is lost in one way.
    if on.contains(&5) {
        on.retain(|kind| *kind != 8);
    }
    // The node whose disk may be lost: one, which is a minority of every group.
    let spare = holders(world).choose(&mut rng).copied().unwrap_or(1);
    let mut each = 1..=(world.safety_ms / 8_000).clamp(1, 3);
    // In some seeds only processes die, often: what a failover is with nothing in its way.
    if rng.random_bool(0.2) {
        (on, each) = (vec![0], 4..=7);
    }
    let mut faults = Vec::new();
    for kind in on {
        let mut rng = stream(seed, "fault", u64::from(kind));
        for _ in 0..rng.random_range(each.clone()) {
            let at_ms = rng.random_range(world.safety_ms / 20..world.safety_ms * 17 / 20);
            let Some(fault) = fault(kind, &mut rng, world, clients, spare) else {
                continue;
            };
            // Now and then again, while the first is being recovered from.
            let again = matches!(
                fault,
                FaultKind::Crash { .. } | FaultKind::RouterCrash { .. }
            ) && rng.random_bool(0.35);
            let after = at_ms + fault.for_ms() + rng.random_range(1..400);
            if again && after < world.safety_ms {
                faults.push(Fault {
                    at_ms: after,
                    seed: rng.random(),
                    kind: fault.clone(),
                });
            }
            faults.push(Fault {
                at_ms,
                seed: rng.random(),
                kind: fault,
            });
        }
    }
    damage_pages(seed, world, spare, &mut faults);
    replace_node(seed, world, spare, &mut faults);
    damage_state(seed, world, spare, &mut faults);
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// In one of three worlds whose documents leave memory the disk that may be lost loses some of their
/// pages.
fn damage_pages(seed: u64, world: &World, spare: u32, faults: &mut Vec<Fault>) {
    let mut rng = stream(seed, "pages", 0);
    let leave = world.memory_kib <= 64 && world.tail_commands <= 500;
    if !leave || !rng.random_bool(1.0 / 3.0) {
        return;
    }
    for _ in 0..rng.random_range(1..=6) {
        faults.push(Fault {
            at_ms: rng.random_range(world.safety_ms / 10..world.safety_ms),
            seed: rng.random(),
            kind: FaultKind::PageDamage { node: spare },
        });
    }
}

/// In one of six worlds the disk that may be lost is lost for good, or its node goes while it is well: a
/// new one has its place.
fn replace_node(seed: u64, world: &World, spare: u32, faults: &mut Vec<Fault>) {
    let mut rng = stream(seed, "replace", 0);
    if !rng.random_bool(1.0 / 6.0) {
        return;
    }
    // Nobody's disk is put back.
    faults.retain(|fault| {
        let kind = &fault.kind;
        !matches!(
            kind,
            FaultKind::Wiped { .. } | FaultKind::FolderPutBack { .. }
        )
    });
    faults.push(Fault {
        at_ms: rng.random_range(world.safety_ms / 10..world.safety_ms * 3 / 4),
        seed: rng.random(),
        kind: FaultKind::Replace {
            node: spare,
            lost: rng.random_bool(0.6),
        },
    });
}

/// In one of four worlds that let go of the beginning of their logs the disk that may be lost loses some
/// of what is kept in its place.
fn damage_state(seed: u64, world: &World, spare: u32, faults: &mut Vec<Fault>) {
    let mut rng = stream(seed, "state", 0);
    if world.tail_commands > 100 || !rng.random_bool(0.25) {
        return;
    }
    for _ in 0..rng.random_range(1..=3) {
        let (node, for_ms) = (spare, rng.random_range(150..3_000));
        let at_ms = rng.random_range(world.safety_ms / 4..world.safety_ms);
        faults.push(Fault {
            at_ms,
            seed: rng.random(),
            kind: FaultKind::StateDamage { node, for_ms },
        });
        // Now and then more happens while another's is being taken.
        let then_ms = (at_ms + for_ms + rng.random_range(1..500)).min(world.safety_ms);
        let for_ms = rng.random_range(150..1_000);
        let kind = match rng.random_range(0..10) {
            0..=2 => FaultKind::Crash {
                nodes: vec![node],
                power: rng.random_bool(0.5),
                for_ms,
            },
            3..=4 => FaultKind::DiskFull {
                node,
                for_ms,
                archive: false,
            },
            _ => continue,
        };
        faults.push(Fault {
            at_ms: then_ms,
            seed: rng.random(),
            kind,
        });
    }
}

/// The nodes that hold a group. With few groups others have nothing to do.
fn holders(world: &World) -> Vec<u32> {
    let nodes: Vec<NodeId> = (1..=u64::from(world.nodes)).map(NodeId).collect();
    let held = (0..world.groups).flat_map(|group| placement::replicas(GroupId(group), &nodes));
    let mut holders: Vec<u32> = held.map(|node| node.0 as u32).collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

fn fault(
    kind: u32,
    rng: &mut StdRng,
    world: &World,
    clients: &[Client],
    spare: u32,
) -> Option<FaultKind> {
    let holders = holders(world);
    let node = holders.choose(rng).copied().unwrap_or(1);
    // A disk that is lost has nothing more to fail with.
    let others: Vec<u32> = holders.into_iter().filter(|n| *n != spare).collect();
    let other = others.choose(rng).copied().unwrap_or(1);
    let router = rng.random_range(0..world.routers);
    let for_ms =
        *[150, 400, 1_000, 2_000, 4_000].choose(rng).unwrap_or(&400) + rng.random_range(0..400);
    Some(match kind {
        0 | 1 => FaultKind::Crash {
            nodes: match rng.random_range(0..10) {
                0..=6 => vec![node],
                7 => (1..=world.nodes).filter(|n| *n != node).take(2).collect(),
                _ => (1..=world.nodes).collect(),
            },
            power: kind == 1 || rng.random_bool(0.5),
            for_ms,
        },
        2 => FaultKind::RouterCrash { router, for_ms },
        3 => FaultKind::SyncError {
            node: other,
            for_ms,
        },
        4 => FaultKind::Corrupt {
            node: other,
            tail: true,
            for_ms,
        },
        5 => FaultKind::Corrupt {
            node: spare,
            tail: false,
            for_ms,
        },
        6 => FaultKind::DiskFull {
            node: other,
            for_ms,
            archive: false,
        },
        7 => FaultKind::DiskSlow {
            node: other,
            times: *[5, 20, 60].choose(rng).unwrap_or(&5),
            for_ms,
        },
        8 => FaultKind::Wiped { node: spare },
        9 | 10 => {
            let (a, b) = sides(rng, world, clients);
            FaultKind::Partition {
                a,
                b,
                one_way: kind == 10,
                for_ms,
            }
        }
        11 => {
            let (a, b) = sides(rng, world, clients);
            FaultKind::Flap {
                a,
                b,
                period_ms: rng.random_range(80..900),
                for_ms: for_ms + 1_000,
            }
        }
        12 => {
            let (a, b) = two_hosts(rng, world, clients);
            FaultKind::Delay {
                a,
                b,
                ms: rng.random_range(10..400),
                for_ms: for_ms + 3_000,
            }
        }
        13 => {
            let (a, b) = two_hosts(rng, world, clients);
            FaultKind::Loss {
                a,
                b,
                per_mille: rng.random_range(100..400),
                for_ms: for_ms + 4_000,
            }
        }
        14 => FaultKind::Pause {
            host: host(rng, world, clients),
            for_ms,
        },
        _ if rng.random_bool(0.5) => FaultKind::Clock {
            host: if rng.random_bool(0.7) {
                Host::Node(node)
            } else {
                Host::Router(router)
            },
            ms: rng.random_range(-3_600_000..3_600_000),
            for_ms: for_ms + 1_000,
        },
        _ => FaultKind::Drain {
            node: other,
            for_ms,
        },
    })
}

fn host(rng: &mut StdRng, world: &World, clients: &[Client]) -> Host {
    match rng.random_range(0..10) {
        0..=5 => Host::Node(rng.random_range(1..=world.nodes)),
        6..=7 => Host::Router(rng.random_range(0..world.routers)),
        _ => clients
            .choose(rng)
            .map_or(Host::Router(0), |client| Host::Client(client.number)),
    }
}

/// Two hosts that speak with each other.
fn two_hosts(rng: &mut StdRng, world: &World, clients: &[Client]) -> (Host, Host) {
    let nodes: Vec<NodeId> = (1..=u64::from(world.nodes)).map(NodeId).collect();
    let group = GroupId(rng.random_range(0..world.groups));
    let replicas = placement::replicas(group, &nodes);
    let two: Vec<Host> = replicas
        .choose_multiple(rng, 2)
        .map(|node| Host::Node(node.0 as u32))
        .collect();
    let (one, other) = (two[0], two[1]);
    match rng.random_range(0..10) {
        0..=5 => (one, other),
        6..=7 => (Host::Router(rng.random_range(0..world.routers)), one),
        // Where there are two routers nobody knows at which one a client will be.
        _ => match clients.choose(rng).filter(|_| world.routers == 1) {
            Some(client) => (Host::Client(client.number), Host::Router(client.router)),
            None => (one, other),
        },
    }
}

/// One node or more against the others, with or without routers; one pair alone, which is a
/// bridge over the rest; a client from its router.
fn sides(rng: &mut StdRng, world: &World, clients: &[Client]) -> (Vec<Host>, Vec<Host>) {
    let shape = rng.random_range(0..12);
    if let (10.., Some(client)) = (shape, clients.choose(rng)) {
        let routers = (0..world.routers).map(Host::Router).collect();
        return (vec![Host::Client(client.number)], routers);
    }
    if shape >= 6 {
        let (a, b) = two_hosts(rng, world, clients);
        return if rng.random_bool(0.5) {
            (vec![a], vec![b])
        } else {
            (vec![b], vec![a])
        };
    }
    let alone = rng.random_range(1..=world.nodes / 2);
    let first = rng.random_range(1..=world.nodes);
    let is_alone = |n: u32| (n + world.nodes - first) % world.nodes < alone;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for n in 1..=world.nodes {
        if is_alone(n) {
            a.push(Host::Node(n))
        } else {
            b.push(Host::Node(n))
        }
    }
    for r in 0..world.routers {
        match shape {
            0..=2 => {}
            3 => a.push(Host::Router(r)),
            _ => b.push(Host::Router(r)),
        }
    }
    if rng.random_bool(0.5) { (a, b) } else { (b, a) }
}
