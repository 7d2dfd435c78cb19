//! What policies see of the rows: borrowed views.

use raft3d_sdk::{ActorView, FilamentView, JobView, Label, PrinterView};

use crate::command::Labels;
use crate::state::filaments::Filament;
use crate::state::jobs::{ActorLoad, Job};
use crate::state::printers::{Printer, PrinterLoad};

fn labels(labels: &Labels) -> Vec<Label<'_>> {
    labels
        .iter()
        .map(|(key, value)| Label { key, value })
        .collect()
}

pub(super) fn job(job: &Job) -> JobView<'_> {
    JobView {
        id: job.id.as_str(),
        printer_id: job.printer_id.as_str(),
        filament_id: job.filament_id.as_str(),
        filepath: &job.filepath,
        print_weight: job.print_weight,
        status: &job.state.name,
        priority: job.priority,
        labels: labels(&job.labels),
        created_by: &job.created_by.name,
        created_at_ms: job.created_at_ms,
        deducted: job.deducted,
    }
}

/// A printer with the load of all jobs but `stored`, the job in question as its row is.
pub(super) fn printer<'a>(
    printer: &'a Printer,
    load: PrinterLoad,
    stored: Option<&Job>,
) -> PrinterView<'a> {
    let open = stored.is_some_and(|job| !job.state.terminal);
    let occupying = stored.is_some_and(|job| job.state.occupies);
    PrinterView {
        id: printer.id.as_str(),
        company: &printer.company,
        model: &printer.model,
        status: printer.status,
        labels: labels(&printer.labels),
        open_jobs: load.open.saturating_sub(u64::from(open)),
        occupying_jobs: load.occupying.saturating_sub(u64::from(occupying)),
    }
}

/// A filament with what all jobs but `stored` reserve of it.
pub(super) fn filament<'a>(filament: &'a Filament, stored: Option<&Job>) -> FilamentView<'a> {
    let own = stored.map(Job::reservation).unwrap_or_default();
    FilamentView {
        id: filament.id.as_str(),
        material: &filament.material,
        color: &filament.color,
        total: filament.total,
        remaining: filament.remaining,
        reserved_by_others: filament.reserved.saturating_sub(own),
        archived: filament.archived,
    }
}

/// What all jobs of an actor but `stored`, which is theirs, add up to.
pub(super) fn actor(load: ActorLoad, stored: Option<&Job>) -> ActorView {
    let open = stored.is_some_and(|job| !job.state.terminal);
    let own = stored.map(Job::reservation).unwrap_or_default();
    ActorView {
        open_jobs: load.open.saturating_sub(u64::from(open)),
        reserved_mg: load.reserved_mg.saturating_sub(own.mg()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use raft3d_sdk::{Grams, PrinterStatus};

    use super::*;
    use crate::command::Actor;
    use crate::ids::{FilamentId, JobId, PrinterId, Revision};
    use crate::state::jobs::JobState;

    fn stored_job(terminal: bool) -> Job {
        Job {
            id: JobId::new("j"),
            printer_id: PrinterId::new("p"),
            filament_id: FilamentId::new("f"),
            filepath: "/m.stl".to_owned(),
            print_weight: Grams::from_grams(120).unwrap(),
            priority: 0,
            labels: Labels::new(),
            state: JobState {
                name: "Running".to_owned(),
                terminal,
                reserves: !terminal,
                occupies: !terminal,
            },
            deducted: Grams::from_grams(20).unwrap(),
            created_by: Actor {
                name: "ann".to_owned(),
                verified: false,
            },
            created_at_ms: 1,
            updated_at_ms: 1,
            revision: Revision(1),
            created_revision: Revision(1),
        }
    }

    /// What `printer` and `filament` show with five open jobs, three of them occupying, and 500 g
    /// reserved.
    fn seen(job: Option<&Job>) -> (u64, u64, u64) {
        let owner = Printer {
            id: PrinterId::new("p"),
            company: "c".to_owned(),
            model: "m".to_owned(),
            labels: Labels::new(),
            status: PrinterStatus::Active,
            revision: Revision(1),
            created_at_ms: 1,
        };
        let spool = Filament {
            id: FilamentId::new("f"),
            material: "PLA".to_owned(),
            color: "Red".to_owned(),
            total: Grams::from_grams(1_000).unwrap(),
            remaining: Grams::from_grams(800).unwrap(),
            vendor: None,
            lot: None,
            density_mg_per_cm3: None,
            diameter_um: None,
            archived: false,
            revision: Revision(1),
            created_at_ms: 1,
            reserved: Grams::from_grams(500).unwrap(),
        };
        let load = PrinterLoad {
            open: 5,
            occupying: 3,
        };
        let owner = printer(&owner, load, job);
        let reserved = filament(&spool, job).reserved_by_others.mg() / 1_000;
        (owner.open_jobs, owner.occupying_jobs, reserved)
    }

    #[test]
    fn a_job_is_not_counted_among_the_others() {
        assert_eq!(seen(None), (5, 3, 500), "a job that is not stored yet");
        assert_eq!(seen(Some(&stored_job(false))), (4, 2, 400));
        assert_eq!(seen(Some(&stored_job(true))), (5, 3, 500), "counts no more");
    }

    #[test]
    fn nor_among_those_of_its_actor() {
        let seen = |reserved_mg, job: Option<&Job>| {
            let view = actor(
                ActorLoad {
                    open: 5,
                    reserved_mg,
                },
                job,
            );
            (view.open_jobs, view.reserved_mg)
        };
        assert_eq!(seen(500_000, None), (5, 500_000));
        assert_eq!(seen(500_000, Some(&stored_job(false))), (4, 400_000));
        assert_eq!(seen(500_000, Some(&stored_job(true))), (5, 500_000));
    }
}
