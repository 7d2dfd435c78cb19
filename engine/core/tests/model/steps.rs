//! Random entries.

use crate::common::*;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use raft3d_core::command::{
    ActivateRuleset, CreateFilament, CreateJob, CreatePrinter, DeleteModule, RaiseEpoch,
    RollbackRuleset, SetJobStatus,
};
use raft3d_core::state::rulesets::{DecisionsKept, Ruleset};
use raft3d_core::{Command, FilamentId, JobId, PrinterId, Revision};
use raft3d_sdk::Grams;

const PRINTERS: [&str; 3] = ["p1", "p2", "p/2"];
const FILAMENTS: [&str; 3] = ["f1", "f2", "f3"];
const JOBS: [&str; 6] = ["j1", "j2", "j3", "j4", "j5", "j\n"];
const STATUSES: [&str; 9] = [
    "queued",
    "RUNNING",
    "printing",
    "Done",
    "done",
    "Canceled",
    "cancelled",
    "Paused",
    "frozen",
];
const WEIGHTS_MG: [u64; 6] = [0, 1, 120_000, 250_500, 499_999, 2_000_000];
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Decision records that a ruleset keeps: how many, and for how many days.
pub(crate) type Kept = (u64, u64);

/// What the bootstrap's ruleset keeps.
pub(crate) const KEPT_DEFAULT: Kept = (200_000, 30);
const KEPT: [Kept; 4] = [KEPT_DEFAULT, (3, 30), (40, 1), (1, 3_660)];

/// What one entry asks for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Printer(&'static str),
    Filament {
        id: &'static str,
        total: u64,
        remaining: Option<u64>,
    },
    Job {
        id: Option<&'static str>,
        printer: &'static str,
        filament: &'static str,
        weight: u64,
        priority: i32,
        status: Option<&'static str>,
    },
    Status {
        id: &'static str,
        status: &'static str,
        used: Option<u64>,
        wants_override: bool,
    },
    Activate {
        pausing: bool,
        force: bool,
        wrong: bool,
        kept: Kept,
    },
    Rollback {
        force: bool,
    },
    Upload {
        name: &'static str,
        wrong: bool,
    },
    Delete {
        name: &'static str,
    },
    Checkpoint,
    Raise(u32),
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) ask: Ask,
    /// How far the proposer's clock moves; it may run back.
    pub(crate) elapsed_ms: i64,
    /// From proposal to deadline.
    pub(crate) span_ms: i64,
    pub(crate) actor: &'static str,
    /// A client's own id, or one that the node minted.
    pub(crate) key: Option<&'static str>,
    /// Asks what an earlier step asked, under its id.
    pub(crate) retry_of: Option<Index>,
}

fn ask() -> impl Strategy<Value = Ask> {
    let grams = || select(&WEIGHTS_MG[..]);
    let job = (
        option::weighted(0.9, select(&JOBS[..])),
        select(&PRINTERS[..2]),
        select(&FILAMENTS[..]),
        grams(),
        -2..3_i32,
        option::weighted(0.2, select(&STATUSES[..])),
    );
    let status = (
        select(&JOBS[..5]),
        select(&STATUSES[..]),
        option::weighted(0.2, grams()),
        any::<bool>(),
    );
    let names = || select(&["no", "broken", "standard"][..]);
    prop_oneof![
        2 => select(&PRINTERS[..]).prop_map(Ask::Printer),
        3 => (select(&FILAMENTS[..]), grams(), option::weighted(0.3, grams()))
            .prop_map(|(id, total, remaining)| Ask::Filament { id, total, remaining }),
        8 => job.prop_map(|(id, printer, filament, weight, priority, status)| {
            Ask::Job { id, printer, filament, weight, priority, status }
        }),
        12 => status.prop_map(|(id, status, used, wants_override)| {
            Ask::Status { id, status, used, wants_override }
        }),
        2 => (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), select(&KEPT[..])).prop_map(
            |(pausing, force, wrong, kept)| Ask::Activate { pausing, force, wrong, kept }
        ),
        1 => any::<bool>().prop_map(|force| Ask::Rollback { force }),
        1 => (names(), prop::bool::weighted(0.2))
            .prop_map(|(name, wrong)| Ask::Upload { name, wrong }),
        1 => names().prop_map(|name| Ask::Delete { name }),
        1 => Just(Ask::Checkpoint),
        1 => (1_u32..5).prop_map(Ask::Raise),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let elapsed_ms = prop_oneof![
        20 => 0..3_000_i64,
        3 => -5_000..0_i64,
        2 => 20_000..70_000_i64,
        1 => Just(DAY_MS - 1),
        1 => Just(DAY_MS + 1),
    ];
    let span_ms = prop_oneof![12 => Just(10_000_i64), 1 => Just(0), 1 => -9_000..0_i64,
        1 => Just(i64::MAX / 2)];
    (
        ask(),
        elapsed_ms,
        span_ms,
        select(&["ann", "bob"][..]),
        option::weighted(0.4, select(&["k1", "k2", "k3", "k4", "k5"][..])),
        option::weighted(0.15, any::<Index>()),
    )
        .prop_map(|(ask, elapsed_ms, span_ms, actor, key, retry_of)| Step {
            ask,
            elapsed_ms,
            span_ms,
            actor,
            key,
            retry_of,
        })
}

fn mg(mg: u64) -> Grams {
    Grams::from_mg(mg).unwrap()
}

pub(crate) fn command(ask: &Ask, active: u64) -> Command {
    match ask.clone() {
        Ask::Printer(id) => {
            let Command::CreatePrinter(command) = printer(id) else {
                panic!()
            };
            Command::CreatePrinter(CreatePrinter { ..command })
        }
        Ask::Filament {
            id,
            total,
            remaining,
        } => Command::CreateFilament(CreateFilament {
            id: Some(FilamentId::new(id)),
            material: "PLA".to_owned(),
            color: "Red".to_owned(),
            total: mg(total),
            remaining: remaining.map(mg),
            ..CreateFilament::default()
        }),
        Ask::Job {
            id,
            printer,
            filament,
            weight,
            priority,
            status,
        } => Command::CreateJob(CreateJob {
            id: id.map(JobId::new),
            printer_id: PrinterId::new(printer),
            filament_id: FilamentId::new(filament),
            print_weight: mg(weight),
            priority,
            status: status.map(str::to_owned),
            ..new_job("", 0)
        }),
        Ask::Status {
            id,
            status,
            used,
            wants_override,
        } => Command::SetJobStatus(SetJobStatus {
            used: used.map(mg),
            wants_override,
            ..new_status(id, status)
        }),
        Ask::Activate {
            pausing,
            force,
            wrong,
            kept: (count, days),
        } => Command::ActivateRuleset(ActivateRuleset {
            ruleset: Ruleset {
                decisions_kept: DecisionsKept { count, days },
                ..ruleset(&[if pausing { "pausing" } else { "standard" }, "deduction"])
            },
            expected: Some(Revision(if wrong { active + 1 } else { active })),
            force,
            reason: None,
        }),
        Ask::Rollback { force } => Command::RollbackRuleset(RollbackRuleset {
            to: None,
            expected: None,
            force,
            reason: None,
        }),
        Ask::Upload { name, wrong } => {
            let mut upload = module(name);
            if wrong {
                upload.bytes.push(0);
            }
            Command::UploadModule(upload)
        }
        Ask::Delete { name } => Command::DeleteModule(DeleteModule {
            digest: module(name).digest,
        }),
        Ask::Checkpoint => Command::Checkpoint,
        Ask::Raise(to) => Command::RaiseEpoch(RaiseEpoch { to }),
    }
}
