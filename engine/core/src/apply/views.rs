//! What policies see of the rows: borrowed views.

use raft3d_sdk::{FilamentView, JobView, Label, PrinterView};

use crate::command::Labels;
use crate::state::filaments::Filament;
use crate::state::jobs::Job;
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
