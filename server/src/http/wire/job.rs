//! Print jobs in JSON.

use raft3d_engine::core::command::{CreateJob, Labels, SetJobStatus};
use raft3d_engine::core::state::jobs::Job;
use raft3d_engine::core::{FilamentId, JobId, PrinterId};
use serde::Serialize;

use super::GramsOut;
use super::time::TimeOut;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// What clients of the classic API call the state in which a job begins.
const CLASSIC_INITIAL: &str = "Queued";

/// A print job, as `/api/v1` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct JobV1<'a> {
    id: &'a str,
    printer_id: &'a str,
    filament_id: &'a str,
    filepath: &'a str,
    print_weight_in_grams: GramsOut,
    status: &'a str,
    priority: i32,
    labels: &'a Labels,
    deducted_weight_in_grams: GramsOut,
    created_by: &'a str,
    created_at: TimeOut,
    updated_at: TimeOut,
    revision: u64,
}

impl<'a> From<&'a Job> for JobV1<'a> {
    fn from(row: &'a Job) -> Self {
        Self {
            id: row.id.as_str(),
            printer_id: row.printer_id.as_str(),
            filament_id: row.filament_id.as_str(),
            filepath: &row.filepath,
            print_weight_in_grams: GramsOut(row.print_weight),
            status: &row.state.name,
            priority: row.priority,
            labels: &row.labels,
            deducted_weight_in_grams: GramsOut(row.deducted),
            created_by: &row.created_by.name,
            created_at: TimeOut(row.created_at_ms),
            updated_at: TimeOut(row.updated_at_ms),
            revision: row.revision.0,
        }
    }
}

/// A print job, as the classic API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct JobClassic<'a> {
    id: &'a str,
    printer_id: &'a str,
    filament_id: &'a str,
    filepath: &'a str,
    print_weight_in_grams: GramsOut,
    status: &'a str,
}

impl<'a> From<&'a Job> for JobClassic<'a> {
    fn from(row: &'a Job) -> Self {
        Self {
            id: row.id.as_str(),
            printer_id: row.printer_id.as_str(),
            filament_id: row.filament_id.as_str(),
            filepath: &row.filepath,
            print_weight_in_grams: GramsOut(row.print_weight),
            status: &row.state.name,
        }
    }
}

/// Reads the body that creates a print job.
pub(crate) fn read_create(mut body: Fields<'_>, door: Door) -> Result<CreateJob, Problem> {
    let mut create = CreateJob {
        id: body.id("id")?.map(JobId::new),
        printer_id: PrinterId::new(body.required_id("printer_id")?),
        filament_id: FilamentId::new(body.required_id("filament_id")?),
        filepath: body.required_text("filepath")?,
        print_weight: body.required_grams("print_weight_in_grams")?,
        priority: 0,
        labels: Labels::new(),
        status: body.status("status")?,
    };
    // Clients of this door know one state that a job can begin in, whatever the lifecycle calls it.
    let begins = |status: &str| status.eq_ignore_ascii_case(CLASSIC_INITIAL);
    if door == Door::Classic && create.status.as_deref().is_some_and(begins) {
        create.status = None;
    }
    if door == Door::V1 {
        let range = "from -2147483648 to 2147483647";
        create.priority = body.integer("priority", range)?.unwrap_or_default();
        create.labels = body.labels("labels")?;
    }
    body.finish(door)?;
    Ok(create)
}

/// Reads the body that asks for a transition. The job and, where the query names it, the status
/// are not in it.
pub(crate) fn read_status(mut body: Fields<'_>, door: Door) -> Result<SetJobStatus, Problem> {
    let report = SetJobStatus {
        id: JobId::new(""),
        status: body.status("status")?.unwrap_or_default(),
        used: body.grams("used_weight_in_grams")?,
        reason: body.text("reason")?,
        wants_override: body.flag("override")?,
    };
    body.finish(door)?;
    Ok(report)
}
