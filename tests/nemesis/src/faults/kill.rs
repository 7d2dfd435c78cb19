//! `kill -9`.

use super::{Fault, Stage};

#[derive(Clone, Copy, Debug)]
enum Who {
    One,
    Leader,
    Minority,
    All,
}

/// Kills nodes, and starts them again.
#[derive(Debug)]
pub(super) struct Kill {
    who: Who,
    killed: Vec<usize>,
}

impl Kill {
    fn new(who: Who) -> Self {
        let killed = Vec::new();
        Self { who, killed }
    }

    pub(super) fn one() -> Self {
        Self::new(Who::One)
    }

    pub(super) fn leader() -> Self {
        Self::new(Who::Leader)
    }

    pub(super) fn minority() -> Self {
        Self::new(Who::Minority)
    }

    pub(super) fn all() -> Self {
        Self::new(Who::All)
    }
}

impl Fault for Kill {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let mut members = stage.fleet.members();
        self.killed = match self.who {
            Who::One => vec![stage.any()],
            Who::Leader => vec![stage.leader()],
            Who::Minority => {
                // The leader among them: the worst minority.
                let leader = stage.leader();
                let size = (members.len() - 1) / 2;
                members.retain(|place| *place != leader);
                stage.rng.shuffle(&mut members);
                members.truncate(size.saturating_sub(1));
                members.push(leader);
                members
            }
            Who::All => members,
        };
        stage.fleet.kill9(&self.killed);
        Ok(format!("kill -9 of nodes {:?}", self.killed))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        stage.fleet.start_nodes(&self.killed);
        Ok(())
    }
}
