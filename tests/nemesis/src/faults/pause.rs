//! `SIGSTOP`: a node that stands still and goes on later, not knowing that it stood still.

use rustix::process::Signal;

use super::{Fault, Stage};

/// Stops a node, and lets it go on.
#[derive(Debug)]
pub(super) struct Pause {
    leader: bool,
    paused: Option<usize>,
}

impl Pause {
    pub(super) fn any() -> Self {
        Self {
            leader: false,
            paused: None,
        }
    }

    pub(super) fn leader() -> Self {
        Self {
            leader: true,
            paused: None,
        }
    }
}

impl Fault for Pause {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let place = if self.leader {
            stage.leader()
        } else {
            stage.any()
        };
        stage.fleet.signal(place, Signal::STOP);
        stage.fleet.node_mut(place).paused = true;
        self.paused = Some(place);
        Ok(format!("SIGSTOP of node {place}"))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        if let Some(place) = self.paused.take() {
            stage.fleet.signal(place, Signal::CONT);
            stage.fleet.node_mut(place).paused = false;
        }
        Ok(())
    }
}
