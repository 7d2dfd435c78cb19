//! The two systems that are measured: three processes each on loopback, with data folders side by
//! side on one disk, and the settings that a user gets who sets none.

mod cluster;
mod process;

use serde::{Deserialize, Serialize};

pub use cluster::{Cluster, Member};
pub use process::Node;

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// This one.
    Raft3d,
    /// etcd, as Debian packages it.
    Etcd,
}

impl System {
    /// Both, in the order in which they are shown.
    pub const BOTH: [Self; 2] = [Self::Raft3d, Self::Etcd];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft3d => "raft3d",
            Self::Etcd => "etcd",
        }
    }
}
