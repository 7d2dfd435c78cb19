//! Encodings, made by the encoders.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use minicbor::Encode;
use openraft::raft::AppendEntriesRequest;
use openraft::vote::RaftLeaderId;
use raft3d_core::command::{RaiseEpoch, RollbackRuleset, SetJobStatus};
use raft3d_core::state::digest::Digest;
use raft3d_core::{Command, JobId, Rejection, RejectionKind, Response, Revision};
use raft3d_engine::codec::{encode_entry, encode_log_id, encode_stored_membership, encode_vote};
use raft3d_engine::raft::api::{MembershipError, WriteOutcome};
use raft3d_engine::raft::frame;
use raft3d_engine::raft::message::{
    AdminAnswer, AdminAsk, Answer, AppendAnswer, Ask, Request, SnapshotBegin, SnapshotChunk,
    VoteAsk, WriteAnswer, WriteAsk, WritesAsk,
};
use raft3d_engine::raft::types::{
    Entry, EntryPayload, Incarnation, LeaderId, LogId, Member, Membership, Proposal,
    StoredMembership, Vote,
};
use raft3d_sdk::wire::{EMPTY_CONFIG, encode_call};
use raft3d_sdk::{
    ActorView, AdmissionInput, Claim, ConfigVerdict, DeductionOutput, Deny, FilamentView, Grams,
    Hook, HookSet, JobView, Label, Lifecycle, Manifest, PrinterStatus, PrinterView, Reported,
    RuleOutput, State, TransitionInput,
};

use super::{Seed, seed};
use crate::shop::{Shop, stock};

/// The kind in byte 0 and what `write` appends.
fn kinded(kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![kind];
    write(&mut bytes);
    bytes
}

fn cbor(value: impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding into memory")
}

fn log_id() -> LogId {
    LogId::new(LeaderId::new(7, 3), 900)
}

fn vote() -> Vote {
    let mut vote = Vote::new(7, 3);
    vote.committed = true;
    vote
}

fn member(n: u8) -> Member {
    Member {
        peer_addr: format!("127.0.0.1:900{n}"),
        http_addr: format!("127.0.0.1:800{n}"),
        incarnation: Incarnation([n; 16]),
    }
}

fn membership() -> Membership {
    let configs = vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 3])];
    let nodes = (1..=4).map(|n| (u64::from(n), member(n)));
    let nodes: BTreeMap<_, _> = nodes.collect();
    Membership::new(configs, nodes).expect("a membership")
}

fn entry(payload: EntryPayload) -> Entry {
    entry_after(0, payload)
}

fn entry_after(count: u64, payload: EntryPayload) -> Entry {
    let mut log_id = log_id();
    log_id.index += count;
    Entry { log_id, payload }
}

fn envelope_of(command: Command) -> Vec<u8> {
    let envelope = Shop::stocked().envelope(command);
    envelope.to_bytes().expect("a small envelope")
}

pub(super) fn codec() -> Vec<Seed> {
    let proposal = Proposal(Bytes::from(envelope_of(Command::Checkpoint)));
    let entries = [
        ("blank", EntryPayload::Blank),
        ("normal", EntryPayload::Normal(proposal)),
        ("membership", EntryPayload::Membership(membership())),
    ];
    let entries = entries.map(|(name, payload)| {
        let bytes = kinded(0, |out| encode_entry(&entry(payload), out));
        seed(&format!("entry-{name}"), bytes)
    });
    let mut seeds = Vec::from(entries);
    seeds.push(seed("vote", kinded(1, |out| encode_vote(&vote(), out))));
    seeds.push(seed(
        "log-id",
        kinded(2, |out| encode_log_id(&log_id(), out)),
    ));
    for (name, at) in [("first", None), ("later", Some(log_id()))] {
        let stored = StoredMembership::new(at, membership());
        let bytes = kinded(3, |out| encode_stored_membership(&stored, out));
        seeds.push(seed(&format!("membership-{name}"), bytes));
    }
    seeds
}

/// The policies that are shipped, and bytes for `wasm-smith`.
pub(super) fn module() -> Vec<Seed> {
    let shipped: [(&str, &[u8]); 2] = [
        (
            "lifecycle",
            include_bytes!("../../../../policies/prebuilt/standard-lifecycle.wasm"),
        ),
        (
            "deduction",
            include_bytes!("../../../../policies/prebuilt/standard-deduction.wasm"),
        ),
    ];
    let shipped = shipped.map(|(name, module)| {
        let bytes = kinded(0, |out| out.extend_from_slice(module));
        seed(name, bytes)
    });
    let generated = (1..=24_u64).map(|nth| {
        let mut random = crate::Random::new(nth);
        let bytes = kinded(1, |out| out.extend((0..1_500).map(|_| random.next() as u8)));
        seed(&format!("generated-{nth:02}"), bytes)
    });
    shipped.into_iter().chain(generated).collect()
}

fn job() -> JobView<'static> {
    JobView {
        id: "j1",
        printer_id: "p1",
        filament_id: "f1",
        filepath: "prints/a.gcode",
        print_weight: grams(120),
        status: "Running",
        priority: -3,
        labels: vec![Label {
            key: "site",
            value: "north",
        }],
        created_by: "mia",
        created_at_ms: 1_700_000_000_000,
        deducted: Grams::ZERO,
    }
}

fn printer() -> PrinterView<'static> {
    PrinterView {
        id: "p1",
        company: "HP",
        model: "DeskJet",
        status: PrinterStatus::Maintenance,
        labels: Vec::new(),
        open_jobs: 3,
        occupying_jobs: 1,
    }
}

fn filament() -> FilamentView<'static> {
    FilamentView {
        id: "f1",
        material: "PLA",
        color: "Red",
        total: grams(1_000),
        remaining: grams(800),
        reserved_by_others: grams(20),
        archived: false,
    }
}

fn grams(grams: u64) -> Grams {
    Grams::from_grams(grams).expect("within the limit")
}

fn creator() -> ActorView {
    ActorView {
        open_jobs: 2,
        reserved_mg: 70_000,
    }
}

fn admission_input() -> AdmissionInput<'static> {
    AdmissionInput {
        now_ms: 1_700_000_000_001,
        actor: "mia",
        job: job(),
        printer: printer(),
        filament: filament(),
        creator: creator(),
    }
}

fn transition_input() -> TransitionInput<'static> {
    TransitionInput {
        now_ms: 1_700_000_000_001,
        actor: "mia",
        job: job(),
        printer: printer(),
        filament: filament(),
        to: "Done",
        reported: Reported {
            used: Some(grams(100)),
            reason: Some("jam"),
            wants_override: true,
        },
        creator: creator(),
    }
}

fn manifest() -> Manifest {
    let state = |name: &str, initial, terminal| State {
        name: name.to_owned(),
        aliases: vec![name.to_lowercase()],
        initial,
        terminal,
        reserves: !terminal,
        occupies: false,
    };
    Manifest {
        abi: 1,
        name: "shop".to_owned(),
        version: "1.0.0".to_owned(),
        description: "One way.".to_owned(),
        hooks: HookSet::of(&[Hook::Transition]),
        config_schema: Some("{}".to_owned()),
        lifecycle: Some(Lifecycle {
            states: vec![state("Open", true, false), state("Shut", false, true)],
            claim: Some(Claim {
                from: "Open".to_owned(),
                to: "Shut".to_owned(),
            }),
            ..Lifecycle::default()
        }),
        ..Manifest::default()
    }
}

pub(super) fn abi() -> Vec<Seed> {
    let deny = Deny::new("too_heavy", "Too heavy").at("/print_weight_in_grams");
    let config = b"\xa1\x69materials\x82\x63PLA\x64PETG";
    let parts: [(&str, u8, Vec<u8>); 13] = [
        (
            "allow",
            0,
            cbor(RuleOutput::allow().warn("slow", "It will take long")),
        ),
        ("deny", 0, cbor(RuleOutput::from(deny))),
        ("take", 1, cbor(DeductionOutput::take(grams(3), "done"))),
        ("pass", 1, cbor(DeductionOutput::pass())),
        ("good-config", 2, cbor(ConfigVerdict::good())),
        (
            "bad-config",
            2,
            cbor(ConfigVerdict::bad("/materials", "must be a list")),
        ),
        ("admission-input", 3, cbor(admission_input())),
        ("transition-input", 4, cbor(transition_input())),
        ("admission-call", 5, encode_call(admission_input(), config)),
        (
            "transition-call",
            5,
            encode_call(transition_input(), EMPTY_CONFIG),
        ),
        (
            "deduction-call",
            6,
            encode_call(transition_input(), EMPTY_CONFIG),
        ),
        ("config", 5, config.to_vec()),
        ("manifest", 7, cbor(manifest())),
    ];
    let seeds = parts.map(|(name, kind, bytes)| seed(name, [vec![kind], bytes].concat()));
    seeds.into()
}

fn status(to: &str) -> Command {
    Command::SetJobStatus(SetJobStatus {
        id: JobId::new("j1"),
        status: to.to_owned(),
        used: Some(grams(30)),
        reason: Some("jam".to_owned()),
        wants_override: false,
    })
}

/// A history of the target `envelope`: each envelope behind its length.
fn history(commands: impl IntoIterator<Item = Command>) -> Vec<u8> {
    let mut shop = Shop::stocked();
    let mut bytes = Vec::new();
    for command in commands {
        let envelope = shop.envelope(command);
        shop.apply(&envelope);
        let one: Vec<u8> = envelope.to_bytes().expect("a small envelope");
        bytes.extend((one.len() as u16).to_le_bytes());
        bytes.extend(one);
    }
    bytes
}

pub(super) fn envelope() -> Vec<Seed> {
    let rename = |command: Command| match command {
        Command::CreateJob(job) => {
            Command::CreateJob(raft3d_core::command::CreateJob { id: None, ..job })
        }
        other => other,
    };
    let rollback = RollbackRuleset {
        to: None,
        expected: Some(Revision(1)),
        force: true,
        reason: None,
    };
    let bootstrap = raft3d_server::bootstrap::command(
        raft3d_core::ClusterId([7; 16]),
        raft3d_engine::policy::inspect,
    );
    let bootstrap = bootstrap.expect("the default modules pass the check");
    let activate = raft3d_core::command::ActivateRuleset {
        ruleset: bootstrap.ruleset,
        expected: Some(Revision(1)),
        force: false,
        reason: Some("again".to_owned()),
    };
    let delete = raft3d_core::command::DeleteModule {
        digest: bootstrap.modules[0].digest,
    };
    let mut upload = bootstrap.modules[0].clone();
    upload.bytes = b"\0asm, or so".to_vec();
    upload.digest = raft3d_engine::policy::module_digest(&upload.bytes);
    let raise = |to| Command::RaiseEpoch(RaiseEpoch { to });
    vec![
        seed("stock-again", history(stock().map(rename))),
        seed(
            "a-job",
            history([status("Running"), status("Done"), status("Canceled")]),
        ),
        seed("checkpoint", history([Command::Checkpoint])),
        seed("raise-epoch", history([raise(2), raise(2), raise(9)])),
        seed("rollback", history([Command::RollbackRuleset(rollback)])),
        seed("activate", history([Command::ActivateRuleset(activate)])),
        seed("delete-module", history([Command::DeleteModule(delete)])),
        seed("upload-module", history([Command::UploadModule(upload)])),
    ]
}

fn asks() -> Vec<(&'static str, Ask)> {
    let write = WriteAsk {
        envelope: envelope_of(Command::Checkpoint).into(),
        timeout_ms: 5_000,
    };
    let writes = vec![write.clone(), write];
    let begin = SnapshotBegin {
        vote: vote(),
        last_log_id: Some(log_id()),
        membership: StoredMembership::new(Some(log_id()), membership()),
        bytes: 1 << 40,
        transfer: 8,
    };
    let chunk = SnapshotChunk {
        transfer: 8,
        offset: 1 << 33,
        crc: 7,
        data: vec![9; 100],
    };
    let vote = VoteAsk {
        vote: vote(),
        last_log_id: None,
        pre_vote: true,
        leadership_transfer: false,
    };
    let promote = AdminAsk::Promote {
        node_id: 1_004,
        expected: Some(9),
    };
    vec![
        ("identify", Ask::Identify),
        ("vote", Ask::Vote(vote)),
        ("write", Ask::Writes(WritesAsk { writes })),
        ("promote", Ask::Admin(promote)),
        ("join", Ask::Join(member(4))),
        ("snapshot-begin", Ask::SnapshotBegin(begin)),
        ("snapshot-chunk", Ask::SnapshotChunk(chunk)),
        ("snapshot-end", Ask::SnapshotEnd { transfer: 8 }),
    ]
}

fn answers() -> Vec<(&'static str, Answer)> {
    let reason = "it stops".to_owned();
    let rejection = Rejection::new(RejectionKind::NotFound, "there is no such job").at("/id");
    let outcome = WriteOutcome {
        revision: Revision(9),
        replayed: true,
        response: Response::Rejected(rejection),
        certain_since_ms: Some(1_700_000_000_000),
    };
    let partial = AppendAnswer::Partial {
        matching: Some(log_id()),
    };
    let checkpoint = raft3d_engine::raft::message::CheckpointDigest {
        index: 80,
        digest: Digest::default(),
    };
    let status = raft3d_engine::raft::message::StatusAnswer {
        status: raft3d_server::backend::Backend::status(&crate::shop::ShopNode::stocked()),
        clock_ms: 1,
        checkpoints: vec![checkpoint],
    };
    let failed = AdminAnswer::Failed(MembershipError::NoLeader);
    let answers = vec![WriteAnswer::Done(outcome), WriteAnswer::Unknown];
    vec![
        ("failed", Answer::Failed { reason }),
        ("append", Answer::Append(partial)),
        ("status", Answer::Status(status)),
        ("written", Answer::Writes { answers }),
        ("admin", Answer::Admin(failed)),
        ("not-leader", Answer::NotLeader { leader: Some(2) }),
    ]
}

pub(super) fn peer() -> Vec<Seed> {
    let append = Request::Append(AppendEntriesRequest {
        vote: vote(),
        prev_log_id: Some(log_id()),
        leader_commit: Some(log_id()),
        entries: vec![
            entry_after(1, EntryPayload::Blank),
            entry_after(2, EntryPayload::Membership(membership())),
        ],
    });
    let body = append.encode();
    let mut seeds = vec![seed(
        "append",
        kinded(0, |out| out.extend_from_slice(&body)),
    )];
    for (name, ask) in asks() {
        let body = Request::Ask(ask).encode();
        let bytes = kinded(0, |out| out.extend_from_slice(&body));
        seeds.push(seed(&format!("ask-{name}"), bytes));
    }
    for (name, answer) in answers() {
        let body = answer.encode();
        let bytes = kinded(1, |out| out.extend_from_slice(&body));
        seeds.push(seed(&format!("answer-{name}"), bytes));
    }
    let mut stream = vec![2, 7];
    for (id, body) in [(1, body.as_ref()), (2, b"")] {
        stream.extend(frame::header(id, body).expect("a small body"));
        stream.extend_from_slice(body);
    }
    seeds.push(seed("stream", stream));
    seeds
}
