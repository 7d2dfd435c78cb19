//! A node loses its disk and comes back as somebody new.

use super::{Fault, Stage};

/// Kills a node, wipes its folder, removes it from the cluster and lets a new node in.
#[derive(Debug, Default)]
pub(super) struct WipedNode {
    wiped: Option<usize>,
}

impl Fault for WipedNode {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let place = stage.leader_or_any();
        stage.fleet.kill9(&[place]);
        let data = stage.fleet.node(place).data().to_owned();
        std::fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        self.wiped = Some(place);
        Ok(format!("node {place} lost its disk"))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        if let Some(place) = self.wiped.take() {
            stage.remove(place)?;
            stage.join_and_promote()?;
        }
        Ok(())
    }
}
