//! Clocks that jump. The cluster's log time never runs back, whatever they do.

use std::time::Duration;

use super::{Fault, Stage};

/// By how much clocks jump, in seconds: within what the cluster bears, and far beyond it.
const JUMPS_S: [i64; 6] = [4, -4, 60, -60, 3_600, -3_600];

/// libfaketime looks at its file once a second.
const SEEN_AFTER: Duration = Duration::from_millis(1_100);

/// The clock of one node jumps, and jumps back.
#[derive(Debug, Default)]
pub(super) struct ClockJump {
    place: usize,
}

impl Fault for ClockJump {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        self.place = stage.leader_or_any();
        let seconds = *stage.rng.pick(&JUMPS_S);
        set(stage, self.place, seconds)?;
        Ok(format!(
            "the clock of node {} jumps by {seconds} s",
            self.place
        ))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        set(stage, self.place, 0)
    }
}

fn set(stage: &Stage<'_>, place: usize, seconds: i64) -> Result<(), String> {
    let clock = stage.fleet.node(place).clock.as_ref();
    let clock = clock.ok_or("no clock that can be wrong")?;
    clock.set(seconds).map_err(|error| error.to_string())?;
    std::thread::sleep(SEEN_AFTER);
    Ok(())
}
