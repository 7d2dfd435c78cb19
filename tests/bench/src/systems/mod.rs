//! The two systems that are measured: three processes each on loopback, with data folders side by
//! side on one disk, and the settings that a user gets who sets none.

mod cluster;
mod launch;
mod process;

use serde::{Deserialize, Serialize};

pub use cluster::{Cluster, Member};
pub use launch::{Launch, raft3d_program};
pub use process::Node;

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// This one.
    Raft3d,
    /// Another build of this one, given by `--against`.
    Against,
    /// etcd, as Debian packages it.
    Etcd,
}

impl System {
    /// Whether it is a build of ours: one that speaks our API and takes our flags.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self != Self::Etcd
    }

    /// Name of a folder for its data.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Raft3d => "raft3d",
            Self::Against => "against",
            Self::Etcd => "etcd",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft3d => "raft3d",
            Self::Against => "raft3d, other build",
            Self::Etcd => "etcd",
        }
    }
}
