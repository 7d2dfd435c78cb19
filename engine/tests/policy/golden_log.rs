//! Golden logs: what each supported engine epoch computes, for as long as it is supported.
//!
//! `golden/epoch-N.log` holds the entries of one history, with the modules that it uploads, so that
//! neither later policies nor later encodings of commands touch it; `epoch-N.txt` the digest of all
//! rows and of the answer after each. Two programs run side by side during an upgrade, and a
//! replica replays old entries with a new program: both files of an epoch stay as they are from the
//! release on that has it as its newest.
//!
//! Before that: `RAFT3D_UPDATE_GOLDEN=1 cargo nextest run --workspace golden_log`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use raft3d_core::apply::apply_alone;
use raft3d_core::command::{
    ActivateRuleset, Actor, Bootstrap, CreateFilament, CreateJob, CreatePrinter, DeleteModule,
    ENVELOPE_VERSION, RequestOrigin, RollbackRuleset, SetJobStatus, UploadModule,
};
use raft3d_core::epoch::EPOCHS;
use raft3d_core::state::digest::{self, Digest};
use raft3d_core::state::memory::MemoryRows;
use raft3d_core::state::meta;
use raft3d_core::state::rulesets::{Binding, DecodedRuleset, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_core::{
    BindingId, ClusterId, Command, Envelope, FilamentId, JobId, Judge, Outcome, PrinterId,
    RequestId, Response, Revision,
};
use raft3d_engine::policy::inspect;
use raft3d_sdk::Grams;
use raft3d_sdk::testkit::{self, object};

use crate::golden::prebuilt;
use crate::random::Random;
use crate::support::TestHost;

const START_MS: u64 = 1_790_000_000_000;
const ENTRIES: u64 = 300;
const JOBS: u64 = 90;
const STATUSES: [&str; 5] = ["Running", "Done", "Cancelled", "Queued", "Exploded"];

fn file(epoch: u32, kind: &str) -> PathBuf {
    let name = format!("tests/golden/epoch-{epoch}.{kind}");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A replica in memory.
struct Replica {
    rows: MemoryRows,
    digest: Digest,
    ruleset: DecodedRuleset,
    host: TestHost,
    index: u64,
}

impl Replica {
    fn new() -> Self {
        Self {
            rows: MemoryRows::default(),
            digest: Digest::default(),
            ruleset: DecodedRuleset::default(),
            host: TestHost::new(),
            index: 0,
        }
    }

    fn apply(&mut self, entry: &[u8]) -> Outcome {
        let envelope = Envelope::from_bytes(entry).unwrap();
        self.index += 1;
        let judge = Judge {
            host: &self.host.host,
            ruleset: &mut self.ruleset,
            epochs: EPOCHS,
        };
        let index = Revision(self.index);
        apply_alone(&mut self.rows, &mut self.digest, index, &envelope, judge).unwrap()
    }

    /// One line for each entry: what it was answered, and the digest of the rows after it.
    fn replay(&mut self, entries: &[Vec<u8>]) -> String {
        let mut lines = String::new();
        for entry in entries {
            let outcome = self.apply(entry);
            let word = match &outcome.response {
                Response::Accepted(_) => "accepted".to_owned(),
                Response::Rejected(rejection) => format!("{:?}", rejection.kind),
            };
            let answer = blake3::hash(&minicbor::to_vec(&outcome.response).unwrap()).to_hex();
            let (index, digest) = (self.index, self.digest);
            writeln!(lines, "{index} {word} {} {digest}", &answer[..16]).unwrap();
        }
        assert_eq!(digest::recompute(&self.rows).unwrap(), self.digest);
        lines
    }
}

fn framed(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
        bytes.extend(entry);
    }
    bytes
}

fn unframed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        let (entry, rest) = rest.split_at(length);
        entries.push(entry.to_vec());
        bytes = rest;
    }
    entries
}

fn upload(name: &str) -> UploadModule {
    let bytes = prebuilt(name);
    let report = inspect(&bytes).unwrap();
    UploadModule {
        digest: report.digest,
        bytes,
        manifest: report.manifest,
    }
}

fn binding(module: &UploadModule, mode: Mode, config: Vec<u8>) -> Binding {
    Binding {
        id: BindingId::new(module.manifest.name.clone()),
        module: module.digest,
        hooks: module.manifest.hooks,
        scope: Scope::All,
        mode,
        share: SHARE_ALL,
        lifecycle: module.manifest.lifecycle.is_some(),
        config,
    }
}

fn ruleset(bindings: Vec<Binding>) -> Ruleset {
    Ruleset {
        bindings,
        ..Ruleset::default()
    }
}

fn job(random: &mut Random) -> Command {
    let id = format!("j{}", random.below(JOBS));
    Command::CreateJob(CreateJob {
        id: Some(JobId::new(id)),
        printer_id: PrinterId::new(["p1", "p2", "none"][random.below(3) as usize]),
        filament_id: FilamentId::new(["f1", "f2"][random.below(2) as usize]),
        filepath: "/models/sample.stl".to_owned(),
        print_weight: Grams::from_mg(random.below(90_000)).unwrap(),
        priority: i32::try_from(random.below(5)).unwrap() - 2,
        labels: [("site".to_owned(), "north".to_owned())].into(),
        status: None,
    })
}

fn status(random: &mut Random) -> Command {
    let used = Grams::from_mg(random.below(50_000)).unwrap();
    // The first ones are moved more often, so that some come to their end.
    let below = 1 + random.below(JOBS);
    Command::SetJobStatus(SetJobStatus {
        id: JobId::new(format!("j{}", random.below(below))),
        status: STATUSES[random.below(STATUSES.len() as u64) as usize].to_owned(),
        used: (random.below(3) == 0).then_some(used),
        reason: (random.below(4) == 0).then(|| "a jam".to_owned()),
        wants_override: random.below(5) == 0,
    })
}

/// A shop's history: every command, rules that change in the middle, retries and late entries.
fn history(epoch: u32) -> Vec<Vec<u8>> {
    let random = &mut Random::new(7);
    let standard = ["standard-lifecycle", "standard-deduction"].map(upload);
    let [waste, quota] = ["waste-factor", "quota"].map(upload);
    let enforced = |module| binding(module, Mode::Enforce, testkit::config([]));
    let default = ruleset(standard.iter().map(enforced).collect());
    let mut stricter = default.clone();
    let per_material = [
        ("factor_per_mille", 1_050.into()),
        ("purge_mg", 2_500.into()),
    ];
    let config = testkit::config([
        ("materials", object([("PLA", object(per_material))])),
        ("partial_states", object([("Canceled", 250.into())])),
    ]);
    let wasteful = binding(&waste, Mode::Enforce, config);
    stricter.bindings.insert(1, wasteful);
    let limits = object([("open_jobs_max", 4.into())]);
    let config = testkit::config([("default", limits)]);
    let watching = binding(&quota, Mode::Shadow, config);
    stricter.bindings.push(watching);
    let activate = |ruleset| {
        Command::ActivateRuleset(ActivateRuleset {
            ruleset,
            expected: None,
            force: true,
            reason: Some("the golden log".to_owned()),
        })
    };
    let rollback = Command::RollbackRuleset(RollbackRuleset {
        to: None,
        expected: None,
        force: true,
        reason: None,
    });
    let bootstrap = Command::Bootstrap(Bootstrap {
        cluster_id: ClusterId([7; 16]),
        modules: standard.to_vec(),
        ruleset: default,
        epoch,
    });
    let mut first = vec![bootstrap];
    for id in ["p1", "p2"] {
        first.push(Command::CreatePrinter(CreatePrinter {
            id: Some(PrinterId::new(id)),
            company: "HP".to_owned(),
            model: "DeskJet".to_owned(),
            ..CreatePrinter::default()
        }));
    }
    for (id, material) in [("f1", "PLA"), ("f2", "PETG")] {
        first.push(Command::CreateFilament(CreateFilament {
            id: Some(FilamentId::new(id)),
            material: material.to_owned(),
            color: "Red".to_owned(),
            total: Grams::from_mg(2_000_000).unwrap(),
            ..CreateFilament::default()
        }));
    }
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut now_ms = START_MS;
    for at in 0..ENTRIES {
        let command = match (at, random.below(10)) {
            (60, _) => Command::UploadModule(waste.clone()),
            (61, _) => Command::UploadModule(quota.clone()),
            (62, _) => activate(stricter.clone()),
            (180, _) => rollback.clone(),
            (181, _) => Command::DeleteModule(DeleteModule {
                digest: waste.digest,
            }),
            (200, _) => Command::Checkpoint,
            (at, _) if at < first.len() as u64 => first[at as usize].clone(),
            (_, 0..4) => job(random),
            (_, 9) if at > 10 => {
                let again = 5 + random.below(at - 6);
                entries.push(entries[again as usize].clone());
                continue;
            }
            _ => status(random),
        };
        now_ms += random.below(3_000);
        let is_late = at > 10 && random.below(30) == 0;
        let envelope = Envelope {
            version: ENVELOPE_VERSION,
            proposed_at_ms: now_ms,
            deadline_ms: if is_late { now_ms - 1 } else { now_ms + 10_000 },
            actor: Actor {
                name: ["ann", "bob"][random.below(2) as usize].to_owned(),
                verified: false,
            },
            request_id: RequestId::new(format!("request-{at}")),
            request_origin: RequestOrigin::Client,
            request_hash: command.request_hash().unwrap(),
            command,
        };
        entries.push(envelope.to_bytes().unwrap());
    }
    entries
}

#[test]
fn golden_logs_are_computed_as_ever() {
    let newest = if cfg!(feature = "next-epoch") {
        EPOCHS.newest - 1
    } else {
        EPOCHS.newest
    };
    for epoch in EPOCHS.oldest..=newest {
        if std::env::var_os("RAFT3D_UPDATE_GOLDEN").is_some() && epoch == newest {
            let entries = history(epoch);
            fs::write(file(epoch, "log"), framed(&entries)).unwrap();
            fs::write(file(epoch, "txt"), Replica::new().replay(&entries)).unwrap();
        }
        let entries = unframed(&fs::read(file(epoch, "log")).unwrap());
        let golden = fs::read_to_string(file(epoch, "txt")).unwrap();
        let mut replica = Replica::new();
        let lines = replica.replay(&entries);
        for (line, golden) in lines.lines().zip(golden.lines()) {
            assert_eq!(line, golden, "epoch {epoch} computes something else");
        }
        assert_eq!(lines, golden);
        assert_eq!(meta::epoch(&replica.rows).unwrap(), epoch);
    }
}

/// What the golden logs would not show if they did not hold it.
#[test]
fn golden_logs_hold_what_there_is_to_compute() {
    for epoch in EPOCHS.oldest..=EPOCHS.newest {
        let Ok(golden) = fs::read_to_string(file(epoch, "txt")) else {
            continue;
        };
        let words: Vec<_> = golden.lines().filter_map(|l| l.split(' ').nth(1)).collect();
        let count = |word: &str| words.iter().filter(|w| **w == word).count();
        for word in [
            "AlreadyExists",
            "DeadlineExceeded",
            "IllegalTransition",
            "ModuleInUse",
            "NotFound",
            "PolicyDenied",
            "UnknownReference",
            "UnknownState",
        ] {
            assert!(count(word) > 0, "epoch {epoch}: no {word}: {words:?}");
        }
        assert!(count("accepted") >= 70, "epoch {epoch}: {words:?}");
    }
}
