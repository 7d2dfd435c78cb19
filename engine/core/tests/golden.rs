//! Golden bytes: what is in a log or a state database must be read by every later version, so an
//! encoding changes only together with its version. `testdata/envelope-v1.txt` holds one envelope
//! of each command, `testdata/rows-v1.txt` every row of one history, both in hex.
//!
//! After a deliberate change: `RAFT3D_BLESS=1 cargo test -p raft3d-core --test golden`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed test is to panic; golden files are read from disk"
)]

mod common;

use std::collections::BTreeSet;

use common::*;
use raft3d_core::command::{
    ActivateRuleset, Actor, AdjustClock, CreateFilament, CreateJob, CreatePrinter, DeleteModule,
    DeniedEntry, EnvelopeError, RaiseEpoch, RequestOrigin, RollbackRuleset, SetJobStatus,
};
use raft3d_core::limits::ENVELOPE_BYTES_MAX;
use raft3d_core::state::rulesets::{Mode, Scope};
use raft3d_core::{Command, Envelope, PrinterId, RequestId, Response, Revision};
use raft3d_sdk::PrinterStatus;

fn check(file: &str, actual: &str) {
    let path = format!("{}/tests/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RAFT3D_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file");
    for (actual, golden) in actual.lines().zip(golden.lines()) {
        assert_eq!(actual, golden, "an encoding in {file} changed");
    }
    assert_eq!(actual, golden);
}

/// One of each command, every field filled.
fn commands() -> Vec<(&'static str, Command)> {
    let labels = || [("site".to_owned(), "north".to_owned())].into();
    let text = |text: &str| Some(text.to_owned());
    let mut set = ruleset(&["standard", "deduction"]);
    set.bindings[1].mode = Mode::Shadow;
    set.bindings[1].scope = Scope::FilamentType("PLA".to_owned());
    let scope = Scope::PrinterLabel {
        key: "site".to_owned(),
        value: "north".to_owned(),
    };
    set.bindings.push(raft3d_core::state::rulesets::Binding {
        scope,
        ..binding("no")
    });
    let Command::CreateFilament(spool) = filament("f1", 1_000) else {
        panic!()
    };
    vec![
        (
            "CreatePrinter",
            Command::CreatePrinter(CreatePrinter {
                id: Some(PrinterId::new("p1")),
                company: "HP".to_owned(),
                model: "DeskJet".to_owned(),
                labels: labels(),
                status: PrinterStatus::Maintenance,
            }),
        ),
        (
            "CreateFilament",
            Command::CreateFilament(CreateFilament {
                remaining: Some(grams(800)),
                vendor: text("Acme"),
                lot: text("7"),
                density_mg_per_cm3: Some(1_240),
                diameter_um: Some(1_750),
                ..spool
            }),
        ),
        (
            "CreateJob",
            Command::CreateJob(CreateJob {
                priority: -3,
                labels: labels(),
                status: text("Queued"),
                ..new_job("j1", 120)
            }),
        ),
        (
            "SetJobStatus",
            Command::SetJobStatus(SetJobStatus {
                used: Some(grams(3)),
                reason: text("jam"),
                wants_override: true,
                ..new_status("j1", "Canceled")
            }),
        ),
        ("UploadModule", Command::UploadModule(module("standard"))),
        (
            "DeleteModule",
            Command::DeleteModule(DeleteModule {
                digest: module("standard").digest,
            }),
        ),
        (
            "ActivateRuleset",
            Command::ActivateRuleset(ActivateRuleset {
                ruleset: set,
                expected: Some(Revision(1)),
                force: true,
                reason: text("why"),
            }),
        ),
        (
            "RollbackRuleset",
            Command::RollbackRuleset(RollbackRuleset {
                to: Some(Revision(1)),
                expected: Some(Revision(9)),
                force: true,
                reason: text("why"),
            }),
        ),
        ("Bootstrap", bootstrap()),
        ("Checkpoint", Command::Checkpoint),
        ("RaiseEpoch", Command::RaiseEpoch(RaiseEpoch { to: 2 })),
        (
            "RecordDenied",
            Command::RecordDenied(DeniedEntry {
                index: Revision(1),
                term: 2,
                hash: [3; 32],
            }),
        ),
        (
            "AdjustClock",
            Command::AdjustClock(AdjustClock {
                offset_ms: 3_600_000,
                expected: Revision(9),
                reason: text("why"),
            }),
        ),
    ]
}

fn envelope(command: Command) -> Envelope {
    Envelope {
        version: 1,
        proposed_at_ms: 1_700_000_000_000,
        deadline_ms: 1_700_000_010_000,
        actor: Actor {
            name: "ann".to_owned(),
            verified: true,
        },
        request_id: RequestId::new("key-1"),
        request_origin: RequestOrigin::Client,
        request_hash: command.request_hash().unwrap(),
        command,
    }
}

#[test]
fn envelopes_are_encoded_as_ever() {
    let mut lines = String::new();
    for (name, command) in commands() {
        let envelope = envelope(command);
        let encoded = envelope.to_bytes().unwrap();
        assert_eq!(Envelope::from_bytes(&encoded).unwrap(), envelope);
        lines.push_str(&format!("{name} {}\n", hex::encode(&encoded)));
    }
    check("envelope-v1.txt", &lines);
}

#[test]
fn rows_are_encoded_as_ever() {
    let mut machine = Machine::new();
    for (name, command) in commands() {
        // The others would empty tables or change what the rest meets.
        if matches!(
            name,
            "CreatePrinter" | "CreateFilament" | "CreateJob" | "RecordDenied"
        ) {
            machine.accept(command);
        }
    }
    machine.accept(job("j2", 7));
    let by_client = Envelope {
        request_id: RequestId::new("key-1"),
        request_origin: RequestOrigin::Client,
        ..machine.envelope(status("j2", "Running"))
    };
    let outcome = machine.apply(&by_client);
    assert!(
        matches!(outcome.response, Response::Accepted(_)),
        "{outcome:?}"
    );
    machine.accept(status("j1", "Running"));
    machine.accept(status("j1", "Done"));
    machine.reject(status("j1", "Queued"));
    let tables: BTreeSet<u8> = machine.rows.iter().map(|(key, _)| key[0]).collect();
    let all = [
        0x01, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x30, 0x31, 0x32, 0x40, 0x50, 0x51, 0x60, 0x61,
        0x62, 0x63, 0x70, 0x71, 0x80,
    ];
    assert_eq!(tables, all.into(), "the history touches every table");
    let mut lines = String::new();
    for (key, value) in machine.rows.iter() {
        lines.push_str(&format!("{} {}\n", hex::encode(key), hex::encode(value)));
    }
    lines.push_str(&format!("digest {}\n", machine.digest));
    check("rows-v1.txt", &lines);
}

#[test]
fn bytes_that_are_no_envelope_are_refused() {
    let good = envelope(Command::Checkpoint).to_bytes().unwrap();
    for length in 0..good.len() {
        let refused = Envelope::from_bytes(&good[..length]);
        assert!(
            matches!(refused, Err(EnvelopeError::Malformed { .. })),
            "{length} bytes"
        );
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(matches!(
        Envelope::from_bytes(&longer),
        Err(EnvelopeError::Malformed { .. })
    ));
    // Of another version, with fields that this one cannot read.
    let other = [0xa2, 0x00, 0x02, 0x07, 0x63, b'n', b'e', b'w'];
    assert_eq!(
        Envelope::from_bytes(&other),
        Err(EnvelopeError::Version { found: 2 })
    );
    let large = vec![0; ENVELOPE_BYTES_MAX + 1];
    let size = large.len();
    assert_eq!(
        Envelope::from_bytes(&large),
        Err(EnvelopeError::TooLarge { size })
    );
    let mut upload = module("no");
    upload.bytes = large;
    let mut heavy = envelope(Command::Checkpoint);
    heavy.command = Command::UploadModule(upload);
    assert!(matches!(
        heavy.to_bytes(),
        Err(EnvelopeError::TooLarge { .. })
    ));
}
