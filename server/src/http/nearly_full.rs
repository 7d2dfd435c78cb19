//! What an operator is told of tables that will soon take no more.
//!
//! Modules are among them although they are not rationed: an operator deletes those that no ruleset
//! names, and there is room again.

use std::time::Duration;

use raft3d_engine::core::limits::MODULES_MAX;
use raft3d_engine::core::state::meta::{self, Totals};
use raft3d_engine::core::state::rations::Rationed;
use raft3d_engine::raft::api::{Consistency, ReadOptions};

use super::App;

/// A table is nearly full when so many of five parts are.
const FIFTHS: u64 = 4;
/// How long looking may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// A warning for each table that is nearly full. None where they cannot be read now.
pub(super) async fn warnings(app: &App) -> Vec<String> {
    let options = ReadOptions {
        consistency: Consistency::Stale,
        min_revision: None,
        timeout: PATIENCE,
    };
    let read = app.read(options, |rows| Ok(meta::totals(rows)?));
    let read = tokio::time::timeout(PATIENCE, read).await;
    match read {
        Ok(Ok((_, totals))) => of(&totals),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

fn of(totals: &Totals) -> Vec<String> {
    let is_near = |count: u64, max: u64| count.saturating_mul(5) >= max.saturating_mul(FIFTHS);
    let counts = [
        (Rationed::Printers, totals.printers),
        (Rationed::Filaments, totals.filaments),
        (Rationed::Jobs, totals.jobs),
    ];
    let rationed = counts.into_iter().map(|(table, count)| {
        let (what, max, from) = (table.name(), table.rows_max(), table.rationed_from());
        let warning = format!(
            "there are {count} {what}, and at most {max} are taken; from {from} on each actor may \
             create {} more",
            table.ration()
        );
        is_near(count, max).then_some(warning)
    });
    let modules = totals.modules;
    let warning = format!(
        "there are {modules} modules, and at most {MODULES_MAX} are taken: delete those that no \
         ruleset needs"
    );
    let modules = is_near(modules, MODULES_MAX).then_some(warning);
    rationed.chain([modules]).flatten().collect()
}
