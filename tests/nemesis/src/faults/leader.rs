//! The leadership is handed over.

use super::{Fault, Stage};

/// Hands the leadership to another node.
#[derive(Debug)]
pub(super) struct Transfer;

impl Fault for Transfer {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let leader = stage.leader();
        let mut others = stage.fleet.members();
        others.retain(|place| *place != leader);
        let to = *stage.rng.pick(&others);
        let id = stage.fleet.node(to).id.unwrap_or_default();
        let body = format!("{{\"node_id\":{id}}}");
        stage.operate("a handover", "POST", "/api/v1/cluster/leader", Some(&body))?;
        Ok(format!("the leadership is handed to node {to}"))
    }

    fn heal(&mut self, _: &mut Stage<'_>) -> Result<(), String> {
        Ok(())
    }
}
