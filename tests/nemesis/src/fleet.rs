//! The nodes: real processes, each with its own door to the network, disk and clock.
//!
//! Nothing here panics over what a node does: a node that ends or does not get ready is something
//! to be told of, with its log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use raft3d_cluster_tests::client::Client;
use raft3d_cluster_tests::logs;
use raft3d_cluster_tests::ports::Port;
use raft3d_cluster_tests::process::{POLL, Process};
use rustix::process::Signal;
use serde_json::Value;

use crate::clock::{self, Clock};
use crate::disk::{self, Counts, Disk};
use crate::net::Net;
use crate::patience::Patience;

/// Longest wait for one answer about a node's state.
const STATE_PATIENCE: Duration = Duration::from_secs(3);
/// Longest wait for a node that was told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// A snapshot is taken after so many entries, so that there are some in every run.
const SNAPSHOT_ENTRIES: u64 = 400;
/// Entries left in the log behind a snapshot.
const ENTRIES_KEPT: u64 = 100;

/// What this machine can do to a node.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// libfaketime; none: clocks cannot be made wrong.
    pub clock: Option<PathBuf>,
    /// Why disks cannot be made to fail; none: they can.
    pub no_disk: Option<String>,
}

impl Tools {
    /// Finds out.
    #[must_use]
    pub fn find() -> Self {
        disk::sweep();
        Self {
            clock: clock::library(),
            no_disk: disk::missing(),
        }
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Id.
    pub id: u64,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it votes.
    pub votes: bool,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// Last applied log index.
    pub applied: u64,
    /// Digest of the state there.
    pub digest: String,
    /// Why it does not serve, if so.
    pub not_ready: Option<String>,
}

/// One node, whether its process runs or not.
#[derive(Debug)]
pub struct Node {
    http: Port,
    args: Vec<String>,
    env: Vec<(String, String)>,
    log: PathBuf,
    data: PathBuf,
    process: Option<Process>,
    /// Id, once it is known.
    pub id: Option<u64>,
    /// Its disk, where it has one that can fail.
    pub disk: Option<Disk>,
    /// Its clock, where it can be made wrong.
    pub clock: Option<Clock>,
    /// Whether it is stopped by a signal for the moment.
    pub paused: bool,
    /// Whether it left the cluster for good.
    pub gone: bool,
    /// Held for the node's peer port and its door.
    _ports: [Port; 2],
    peer_at: String,
}

/// The nodes of one cluster. Dropped, it ends their processes.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    tools: Tools,
    sabotage: Option<String>,
    nodes: Vec<Node>,
    /// The network between them.
    pub net: Net,
}

impl Fleet {
    /// Starts a cluster of `size` nodes in `folder`, and waits until all are ready. `sabotage`
    /// names a bug that a debug build has on request.
    ///
    /// # Errors
    /// Where it does not come up; says why, with the end of a log.
    pub fn start(
        folder: PathBuf,
        size: usize,
        tools: Tools,
        sabotage: Option<&str>,
    ) -> Result<Self, String> {
        let mut fleet = Self {
            folder,
            tools,
            sabotage: sabotage.map(str::to_owned),
            nodes: Vec::new(),
            net: Net::new(),
        };
        let ports: Vec<[Port; 3]> = (0..size).map(|_| claim()).collect();
        let members: Vec<String> = ports
            .iter()
            .zip(1..)
            .map(|([http, _, door], id)| format!("{id}={}/{}", door.addr(), http.addr()))
            .collect();
        let members = members.join(",");
        for (ports, id) in ports.into_iter().zip(1_u64..) {
            let id = id.to_string();
            let identity = ["--node-id", id.as_str(), "--initial-cluster", &members];
            fleet.add(&identity, ports)?;
        }
        for place in 0..size {
            fleet.nodes[place].id = Some(place as u64 + 1);
        }
        fleet.start_nodes(&fleet.places());
        fleet.wait_ready(&fleet.places(), START_PATIENCE)?;
        Ok(fleet)
    }

    fn add(&mut self, identity: &[&str], ports: [Port; 3]) -> Result<usize, String> {
        let place = self.nodes.len();
        let folder = self.folder.join(format!("node-{place}"));
        let failed = |error: std::io::Error| format!("node {place}: {error}");
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let [http, peer, door] = ports;
        self.net
            .open(place, door.addr(), peer.addr())
            .map_err(failed)?;
        let disk = match self.tools.no_disk {
            None => Some(Disk::mount(&folder).map_err(failed)?),
            Some(_) => None,
        };
        let library = self.tools.clock.as_deref();
        let clock = library.map(|library| Clock::new(folder.join("clock"), library));
        let clock = clock.transpose().map_err(failed)?;
        let data = disk
            .as_ref()
            .map_or(folder.as_path(), Disk::path)
            .join("data");
        let mut env = clock.as_ref().map(Clock::environment).unwrap_or_default();
        if let Some(bug) = &self.sabotage {
            env.push(("RAFT3D_SABOTAGE".to_owned(), bug.clone()));
        }
        let mut args = vec!["serve".to_owned(), "--exit-on-stdin-eof".to_owned()];
        args.extend(identity.iter().map(|arg| (*arg).to_owned()));
        let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
        flag("--data", data.display().to_string());
        flag("--http", http.addr().to_string());
        flag("--peer", peer.addr().to_string());
        flag("--snapshot-entries", SNAPSHOT_ENTRIES.to_string());
        flag("--log-entries-kept", ENTRIES_KEPT.to_string());
        self.nodes.push(Node {
            peer_at: door.addr().to_string(),
            http,
            args,
            env,
            log: self.folder.join(format!("node-{place}.log")),
            data,
            process: None,
            id: None,
            disk,
            clock,
            paused: false,
            gone: false,
            _ports: [peer, door],
        });
        Ok(place)
    }

    /// Starts a node with an empty folder that asks the others to let it in, and waits until it is
    /// ready. Answers its place.
    ///
    /// # Errors
    /// Where it is not let in or does not get ready.
    pub fn join(&mut self) -> Result<usize, String> {
        let doors: Vec<String> = self
            .members()
            .iter()
            .map(|place| self.nodes[*place].peer_at.clone())
            .collect();
        let ports = claim();
        let own_door = ports[2].addr().to_string();
        let doors = doors.join(",");
        let identity = ["--join", &doors, "--advertise-peer", &own_door];
        let place = self.add(&identity, ports)?;
        self.start_nodes(&[place]);
        self.wait_ready(&[place], START_PATIENCE)?;
        let mut patience = Patience::new(START_PATIENCE);
        loop {
            match self.view(place) {
                Ok(view) => {
                    self.nodes[place].id = Some(view.id);
                    return Ok(place);
                }
                Err(why) if !patience.lasts() => return Err(why),
                Err(_) => {}
            }
        }
    }

    /// The node at `place`.
    #[must_use]
    pub fn node(&self, place: usize) -> &Node {
        &self.nodes[place]
    }

    /// The node at `place`, to be changed.
    pub fn node_mut(&mut self, place: usize) -> &mut Node {
        &mut self.nodes[place]
    }

    /// All places, those of nodes that are gone among them.
    #[must_use]
    pub fn places(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// Places of the nodes that belong to the cluster.
    #[must_use]
    pub fn members(&self) -> Vec<usize> {
        let mut places = self.places();
        places.retain(|place| !self.nodes[*place].gone);
        places
    }

    /// What this machine can do.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// A client of one node that waits at most `patience`.
    #[must_use]
    pub fn client(&self, place: usize, patience: Duration) -> Client {
        Client::with_patience(self.nodes[place].http.addr(), patience)
    }

    /// Starts the processes of nodes that do not run.
    pub fn start_nodes(&mut self, places: &[usize]) {
        for place in places {
            let node = &mut self.nodes[*place];
            let env: Vec<(&str, &str)> = node
                .env
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let process = Process::start_with(&node.args, &env, &node.log);
            self.net.process(*place, process.id());
            node.process = Some(process);
            node.paused = false;
        }
    }

    /// `kill -9` of several nodes, as close together as can be.
    pub fn kill9(&mut self, places: &[usize]) {
        for place in places {
            self.signal(*place, Signal::KILL);
        }
        for place in places {
            self.nodes[*place].process = None;
            self.nodes[*place].paused = false;
        }
    }

    /// Stops nodes as an operator would, all at once.
    ///
    /// # Errors
    /// Where one does not end cleanly.
    pub fn stop_all(&mut self, places: &[usize]) -> Result<(), String> {
        for place in places {
            self.signal(*place, Signal::TERM);
        }
        for place in places {
            let Some(mut process) = self.nodes[*place].process.take() else {
                continue;
            };
            let mut patience = Patience::new(STOP_PATIENCE);
            while process.is_running() {
                if !patience.lasts() {
                    let tail = process.tail();
                    return Err(format!("node {place} does not stop; its log ends:\n{tail}"));
                }
            }
            let status = process.wait(POLL);
            if !status.success() {
                let tail = process.tail();
                return Err(format!(
                    "node {place} was stopped and ended with {status}:\n{tail}"
                ));
            }
        }
        Ok(())
    }

    /// Sends a signal to a node's process, if it has one.
    pub fn signal(&mut self, place: usize, signal: Signal) {
        if let Some(process) = &self.nodes[place].process {
            process.signal(signal);
        }
    }

    /// Whether the node's process runs.
    pub fn runs(&mut self, place: usize) -> bool {
        let process = self.nodes[place].process.as_mut();
        process.is_some_and(Process::is_running)
    }

    /// Waits until nodes are ready.
    ///
    /// # Errors
    /// Where one ended or is not ready after `patience`, with the end of its log.
    pub fn wait_ready(&mut self, places: &[usize], patience: Duration) -> Result<(), String> {
        let mut patience = Patience::new(patience);
        for place in places {
            let client = self.client(*place, STATE_PATIENCE);
            loop {
                let why = match client.try_call("GET", "/readyz", &[], None) {
                    Ok(answer) if answer.status == 200 => break,
                    Ok(answer) => answer.to_string(),
                    Err(error) => error.to_string(),
                };
                let ended = !self.runs(*place);
                if ended || !patience.lasts() {
                    let how = if ended { "ended" } else { "is not ready" };
                    let tail = self.tail(*place);
                    return Err(format!("node {place} {how} ({why}); its log ends:\n{tail}"));
                }
            }
        }
        Ok(())
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// Where it does not answer, or does not know itself.
    pub fn view(&self, place: usize) -> Result<View, String> {
        let cluster = self.cluster(place)?;
        let own = self.nodes[place].http.addr().to_string();
        parse(&cluster, &own).ok_or_else(|| format!("node {place} does not list {own}: {cluster}"))
    }

    /// The cluster as a node sees it.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn cluster(&self, place: usize) -> Result<Value, String> {
        let client = self.client(place, STATE_PATIENCE);
        match client.try_call("GET", "/api/v1/cluster", &[], None) {
            Ok(answer) if answer.status == 200 => Ok(answer.json()),
            Ok(answer) => Err(answer.to_string()),
            Err(error) => Err(format!("node {place}: {error}")),
        }
    }

    /// The place of the leader, as it says itself; none where no running node leads.
    pub fn leader(&mut self) -> Option<usize> {
        let members = self.members();
        let asked = members.into_iter().filter(|place| {
            let paused = self.nodes[*place].paused;
            !paused && self.runs(*place)
        });
        let asked: Vec<usize> = asked.collect();
        asked
            .into_iter()
            .find(|place| self.view(*place).is_ok_and(|view| view.leads))
    }

    /// The place of the node with that id.
    #[must_use]
    pub fn place_of(&self, id: u64) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == Some(id))
    }

    /// The end of a node's log.
    #[must_use]
    pub fn tail(&self, place: usize) -> String {
        logs::tail(&self.output(place), LOG_LINES)
    }

    /// Everything a node has printed, in all its lives.
    #[must_use]
    pub fn output(&self, place: usize) -> String {
        let bytes = std::fs::read(&self.nodes[place].log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where everything of this cluster is kept.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What all disks together did.
    #[must_use]
    pub fn disk_counts(&self) -> Counts {
        let disks = self.nodes.iter().filter_map(|node| node.disk.as_ref());
        disks.map(Disk::counts).fold(Counts::default(), Counts::and)
    }
}

/// Longest wait for a node to get ready: two cores may be compiling something else.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a log that a message shows.
const LOG_LINES: usize = 20;

/// A port for clients, one for peers, and one for the door in front of it.
fn claim() -> [Port; 3] {
    [Port::claim(), Port::claim(), Port::claim()]
}

impl Node {
    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where clients reach it.
    #[must_use]
    pub fn http(&self) -> std::net::SocketAddr {
        self.http.addr()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Before the disks go: nobody is to use them then.
        self.kill9(&self.places());
    }
}

fn parse(cluster: &Value, http: &str) -> Option<View> {
    let nodes = cluster["nodes"].as_array()?;
    let node = nodes.iter().find(|node| node["http_address"] == http)?;
    Some(View {
        id: node["id"].as_u64()?,
        leads: node["role"].as_str()? == "leader",
        votes: node["voter"].as_bool()?,
        leader: cluster["leader_id"].as_u64(),
        applied: node["applied_revision"].as_u64()?,
        digest: node["digest"].as_str()?.to_owned(),
        not_ready: node["not_ready_reason"].as_str().map(str::to_owned),
    })
}
