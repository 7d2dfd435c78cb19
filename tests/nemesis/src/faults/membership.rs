//! The membership grows by two voters and shrinks again, under load.

use super::{Fault, Stage};

/// 3 -> 5 -> 3, or 5 -> 7 -> 5.
#[derive(Debug, Default)]
pub(super) struct Membership {
    joined: Vec<usize>,
}

impl Fault for Membership {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        for _ in 0..2 {
            let place = stage.join_and_promote()?;
            self.joined.push(place);
        }
        Ok(format!("nodes {:?} joined and vote", self.joined))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        for place in std::mem::take(&mut self.joined) {
            stage.remove(place)?;
        }
        Ok(())
    }
}
