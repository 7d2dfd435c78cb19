//! Real `raft3d` processes under faults: kills, cuts, bad disks, wrong clocks.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test driver reports by panicking, with what it saw in the message"
)]

pub mod clock;
pub mod disk;
pub mod faults;
pub mod figures;
pub mod fleet;
pub mod net;
mod patience;
pub mod rng;
pub mod round;
pub mod shop;
