//! The sums that rules need, as rows: what one job adds to them, and takes away again.
//!
//! Invariant: each of these rows equals the sum over all job rows (guarded by the model test,
//! `tests/model.rs`). A sum that would fall below zero is a damaged row, never an outcome.

use raft3d_sdk::Grams;

use super::jobs::{self, Job, StateCount};
use super::rows::Rows;
use super::{codec, filaments, keys, printers};
use crate::error::LocalFault;

/// Which way a job's part goes.
#[derive(Clone, Copy)]
enum Way {
    Enter,
    Leave,
}

impl Way {
    fn count(self, table: &'static str, jobs: u64) -> Result<u64, LocalFault> {
        let jobs = match self {
            Self::Enter => jobs.checked_add(1),
            Self::Leave => jobs.checked_sub(1),
        };
        jobs.ok_or_else(|| out_of_range(table))
    }

    fn grams(self, sum: Grams, part: Grams) -> Option<Grams> {
        match self {
            Self::Enter => sum.checked_add(part),
            Self::Leave => sum.checked_sub(part),
        }
    }

    fn milligrams(self, sum: u64, part: u64) -> Option<u64> {
        match self {
            Self::Enter => sum.checked_add(part),
            Self::Leave => sum.checked_sub(part),
        }
    }
}

/// Adds `job`, as it is, to the sums.
pub(super) fn enter(rows: &mut dyn Rows, job: &Job) -> Result<(), LocalFault> {
    change(rows, job, Way::Enter)?;
    if !job.state.terminal {
        rows.put(queue_key(job), codec::encode(&job.id)?);
    }
    Ok(())
}

/// Takes `job`, as it was, out of the sums.
pub(super) fn leave(rows: &mut dyn Rows, job: &Job) -> Result<(), LocalFault> {
    change(rows, job, Way::Leave)?;
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

fn change(rows: &mut dyn Rows, job: &Job, way: Way) -> Result<(), LocalFault> {
    let mut load = printers::load(rows, &job.printer_id)?;
    if !job.state.terminal {
        load.open = way.count("printer loads", load.open)?;
        change_state(rows, &job.state.name, way)?;
    }
    if job.state.occupies {
        load.occupying = way.count("printer loads", load.occupying)?;
    }
    printers::put_load(rows, &job.printer_id, load)?;
    let reservation = job.reservation();
    if reservation > Grams::ZERO {
        let reserved = filaments::reserved(rows, &job.filament_id)?;
        let reserved = way.grams(reserved, reservation);
        let reserved = reserved.ok_or_else(|| out_of_range("reserved"))?;
        filaments::put_reserved(rows, &job.filament_id, reserved)?;
    }
    change_actor(rows, job, way)
}

fn change_actor(rows: &mut dyn Rows, job: &Job, way: Way) -> Result<(), LocalFault> {
    let reservation = job.reservation().mg();
    if job.state.terminal && reservation == 0 {
        return Ok(());
    }
    let mut load = jobs::actor_load(rows, &job.created_by)?;
    if !job.state.terminal {
        load.open = way.count(jobs::ACTOR_LOADS, load.open)?;
    }
    let reserved = way.milligrams(load.reserved_mg, reservation);
    load.reserved_mg = reserved.ok_or_else(|| out_of_range(jobs::ACTOR_LOADS))?;
    jobs::put_actor_load(rows, &job.created_by, load)
}

fn change_state(rows: &mut dyn Rows, state: &str, way: Way) -> Result<(), LocalFault> {
    let key = keys::open_by_state(state);
    let table = "open jobs by state";
    let now: Option<StateCount> = codec::get(rows, table, &key)?;
    match way.count(table, now.map_or(0, |now| now.jobs))? {
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
