//! What is on disk: the data folder, the Raft log, the state database and the snapshots.

pub mod data_dir;
pub(crate) mod denied_file;
pub(crate) mod files;
pub mod log;
pub mod newer;
pub mod room;
pub mod snapshot;
pub mod state;
