//! The sums that rules need, as rows: what one job adds to them, and takes away again.
//!
//! Invariant: each of these rows equals the sum over all job rows (guarded by the model test,
//! `tests/model.rs`). A sum that would fall below zero is a damaged row, never an outcome.

use raft3d_sdk::Grams;

use super::jobs::{Job, StateCount};
use super::rows::Rows;
use super::{codec, filaments, keys, printers};
use crate::error::LocalFault;

/// Adds `job`, as it is, to the sums.
pub(super) fn enter(rows: &mut dyn Rows, job: &Job) -> Result<(), LocalFault> {
    change(rows, job, |count| count.checked_add(1), Grams::checked_add)?;
    if !job.state.terminal {
        rows.put(queue_key(job), codec::encode(&job.id)?);
    }
    Ok(())
}

/// Takes `job`, as it was, out of the sums.
pub(super) fn leave(rows: &mut dyn Rows, job: &Job) -> Result<(), LocalFault> {
    change(rows, job, |count| count.checked_sub(1), Grams::checked_sub)?;
    if !job.state.terminal {
        rows.delete(&queue_key(job));
    }
    Ok(())
}

fn queue_key(job: &Job) -> Vec<u8> {
    keys::queue(
        &job.printer_id,
        &job.state.name,
        job.priority,
        job.created_revision,
    )
}

fn change(
    rows: &mut dyn Rows,
    job: &Job,
    count: impl Fn(u64) -> Option<u64>,
    grams: impl Fn(Grams, Grams) -> Option<Grams>,
) -> Result<(), LocalFault> {
    let count = |table, value| count(value).ok_or_else(|| out_of_range(table));
    let mut load = printers::load(rows, &job.printer_id)?;
    if !job.state.terminal {
        load.open = count("printer loads", load.open)?;
        change_state(rows, &job.state.name, |jobs| {
            count("open jobs by state", jobs)
        })?;
        let key = keys::open_by_actor(&job.created_by);
        let jobs: Option<u64> = codec::get(rows, "open jobs by actor", &key)?;
        match count("open jobs by actor", jobs.unwrap_or_default())? {
            0 => rows.delete(&key),
            jobs => rows.put(key, codec::encode(&jobs)?),
        }
    }
    if job.state.occupies {
        load.occupying = count("printer loads", load.occupying)?;
    }
    printers::put_load(rows, &job.printer_id, load)?;
    let reservation = job.reservation();
    if reservation > Grams::ZERO {
        let reserved = filaments::reserved(rows, &job.filament_id)?;
        let reserved = grams(reserved, reservation).ok_or_else(|| out_of_range("reserved"))?;
        filaments::put_reserved(rows, &job.filament_id, reserved)?;
    }
    Ok(())
}

fn change_state(
    rows: &mut dyn Rows,
    state: &str,
    count: impl Fn(u64) -> Result<u64, LocalFault>,
) -> Result<(), LocalFault> {
    let key = keys::open_by_state(state);
    let now: Option<StateCount> = codec::get(rows, "open jobs by state", &key)?;
    match count(now.map_or(0, |now| now.jobs))? {
        0 => rows.delete(&key),
        jobs => rows.put(
            key,
            codec::encode(&StateCount {
                state: state.to_owned(),
                jobs,
            })?,
        ),
    }
    Ok(())
}

fn out_of_range(table: &'static str) -> LocalFault {
    LocalFault::CorruptRow {
        table,
        detail: "a sum is out of range".to_owned(),
    }
}
