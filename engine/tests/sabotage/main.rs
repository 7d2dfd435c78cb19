//! Every switch of `raft3d_engine::sabotage` does what its bug did, and nothing does while it is
//! not armed: what these tests see here, the simulation and the nemesis must catch from outside.
//!
//! The switches are the process's, so the tests take turns.
#![cfg(debug_assertions)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests may panic, and the helpers of other tests offer more than is used here"
)]

#[path = "../raft/cluster.rs"]
mod cluster;
#[path = "../common/folders.rs"]
mod folders;
#[path = "../policy/support.rs"]
mod guests;
#[path = "../log/support.rs"]
mod logs;
#[path = "../raft/net.rs"]
mod net;
#[path = "../raft/power.rs"]
mod power;
#[path = "../common/random.rs"]
mod random;

mod applying;
mod early;
mod evaluating;
mod reading;

use std::sync::{Mutex, MutexGuard, PoisonError};

use raft3d_engine::sabotage::{Bug, arm, disarm_all};

static TURN: Mutex<()> = Mutex::new(());

/// A test's turn at the switches; they are all off again when it ends.
pub(crate) struct Turn {
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    pub(crate) fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        disarm_all();
        Self { _turn: turn }
    }

    pub(crate) fn arm(&self, bug: Bug) {
        arm(bug);
    }

    pub(crate) fn disarm(&self) {
        disarm_all();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        disarm_all();
    }
}
