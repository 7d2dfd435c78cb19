//! The membership grows by two voters, of which one is cut off, and shrinks again, under load.

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
        // One of them at once loses touch: it hears nothing, and may not be heard either.
        let apart = *stage.rng.pick(&self.joined);
        let is_heard = stage.rng.one_in(2);
        let mut others = stage.fleet.members();
        others.retain(|place| *place != apart);
        for other in others {
            stage.fleet.net.cut(other, apart);
            if !is_heard {
                stage.fleet.net.cut(apart, other);
            }
        }
        let how = if is_heard {
            "does not hear"
        } else {
            "is cut off"
        };
        Ok(format!(
            "nodes {:?} joined and vote; node {apart} {how}",
            self.joined
        ))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let reset = stage.rng.one_in(2);
        stage.fleet.net.heal(reset);
        for place in std::mem::take(&mut self.joined) {
            stage.remove(place)?;
        }
        Ok(())
    }
}
