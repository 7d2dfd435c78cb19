//! Printers in JSON.

use raft3d_engine::core::PrinterId;
use raft3d_engine::core::command::{CreatePrinter, Labels};
use raft3d_engine::core::state::printers::Printer;
use raft3d_engine::sdk::PrinterStatus;
use serde::Serialize;

use super::time::TimeOut;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// A printer, as `/api/v1` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct PrinterV1<'a> {
    pub(crate) id: &'a str,
    company: &'a str,
    model: &'a str,
    status: &'static str,
    labels: &'a Labels,
    created_at: TimeOut,
    revision: u64,
}

impl<'a> From<&'a Printer> for PrinterV1<'a> {
    fn from(row: &'a Printer) -> Self {
        Self {
            id: row.id.as_str(),
            company: &row.company,
            model: &row.model,
            status: status_name(row.status),
            labels: &row.labels,
            created_at: TimeOut(row.created_at_ms),
            revision: row.revision.0,
        }
    }
}

/// A printer, as the classic API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct PrinterClassic<'a> {
    id: &'a str,
    company: &'a str,
    model: &'a str,
}

impl<'a> From<&'a Printer> for PrinterClassic<'a> {
    fn from(row: &'a Printer) -> Self {
        Self {
            id: row.id.as_str(),
            company: &row.company,
            model: &row.model,
        }
    }
}

const fn status_name(status: PrinterStatus) -> &'static str {
    match status {
        PrinterStatus::Active => "active",
        PrinterStatus::Maintenance => "maintenance",
        PrinterStatus::Retired => "retired",
    }
}

/// Reads the body that creates a printer.
pub(crate) fn read_create(mut body: Fields<'_>, door: Door) -> Result<CreatePrinter, Problem> {
    let mut create = CreatePrinter {
        id: body.id("id")?.map(PrinterId::new),
        company: body.required_text("company")?,
        model: body.required_text("model")?,
        ..CreatePrinter::default()
    };
    if door == Door::V1 {
        create.labels = body.labels("labels")?;
        create.status = match body.status("status")?.as_deref() {
            None | Some("active") => PrinterStatus::Active,
            Some("maintenance") => PrinterStatus::Maintenance,
            Some("retired") => PrinterStatus::Retired,
            Some(_) => {
                return Err(Problem::field(
                    "/status",
                    "must be active, maintenance or retired",
                ));
            }
        };
    }
    body.finish(door)?;
    Ok(create)
}
