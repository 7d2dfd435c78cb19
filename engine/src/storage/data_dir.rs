//! The data folder of one node: whose it is, which format it has, and that one process uses it.
//!
//! ```text
//! DIR/VERSION        format of the folder
//! DIR/LOCK           locked while a process uses the folder
//! DIR/identity       incarnation, node id, cluster id; checksummed ([`super::newer`])
//! DIR/denied         log entries that are recorded as denied ([`super::denied_file`])
//! DIR/removed        why the folder is of no use: the cluster has removed the node
//! DIR/log/           the Raft log
//! DIR/state/         the state database: a cache of snapshot and log
//! DIR/snapshots/     snapshot files
//! DIR/modules-cache/ compiled modules: a cache
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use raft3d_core::ClusterId;
use thiserror::Error;

use super::files::{create_dir, sync_dir, temporary_name, write_atomic};
use super::newer::{NewerFormat, Unsealed, seal, unseal};
use super::room;
use crate::raft::types::{Incarnation, NodeId};

/// Format of the data folder that this build reads and writes. 2: decision records, and what an
/// actor's jobs reserve. 4: one row for what an entry came to.
pub const DATA_FORMAT_VERSION: u32 = 5;

/// Says in the folder of the state why it is not to be served.
const FENCE_FILE: &str = "fenced";
const FENCE_KIND: &str = "fence";
const FENCE_FORMAT: u32 = 1;
const IDENTITY_KIND: &str = "identity";
const IDENTITY_FORMAT: u32 = 1;
/// Says that the cluster has removed the node.
const REMOVED_FILE: &str = "removed";
const REMOVED_KIND: &str = "removed";
const REMOVED_FORMAT: u32 = 1;
const VERSION_FILE: &str = "VERSION";
const LOCK_FILE: &str = "LOCK";
const IDENTITY_FILE: &str = "identity";
const VERSION_PREFIX: &str = "raft3d-data ";
/// Why a state is not served whose fence is not readable.
const FENCED_UNREADABLY: &str = "its state is fenced, and the file `state/fenced` does not say why \
    any more: stop it, delete the folder `state` in its data folder, and start it again to rebuild \
    the state from its snapshot and its log";
/// Longest of the small files that is read, in bytes: the list of denied entries is the longest.
const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a data folder cannot be used. Each message says what to do.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "the data folder {path} is in use by another process: stop that one, or choose another \
         folder with --data"
    )]
    InUse {
        /// Folder.
        path: PathBuf,
    },
    /// The folder, or a file in it, was written by a later version.
    #[error(transparent)]
    Newer(#[from] NewerFormat),
    /// The folder was written by an earlier version, whose format this one does not read.
    #[error(
        "the data folder {path} has format {found}, and this program reads format \
         {DATA_FORMAT_VERSION} only: run the version of raft3d that wrote it, or choose another \
         folder with --data"
    )]
    WrongVersion {
        /// Folder.
        path: PathBuf,
        /// What its `VERSION` file says.
        found: String,
    },
    /// The folder holds something else.
    #[error(
        "{path} is not a data folder of raft3d, and it is not empty (it holds {entry}): choose an \
         empty folder with --data"
    )]
    NotOurs {
        /// Folder.
        path: PathBuf,
        /// A file or folder in it.
        entry: String,
    },
    /// A file of the folder is missing or damaged.
    #[error(
        "the data folder {path} is damaged ({detail}): this node must not run with it. Remove the \
         node from the cluster and let it join again with an empty folder, under a new id. An \
         older copy of the folder is no way back: it does not hold what the node has acknowledged \
         since, and with it the cluster may lose writes"
    )]
    Damaged {
        /// Folder.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The folder belongs to another node id.
    #[error(
        "the data folder {path} belongs to node {stored}, not to node {given}: start it with \
         --node-id {stored}, or choose another folder with --data"
    )]
    OtherNode {
        /// Folder.
        path: PathBuf,
        /// The id that it was given first.
        stored: NodeId,
        /// The id of this start.
        given: NodeId,
    },
    /// The folder belongs to another cluster.
    #[error(
        "the data folder {path} belongs to cluster {stored}, not to cluster {given}: choose \
         another folder with --data, or ask the members of the right cluster"
    )]
    OtherCluster {
        /// Folder.
        path: PathBuf,
        /// The cluster that it was given first.
        stored: ClusterId,
        /// The cluster that was met.
        given: ClusterId,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes for a new identity: {0}")]
    Random(String),
}

impl DataDirError {
    /// Whether there is no room on the disk: it may be tried again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if room::is_full(source))
    }

    /// Whether another version of this program is to be run on the folder.
    #[must_use]
    pub const fn is_of_other_version(&self) -> bool {
        matches!(self, Self::Newer(_) | Self::WrongVersion { .. })
    }
}

/// Compares what a file `VERSION` says with [`DATA_FORMAT_VERSION`]. `path` is its folder.
///
/// # Errors
/// The folder is of another version, or the text is not what any version writes.
pub fn check_version(path: &Path, text: &str) -> Result<(), DataDirError> {
    let found = text
        .strip_prefix(VERSION_PREFIX)
        .and_then(|rest| rest.strip_suffix('\n'));
    match found.map(|found| (found, found.parse::<u32>())) {
        Some((_, Ok(DATA_FORMAT_VERSION))) => Ok(()),
        Some((_, Ok(found))) if found > DATA_FORMAT_VERSION => Err(NewerFormat {
            path: path.to_owned(),
            found,
            known: DATA_FORMAT_VERSION,
        }
        .into()),
        Some((found, Ok(_))) => Err(DataDirError::WrongVersion {
            path: path.to_owned(),
            found: found.to_owned(),
        }),
        _ => Err(damaged(path, "the file VERSION is not readable")),
    }
}

/// Who a data folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, made with the folder.
    pub incarnation: Incarnation,
    /// Set once; none before the node has its id.
    pub node_id: Option<NodeId>,
    /// Set once; none before the cluster is known.
    pub cluster_id: Option<ClusterId>,
}

/// An open data folder. The lock is held until it is dropped, or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Mutex<Identity>,
    _lock: File,
}

impl DataDir {
    /// Opens the folder, or makes it where there is none.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io {
                action,
                path,
                source,
            }
        };
        create_dir(path).map_err(io("create the data folder", path))?;
        let lock = acquire_lock(path)?;
        match read_small(&path.join(VERSION_FILE))? {
            Some(text) => check_version(path, &text)?,
            None => {
                check_foreign(path)?;
                let file = path.join(VERSION_FILE);
                write_atomic(
                    &file,
                    format!("{VERSION_PREFIX}{DATA_FORMAT_VERSION}\n").as_bytes(),
                )
                .map_err(io("write", &file))?;
            }
        }
        let identity = open_identity(path)?;
        for sub in ["log", "state", "snapshots", "modules-cache"] {
            // The log's and the state's own stores create what they need inside.
            let sub = path.join(sub);
            create_dir(&sub).map_err(io("create", &sub))?;
        }
        sync_dir(path).map_err(io("sync", path))?;
        Ok(Self {
            path: path.to_owned(),
            identity: Mutex::new(identity),
            _lock: lock,
        })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the Raft log lives.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where compiled modules are cached.
    #[must_use]
    pub fn modules_cache_dir(&self) -> PathBuf {
        self.path.join("modules-cache")
    }

    /// Remembers, durably, why the state must not be served. It lies with the state and goes when
    /// that is deleted or set aside.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_fence(&self, reason: &str) -> io::Result<()> {
        let body = format!("{}\n", reason.replace('\n', " "));
        let text = seal(FENCE_KIND, FENCE_FORMAT, &body);
        write_atomic(&self.fence_file(), text.as_bytes())
    }

    /// Why the state must not be served, if so. A file that does not say why any more still says
    /// that.
    ///
    /// # Errors
    /// It cannot be read, or is of a later version.
    pub fn fence(&self) -> Result<Option<String>, DataDirError> {
        let path = self.fence_file();
        let Some(text) = read_small(&path)? else {
            return Ok(None);
        };
        match unseal(FENCE_KIND, FENCE_FORMAT, &text) {
            Unsealed::Body(reason) => Ok(Some(reason.trim_end().to_owned())),
            Unsealed::Newer(found) => Err(newer(path, found, FENCE_FORMAT)),
            Unsealed::Damaged => Ok(Some(FENCED_UNREADABLY.to_owned())),
        }
    }

    fn fence_file(&self) -> PathBuf {
        self.path.join("state").join(FENCE_FILE)
    }

    /// Remembers, durably, that the cluster has removed the node, and what to do.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_removed(&self, reason: &str) -> io::Result<()> {
        let body = format!("{}\n", reason.replace('\n', " "));
        let text = seal(REMOVED_KIND, REMOVED_FORMAT, &body);
        write_atomic(&self.path.join(REMOVED_FILE), text.as_bytes())
    }

    /// What was remembered of the node's removal, if it was removed. A damaged file is as good as
    /// none: the members say it again.
    ///
    /// # Errors
    /// It cannot be read, or is of a later version.
    pub fn removed(&self) -> Result<Option<String>, DataDirError> {
        let path = self.path.join(REMOVED_FILE);
        let Some(text) = read_small(&path)? else {
            return Ok(None);
        };
        match unseal(REMOVED_KIND, REMOVED_FORMAT, &text) {
            Unsealed::Body(reason) => Ok(Some(reason.trim_end().to_owned())),
            Unsealed::Newer(found) => Err(newer(path, found, REMOVED_FORMAT)),
            Unsealed::Damaged => Ok(None),
        }
    }

    /// Who the folder is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the node id, durably. Setting the same one again is no change.
    ///
    /// # Errors
    /// [`DataDirError::OtherNode`] where another one is recorded.
    pub fn set_node_id(&self, given: NodeId) -> Result<(), DataDirError> {
        self.update(|identity| match identity.node_id {
            Some(stored) if stored != given => Err(DataDirError::OtherNode {
                path: self.path.clone(),
                stored,
                given,
            }),
            _ => Ok(Identity {
                node_id: Some(given),
                ..identity
            }),
        })
    }

    /// Records the cluster id, durably. Setting the same one again is no change.
    ///
    /// # Errors
    /// [`DataDirError::OtherCluster`] where another one is recorded.
    pub fn set_cluster_id(&self, given: ClusterId) -> Result<(), DataDirError> {
        self.update(|identity| match identity.cluster_id {
            Some(stored) if stored != given => Err(DataDirError::OtherCluster {
                path: self.path.clone(),
                stored,
                given,
            }),
            _ => Ok(Identity {
                cluster_id: Some(given),
                ..identity
            }),
        })
    }

    fn update(
        &self,
        change: impl FnOnce(Identity) -> Result<Identity, DataDirError>,
    ) -> Result<(), DataDirError> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(*identity)?;
        if changed != *identity {
            write_identity(&self.path, &changed)?;
            *identity = changed;
        }
        Ok(())
    }
}

fn acquire_lock(path: &Path) -> Result<File, DataDirError> {
    let file_path = path.join(LOCK_FILE);
    let io = |action| {
        let path = file_path.clone();
        move |source| DataDirError::Io {
            action,
            path,
            source,
        }
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file_path)
        .map_err(io("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io("lock")(source)),
    }
}

/// A folder without `VERSION` is a new one only if it holds nothing but what a start that was cut
/// short left behind.
fn check_foreign(path: &Path) -> Result<(), DataDirError> {
    let allowed = [
        path.join(LOCK_FILE),
        temporary_name(&path.join(VERSION_FILE)),
        path.join("lost+found"),
    ];
    let io = |source| DataDirError::Io {
        action: "list",
        path: path.to_owned(),
        source,
    };
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name() == IDENTITY_FILE {
            return Err(damaged(path, "the file VERSION is missing"));
        }
        if !allowed.contains(&entry.path()) {
            return Err(DataDirError::NotOurs {
                path: path.to_owned(),
                entry: entry.file_name().to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn open_identity(path: &Path) -> Result<Identity, DataDirError> {
    if let Some(text) = read_small(&path.join(IDENTITY_FILE))? {
        let unreadable = || damaged(path, "the file identity is not readable");
        return match unseal(IDENTITY_KIND, IDENTITY_FORMAT, &text) {
            Unsealed::Newer(found) => Err(newer(path.join(IDENTITY_FILE), found, IDENTITY_FORMAT)),
            Unsealed::Body(body) => parse_identity(body).ok_or_else(unreadable),
            Unsealed::Damaged => Err(unreadable()),
        };
    }
    // Without its identity a folder with a log would vote as somebody else.
    if path.join("log").exists() {
        return Err(damaged(path, "the file identity is missing"));
    }
    let mut incarnation = [0; 16];
    crate::runtime::fill_random(&mut incarnation)
        .map_err(|error| DataDirError::Random(error.to_string()))?;
    let identity = Identity {
        incarnation: Incarnation(incarnation),
        node_id: None,
        cluster_id: None,
    };
    write_identity(path, &identity)?;
    Ok(identity)
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), DataDirError> {
    let file = path.join(IDENTITY_FILE);
    write_atomic(&file, format_identity(identity).as_bytes()).map_err(|source| DataDirError::Io {
        action: "write",
        path: file.clone(),
        source,
    })
}

fn format_identity(identity: &Identity) -> String {
    seal(IDENTITY_KIND, IDENTITY_FORMAT, &identity_body(identity))
}

fn identity_body(identity: &Identity) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    format!(
        "incarnation {}\nnode_id {}\ncluster_id {}\n",
        identity.incarnation,
        or_none(identity.node_id.map(|id| id.to_string())),
        or_none(identity.cluster_id.map(|id| id.to_string())),
    )
}

fn parse_identity(body: &str) -> Option<Identity> {
    let mut lines = body.lines();
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let mut incarnation = [0; 16];
    hex::decode_to_slice(value("incarnation")?, &mut incarnation).ok()?;
    let node_id = match value("node_id")? {
        "none" => None,
        id => Some(id.parse().ok()?),
    };
    let cluster_id = match value("cluster_id")? {
        "none" => None,
        id => Some(id.parse().ok()?),
    };
    let identity = Identity {
        incarnation: Incarnation(incarnation),
        node_id,
        cluster_id,
    };
    // Whatever differs from what would be written now is damage.
    (identity_body(&identity) == body).then_some(identity)
}

/// The text of a small file; none where there is no such file.
pub(super) fn read_small(path: &Path) -> Result<Option<String>, DataDirError> {
    let io = |source| DataDirError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        // What is too long or not text is not readable: an empty text never is either.
        Ok(metadata) if metadata.len() > SMALL_FILE_BYTES_MAX => return Ok(Some(String::new())),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(io)?;
    Ok(Some(String::from_utf8(bytes).unwrap_or_default()))
}

fn damaged(path: &Path, detail: &str) -> DataDirError {
    DataDirError::Damaged {
        path: path.to_owned(),
        detail: detail.to_owned(),
    }
}

fn newer(path: PathBuf, found: u32, known: u32) -> DataDirError {
    DataDirError::Newer(NewerFormat { path, found, known })
}
