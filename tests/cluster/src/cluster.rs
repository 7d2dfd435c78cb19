//! A cluster of real processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::client::Client;
use crate::logs;
use crate::ports::Port;
use crate::process::{Process, binary, build_folder, wait_for};

/// Longest wait for nodes to be ready, to agree or to stop. Generous, because two cores may be
/// compiling something else; a healthy cluster needs a second.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Initial nodes.
    pub nodes: usize,
    /// Further arguments of `raft3d serve` for every node.
    pub extra: Vec<String>,
}

impl Options {
    /// So many nodes, and everything else as it comes.
    #[must_use]
    pub fn nodes(nodes: usize) -> Self {
        Self {
            nodes,
            extra: Vec::new(),
        }
    }

    /// A snapshot every `entries` entries, and `kept` entries left in the log behind it.
    #[must_use]
    pub fn snapshots(mut self, entries: u64, kept: u64) -> Self {
        let flags = ["--snapshot-entries".to_owned(), entries.to_string()];
        self.extra.extend(flags);
        self.extra
            .extend(["--log-entries-kept".to_owned(), kept.to_string()]);
        self
    }
}

/// One node's place in the cluster, whether its process runs or not.
#[derive(Debug)]
pub struct Node {
    http: Port,
    peer: Port,
    data: PathBuf,
    log: PathBuf,
    args: Vec<String>,
    further_args: Vec<String>,
    program: PathBuf,
    process: Option<Process>,
    /// Whether errors in its log are part of the test.
    errors_expected: bool,
}

impl Node {
    fn start(&mut self) {
        let args = [&self.args[..], &self.further_args].concat();
        let process = Process::start_program(&self.program, &args, &[], &self.log);
        self.process = Some(process);
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Id.
    pub id: u64,
    /// `leader`, `follower`, `candidate`, `learner`, `stopped`.
    pub role: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// Last applied log index.
    pub applied: u64,
    /// Digest of the state there.
    pub digest: String,
    /// Log index of its newest snapshot.
    pub snapshot: u64,
    /// Log index up to which its log is purged.
    pub purged: u64,
}

/// A cluster. Nodes are counted from 0; initial node `i` has the id `i + 1`.
///
/// Dropped, it stops every node, fails the test where a log holds anything above `warn`, and
/// removes its folder; where the test has failed already, it keeps the folder and says where.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    nodes: Vec<Node>,
    options: Options,
}

impl Cluster {
    /// Starts a cluster and waits until every node is ready. `name` names its folder.
    #[must_use]
    #[track_caller]
    pub fn start(name: &str, options: Options) -> Self {
        let cluster = Self::start_without_waiting(name, options);
        (0..cluster.nodes.len()).for_each(|node| cluster.wait_ready(node));
        cluster
    }

    fn start_without_waiting(name: &str, options: Options) -> Self {
        let folder = scratch_folder(name);
        let ports: Vec<_> = (0..options.nodes)
            .map(|_| (Port::claim(), Port::claim()))
            .collect();
        let members: Vec<String> = ports
            .iter()
            .zip(1..)
            .map(|((http, peer), id)| format!("{id}={}/{}", peer.addr(), http.addr()))
            .collect();
        let members = members.join(",");
        let mut cluster = Self {
            folder,
            nodes: Vec::new(),
            options,
        };
        for ((http, peer), id) in ports.into_iter().zip(1_u64..) {
            let identity = ["--node-id", &id.to_string(), "--initial-cluster", &members];
            cluster.add_node(&identity, http, peer);
        }
        cluster
    }

    fn add_node(&mut self, identity: &[&str], http: Port, peer: Port) -> usize {
        let index = self.nodes.len();
        let data = self.folder.join(format!("node-{index}"));
        let mut args = vec!["serve".to_owned()];
        args.extend(identity.iter().map(|arg| (*arg).to_owned()));
        args.extend(["--data".to_owned(), data.display().to_string()]);
        args.extend(["--http".to_owned(), http.addr().to_string()]);
        args.extend(["--peer".to_owned(), peer.addr().to_string()]);
        args.push("--exit-on-stdin-eof".to_owned());
        args.extend(self.options.extra.iter().cloned());
        let log = self.folder.join(format!("node-{index}.log"));
        let mut node = Node {
            http,
            peer,
            data,
            log,
            args,
            further_args: Vec::new(),
            program: binary(),
            process: None,
            errors_expected: false,
        };
        node.start();
        self.nodes.push(node);
        index
    }

    /// Starts a node with an empty folder that asks the others to let it in, and waits until it is
    /// ready. Answers its place.
    #[track_caller]
    pub fn join(&mut self) -> usize {
        let peers: Vec<String> = self
            .running()
            .map(|node| self.nodes[node].peer.addr().to_string())
            .collect();
        let node = self.add_node(&["--join", &peers.join(",")], Port::claim(), Port::claim());
        self.wait_ready(node);
        // It may serve before the entry that made it a member has come to it.
        wait_for("the new node in its own membership", PATIENCE, || {
            self.view(node)
        });
        node
    }

    /// Places of the nodes whose process was started and not ended by the test.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.process.is_some())
            .map(|(index, _)| index)
    }

    /// A client of one node.
    #[must_use]
    pub fn client(&self, node: usize) -> Client {
        Client::new(self.http_addr(node))
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn http_addr(&self, node: usize) -> SocketAddr {
        self.nodes[node].http.addr()
    }

    /// Where its peers reach a node.
    #[must_use]
    pub fn peer_addr(&self, node: usize) -> SocketAddr {
        self.nodes[node].peer.addr()
    }

    /// A node's data folder.
    #[must_use]
    pub fn data(&self, node: usize) -> &Path {
        &self.nodes[node].data
    }

    /// A node's process id.
    #[must_use]
    pub fn pid(&self, node: usize) -> u32 {
        self.nodes[node]
            .process
            .as_ref()
            .expect("the node runs")
            .id()
    }

    /// Everything a node has printed, in all its lives.
    #[must_use]
    pub fn output(&self, node: usize) -> String {
        std::fs::read_to_string(&self.nodes[node].log).unwrap_or_default()
    }

    /// `kill -9` of one node.
    pub fn kill9(&mut self, node: usize) {
        self.kill9_all(&[node]);
    }

    /// `kill -9` of several nodes, as close together as can be.
    pub fn kill9_all(&mut self, nodes: &[usize]) {
        for node in nodes {
            if let Some(process) = &self.nodes[*node].process {
                process.signal(Signal::KILL);
            }
        }
        for node in nodes {
            self.nodes[*node].process = None;
        }
    }

    /// Stops a node as an operator would, and checks that it ends cleanly.
    #[track_caller]
    pub fn stop(&mut self, node: usize) {
        let mut process = self.nodes[node].process.take().expect("the node runs");
        process.signal(Signal::TERM);
        let status = process.wait(PATIENCE);
        assert!(
            status.success(),
            "node {node} ended with {status}:\n{}",
            process.tail()
        );
    }

    /// Starts a node again with the same arguments, and waits until it is ready.
    #[track_caller]
    pub fn restart(&mut self, node: usize) {
        self.restart_without_waiting(node);
        self.wait_ready(node);
    }

    /// Starts nodes again with the same arguments, all at once, and waits until they are ready.
    #[track_caller]
    pub fn restart_all(&mut self, nodes: &[usize]) {
        nodes
            .iter()
            .for_each(|node| self.restart_without_waiting(*node));
        nodes.iter().for_each(|node| self.wait_ready(*node));
    }

    /// Starts a node again with the same arguments.
    pub fn restart_without_waiting(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        assert!(node.process.is_none(), "the node runs already");
        node.start();
    }

    /// Another program is started there from the next time on.
    pub fn set_program(&mut self, node: usize, program: PathBuf) {
        self.nodes[node].program = program;
    }

    /// The node gets these arguments besides, from the next time on that it is started.
    pub fn set_further_args(&mut self, node: usize, args: Vec<String>) {
        self.nodes[node].further_args = args;
    }

    /// From here on errors in that node's log are part of the test.
    pub fn expect_errors(&mut self, node: usize) {
        self.nodes[node].errors_expected = true;
    }

    /// Waits for a node that must end by itself; from here on errors in its log are expected.
    #[track_caller]
    pub fn wait_exit(&mut self, node: usize) -> ExitStatus {
        self.expect_errors(node);
        let mut process = self.nodes[node]
            .process
            .take()
            .expect("the node was started");
        process.wait(PATIENCE)
    }

    /// Waits until a node is ready.
    ///
    /// # Panics
    /// Where it ends or does not get ready, with the end of its log.
    #[track_caller]
    pub fn wait_ready(&self, node: usize) {
        let client = Client::with_patience(self.http_addr(node), Duration::from_secs(5));
        let until = Instant::now() + PATIENCE;
        loop {
            let last = match client.try_call("GET", "/readyz", &[], None) {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => answer.to_string(),
                Err(error) => error.to_string(),
            };
            let tail = || logs::tail(&self.output(node), 30);
            assert!(
                process_lives(self.pid(node)),
                "node {node} ended before it was ready:\n{}",
                tail()
            );
            assert!(
                Instant::now() < until,
                "node {node} is not ready after {PATIENCE:?}; {last}; its log ends:\n{}",
                tail()
            );
            std::thread::sleep(crate::process::POLL);
        }
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// Where it does not answer, or does not know itself.
    pub fn view(&self, node: usize) -> Result<NodeView, String> {
        let client = Client::with_patience(self.http_addr(node), Duration::from_secs(5));
        let answer = client.try_call("GET", "/api/v1/cluster", &[], None);
        let answer = answer.map_err(|error| format!("node {node}: {error}"))?;
        if answer.status != 200 {
            return Err(answer.to_string());
        }
        let own = self.http_addr(node).to_string();
        parse_view(&answer.json(), &own).ok_or_else(|| format!("it does not list {own}: {answer}"))
    }

    /// The place of the leader that every running node agrees on.
    #[track_caller]
    pub fn leader(&self) -> usize {
        wait_for("a leader that all running nodes know", PATIENCE, || {
            let views = self.views()?;
            let (_, first) = views.first().ok_or("no node runs")?;
            let agreed = views.iter().all(|(_, view)| view.leader == first.leader);
            let leader = views
                .iter()
                .find(|(_, view)| view.role == "leader" && Some(view.id) == first.leader && agreed);
            leader
                .map(|(node, _)| *node)
                .ok_or_else(|| format!("{views:?}"))
        })
    }

    /// The place of a running node that is not the leader.
    #[track_caller]
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        self.running()
            .find(|node| *node != leader)
            .expect("a second node runs")
    }

    fn views(&self) -> Result<Vec<(usize, NodeView)>, String> {
        self.running()
            .map(|node| Ok((node, self.view(node)?)))
            .collect()
    }

    /// Waits until all running nodes have applied the same index, at least `min_revision`, with
    /// the same digest. Answers that digest.
    #[track_caller]
    pub fn wait_converged(&self, min_revision: u64) -> String {
        wait_for("equal digests on all running nodes", PATIENCE, || {
            let views = self.views()?;
            let (_, first) = views.first().ok_or("no node runs")?;
            // Equal index and another digest will never mend: do not wait for it.
            for (node, view) in &views {
                assert!(
                    view.applied != first.applied || view.digest == first.digest,
                    "node {node} differs at revision {}: {views:?}",
                    view.applied
                );
            }
            let same = views.iter().all(|(_, view)| view.applied == first.applied);
            let reached = first.applied >= min_revision;
            if same && reached {
                Ok(first.digest.clone())
            } else {
                Err(format!("{views:?}"))
            }
        })
    }

    /// The text of every node's log that is above `warn` and not expected.
    fn errors_logged(&self) -> String {
        let mut found = String::new();
        for (index, node) in self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| !n.errors_expected)
        {
            for line in logs::above_warn(&self.output(index)) {
                found.push_str(&format!("{}: {line}\n", node.log.display()));
            }
        }
        found
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.process = None);
        if std::thread::panicking() {
            eprintln!(
                "the cluster's data and logs are kept in {}",
                self.folder.display()
            );
            for index in 0..self.nodes.len() {
                eprintln!(
                    "--- node {index} ---\n{}",
                    logs::tail(&self.output(index), 15)
                );
            }
            return;
        }
        let errors = self.errors_logged();
        assert!(errors.is_empty(), "logged above `warn`:\n{errors}");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An empty folder under `target/`, on the same disk as everything else that is built.
#[must_use]
pub fn scratch_folder(name: &str) -> PathBuf {
    let target = build_folder()
        .parent()
        .expect("target/")
        .join("cluster-tests");
    let folder = target.join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder under target/");
    folder
}

/// Whether a process runs (a zombie does not).
#[must_use]
pub fn process_lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which stands in brackets and may itself hold brackets.
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn parse_view(cluster: &Value, http_address: &str) -> Option<NodeView> {
    let nodes = cluster["nodes"].as_array()?;
    let node = nodes
        .iter()
        .find(|node| node["http_address"] == http_address)?;
    Some(NodeView {
        id: node["id"].as_u64()?,
        role: node["role"].as_str()?.to_ascii_lowercase(),
        voter: node["voter"].as_bool()?,
        leader: cluster["leader_id"].as_u64(),
        applied: node["applied_revision"].as_u64()?,
        digest: node["digest"].as_str()?.to_owned(),
        snapshot: node["snapshot_index"].as_u64().unwrap_or(0),
        purged: node["purged_index"].as_u64().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_finds_itself_by_its_address() {
        let cluster = json!({"leader_id": 2, "nodes": [
            {"id": 1, "http_address": "127.0.0.1:8000", "error": "no answer"},
            {"id": 2, "http_address": "127.0.0.1:8001", "role": "leader", "voter": true,
             "applied_revision": 7, "digest": "ab", "snapshot_index": 0, "purged_index": null},
        ]});
        let view = parse_view(&cluster, "127.0.0.1:8001").unwrap();
        assert_eq!((view.id, view.applied, view.leader), (2, 7, Some(2)));
        assert_eq!(
            parse_view(&cluster, "127.0.0.1:8000"),
            None,
            "it said nothing of itself"
        );
        assert_eq!(parse_view(&cluster, "127.0.0.1:9"), None);
    }

    #[test]
    fn this_process_lives_and_process_0_does_not() {
        assert!(process_lives(std::process::id()));
        assert!(!process_lives(0));
    }
}
