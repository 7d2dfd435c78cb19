//! One node's process: opens its stores, starts the real node, serves peers and clients.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use raft3d_core::event::{Event, EventKind};
use raft3d_engine::raft::bootstrap;
use raft3d_engine::raft::machine::{ApplyObserver, ApplyOptions, StateHandle};
use raft3d_engine::raft::parts::Parts;
use raft3d_engine::raft::{Member, Node, NodeId};
use raft3d_engine::runtime;
use raft3d_engine::storage::data_dir::DataDir;
use raft3d_engine::storage::state::StateView;

use crate::log::SimLog;
use crate::net::{Link, Net};
use crate::random::Random;
use crate::world::{Slot, World};

/// How long a node that joins asks for it.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// Lets the trace see what is applied.
struct Watcher {
    world: Arc<World>,
    name: String,
}

impl ApplyObserver for Watcher {
    fn events(&self, events: &[Event]) {
        for event in events {
            let (name, id) = (&self.name, event.id);
            let kind = &event.kind;
            if matches!(kind, EventKind::EpochRaised(_)) {
                self.world.count("engine epochs raised");
            }
            self.world.trace(format_args!(
                "{name} event {} {} {kind:?}",
                id.revision, id.sequence
            ));
        }
    }

    fn state_replaced(&self, view: &StateView) {
        self.world.count("snapshots installed");
        self.world.trace(format_args!(
            "{} state replaced {}",
            self.name,
            view.revision()
        ));
    }
}

/// Runs the process until it is killed.
pub(crate) async fn run(world: Arc<World>, slot: Arc<Slot>) -> turmoil::Result {
    let boot = slot.boots.fetch_add(1, Ordering::Relaxed);
    let purpose = 10_000 + slot.at as u64 * 1_000 + boot;
    let seed = Random::of(world.seed, purpose).next();
    world.trace(format_args!("{} boots", slot.name));
    runtime::seeded(seed, live(world, slot)).await;
    Ok(())
}

async fn live(world: Arc<World>, slot: Arc<Slot>) {
    let why = match start(&world, &slot).await {
        Ok(node) => node.fault().await,
        Err(error) => format!("it does not start: {error:#}"),
    };
    world.trace(format_args!("{} died", slot.name));
    slot.state().died = Some(why);
    // The driver sees it and ends the process.
    std::future::pending::<()>().await;
}

async fn start(world: &Arc<World>, slot: &Arc<Slot>) -> anyhow::Result<Node> {
    let data_dir = Arc::new(DataDir::open(&slot.dir)?);
    let log = SimLog::open(Arc::clone(&slot.disk));
    let observer = Arc::new(Watcher {
        world: Arc::clone(world),
        name: slot.name.clone(),
    });
    let parts = Parts::with_log(
        Arc::clone(&data_dir),
        log,
        world.policies.host(),
        Some(observer),
        ApplyOptions {
            epochs: slot.epochs(),
            ..ApplyOptions::default()
        },
    );
    let parts = parts.await?;
    let net = Net::bind(Arc::clone(world), &slot.name).await?;
    let id = match slot.id() {
        Some(id) => id,
        None => join(world, slot, &net, &data_dir).await?,
    };
    slot.state().id = Some(id);
    let machine = parts.machine.handle();
    let link = Arc::new(Link(Arc::downgrade(&net)));
    let node = Node::start(world.node_options(slot, id), parts, link).await?;
    serve(world, &net, &node);
    runtime::spawn(trace_applied(
        Arc::clone(world),
        slot.name.clone(),
        machine.clone(),
    ));
    {
        let mut state = slot.state();
        state.node = Some(node.clone());
        state.machine = Some(machine);
    }
    if !slot.joins {
        let (node, initial) = (node.clone(), world.initial());
        let slot = Arc::clone(slot);
        runtime::spawn(async move {
            if let Err(error) = node.bootstrap(&initial).await {
                slot.state().died = Some(format!("it is not bootstrapped: {error}"));
            }
        });
    }
    Ok(node)
}

fn serve(world: &Arc<World>, net: &Arc<Net>, node: &Node) {
    let (world, served) = (Arc::clone(world), node.clone());
    let clients = move |number| {
        let (world, node) = (Arc::clone(&world), served.clone());
        async move { world.calls.handle(&node, number).await }.boxed()
    };
    net.serve(Arc::new(node.clone()), Arc::new(clients));
}

async fn join(
    world: &Arc<World>,
    slot: &Slot,
    net: &Arc<Net>,
    data_dir: &DataDir,
) -> anyhow::Result<NodeId> {
    if let Some(id) = data_dir.identity().node_id {
        return Ok(id);
    }
    let member = Member {
        peer_addr: slot.peer_addr(),
        http_addr: slot.http_addr(),
        incarnation: data_dir.identity().incarnation,
    };
    let others = world
        .slots()
        .into_iter()
        .filter(|other| other.at != slot.at);
    let peers: Vec<String> = others.map(|other| other.peer_addr()).collect();
    let link = Arc::new(Link(Arc::downgrade(net)));
    let id = bootstrap::join(link, &peers, member, JOIN_PATIENCE).await?;
    data_dir.set_node_id(id)?;
    Ok(id)
}

async fn trace_applied(world: Arc<World>, name: String, machine: StateHandle) {
    let mut applied = machine.applied();
    loop {
        drop(applied.borrow_and_update());
        let view = machine.view();
        world.trace(format_args!(
            "{name} applied {} {}",
            view.revision(),
            view.digest()
        ));
        drop(view);
        if applied.changed().await.is_err() {
            return;
        }
    }
}
