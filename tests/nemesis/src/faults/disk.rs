//! A disk that is full, slow or fails.

use std::time::Duration;

use super::{Fault, STEP_PATIENCE, Stage, wait_for};
use crate::disk::{Counts, Disk};

/// How much longer a slow disk takes for each write and sync, in milliseconds, at least.
const SLOW_MIN_MS: u64 = 20;
/// And at most.
const SLOW_MAX_MS: u64 = 120;
/// Room that a full disk may still have, in bytes, at most.
const ROOM_MAX_BYTES: u64 = 16 * 1024;

#[derive(Clone, Copy, Debug)]
enum Ill {
    Full,
    Slow,
    Fails,
}

/// What the system says where there is no room: whoever looks at the node's log finds it there.
const NO_ROOM: &str = "No space left on device";

/// Makes one node's disk ill, and waits until the node has met it. The node may end over it; then
/// it is started again on a sound one.
#[derive(Debug)]
pub(super) struct BadDisk {
    ill: Ill,
    place: usize,
}

impl Ill {
    /// How often it showed.
    fn shown(self, counts: Counts) -> u64 {
        match self {
            Self::Full => counts.refused,
            Self::Slow => counts.delayed,
            Self::Fails => counts.failed,
        }
    }
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
        let (shown, said) = (self.shown(stage)?, stage.fleet.output(place).len());
        let disk = disk(stage, place)?;
        let what = match self.ill {
            Ill::Full => {
                disk.set_room(Some(room));
                format!("the disk of node {place} has {room} bytes left")
            }
            Ill::Slow => {
                let slower = Duration::from_millis(slow);
                disk.set_delays(slower, slower);
                format!("the disk of node {place} takes {slow} ms longer")
            }
            Ill::Fails => {
                disk.set_syncs_fail(true);
                format!("the disk of node {place} fails to sync")
            }
        };
        // Segments of the log are filled ahead, so a full disk shows with the next snapshot.
        wait_for("the disk's illness to show", || {
            match self.shown(stage)? {
                now if now > shown => Ok(()),
                _ => Err(what.clone()),
            }
        })?;
        if !matches!(self.ill, Ill::Full) {
            return Ok(what);
        }
        wait_for("the node to say that its disk is full", || {
            let output = stage.fleet.output(place);
            match output.get(said..).is_some_and(|new| new.contains(NO_ROOM)) {
                true => Ok(()),
                false => Err(stage.fleet.tail(place)),
            }
        })?;
        if stage.rng.one_in(2) {
            return Ok(what);
        }
        // Somebody starts it again before there is room.
        stage.fleet.kill9(&[place]);
        stage.fleet.start_nodes(&[place]);
        Ok(format!("{what}, where it is started again"))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let place = self.place;
        if let Some(disk) = &stage.fleet.node(place).disk {
            disk.set_room(None);
            disk.set_delays(Duration::ZERO, Duration::ZERO);
            disk.set_syncs_fail(false);
        }
        let ready = stage.fleet.wait_ready(&[place], STEP_PATIENCE);
        if matches!(self.ill, Ill::Slow) || ready.is_ok() || stage.fleet.runs(place) {
            return ready;
        }
        // It has ended over it.
        stage.fleet.kill9(&[place]);
        stage.fleet.start_nodes(&[place]);
        stage.fleet.wait_ready(&[place], STEP_PATIENCE)
    }
}

impl BadDisk {
    /// How often the node has met this illness so far.
    fn shown(&self, stage: &Stage<'_>) -> Result<u64, String> {
        Ok(self.ill.shown(disk(stage, self.place)?.counts()))
    }
}

fn disk<'a>(stage: &'a Stage<'_>, place: usize) -> Result<&'a Disk, String> {
    let disk = stage.fleet.node(place).disk.as_ref();
    disk.ok_or_else(|| "no disk that can be ill".to_owned())
}
