//! Restarts as operators do them.

use super::{Fault, STEP_PATIENCE, Stage};

/// Restarts every node: all at once, or one after the other.
#[derive(Debug)]
pub(super) struct Restart {
    rolling: bool,
}

impl Restart {
    pub(super) fn all() -> Self {
        Self { rolling: false }
    }

    pub(super) fn rolling() -> Self {
        Self { rolling: true }
    }
}

impl Fault for Restart {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let mut members = stage.fleet.members();
        if !self.rolling {
            stage.fleet.stop_all(&members)?;
            return Ok(format!("all nodes {members:?} are stopped"));
        }
        stage.rng.shuffle(&mut members);
        for place in &members {
            stage.fleet.stop_all(&[*place])?;
            stage.fleet.start_nodes(&[*place]);
            stage.fleet.wait_ready(&[*place], STEP_PATIENCE)?;
        }
        Ok(format!(
            "nodes {members:?} were restarted, one after the other"
        ))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let members = stage.fleet.members();
        if !self.rolling {
            stage.fleet.start_nodes(&members);
        }
        Ok(())
    }
}
