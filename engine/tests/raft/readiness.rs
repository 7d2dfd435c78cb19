//! Activations wait until a majority with the leader has compiled the modules.

use std::collections::BTreeSet;
use std::time::Duration;

use raft3d_core::ModuleDigest;
use raft3d_core::state::rulesets;
use raft3d_engine::raft::NodeId;
use raft3d_engine::raft::api::{Consistency, ReadOptions};

use crate::cluster::{Cluster, PATIENCE, Tune};

const MODULES: [ModuleDigest; 2] = [ModuleDigest([1; 32]), ModuleDigest([2; 32])];
const SHORT: Duration = Duration::from_millis(300);

/// Places of the leader and of the two others.
async fn places(cluster: &Cluster) -> (usize, [usize; 2]) {
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    (leader, [others[0], others[1]])
}

fn set_compiling(cluster: &Cluster, places: &[usize]) -> BTreeSet<NodeId> {
    let ids: BTreeSet<NodeId> = places.iter().map(|at| cluster.node(*at).id()).collect();
    cluster.tune.compiling.lock().unwrap().clone_from(&ids);
    ids
}

/// Who is named where too many lack the modules; asked on every running node.
async fn named(cluster: &Cluster) -> Option<BTreeSet<NodeId>> {
    let mut all = BTreeSet::new();
    for place in cluster.running() {
        let waited = cluster.node(place).await_compiled(&MODULES, SHORT).await;
        let names = |voters: Vec<_>| -> BTreeSet<NodeId> {
            voters
                .iter()
                .map(|v: &raft3d_engine::raft::readiness::LackingVoter| v.node_id)
                .collect()
        };
        all.insert(waited.err().map(|lacking| names(lacking.voters)));
    }
    assert_eq!(all.len(), 1, "the nodes do not agree: {all:?}");
    all.pop_first().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_with_the_leader_is_enough_and_the_others_are_named() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let (leader, others) = places(&cluster).await;
    assert_eq!(named(&cluster).await, None);
    set_compiling(&cluster, &[others[0]]);
    assert_eq!(named(&cluster).await, None, "two of three have them");
    let both = set_compiling(&cluster, &others);
    assert_eq!(named(&cluster).await, Some(both));
    let lacks = set_compiling(&cluster, &[leader]);
    assert_eq!(
        named(&cluster).await,
        Some(lacks),
        "the leader must have them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_does_not_stand_in_the_way_of_the_others() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let (_, others) = places(&cluster).await;
    let dead = cluster.node(others[0]).id();
    cluster.kill(others[0]).await;
    assert_eq!(named(&cluster).await, None);
    let mut lacking = set_compiling(&cluster, &[others[1]]);
    lacking.insert(dead);
    assert_eq!(named(&cluster).await, Some(lacking));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_goes_on_when_the_modules_are_compiled() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let (leader, others) = places(&cluster).await;
    set_compiling(&cluster, &others);
    let node = cluster.node(leader);
    let waiting = tokio::spawn(async move { node.await_compiled(&MODULES, PATIENCE).await });
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished());
    set_compiling(&cluster, &[]);
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

/// A module that came with a snapshot, or with too many others at once, is compiled nowhere: whoever
/// is asked for it begins with it.
#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_a_module_is_told_to_compile_it() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let (leader, others) = places(&cluster).await;
    let node = cluster.node(leader);
    let options = ReadOptions {
        consistency: Consistency::Linearizable,
        min_revision: None,
        timeout: PATIENCE,
    };
    let view = node.read(options).await.unwrap();
    let active = rulesets::active(&view).unwrap().expect("a ruleset");
    let there = active.ruleset.bindings[0].module;
    let missing = MODULES[0];
    let asked = [there, missing];
    node.await_compiled(&asked, SHORT).await.unwrap();
    assert!(cluster.tune.wanted.lock().unwrap().is_empty());
    let lacking = set_compiling(&cluster, &others);
    node.await_compiled(&asked, SHORT).await.unwrap_err();
    let of = |id: &NodeId| [(*id, missing, false), (*id, there, true)];
    let expected: BTreeSet<_> = lacking.iter().flat_map(of).collect();
    assert_eq!(*cluster.tune.wanted.lock().unwrap(), expected);
}
