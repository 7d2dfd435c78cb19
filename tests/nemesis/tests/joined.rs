//! A node that joined stands behind its door as the founders do: it can be cut off in what it hears
//! and in what it says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests report by panicking"
)]

use std::time::{Duration, Instant};

use raft3d_cluster_tests::client::Client;
use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_nemesis::fleet::{Fleet, Tools};

/// Long enough for a loaded machine; only a broken test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long nothing may come through a cut: far longer than a heartbeat or an append takes.
const SILENCE: Duration = Duration::from_secs(2);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Adds a printer; answers at which revision.
fn write(client: &Client, id: &str) -> u64 {
    client.create_printer(id).expect(201).revision()
}

/// Waits until the node has applied `revision`; false where it has not after `patience`.
fn applies(fleet: &Fleet, place: usize, revision: u64, patience: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < patience {
        if fleet.view(place).is_ok_and(|view| view.applied >= revision) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Whether the node answers a read that must see every write: it has to ask the leader.
fn reads(fleet: &Fleet, place: usize, id: &str) -> bool {
    let path = format!("/api/v1/printers/{id}");
    let answer = fleet
        .client(place, ANSWER)
        .try_call("GET", &path, &[], None);
    answer.is_ok_and(|answer| answer.status == 200)
}

fn reads_within(fleet: &Fleet, place: usize, id: &str, patience: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < patience {
        if reads(fleet, place, id) {
            return true;
        }
    }
    false
}

#[test]
fn a_node_that_joined_is_cut_off_in_both_directions() {
    let folder = scratch_folder("nemesis-joined");
    let tools = Tools {
        clock: None,
        no_disk: Some("not needed here".to_owned()),
    };
    let mut fleet = Fleet::start(folder.clone(), 3, tools, None).unwrap();
    let founders = fleet.members();
    let joined = fleet.join().unwrap();
    let client = fleet.client(0, PATIENCE);
    let first = write(&client, "first");
    assert!(applies(&fleet, joined, first, PATIENCE));
    assert!(reads_within(&fleet, joined, "first", PATIENCE));

    // It does not hear the others, and they hear it.
    for founder in &founders {
        fleet.net.cut(*founder, joined);
    }
    let second = write(&client, "second");
    assert!(!applies(&fleet, joined, second, SILENCE), "it still hears");
    fleet.net.heal(true);
    assert!(applies(&fleet, joined, second, PATIENCE));

    // It hears the others, and they do not hear it.
    for founder in &founders {
        fleet.net.cut(joined, *founder);
    }
    assert!(!reads(&fleet, joined, "second"), "it is still heard");
    fleet.net.heal(true);
    assert!(reads_within(&fleet, joined, "second", PATIENCE));
    drop(fleet);
    std::fs::remove_dir_all(folder).unwrap();
}
