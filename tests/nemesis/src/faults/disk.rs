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
/// What a node says that sets its state aside. For want of room it must not.
const DAMAGED: &str = "the state database is damaged";

/// Makes one node's disk ill, and waits until the node has met it. The node may end over one that
/// fails; then it is started again on a sound one.
#[derive(Debug)]
pub(super) struct BadDisk {
    ill: Ill,
    place: usize,
    /// What the node had said before, in bytes.
    said: usize,
    /// It was started again while the disk was ill.
    restarted: bool,
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
    fn new(ill: Ill) -> Self {
        Self {
            ill,
            place: 0,
            said: 0,
            restarted: false,
        }
    }

    pub(super) fn full() -> Self {
        Self::new(Ill::Full)
    }

    pub(super) fn slow() -> Self {
        Self::new(Ill::Slow)
    }

    pub(super) fn fails() -> Self {
        Self::new(Ill::Fails)
    }
}

impl Fault for BadDisk {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        self.place = stage.leader_or_any();
        self.restarted = false;
        let place = self.place;
        let (room, slow) = (
            stage.rng.below(ROOM_MAX_BYTES),
            SLOW_MIN_MS + stage.rng.below(SLOW_MAX_MS - SLOW_MIN_MS),
        );
        let shown = self.shown(stage)?;
        self.said = stage.fleet.output(place).len();
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
            if self.says(stage, NO_ROOM) {
                Ok(())
            } else {
                Err(stage.fleet.tail(place))
            }
        })?;
        if stage.rng.one_in(2) {
            return Ok(what);
        }
        // Somebody starts it again before there is room.
        stage.fleet.kill9(&[place]);
        stage.fleet.start_nodes(&[place]);
        self.restarted = true;
        Ok(format!("{what}, where it is started again"))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let place = self.place;
        if let Some(disk) = &stage.fleet.node(place).disk {
            disk.set_room(None);
            disk.set_delays(Duration::ZERO, Duration::ZERO);
            disk.set_syncs_fail(false);
        }
        let mut ready = stage.fleet.wait_ready(&[place], STEP_PATIENCE);
        // Room is waited for by who runs, not by who starts.
        let may_end = matches!(self.ill, Ill::Fails) || self.restarted;
        if may_end && ready.is_err() && !stage.fleet.runs(place) {
            stage.fleet.kill9(&[place]);
            stage.fleet.start_nodes(&[place]);
            ready = stage.fleet.wait_ready(&[place], STEP_PATIENCE);
        }
        if matches!(self.ill, Ill::Full) && self.says(stage, DAMAGED) {
            return Err(format!("node {place} takes a full disk for damage"));
        }
        ready
    }
}

impl BadDisk {
    /// How often the node has met this illness so far.
    fn shown(&self, stage: &Stage<'_>) -> Result<u64, String> {
        Ok(self.ill.shown(disk(stage, self.place)?.counts()))
    }

    /// Whether the node has said that since its disk became ill.
    fn says(&self, stage: &Stage<'_>, what: &str) -> bool {
        let output = stage.fleet.output(self.place);
        output
            .get(self.said..)
            .is_some_and(|new| new.contains(what))
    }
}

fn disk<'a>(stage: &'a Stage<'_>, place: usize) -> Result<&'a Disk, String> {
    let disk = stage.fleet.node(place).disk.as_ref();
    disk.ok_or_else(|| "no disk that can be ill".to_owned())
}
