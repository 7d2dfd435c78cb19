//! Power cuts: the process ends, and what its disk was not told to sync is lost or torn.

use std::time::Duration;

use super::{Fault, Stage};
use crate::disk::{Cut, Taken};

/// Every second time syncs take so long when the power goes: more is under way then.
const SLOW: Duration = Duration::from_millis(150);
/// For so long.
const SLOW_FOR: Duration = Duration::from_millis(600);

/// Cuts the power of one node or of all.
#[derive(Debug)]
pub(super) struct PowerCut {
    all: bool,
    cut: Vec<usize>,
}

impl PowerCut {
    pub(super) fn one() -> Self {
        Self {
            all: false,
            cut: Vec::new(),
        }
    }

    pub(super) fn all() -> Self {
        Self {
            all: true,
            cut: Vec::new(),
        }
    }

    fn slow_down(&self, stage: &Stage<'_>, delay: Duration) {
        for place in &self.cut {
            if let Some(disk) = &stage.fleet.node(*place).disk {
                disk.set_delays(Duration::ZERO, delay);
            }
        }
    }
}

impl Fault for PowerCut {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        self.cut = if self.all {
            stage.fleet.members()
        } else {
            vec![stage.leader_or_any()]
        };
        let slow = stage.rng.one_in(2);
        if slow {
            self.slow_down(stage, SLOW);
            std::thread::sleep(SLOW_FOR);
        }
        for place in &self.cut {
            if let Some(disk) = &stage.fleet.node(*place).disk {
                disk.power_off();
            }
        }
        stage.fleet.kill9(&self.cut);
        self.slow_down(stage, Duration::ZERO);
        let kind = *stage.rng.pick(&[Cut::Lost, Cut::Torn, Cut::Flipped]);
        let mut taken = Taken::default();
        for place in &self.cut {
            let disk = stage
                .fleet
                .node(*place)
                .disk
                .as_ref()
                .ok_or("no disk to cut")?;
            let lost = disk
                .power_cut(kind, stage.rng)
                .map_err(|error| error.to_string())?;
            taken = taken.and(lost);
        }
        *stage.taken = stage.taken.and(taken);
        let slow = if slow { "slow syncs, " } else { "" };
        Ok(format!(
            "{slow}power cut of nodes {:?}, {kind:?}: {taken:?}",
            self.cut
        ))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        stage.fleet.start_nodes(&self.cut);
        Ok(())
    }
}
