//! What is on disk: the Raft log, the state database and the snapshots.

pub mod log;
pub mod state;
