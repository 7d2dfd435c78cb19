//! What `dev` is about to start, checked before anything runs: ports, folders, an earlier cluster.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use raft3d_engine::storage::data_dir::check_version;
use serde::Deserialize;

use super::DevArgs;
use crate::node::OtherVersion;

const NODES_DEFAULT: u16 = 3;
const HTTP_PORT_DEFAULT: u16 = 8_000;
const PEER_PORT_DEFAULT: u16 = 9_000;
/// The file in the data folder that says which cluster the sub-folders belong to. It is locked
/// while that cluster runs.
const SHAPE_FILE: &str = "dev.toml";
/// What the file `VERSION` of a node's data folder begins with.
const VERSION_MAGIC: &str = "raft3d-data ";

/// One node to start.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    pub(super) id: u64,
    pub(super) http: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) data: PathBuf,
}

impl NodePlan {
    pub(super) fn name(&self) -> String {
        format!("node-{}", self.id)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.http)
    }
}

/// The cluster to start.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<NodePlan>,
    pub(super) data: PathBuf,
    /// Keeps the folder locked for as long as the plan lives.
    _lock: File,
}

/// The shape of a cluster. Its membership records it, so a restart must keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Shape {
    nodes: u16,
    http_port: u16,
    peer_port: u16,
}

impl Plan {
    /// Checks everything, in an order that changes nothing before all is known to be well; then
    /// writes the shape down and, where asked to, deletes the old folders.
    pub(super) fn make(args: &DevArgs) -> anyhow::Result<Self> {
        let data = &args.data;
        fs::create_dir_all(data)
            .with_context(|| format!("the folder {} cannot be made", data.display()))?;
        let mut lock = lock(&data.join(SHAPE_FILE), data)?;
        // Also read where it is not wanted: what is not ours is not written over.
        let recorded = read_shape(&mut lock, data)?.filter(|_| !args.fresh);
        let shape = shape(args, recorded)?;
        let nodes = nodes(shape, data);
        check_ports(&nodes)?;
        let old = existing_folders(data)?;
        for folder in &old {
            check_unused(folder)?;
            if !args.fresh {
                check_format(folder)?;
            }
        }
        if args.fresh {
            old.iter().try_for_each(|folder| check_ours(folder))?;
            for folder in &old {
                fs::remove_dir_all(folder)
                    .with_context(|| format!("{} cannot be deleted", folder.display()))?;
            }
        }
        write_shape(&mut lock, shape)?;
        Ok(Self {
            nodes,
            data: data.clone(),
            _lock: lock,
        })
    }
}

fn lock(path: &Path, data: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "the folder {} is in use by another `raft3d dev`; stop it, or choose another folder \
             with --data",
            data.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

fn read_shape(file: &mut File, data: &Path) -> anyhow::Result<Option<Shape>> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    let shape = toml::from_str(&text).map_err(|error| {
        anyhow::anyhow!(
            "{}: {}; this is not what `raft3d dev` writes: delete the file, or choose another folder \
             with --data",
            data.join(SHAPE_FILE).display(),
            error.message()
        )
    })?;
    Ok(Some(shape))
}

fn write_shape(file: &mut File, shape: Shape) -> anyhow::Result<()> {
    let Shape {
        nodes,
        http_port,
        peer_port,
    } = shape;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    let text = format!("nodes = {nodes}\nhttp-port = {http_port}\npeer-port = {peer_port}\n");
    file.write_all(text.as_bytes())
        .context("the shape of the cluster cannot be written")
}

fn shape(args: &DevArgs, recorded: Option<Shape>) -> anyhow::Result<Shape> {
    let asked = Shape {
        nodes: args
            .nodes
            .or(recorded.map(|r| r.nodes))
            .unwrap_or(NODES_DEFAULT),
        http_port: args
            .http_port
            .or(recorded.map(|r| r.http_port))
            .unwrap_or(HTTP_PORT_DEFAULT),
        peer_port: args
            .peer_port
            .or(recorded.map(|r| r.peer_port))
            .unwrap_or(PEER_PORT_DEFAULT),
    };
    if let Some(recorded) = recorded.filter(|recorded| *recorded != asked) {
        bail!(
            "{} holds a cluster of --nodes {} --http-port {} --peer-port {}; leave these flags \
             out, choose another folder with --data, or begin anew with --fresh",
            args.data.display(),
            recorded.nodes,
            recorded.http_port,
            recorded.peer_port
        );
    }
    let last = |first: u16| first.checked_add(asked.nodes - 1);
    let (http, peer) = (last(asked.http_port), last(asked.peer_port));
    let (Some(last_http), Some(last_peer)) = (http, peer) else {
        bail!("the ports would go beyond 65535");
    };
    ensure!(
        last_http < asked.peer_port || last_peer < asked.http_port,
        "--http-port {} and --peer-port {} are too close together for {} nodes",
        asked.http_port,
        asked.peer_port,
        asked.nodes
    );
    Ok(asked)
}

fn nodes(shape: Shape, data: &Path) -> Vec<NodePlan> {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let node = |place: u16| NodePlan {
        id: u64::from(place) + 1,
        http: at(shape.http_port + place),
        peer: at(shape.peer_port + place),
        data: data.join(format!("node-{}", place + 1)),
    };
    (0..shape.nodes).map(node).collect()
}

fn check_ports(nodes: &[NodePlan]) -> anyhow::Result<()> {
    for node in nodes {
        let both = [
            (node.http, "HTTP", "--http-port"),
            (node.peer, "peers", "--peer-port"),
        ];
        for (address, what, flag) in both {
            if let Err(error) = TcpListener::bind(address) {
                let port = address.port();
                let name = node.name();
                if error.kind() == ErrorKind::AddrInUse {
                    bail!(
                        "port {port} ({what} of {name}) is taken by another process; stop it, or \
                         choose other ports with {flag}"
                    );
                }
                bail!("port {port} ({what} of {name}) cannot be used: {error}");
            }
        }
    }
    Ok(())
}

/// The sub-folders `node-1`, `node-2`, … that exist.
fn existing_folders(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node-"));
        // Not through a link: what lies behind it is somebody else's.
        if number.is_some_and(|n| n.parse::<u16>().is_ok()) && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn check_unused(folder: &Path) -> anyhow::Result<()> {
    let Ok(file) = File::open(folder.join("LOCK")) else {
        return Ok(());
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!(
            "the data folder {} is in use by another process; stop it, or choose another folder \
             with --data",
            folder.display()
        ),
        // Released again with the file; the node itself takes it for good.
        _ => Ok(()),
    }
}

/// A folder of another version is better refused before any node starts than by one of them.
fn check_format(folder: &Path) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(folder.join("VERSION")) else {
        return Ok(());
    };
    check_version(folder, &text)
        .map_err(|error| OtherVersion::or_said(&error, error.is_of_other_version()))
}

/// Whether the folder is a node's data folder, or empty.
fn check_ours(folder: &Path) -> anyhow::Result<()> {
    let is_empty = fs::read_dir(folder)?.next().is_none();
    let version = fs::read_to_string(folder.join("VERSION")).unwrap_or_default();
    ensure!(
        is_empty || version.starts_with(VERSION_MAGIC),
        "{} does not look like a data folder of raft3d, so --fresh does not delete it; choose \
         another folder with --data",
        folder.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use raft3d_engine::storage::data_dir::DATA_FORMAT_VERSION;

    use super::*;

    /// Ports that nobody uses; several tests may run at once, so each takes its own range.
    fn args(data: &Path, first: u16) -> DevArgs {
        DevArgs {
            nodes: Some(2),
            http_port: Some(first),
            peer_port: Some(first + 10),
            data: data.to_owned(),
            fresh: false,
        }
    }

    fn refusal(args: &DevArgs) -> String {
        let error = format!("{:#}", Plan::make(args).unwrap_err());
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn a_restart_keeps_the_shape() {
        let folder = tempfile::tempdir().unwrap();
        let first = args(folder.path(), 21_100);
        drop(Plan::make(&first).unwrap());
        let same = DevArgs {
            nodes: None,
            http_port: None,
            peer_port: None,
            ..first.clone()
        };
        let plan = Plan::make(&same).unwrap();
        assert_eq!(plan.nodes.len(), 2);
        assert_eq!(plan.nodes.last().unwrap().url(), "http://127.0.0.1:21101");
        drop(plan);
        assert!(
            refusal(&DevArgs {
                nodes: Some(3),
                ..first.clone()
            })
            .contains("--nodes 2")
        );
        assert!(
            Plan::make(&DevArgs {
                nodes: Some(3),
                fresh: true,
                ..first
            })
            .is_ok()
        );
    }

    #[test]
    fn a_folder_in_use_and_a_taken_port_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = args(folder.path(), 21_200);
        let plan = Plan::make(&first).unwrap();
        assert!(refusal(&first).contains("in use by another `raft3d dev`"));
        drop(plan);
        let node = folder.path().join("node-1");
        fs::create_dir(&node).unwrap();
        let lock = File::create(node.join("LOCK")).unwrap();
        lock.try_lock().unwrap();
        assert!(refusal(&first).contains("in use by another process"));
        drop(lock);
        let taken = TcpListener::bind(("127.0.0.1", 21_211)).unwrap();
        let error = refusal(&first);
        assert!(
            error.contains("port 21211") && error.contains("--peer-port"),
            "{error}"
        );
        drop(taken);
        assert!(Plan::make(&first).is_ok());
    }

    #[test]
    fn a_folder_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = args(folder.path(), 21_500);
        let node = folder.path().join("node-2");
        fs::create_dir(&node).unwrap();
        let version =
            |number: u32| fs::write(node.join("VERSION"), format!("raft3d-data {number}\n"));
        version(DATA_FORMAT_VERSION + 1).unwrap();
        let error = refusal(&first);
        assert!(
            error.contains("node-2") && error.contains("format"),
            "{error}"
        );
        version(DATA_FORMAT_VERSION).unwrap();
        assert!(Plan::make(&first).is_ok());
    }

    #[test]
    fn fresh_deletes_nothing_but_data_folders() {
        let folder = tempfile::tempdir().unwrap();
        let fresh = DevArgs {
            fresh: true,
            ..args(folder.path(), 21_300)
        };
        let [ours, foreign, other] = ["node-1", "node-2", "notes"].map(|n| folder.path().join(n));
        for path in [&ours, &foreign, &other] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "x").unwrap();
        }
        fs::write(ours.join("VERSION"), "raft3d-data 1\n").unwrap();
        assert!(refusal(&fresh).contains("node-2"));
        assert!(
            ours.exists() && foreign.exists(),
            "nothing is deleted where anything is refused"
        );
        fs::remove_dir_all(&foreign).unwrap();
        drop(Plan::make(&fresh).unwrap());
        assert!(!ours.exists() && other.exists());
    }

    #[test]
    fn fresh_does_not_write_over_a_file_that_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = "[database]\nurl = \"x\"\n";
        fs::write(folder.path().join(SHAPE_FILE), theirs).unwrap();
        let error = refusal(&DevArgs {
            fresh: true,
            ..args(folder.path(), 21_600)
        });
        assert!(error.contains("--data"), "{error}");
        let kept = fs::read_to_string(folder.path().join(SHAPE_FILE)).unwrap();
        assert_eq!(kept, theirs);
    }

    #[test]
    fn ports_must_not_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let close = DevArgs {
            peer_port: Some(21_401),
            ..args(folder.path(), 21_400)
        };
        assert!(refusal(&close).contains("too close"));
        let beyond = DevArgs {
            http_port: Some(65_535),
            ..args(folder.path(), 21_400)
        };
        assert!(refusal(&beyond).contains("65535"));
    }
}
