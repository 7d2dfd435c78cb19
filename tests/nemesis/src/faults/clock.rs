//! Clocks that jump. The cluster's log time never runs back, whatever they do.

use super::{Fault, STEP_PATIENCE, Stage};

/// By how much clocks jump, in seconds: within what the cluster bears, and far beyond it.
const JUMPS_S: [i64; 6] = [4, -4, 60, -60, 3_600, -3_600];

/// One clock jumps, or all jump by something else each.
#[derive(Debug, Default)]
pub(super) struct ClockJump {
    jumped: Vec<usize>,
}

impl Fault for ClockJump {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        self.jumped = vec![stage.leader_or_any()];
        let mut said = Vec::new();
        for place in self.jumped.clone() {
            let seconds = *stage.rng.pick(&JUMPS_S);
            set(stage, place, seconds)?;
            said.push(format!("the clock of node {place} jumps by {seconds} s"));
        }
        Ok(said.join(", "))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        for place in self.jumped.clone() {
            set(stage, place, 0)?;
        }
        stage.fleet.wait_ready(&self.jumped, STEP_PATIENCE)
    }
}

fn set(stage: &Stage<'_>, place: usize, seconds: i64) -> Result<(), String> {
    let clock = stage.fleet.node(place).clock.as_ref();
    let clock = clock.ok_or("no clock that can be wrong")?;
    clock.set(seconds).map_err(|error| error.to_string())
}
