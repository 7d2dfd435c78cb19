//! Drives real `raft3d` processes: starts clusters, kills and damages them, puts them under load
//! and compares what every node then says.
//!
//! The tests themselves stand in `tests/whole/`, one file per subject. They talk to the nodes as a
//! client or an operator would: HTTP, signals and files. No crate of the product is linked in, so
//! what passes here passes for the program that is shipped.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test driver reports by panicking, with what it saw in the message"
)]

pub mod client;
pub mod cluster;
pub mod damage;
pub mod failover;
pub mod latency;
pub mod load;
pub mod logs;
pub mod ports;
pub mod process;
pub mod verify;

pub use client::{Answer, Client};
pub use cluster::{Cluster, NodeView, Options};
pub use load::{Load, LoadOptions};
