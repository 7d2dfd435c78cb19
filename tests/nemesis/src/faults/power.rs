//! Power cuts: the process ends, and what its disk was not told to sync is lost or torn.

use super::{Fault, STEP_PATIENCE, Stage};
use crate::disk::{Cut, Taken};

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
}

impl Fault for PowerCut {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        self.cut = if self.all {
            stage.fleet.members()
        } else {
            vec![stage.leader_or_any()]
        };
        stage.fleet.kill9(&self.cut);
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
        Ok(format!(
            "power cut of nodes {:?}, {kind:?}: {taken:?}",
            self.cut
        ))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        stage.fleet.start_nodes(&self.cut);
        stage.fleet.wait_ready(&self.cut, STEP_PATIENCE)
    }
}
