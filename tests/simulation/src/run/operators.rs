//! What runs on the clients' host: clients, and operators who change the cluster.

use std::sync::Arc;
use std::time::Duration;

use raft3d_engine::runtime;
use tokio::sync::mpsc;

use super::CLIENTS;
use crate::client::{Call, Reply};
use crate::net::Net;
use crate::random::Random;
use crate::workload::{Client, Known};
use crate::world::{Slot, World};

/// How long an operator waits for an answer.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(6);

/// What an operator is asked to do.
#[derive(Debug)]
pub(super) enum Task {
    Transfer(Arc<Slot>),
    Promote(Arc<Slot>),
    Remove(Arc<Slot>),
    Stop(Arc<Slot>),
}

pub(super) async fn run_clients(world: Arc<World>, mut asked: mpsc::UnboundedReceiver<Task>) {
    let net = Net::bind(Arc::clone(&world), CLIENTS).await;
    let net = net.expect("the clients' socket binds");
    let known = Arc::new(Known::default());
    let mut first = Client::new(&world, &net, &known, 0);
    first.prepare().await;
    runtime::spawn(first.run());
    for number in 1..world.tune.clients {
        runtime::spawn(Client::new(&world, &net, &known, number).run());
    }
    let mut random = Random::of(world.seed, 4);
    while let Some(task) = asked.recv().await {
        let random = Random::new(random.next());
        runtime::spawn(operate(Arc::clone(&world), Arc::clone(&net), task, random));
    }
}

/// Does what an operator is asked for, as far as the cluster lets it.
async fn operate(world: Arc<World>, net: Arc<Net>, task: Task, mut random: Random) {
    let name = format!("{task:?}");
    let done = match &task {
        Task::Stop(slot) => {
            let call = world
                .calls
                .call(&net, &slot.name, Call::Stop, OPERATOR_PATIENCE);
            call.await.is_some()
        }
        Task::Transfer(slot) => match slot.id() {
            Some(id) => change(&world, &net, &mut random, &Call::Transfer(id), 1).await,
            None => false,
        },
        Task::Promote(slot) => promote(&world, &net, &mut random, slot).await,
        Task::Remove(slot) => match slot.id() {
            Some(id) => change(&world, &net, &mut random, &Call::Remove(id), 3).await,
            None => false,
        },
    };
    world.trace(format_args!("operator {name} {done}"));
    let kind = match task {
        Task::Transfer(_) => "leader transfers done",
        Task::Promote(_) => "promotions done",
        Task::Remove(_) => "removals done",
        Task::Stop(_) => "stops in good order",
    };
    if done {
        world.count(kind);
    }
}

/// Waits until the node has joined, and makes it a voter.
async fn promote(world: &World, net: &Net, random: &mut Random, slot: &Slot) -> bool {
    while slot.node().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if world.is_quiet() {
            return false;
        }
    }
    match slot.id() {
        Some(id) => change(world, net, random, &Call::Promote(id), 5).await,
        None => false,
    }
}

/// Asks one node after the other for a change of the membership, so many times.
async fn change(world: &World, net: &Net, random: &mut Random, call: &Call, times: u32) -> bool {
    for _ in 0..times {
        let slots = world.slots();
        let Some(through) = random.pick(&slots) else {
            return false;
        };
        let asked = world
            .calls
            .call(net, &through.name, call.clone(), OPERATOR_PATIENCE);
        if let Some(Reply::Admin(Ok(()))) = asked.await {
            return true;
        }
        if world.is_quiet() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}
