//! `CreateFilament`: adds a filament; what remains of it is the first line of its ledger.

use raft3d_sdk::Grams;

use super::tx::{Done, Tx, already_exists};
use crate::command::{CreateFilament, check};
use crate::event::EventKind;
use crate::ids::FilamentId;
use crate::outcome::Accepted;
use crate::state::filaments::{self, Filament};
use crate::state::ledger::{self, LedgerEntry, LedgerKind};
use crate::state::rations::Rationed;

pub(super) fn run(tx: &mut Tx<'_>, command: &CreateFilament) -> Done {
    check::create_filament(command)?;
    let id = command
        .id
        .clone()
        .unwrap_or_else(|| FilamentId::new(tx.generated_id()));
    if filaments::get(&tx.rows, &id)?.is_some() {
        return Err(already_exists("filament", id.as_str()).into());
    }
    tx.take_place(Rationed::Filaments, tx.totals.filaments)?;
    let filament = Filament {
        id,
        material: command.material.clone(),
        color: command.color.clone(),
        total: command.total,
        remaining: command.remaining.unwrap_or(command.total),
        vendor: command.vendor.clone(),
        lot: command.lot.clone(),
        density_mg_per_cm3: command.density_mg_per_cm3,
        diameter_um: command.diameter_um,
        archived: false,
        revision: tx.revision,
        created_at_ms: tx.now_ms(),
        reserved: Grams::ZERO,
    };
    filaments::put(&mut tx.rows, &filament)?;
    let line = LedgerEntry {
        revision: tx.revision,
        kind: LedgerKind::Loaded,
        amount: filament.remaining,
        job: None,
        reason: String::new(),
        actor: tx.actor.clone(),
        at_ms: tx.now_ms(),
    };
    ledger::append(&mut tx.rows, &filament.id, &line)?;
    tx.totals.filaments += 1;
    tx.emit(EventKind::FilamentCreated(filament.id.clone()));
    Ok(Accepted::Filament(filament))
}
