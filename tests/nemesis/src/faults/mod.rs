//! What is done to the cluster: one small file per kind, each with how it begins and how it ends.

mod clock;
mod cut;
mod disk;
mod kill;
mod leader;
mod membership;
mod pause;
mod policy;
mod power;
mod restart;
mod rot;
mod slow_net;
mod wiped;

use std::sync::Arc;
use std::time::Duration;

use crate::disk::Taken;
use crate::fleet::Fleet;
use crate::patience::Patience;
use crate::rng::Rng;
use crate::shop::Shop;

/// Longest wait for a step of a fault: a membership change, a restart.
const STEP_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for one answer of an operator.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(15);

/// What a fault works on.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The nodes.
    pub fleet: &'a mut Fleet,
    /// The clients' history.
    pub shop: &'a Arc<Shop>,
    /// What is random in it.
    pub rng: &'a mut Rng,
    /// What power cuts took so far.
    pub taken: &'a mut Taken,
}

/// Something that is done to a cluster and undone again.
pub trait Fault: std::fmt::Debug {
    /// Begins it; answers in words what was done.
    ///
    /// # Errors
    /// Where the cluster does something that it must not do.
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String>;

    /// Ends it: nothing stands in the cluster's way any more. Nodes that were started need not be
    /// ready yet: from here on the time is taken until the next write is accepted.
    ///
    /// # Errors
    /// Where the cluster does something that it must not do.
    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String>;
}

/// What a kind needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// FUSE.
    Disk,
    /// libfaketime.
    Clock,
}

/// A kind of fault.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it needs.
    pub needs: Needs,
    make: fn() -> Box<dyn Fault>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Kind {
    /// A fault of this kind.
    #[must_use]
    pub fn make(&self) -> Box<dyn Fault> {
        (self.make)()
    }

    /// Why it cannot be had on this fleet; none: it can.
    #[must_use]
    pub fn missing(&self, tools: &crate::fleet::Tools) -> Option<String> {
        match self.needs {
            Needs::Disk => tools.no_disk.clone(),
            Needs::Clock if tools.clock.is_none() => Some("libfaketime is not installed".into()),
            Needs::Clock | Needs::Nothing => None,
        }
    }
}

macro_rules! kinds {
    ($($name:literal, $needs:ident, $make:expr;)*) => {
        /// All kinds.
        pub const KINDS: &[Kind] = &[
            $(Kind { name: $name, needs: Needs::$needs, make: || Box::new($make) },)*
        ];
    };
}

kinds! {
    "kill-one", Nothing, kill::Kill::one();
    "kill-leader", Nothing, kill::Kill::leader();
    "kill-minority", Nothing, kill::Kill::minority();
    "kill-all", Nothing, kill::Kill::all();
    "pause-one", Nothing, pause::Pause::any();
    "pause-leader", Nothing, pause::Pause::leader();
    "cut-symmetric", Nothing, cut::NetworkCut::symmetric();
    "cut-one-way", Nothing, cut::NetworkCut::one_way();
    "cut-bridge", Nothing, cut::NetworkCut::bridge();
    "slow-network", Nothing, slow_net::SlowNetwork;
    "disk-full", Disk, disk::BadDisk::full();
    "disk-slow", Disk, disk::BadDisk::slow();
    "disk-fails", Disk, disk::BadDisk::fails();
    "power-cut-one", Disk, power::PowerCut::one();
    "power-cut-all", Disk, power::PowerCut::all();
    "bit-rot", Disk, rot::BitRot::default();
    "clock-jump", Clock, clock::ClockJump::default();
    "restart-all", Nothing, restart::Restart::all();
    "restart-rolling", Nothing, restart::Restart::rolling();
    "membership", Nothing, membership::Membership::default();
    "wiped-node", Nothing, wiped::WipedNode::default();
    "policy", Nothing, policy::NewPolicy::default();
    "leader-transfer", Nothing, leader::Transfer;
}

/// The kind of that name.
#[must_use]
pub fn kind(name: &str) -> Option<Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// Looks at `probe` until it gives a value.
fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let mut patience = Patience::new(STEP_PATIENCE);
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(why) if !patience.lasts() => {
                return Err(format!("waited {STEP_PATIENCE:?} for {what}; last: {why}"));
            }
            Err(_) => {}
        }
    }
}

impl Stage<'_> {
    /// Any member.
    fn any(&mut self) -> usize {
        let members = self.fleet.members();
        *self.rng.pick(&members)
    }

    /// The leader, or any member where nobody leads right now.
    fn leader(&mut self) -> usize {
        match self.fleet.leader() {
            Some(leader) => leader,
            None => self.any(),
        }
    }

    /// The leader or another one, as often as not.
    fn leader_or_any(&mut self) -> usize {
        if self.rng.one_in(2) {
            self.leader()
        } else {
            self.any()
        }
    }

    /// Clients use the members from now on.
    fn tell_clients(&mut self) {
        let members = self.fleet.members().into_iter();
        let targets = members.filter_map(|place| {
            let node = self.fleet.node(place);
            Some((node.id?, node.http()))
        });
        self.shop.set_targets(targets.collect());
    }

    /// Asks the members one after the other for a change until one does it.
    fn operate(
        &mut self,
        what: &str,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<(), String> {
        let members = self.fleet.members();
        let mut turn = 0;
        wait_for(what, || {
            let place = members[turn % members.len()];
            turn += 1;
            if !self.fleet.runs(place) {
                return Err(format!("node {place} does not run"));
            }
            let client = self.fleet.client(place, OPERATOR_PATIENCE);
            let headers = [("content-type", "application/json")];
            let body = body.map(str::as_bytes).or(Some(b""));
            match client.try_call(method, path, &headers, body) {
                Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
                // An earlier try may have done it, whatever it was told.
                Ok(answer) if method == "DELETE" && answer.status == 404 => Ok(()),
                Ok(answer) => Err(answer.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Lets a new node in, and promotes it. Answers its place.
    fn join_and_promote(&mut self) -> Result<usize, String> {
        let place = self.fleet.join()?;
        let id = self.fleet.node(place).id.unwrap_or_default();
        let path = format!("/api/v1/cluster/members/{id}/promote");
        self.operate("the promotion of a new node", "POST", &path, None)?;
        wait_for("a new voter in its own view", || {
            let view = self.fleet.view(place)?;
            if view.votes {
                Ok(())
            } else {
                Err(format!("{view:?}"))
            }
        })?;
        self.tell_clients();
        Ok(place)
    }

    /// Removes a node from the cluster, and ends it.
    fn remove(&mut self, place: usize) -> Result<(), String> {
        self.fleet.node_mut(place).gone = true;
        self.tell_clients();
        let id = self.fleet.node(place).id.unwrap_or_default();
        let path = format!("/api/v1/cluster/members/{id}");
        self.operate("the removal of a node", "DELETE", &path, None)?;
        self.fleet.kill9(&[place]);
        Ok(())
    }
}
