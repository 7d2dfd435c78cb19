//! A cluster of either system.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use raft3d_cluster_tests::Client;
use raft3d_cluster_tests::ports::Port;
use serde::Deserialize;
use serde_json::json;

use super::{Launch, Node, System};
use crate::load::{EtcdClient, SHELVES, SPOOL_G};

/// Longest wait for a node to be ready or for a leader. A node with a million jobs and a busy
/// machine around it takes its time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(5);
/// Longest wait for one answer to a question of ours.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Lines of a node's log that an error message shows.
const TAIL_LINES: usize = 15;

/// What `/api/v1/cluster` answers, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct ClusterView {
    nodes: Vec<NodeView>,
}

/// One node there; of one that does not answer the others know only its address.
#[derive(Debug, Deserialize)]
struct NodeView {
    http_address: String,
    role: Option<String>,
    applied_revision: Option<u64>,
}

/// One node's place, whether its process runs or not.
#[derive(Debug)]
pub struct Member {
    client: Port,
    peer: Port,
    data: PathBuf,
    log: PathBuf,
    args: Vec<String>,
    node: Option<Node>,
}

impl Member {
    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }
}

/// A cluster. Dropped, it kills its nodes; its folder stays.
#[derive(Debug)]
pub struct Cluster {
    launch: Launch,
    folder: PathBuf,
    members: Vec<Member>,
}

impl Cluster {
    /// Starts three nodes with their data in `folder`, and waits until they are ready.
    ///
    /// # Errors
    /// One does not start or does not get ready; the message holds the end of its log.
    pub fn start(launch: Launch, folder: &Path) -> Result<Self> {
        let ports = (0..3).map(|_| (Port::claim(), Port::claim())).collect();
        Self::start_at(launch, folder, ports)
    }

    /// The same with these (client, peer) ports: a cluster that was started before knows its
    /// members by them.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_at(launch: Launch, folder: &Path, ports: Vec<(Port, Port)>) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let system = launch.system;
        let listed = ports.iter().zip(1_u64..).map(|((client, peer), id)| {
            let (client, peer) = (client.addr(), peer.addr());
            match system {
                System::Raft3d | System::Against => format!("{id}={peer}/{client}"),
                System::Etcd => format!("n{id}=http://{peer}"),
            }
        });
        let listed = listed.collect::<Vec<_>>().join(",");
        let mut cluster = Self {
            launch,
            folder: folder.to_owned(),
            members: Vec::new(),
        };
        for ((client, peer), id) in ports.into_iter().zip(1_u64..) {
            let founding = match system {
                System::Raft3d | System::Against => vec![
                    "--node-id".to_owned(),
                    id.to_string(),
                    "--initial-cluster".to_owned(),
                    listed.clone(),
                ],
                System::Etcd => vec!["--initial-cluster".to_owned(), listed.clone()],
            };
            cluster.add(founding, client, peer)?;
        }
        for index in 0..cluster.members.len() {
            cluster.wait_ready(index)?;
        }
        Ok(cluster)
    }

    /// Starts a further node of ours with an empty folder that asks the others to let it in.
    /// Answers its place; it is not ready yet.
    ///
    /// # Errors
    /// It does not start.
    pub fn join(&mut self) -> Result<usize> {
        ensure!(self.launch.system.is_ours(), "only our own nodes join");
        let peers: Vec<String> = self
            .members
            .iter()
            .filter(|member| member.node.is_some())
            .map(|member| member.peer.addr().to_string())
            .collect();
        let joining = vec!["--join".to_owned(), peers.join(",")];
        self.add(joining, Port::claim(), Port::claim())
    }

    fn add(&mut self, how: Vec<String>, client: Port, peer: Port) -> Result<usize> {
        let place = self.members.len();
        let data = self.folder.join(format!("node-{}", place + 1));
        let mut args = match self.launch.system {
            System::Raft3d | System::Against => raft3d_args(&data, client.addr(), peer.addr()),
            System::Etcd => etcd_args(place + 1, &data, client.addr(), peer.addr()),
        };
        args.extend(how);
        args.extend(self.launch.args.iter().cloned());
        let log = self.folder.join(format!("node-{}.log", place + 1));
        self.members.push(Member {
            node: Some(Node::start(&self.launch, &args, &log)?),
            client,
            peer,
            data,
            log,
            args,
        });
        Ok(place)
    }

    /// Which system it is.
    #[must_use]
    pub fn system(&self) -> System {
        self.launch.system
    }

    /// Its nodes.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The (client, peer) ports of its nodes.
    #[must_use]
    pub fn ports(&self) -> Vec<(u16, u16)> {
        let members = self.members.iter();
        members
            .map(|member| (member.client.number(), member.peer.number()))
            .collect()
    }

    fn member(&self, place: usize) -> Result<&Member> {
        self.members.get(place).context("no such member")
    }

    /// Where clients reach a node.
    ///
    /// # Errors
    /// There is no such node.
    pub fn address(&self, place: usize) -> Result<SocketAddr> {
        Ok(self.member(place)?.client.addr())
    }

    /// A node's process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self, place: usize) -> Result<u32> {
        let node = self.member(place)?.node.as_ref();
        Ok(node.context("the node does not run")?.pid())
    }

    /// Places of the nodes whose process was started and not ended by us.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        let members = self.members.iter().enumerate();
        members
            .filter(|(_, member)| member.node.is_some())
            .map(|(place, _)| place)
    }

    /// `kill -9` of one node.
    pub fn kill9(&mut self, place: usize) {
        if let Some(node) = self.members.get_mut(place).and_then(|m| m.node.take()) {
            node.kill9();
        }
    }

    /// Stops one node as an operator would.
    ///
    /// # Errors
    /// It does not end well.
    pub fn stop(&mut self, place: usize) -> Result<()> {
        match self.members.get_mut(place).and_then(|m| m.node.take()) {
            Some(node) => node.stop(),
            None => Ok(()),
        }
    }

    /// Starts a node again with the same arguments.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self, place: usize) -> Result<()> {
        let member = self.members.get_mut(place).context("no such member")?;
        member.node = Some(Node::start(&self.launch, &member.args, &member.log)?);
        Ok(())
    }

    /// Waits until a node is ready to serve.
    ///
    /// # Errors
    /// It ends or does not get ready, with the end of its log.
    pub fn wait_ready(&mut self, place: usize) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Err(why) = self.readiness(place) else {
                return Ok(());
            };
            let member = self.members.get_mut(place).context("no such member")?;
            let ended = member.node.as_mut().is_none_or(Node::has_ended);
            if ended || Instant::now() >= until {
                let log = std::fs::read_to_string(&member.log).unwrap_or_default();
                bail!(
                    "a node of {} is not ready: {why:#}\n{}",
                    self.launch.system.name(),
                    raft3d_cluster_tests::logs::tail(&log, TAIL_LINES)
                );
            }
            std::thread::sleep(POLL);
        }
    }

    fn readiness(&self, place: usize) -> Result<()> {
        let address = self.address(place)?;
        match self.launch.system {
            System::Raft3d | System::Against => {
                let client = Client::with_patience(address, ANSWER_PATIENCE);
                let answer = client.try_call("GET", "/readyz", &[], None)?;
                ensure!(answer.status == 200, "{answer}");
            }
            System::Etcd => {
                let (_, leader) = etcd_status(address)?;
                ensure!(leader != 0, "it knows no leader");
            }
        }
        Ok(())
    }

    /// The place of the leader.
    ///
    /// # Errors
    /// No running node says that it leads.
    pub fn leader(&self) -> Result<usize> {
        let until = Instant::now() + PATIENCE;
        loop {
            for place in self.running() {
                if self.leads(place).unwrap_or(false) {
                    return Ok(place);
                }
            }
            ensure!(Instant::now() < until, "no node leads");
            std::thread::sleep(POLL);
        }
    }

    fn leads(&self, place: usize) -> Result<bool> {
        let address = self.address(place)?;
        match self.launch.system {
            System::Raft3d | System::Against => {
                Ok(self.view(place)?.role.as_deref() == Some("leader"))
            }
            System::Etcd => etcd_status(address).map(|(own, leader)| own == leader),
        }
    }

    /// What a node of ours says of itself in `/api/v1/cluster`.
    fn view(&self, place: usize) -> Result<NodeView> {
        let address = self.address(place)?;
        let client = Client::with_patience(address, ANSWER_PATIENCE);
        let answer = client.try_call("GET", "/api/v1/cluster", &[], None)?;
        ensure!(answer.status == 200, "{answer}");
        let cluster: ClusterView = serde_json::from_slice(&answer.body)?;
        let own = address.to_string();
        let mut nodes = cluster.nodes.into_iter();
        let own = nodes.find(|node| node.http_address == own);
        own.context("it does not list itself")
    }

    /// Waits until all running nodes of ours have applied the same.
    ///
    /// # Errors
    /// They do not.
    pub fn wait_level(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let applied = self.running().map(|place| {
                let applied = self.view(place)?.applied_revision;
                applied.context("it does not know what it has applied")
            });
            let applied: Result<Vec<u64>> = applied.collect();
            match &applied {
                Ok(applied) if applied.windows(2).all(|pair| pair.first() == pair.last()) => {
                    return Ok(());
                }
                _ => ensure!(Instant::now() < until, "not level: {applied:?}"),
            }
            std::thread::sleep(POLL);
        }
    }

    /// Adds the printers and filaments that new jobs need; etcd needs nothing.
    ///
    /// # Errors
    /// One is not accepted.
    pub fn open_shop(&self) -> Result<()> {
        if self.launch.system == System::Etcd {
            return Ok(());
        }
        let client = Client::with_patience(self.address(0)?, ANSWER_PATIENCE);
        let add = |path: &str, body: serde_json::Value| -> Result<()> {
            let headers = [("content-type", "application/json")];
            let body = body.to_string();
            let answer = client.try_call("POST", path, &headers, Some(body.as_bytes()))?;
            ensure!(answer.status == 201, "{answer}");
            Ok(())
        };
        for shelf in 0..SHELVES {
            let printer = json!({"id": format!("p{shelf}"), "company": "Prusa", "model": "MK4"});
            add("/api/v1/printers", printer)?;
            let filament = json!({
                "id": format!("f{shelf}"), "type": "PLA", "color": "Red",
                "total_weight_in_grams": SPOOL_G,
            });
            add("/api/v1/filaments", filament)?;
        }
        Ok(())
    }
}

fn raft3d_args(data: &Path, client: SocketAddr, peer: SocketAddr) -> Vec<String> {
    let mut args = vec!["serve".to_owned(), "--exit-on-stdin-eof".to_owned()];
    args.extend(["--data".to_owned(), data.display().to_string()]);
    args.extend(["--http".to_owned(), client.to_string()]);
    args.extend(["--peer".to_owned(), peer.to_string()]);
    args
}

fn etcd_args(id: usize, data: &Path, client: SocketAddr, peer: SocketAddr) -> Vec<String> {
    let pairs = [
        ("--name", format!("n{id}")),
        ("--data-dir", data.display().to_string()),
        ("--listen-client-urls", format!("http://{client}")),
        ("--advertise-client-urls", format!("http://{client}")),
        ("--listen-peer-urls", format!("http://{peer}")),
        ("--initial-advertise-peer-urls", format!("http://{peer}")),
        ("--initial-cluster-state", "new".to_owned()),
    ];
    let pairs = pairs.into_iter();
    pairs
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
}

/// A member's own id and the leader's.
fn etcd_status(address: SocketAddr) -> Result<(u64, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let ask = async { EtcdClient::connect(address).await?.status().await };
        tokio::time::timeout(ANSWER_PATIENCE, ask).await?
    })
}
