//! A disk that is full, slow or fails.

use std::time::Duration;

use super::{Fault, STEP_PATIENCE, Stage};

/// How much longer a slow disk takes for each write and sync, in milliseconds, at least.
const SLOW_MIN_MS: u64 = 20;
/// And at most.
const SLOW_MAX_MS: u64 = 120;
/// Room that a full disk may still have, in bytes, at most.
const ROOM_MAX_BYTES: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug)]
enum Ill {
    Full,
    Slow,
    Fails,
}

/// Makes one node's disk ill. The node may end over it; then it is started again on a sound one.
#[derive(Debug)]
pub(super) struct BadDisk {
    ill: Ill,
    place: usize,
}

impl BadDisk {
    pub(super) fn full() -> Self {
        Self {
            ill: Ill::Full,
            place: 0,
        }
    }

    pub(super) fn slow() -> Self {
        Self {
            ill: Ill::Slow,
            place: 0,
        }
    }

    pub(super) fn fails() -> Self {
        Self {
            ill: Ill::Fails,
            place: 0,
        }
    }
}

impl Fault for BadDisk {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        self.place = stage.leader_or_any();
        let place = self.place;
        let (room, slow) = (
            stage.rng.below(ROOM_MAX_BYTES),
            SLOW_MIN_MS + stage.rng.below(SLOW_MAX_MS - SLOW_MIN_MS),
        );
        let disk = stage
            .fleet
            .node(place)
            .disk
            .as_ref()
            .ok_or("no disk that can be ill")?;
        Ok(match self.ill {
            Ill::Full => {
                disk.set_room(Some(room));
                format!("the disk of node {place} has {room} bytes left")
            }
            Ill::Slow => {
                disk.set_delay(Duration::from_millis(slow));
                format!("the disk of node {place} takes {slow} ms longer")
            }
            Ill::Fails => {
                disk.set_syncs_fail(true);
                format!("the disk of node {place} fails to sync")
            }
        })
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let place = self.place;
        if let Some(disk) = &stage.fleet.node(place).disk {
            disk.set_room(None);
            disk.set_delay(Duration::ZERO);
            disk.set_syncs_fail(false);
        }
        let ill = !matches!(self.ill, Ill::Slow);
        if ill && !stage.fleet.runs(place) {
            stage.fleet.kill9(&[place]);
            stage.fleet.start_nodes(&[place]);
        }
        stage.fleet.wait_ready(&[place], STEP_PATIENCE)
    }
}
