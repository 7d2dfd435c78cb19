//! Clusters of real nodes in one process: the real log, state and policies on disk, and a network
//! in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

mod bootstrap;
mod bounds;
mod clocks;
mod cluster;
mod denied;
mod disks;
mod epochs;
mod failover;
mod fencing;
#[path = "../common/folders.rs"]
mod folders;
mod members;
mod net;
mod power;
mod power_cuts;
#[path = "../common/random.rs"]
mod random;
mod readiness;
mod reads;
mod snapshots;
mod truth;
mod twins;
