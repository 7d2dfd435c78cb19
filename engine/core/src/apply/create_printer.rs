//! `CreatePrinter`: adds a printer.

use super::tx::{Done, Tx, already_exists};
use crate::command::{CreatePrinter, check};
use crate::event::EventKind;
use crate::ids::PrinterId;
use crate::outcome::Accepted;
use crate::state::printers::{self, Printer};
use crate::state::rations::Rationed;

pub(super) fn run(tx: &mut Tx<'_>, command: &CreatePrinter) -> Done {
    check::create_printer(command)?;
    let id = command
        .id
        .clone()
        .unwrap_or_else(|| PrinterId::new(tx.generated_id()));
    if printers::get(&tx.rows, &id)?.is_some() {
        return Err(already_exists("printer", id.as_str()).into());
    }
    tx.take_place(Rationed::Printers, tx.totals.printers)?;
    let printer = Printer {
        id,
        company: command.company.clone(),
        model: command.model.clone(),
        labels: command.labels.clone(),
        status: command.status,
        revision: tx.revision,
        created_at_ms: tx.now_ms(),
    };
    printers::put(&mut tx.rows, &printer)?;
    tx.totals.printers += 1;
    tx.emit(EventKind::PrinterCreated(printer.id.clone()));
    Ok(Accepted::Printer(printer))
}
