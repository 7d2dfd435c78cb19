//! The configuration of one node: flags, and a TOML file with the same names. Flags win.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use raft3d_engine::bounds::{self, VOTERS_MAX};
use raft3d_engine::raft::NodeId;
use raft3d_engine::raft::types::JOINED_NODE_ID_MIN;
use serde::Deserialize;

/// Where clients are served if nothing else is said.
const HTTP_DEFAULT: &str = "127.0.0.1:8000";
/// Where peers are served if nothing else is said.
const PEER_DEFAULT: &str = "127.0.0.1:9000";
/// The node that this is among the initial members if nothing else is said.
pub(crate) const NODE_ID_DEFAULT: NodeId = 1;

/// What may be said on the command line and in the file.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeArgs {
    /// A TOML file with these same names; flags win over it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// This node's id among the initial members (1, or the folder's, where left out)
    #[arg(long, value_name = "N")]
    pub node_id: Option<NodeId>,
    /// The data folder; made where there is none
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to serve clients (127.0.0.1:8000 where left out)
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Where to serve the other nodes (127.0.0.1:9000 where left out)
    #[arg(long, value_name = "ADDR")]
    pub peer: Option<String>,
    /// What the other nodes are told of where to reach this one, if not --peer (NAT, a container)
    #[arg(long, value_name = "ADDR", conflicts_with = "initial_cluster")]
    pub advertise_peer: Option<String>,
    /// What the other nodes are told of where clients reach this one, if not --http
    #[arg(long, value_name = "ADDR", conflicts_with = "initial_cluster")]
    pub advertise_http: Option<String>,
    /// The members of a new cluster; ignored once the folder belongs to one
    #[arg(long, value_name = "1=PEERADDR/HTTPADDR,2=…")]
    pub initial_cluster: Option<String>,
    /// Members of a running cluster to ask for admission as a learner
    #[arg(long, value_name = "PEERADDR,…", conflicts_with_all = ["initial_cluster", "node_id"])]
    pub join: Option<String>,
    /// Allow addresses that other machines can reach, without any authentication
    #[arg(long)]
    pub insecure: bool,
    /// Deny the entry at this log index: to be given alike on every node, and until
    /// /api/v1/cluster shows it as recorded
    #[arg(long, value_name = "INDEX")]
    pub deny_at: Vec<u64>,
    /// Vouch for this machine's clock at this start, if nothing else can: it is more than an hour
    /// ahead of the log's last stamp, or behind it, and no majority of the voters has the same time
    #[arg(long)]
    pub trust_clock: bool,
    /// Take a snapshot after so many entries (by chance up to a quarter fewer), or more where the
    /// state is large
    #[arg(long, value_name = "N")]
    pub snapshot_entries: Option<u64>,
    /// Keep so many entries in the log behind a snapshot
    #[arg(long, value_name = "N")]
    pub log_entries_kept: Option<u64>,
    /// Stop when standard input ends, as it does when a parent process ends
    #[arg(long)]
    pub exit_on_stdin_eof: bool,
}

/// A member of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Id.
    pub id: NodeId,
    /// Where its peers reach it, `host:port`.
    pub peer: String,
    /// Where clients reach it, `host:port`.
    pub http: String,
}

/// The configuration of one node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Data folder.
    pub data: PathBuf,
    /// Where to serve clients.
    pub http: SocketAddr,
    /// Where to serve peers.
    pub peer: SocketAddr,
    /// Where peers reach it, `host:port`, where that is not where it serves them.
    pub advertise_peer: Option<String>,
    /// Where clients reach it, `host:port`, where that is not where it serves them.
    pub advertise_http: Option<String>,
    /// Which cluster it is a member of.
    pub start: Start,
    /// Log indexes to deny.
    pub deny_at: Vec<u64>,
    /// Whether an operator vouches for the clock at this start.
    pub trust_clock: bool,
    /// Entries between snapshots where the state is small, at the most.
    pub snapshot_entries: Option<u64>,
    /// Entries kept behind a snapshot.
    pub log_entries_kept: Option<u64>,
    /// Whether the end of standard input stops the node.
    pub exit_on_stdin_eof: bool,
}

/// Where a node with an empty folder belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// To a new cluster.
    Initial {
        /// Its own id, if it is given one.
        node_id: Option<NodeId>,
        /// All initial members, itself included, by id. Empty: a cluster of one.
        members: Vec<InitialMember>,
    },
    /// To a running cluster, which any of these peers may let it into.
    Join {
        /// `host:port` each.
        peers: Vec<String>,
    },
}

impl Start {
    /// What the other members are told of this node, where that is given apart from the addresses
    /// it listens on.
    #[must_use]
    pub fn own_address(&self) -> Option<&InitialMember> {
        let Self::Initial { node_id, members } = self else {
            return None;
        };
        let own = node_id.unwrap_or(NODE_ID_DEFAULT);
        members.iter().find(|member| member.id == own)
    }
}

impl ServeArgs {
    /// Adds what the file says, and checks all of it.
    ///
    /// # Errors
    /// One line about the first thing that is wrong.
    pub fn resolve(self) -> anyhow::Result<ServeConfig> {
        let args = match self.config.clone() {
            Some(path) => self.over(read_file(&path)?),
            None => self,
        };
        let data = args
            .data
            .clone()
            .context("--data DIR is required: where the node keeps its data")?;
        let http = address("--http", args.http.as_deref().unwrap_or(HTTP_DEFAULT))?;
        let peer = address("--peer", args.peer.as_deref().unwrap_or(PEER_DEFAULT))?;
        if !args.insecure {
            loopback_only("--http", http)?;
            loopback_only("--peer", peer)?;
        }
        let start = args.start()?;
        args.check_advertised()?;
        let told_another = start.own_address().is_some() || args.advertise_peer.is_some();
        ensure!(
            !peer.ip().is_unspecified() || told_another,
            "--peer {peer}: the other nodes are told this address, so it must be one that reaches \
             this node (--advertise-peer or --initial-cluster gives another)"
        );
        let told_http = start.own_address().is_some() || args.advertise_http.is_some();
        ensure!(
            !http.ip().is_unspecified() || told_http || args.join.is_none(),
            "--http {http}: clients are told this address, so it must be one that reaches this node \
             (--advertise-http gives another)"
        );
        ensure!(
            args.snapshot_entries != Some(0),
            "--snapshot-entries must be at least 1"
        );
        Ok(ServeConfig {
            data,
            http,
            peer,
            advertise_peer: args.advertise_peer,
            advertise_http: args.advertise_http,
            start,
            deny_at: args.deny_at,
            trust_clock: args.trust_clock,
            snapshot_entries: args.snapshot_entries,
            log_entries_kept: args.log_entries_kept,
            exit_on_stdin_eof: args.exit_on_stdin_eof,
        })
    }

    fn over(self, mut file: Self) -> Self {
        // A flag that chooses one way into a cluster silences what the file says of the other.
        if self.join.is_some() {
            file.node_id = None;
            file.initial_cluster = None;
        }
        if self.initial_cluster.is_some() || self.node_id.is_some() {
            file.join = None;
        }
        Self {
            config: self.config,
            node_id: self.node_id.or(file.node_id),
            data: self.data.or(file.data),
            http: self.http.or(file.http),
            peer: self.peer.or(file.peer),
            advertise_peer: self.advertise_peer.or(file.advertise_peer),
            advertise_http: self.advertise_http.or(file.advertise_http),
            initial_cluster: self.initial_cluster.or(file.initial_cluster),
            join: self.join.or(file.join),
            insecure: self.insecure || file.insecure,
            deny_at: if self.deny_at.is_empty() {
                file.deny_at
            } else {
                self.deny_at
            },
            trust_clock: self.trust_clock || file.trust_clock,
            snapshot_entries: self.snapshot_entries.or(file.snapshot_entries),
            log_entries_kept: self.log_entries_kept.or(file.log_entries_kept),
            exit_on_stdin_eof: self.exit_on_stdin_eof || file.exit_on_stdin_eof,
        }
    }

    /// What others are told must lead somewhere, and be said in one place.
    fn check_advertised(&self) -> anyhow::Result<()> {
        for (flag, text) in [
            ("--advertise-peer", &self.advertise_peer),
            ("--advertise-http", &self.advertise_http),
        ] {
            let Some(text) = text else { continue };
            ensure!(
                self.initial_cluster.is_none(),
                "{flag}: --initial-cluster says already what the others are told of this node"
            );
            host_and_port(flag, text)?;
            let anywhere = |at: SocketAddr| at.ip().is_unspecified() || at.port() == 0;
            ensure!(
                !text.parse().is_ok_and(anywhere),
                "{flag}: \"{text}\" leads nowhere; the others need one address of this node"
            );
            told_address(flag, text)?;
        }
        Ok(())
    }

    fn start(&self) -> anyhow::Result<Start> {
        if let Some(join) = &self.join {
            let one_way = self.initial_cluster.is_none() && self.node_id.is_none();
            ensure!(
                one_way,
                "join excludes node-id and initial-cluster: the cluster gives the id"
            );
            let peers: Vec<String> = join.split(',').map(|peer| peer.trim().to_owned()).collect();
            for peer in &peers {
                host_and_port("--join", peer)?;
            }
            return Ok(Start::Join { peers });
        }
        let node_id = self.node_id.unwrap_or(NODE_ID_DEFAULT);
        if self.node_id.is_some() {
            check_id("--node-id", node_id)?;
        }
        let members = match &self.initial_cluster {
            Some(text) => initial_members(text)?,
            None => Vec::new(),
        };
        if !members.is_empty() && members.iter().all(|member| member.id != node_id) {
            bail!("--initial-cluster does not name this node (--node-id {node_id})");
        }
        Ok(Start::Initial {
            node_id: self.node_id,
            members,
        })
    }
}

fn read_file(path: &Path) -> anyhow::Result<ServeArgs> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or("");
        let line = before.matches('\n').count() + 1;
        anyhow::anyhow!("{}, line {line}: {}", path.display(), error.message())
    })
}

fn check_id(flag: &str, id: NodeId) -> anyhow::Result<()> {
    let last = JOINED_NODE_ID_MIN - 1;
    ensure!(
        (1..=last).contains(&id),
        "{flag}: {id} is not an id from 1 to {last}"
    );
    Ok(())
}

/// An address that the others are told, and that the membership records.
fn told_address(flag: &str, text: &str) -> anyhow::Result<()> {
    bounds::address(text).with_context(|| format!("{flag}: \"{text}\""))
}

fn host_and_port(flag: &str, text: &str) -> anyhow::Result<()> {
    // A port of 0 is one that the system is to choose; others cannot be told it.
    let chosen = text
        .strip_suffix(":0")
        .map_or_else(|| text.to_owned(), |host| format!("{host}:1"));
    told_address(flag, &chosen)
}

fn address(flag: &str, text: &str) -> anyhow::Result<SocketAddr> {
    host_and_port(flag, text)?;
    let mut found = text
        .to_socket_addrs()
        .with_context(|| format!("{flag}: \"{text}\" is not known"))?;
    found
        .next()
        .with_context(|| format!("{flag}: \"{text}\" has no address"))
}

fn loopback_only(flag: &str, address: SocketAddr) -> anyhow::Result<()> {
    ensure!(
        address.ip().is_loopback(),
        "{flag} {address}: other machines could reach this node, and nothing authenticates them \
         yet; use a loopback address such as 127.0.0.1, or add --insecure"
    );
    Ok(())
}

fn initial_members(text: &str) -> anyhow::Result<Vec<InitialMember>> {
    let mut members: Vec<InitialMember> = Vec::new();
    for part in text.split(',') {
        let split = part.trim().split_once('=').and_then(|(id, rest)| {
            let (peer, http) = rest.split_once('/')?;
            Some((id.parse::<NodeId>().ok()?, peer, http))
        });
        let (id, peer, http) = split.with_context(|| {
            format!("--initial-cluster: \"{part}\" is not ID=PEERADDR/HTTPADDR")
        })?;
        check_id("--initial-cluster", id)?;
        told_address("--initial-cluster", peer)?;
        told_address("--initial-cluster", http)?;
        ensure!(
            members
                .iter()
                .all(|member| member.id != id && member.peer != peer),
            "--initial-cluster: \"{part}\" repeats an id or an address"
        );
        members.push(InitialMember {
            id,
            peer: peer.to_owned(),
            http: http.to_owned(),
        });
    }
    ensure!(
        members.len() <= VOTERS_MAX,
        "--initial-cluster: {} members are more than {VOTERS_MAX}",
        members.len()
    );
    members.sort_by_key(|member| member.id);
    Ok(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn args() -> ServeArgs {
        ServeArgs {
            data: Some("/tmp/x".into()),
            ..ServeArgs::default()
        }
    }

    fn refusal(args: ServeArgs) -> String {
        args.resolve().unwrap_err().to_string()
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn only_loopback_unless_told_otherwise() {
        let open = ServeArgs {
            http: text("0.0.0.0:8000"),
            ..args()
        };
        assert!(refusal(open.clone()).contains("--insecure"));
        assert!(
            refusal(ServeArgs {
                peer: text("[::]:9000"),
                ..args()
            })
            .contains("--peer")
        );
        assert!(
            ServeArgs {
                insecure: true,
                ..open
            }
            .resolve()
            .is_ok()
        );
        assert!(
            ServeArgs {
                http: text("[::1]:8000"),
                ..args()
            }
            .resolve()
            .is_ok()
        );
    }

    #[test]
    fn others_are_not_told_an_address_that_leads_nowhere() {
        let anywhere = ServeArgs {
            peer: text("0.0.0.0:9000"),
            insecure: true,
            ..args()
        };
        assert!(refusal(anywhere.clone()).contains("--peer 0.0.0.0:9000"));
        let joining = ServeArgs {
            join: text("10.0.0.1:9000"),
            ..anywhere.clone()
        };
        assert!(refusal(joining).contains("--peer 0.0.0.0:9000"));
        let named = ServeArgs {
            initial_cluster: text("1=shop.lan:9000/shop.lan:8000"),
            ..anywhere
        };
        let start = named.resolve().unwrap().start;
        assert_eq!(start.own_address().unwrap().peer, "shop.lan:9000");
    }

    #[test]
    fn what_is_advertised_leads_somewhere_and_is_said_once() {
        let behind_a_proxy = ServeArgs {
            peer: text("0.0.0.0:9000"),
            insecure: true,
            advertise_peer: text("shop.lan:19000"),
            ..args()
        };
        let joining = ServeArgs {
            join: text("10.0.0.1:9000"),
            ..behind_a_proxy.clone()
        };
        for args in [behind_a_proxy.clone(), joining.clone()] {
            let config = args.resolve().unwrap();
            assert_eq!(config.advertise_peer.as_deref(), Some("shop.lan:19000"));
        }
        for bad in [
            "",
            "9000",
            "shop.lan",
            "0.0.0.0:9000",
            "[::]:9000",
            "10.0.0.4:0",
        ] {
            let peer = ServeArgs {
                advertise_peer: text(bad),
                ..joining.clone()
            };
            assert!(refusal(peer).contains("--advertise-peer"), "{bad}");
            let http = ServeArgs {
                advertise_http: text(bad),
                ..joining.clone()
            };
            assert!(refusal(http).contains("--advertise-http"), "{bad}");
        }
        let both = ServeArgs {
            initial_cluster: text("1=shop.lan:9000/shop.lan:8000"),
            ..behind_a_proxy
        };
        let said = refusal(both);
        assert!(
            said.contains("--advertise-peer") && said.contains("--initial-cluster"),
            "{said}"
        );
    }

    #[test]
    fn the_initial_cluster_is_read_and_names_this_node() {
        let members = "2=127.0.0.1:9001/127.0.0.1:8001, 1=127.0.0.1:9000/127.0.0.1:8000";
        let both = ServeArgs {
            initial_cluster: text(members),
            node_id: Some(2),
            ..args()
        };
        let Start::Initial { node_id, members } = both.clone().resolve().unwrap().start else {
            unreachable!("an initial cluster was given");
        };
        assert_eq!(
            (node_id, members.iter().map(|m| m.id).collect()),
            (Some(2), vec![1, 2])
        );
        assert!(
            refusal(ServeArgs {
                node_id: Some(3),
                ..both
            })
            .contains("does not name")
        );
        for bad in [
            "",
            "1",
            "1=a:1",
            "x=a:1/b:2",
            "1=a:1/b:2,1=c:3/d:4",
            "1000=a:1/b:2",
            "0=a:1/b:2",
        ] {
            let bad = ServeArgs {
                initial_cluster: text(bad),
                ..args()
            };
            assert!(refusal(bad).contains("--initial-cluster"));
        }
    }

    #[test]
    fn the_file_has_the_names_of_the_flags_and_flags_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft3d.toml");
        let with_file = |content: &str, args: ServeArgs| {
            std::fs::write(&path, content).unwrap();
            ServeArgs {
                config: Some(path.clone()),
                ..args
            }
            .resolve()
        };
        let file = "data = \"/file\"\nhttp = \"127.0.0.1:1\"\ndeny-at = [7]\ninsecure = true\n";
        let config = with_file(
            file,
            ServeArgs {
                http: text("127.0.0.1:2"),
                ..ServeArgs::default()
            },
        );
        let config = config.unwrap();
        assert_eq!(config.data, PathBuf::from("/file"));
        assert_eq!(config.http.port(), 2);
        assert_eq!(config.deny_at, [7]);
        let error = with_file("data = \"/x\"\nhtpp = \"y\"\n", args())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 2") && error.contains("htpp"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn joining_gives_no_id() {
        let join = ServeArgs {
            join: text("127.0.0.1:9000,127.0.0.1:9001"),
            ..args()
        };
        let peers = vec!["127.0.0.1:9000".to_owned(), "127.0.0.1:9001".to_owned()];
        assert_eq!(join.clone().resolve().unwrap().start, Start::Join { peers });
        assert!(
            refusal(ServeArgs {
                node_id: Some(1),
                ..join
            })
            .contains("node-id")
        );
    }
}
