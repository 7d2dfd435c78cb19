//! A network with delays, jitter and losses.

use std::time::Duration;

use super::{Fault, Stage};
use crate::net::Link;

/// Longest delay of one direction, in milliseconds.
const DELAY_MAX_MS: u64 = 40;
/// Longest jitter, in milliseconds.
const JITTER_MAX_MS: u64 = 40;
/// One in so many chunks is lost, and sent again.
const LOST_ONE_IN: u64 = 40;

/// Slows every direction down, each by something else.
#[derive(Debug)]
pub(super) struct SlowNetwork;

impl Fault for SlowNetwork {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let members = stage.fleet.members();
        for from in &members {
            for to in members.iter().filter(|to| *to != from) {
                let link = Link {
                    cut: false,
                    delay: Duration::from_millis(stage.rng.below(DELAY_MAX_MS)),
                    jitter: Duration::from_millis(1 + stage.rng.below(JITTER_MAX_MS)),
                    lost_one_in: LOST_ONE_IN,
                };
                stage.fleet.net.set(*from, *to, link);
            }
        }
        Ok(format!(
            "up to {DELAY_MAX_MS} ms of delay and {JITTER_MAX_MS} ms of jitter, one in \
             {LOST_ONE_IN} lost"
        ))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        stage.fleet.net.heal(false);
        Ok(())
    }
}
