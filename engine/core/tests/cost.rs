//! The cost of an apply does not grow with the number of jobs: reads and rows are counted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

mod common;

use std::cell::Cell;

use common::*;
use raft3d_core::apply::apply_alone;
use raft3d_core::state::memory::MemoryRows;
use raft3d_core::state::rows::Row;
use raft3d_core::{Command, Judge, LocalFault, ReadRows, Revision, Rows};

/// Rows that count what is read and written.
#[derive(Default)]
struct Counted {
    rows: MemoryRows,
    gets: Cell<usize>,
    scans: Cell<usize>,
    writes: usize,
}

impl ReadRows for Counted {
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault> {
        self.gets.set(self.gets.get() + 1);
        self.rows.read(key, see)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        self.scans.set(self.scans.get() + 1);
        self.rows.scan(prefix, after, limit)
    }
}

impl Rows for Counted {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes += 1;
        self.rows.put(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.writes += 1;
        self.rows.delete(key);
    }
}

/// (gets, scans, writes) of one more command on `machine`.
fn cost(machine: &Machine, command: Command) -> (usize, usize, usize) {
    let mut rows = Counted {
        rows: machine.rows.clone(),
        ..Counted::default()
    };
    let mut digest = machine.digest;
    let judge = Judge {
        host: &NativeHost,
        ruleset: &mut machine.ruleset.clone(),
        epochs: machine.epochs,
    };
    let envelope = machine.envelope(command);
    let index = Revision(machine.index + 1);
    let outcome = apply_alone(&mut rows, &mut digest, index, &envelope, judge).unwrap();
    assert!(
        matches!(outcome.response, raft3d_core::Response::Accepted(_)),
        "{outcome:?}"
    );
    (rows.gets.get(), rows.scans.get(), rows.writes)
}

#[test]
fn the_cost_of_an_apply_does_not_grow_with_the_jobs() {
    let mut machine = Machine::with_shop();
    let mut costs = Vec::new();
    for n in 0..400 {
        machine.accept(job(&format!("j{n}"), 1));
        if n == 4 || n == 399 {
            costs.push((
                cost(&machine, job("new", 1)),
                cost(&machine, status("j0", "Running")),
            ));
        }
    }
    println!("(gets, scans, writes) of creating and of starting a job: {costs:?}");
    let (first, last) = (costs.first().unwrap(), costs.last().unwrap());
    assert_eq!(first, last);
    let ((_, created_scans, _), (_, started_scans, _)) = last;
    assert_eq!(
        (*created_scans, *started_scans),
        (0, 0),
        "nothing expired, nothing is looked for"
    );
}
