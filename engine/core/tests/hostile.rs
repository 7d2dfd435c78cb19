//! Entries that no honest leader proposes: a committed one that panics would panic on every node.
//! Whatever an entry holds, applying it to a sound store ends in an outcome, and what is stored of
//! the outcome is bounded.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::{ANY_EPOCH, Machine, bytes, lifecycle, module};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use raft3d_core::command::{
    ActivateRuleset, Actor, AdjustClock, Bootstrap, CreateFilament, CreateJob, CreatePrinter,
    DeleteModule, RaiseEpoch, RequestOrigin, RollbackRuleset, SetJobStatus, UploadModule,
};
use raft3d_core::state::digest;
use raft3d_core::state::rulesets::{Binding, DecisionsKept, Mode, Ruleset, Scope};
use raft3d_core::{
    BindingId, ClusterId, Command, Envelope, Evaluation, FilamentId, JobId, LocalFault,
    ModuleDigest, ModuleSource, PolicyCall, PolicyHost, PrinterId, RequestId, Revision,
};
use raft3d_sdk::{DeductionOutput, Grams, HookSet, PrinterStatus, RuleOutput};
use sha2::{Digest as _, Sha256};

/// What an outcome stores at most, in bytes: 20 bindings with some lines each, a module's manifest.
const STORED_BYTES_MAX: usize = 256 * 1024;

/// Answers with the same bytes to whatever is asked.
#[derive(Debug)]
struct Parrot(Vec<u8>);

impl PolicyHost for Parrot {
    fn evaluate(&self, _: &PolicyCall<'_>, _: &dyn ModuleSource) -> Result<Evaluation, LocalFault> {
        Ok(Evaluation {
            gas: u64::MAX,
            output: Ok(self.0.clone()),
        })
    }

    fn is_compiled(&self, _: ModuleDigest) -> bool {
        true
    }
}

fn parrot() -> impl Strategy<Value = Parrot> {
    let take = |mg: u64| {
        bytes(&DeductionOutput {
            take: Grams::from_mg(mg),
            reason: String::new(),
        })
    };
    prop_oneof![
        Just(bytes(&RuleOutput::default())),
        number().prop_map(take),
        vec(any::<u8>(), 0..64),
    ]
    .prop_map(Parrot)
}

/// Texts that mean something, weird ones, and ones above every limit.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "", "p1", "f1", "j1", "j2", "Queued", "running", "Done", "Canceled", "PLA", "ann",
            "r3d-7", ".", "a/b", "\0", "\u{7f}", "\u{202e}x", "I\u{307}", "K",
        ]).prop_map(str::to_owned),
        2 => "\\PC{0,40}",
        1 => any::<String>(),
        1 => (0_usize..3_000, any::<char>()).prop_map(|(n, c)| String::from(c).repeat(n)),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        1_u64..1_000_000,
        Just(Grams::MAX.mg()),
        Just(Grams::MAX.mg() + 1),
        Just(u64::MAX - 1),
        Just(u64::MAX),
        any::<u64>(),
    ]
}

/// Any number of milligrams, as decoding takes it.
fn weight() -> impl Strategy<Value = Grams> {
    number().prop_map(|mg| minicbor::decode(&minicbor::to_vec(mg).unwrap()).unwrap())
}

fn hooks() -> impl Strategy<Value = HookSet> {
    any::<u8>().prop_map(|bits| minicbor::decode(&minicbor::to_vec(bits).unwrap()).unwrap())
}

fn known_module() -> impl Strategy<Value = ModuleDigest> {
    prop_oneof![
        prop::sample::select(vec!["standard", "pausing", "deduction", "x"])
            .prop_map(|name| module(name).digest),
        any::<[u8; 32]>().prop_map(ModuleDigest),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        3 => Just(Scope::All),
        1 => (text(), text()).prop_map(|(key, value)| Scope::PrinterLabel { key, value }),
        1 => text().prop_map(Scope::FilamentType),
    ]
}

prop_compose! {
    fn binding()(
        id in text(), module in known_module(), hooks in hooks(), scope in scope(),
        shadow in any::<bool>(), share in prop_oneof![Just(10_000_u16), any::<u16>()],
        lifecycle in any::<bool>(),
        config in prop_oneof![3 => Just(vec![0xa0]), 1 => vec(any::<u8>(), 0..40)],
    ) -> Binding {
        let mode = if shadow { Mode::Shadow } else { Mode::Enforce };
        let id = BindingId::new(id);
        Binding { id, module, hooks, scope, mode, share, lifecycle, config }
    }
}

fn decisions_kept() -> impl Strategy<Value = DecisionsKept> {
    let any = any::<(u64, u64)>().prop_map(|(count, days)| DecisionsKept { count, days });
    let few = (0_u64..4, 0_u64..4).prop_map(|(count, days)| DecisionsKept { count, days });
    prop_oneof![3 => Just(DecisionsKept::default()), 2 => few, 1 => any]
}

fn ruleset() -> impl Strategy<Value = Ruleset> {
    prop_oneof![
        2 => (vec(binding(), 0..24), decisions_kept()).prop_map(|(bindings, decisions_kept)| {
            Ruleset { bindings, decisions_kept }
        }),
        1 => prop::sample::select(vec!["standard", "pausing"])
            .prop_map(|name| common::ruleset(&[name, "deduction"])),
    ]
}

prop_compose! {
    fn upload()(
        sound in any::<bool>(), content in vec(any::<u8>(), 0..8), digest in any::<[u8; 32]>(),
        abi in prop_oneof![3 => Just(1_u64), 1 => number()], text in text(), names in vec(text(), 0..6),
        flags in any::<u8>(), aliases in prop_oneof![0_usize..10, Just(15_000)],
        hooks in hooks(),
    ) -> UploadModule {
        let mut upload = module("standard");
        upload.digest = ModuleDigest(if sound { Sha256::digest(&content).into() } else { digest });
        upload.bytes = content;
        upload.manifest.abi = abi.try_into().unwrap_or_default();
        upload.manifest.name = text.clone();
        upload.manifest.hooks = hooks;
        let mut declared = lifecycle(true);
        for (n, name) in names.into_iter().enumerate() {
            let state = &mut declared.states[n % 5];
            state.aliases = if aliases < 10 { vec![name.clone(); aliases] } else { vec!["a".to_owned(); aliases] };
            if flags & 1 != 0 { state.name = name; }
            if flags & 2 != 0 { state.terminal ^= true; }
            if flags & 4 != 0 { state.initial ^= true; }
        }
        if let Some(claim) = declared.claim.as_mut().filter(|_| flags & 8 != 0) { claim.to = text; }
        upload.manifest.lifecycle = (flags & 16 == 0).then_some(declared);
        upload
    }
}

fn creations() -> impl Strategy<Value = Command> {
    let labels = || btree_map(text(), text(), 0..3);
    let id = || option::of(text());
    prop_oneof![
        (id(), text(), text(), labels()).prop_map(|(id, company, model, labels)| {
            let (id, status) = (id.map(PrinterId::new), PrinterStatus::Active);
            Command::CreatePrinter(CreatePrinter {
                id,
                company,
                model,
                labels,
                status,
            })
        }),
        (
            id(),
            text(),
            weight(),
            option::of(weight()),
            id(),
            option::of(number())
        )
            .prop_map(|(id, text, total, remaining, vendor, number)| {
                Command::CreateFilament(CreateFilament {
                    id: id.map(FilamentId::new),
                    material: text.clone(),
                    color: text,
                    total,
                    remaining,
                    lot: vendor.clone(),
                    vendor,
                    density_mg_per_cm3: number,
                    diameter_um: number,
                })
            }),
        (
            id(),
            option::of((text(), text())),
            text(),
            weight(),
            any::<i32>(),
            labels(),
            id()
        )
            .prop_map(
                |(id, parts, filepath, print_weight, priority, labels, status)| {
                    let parts = parts.unwrap_or(("p1".to_owned(), "f1".to_owned()));
                    Command::CreateJob(CreateJob {
                        id: id.map(JobId::new),
                        printer_id: PrinterId::new(parts.0),
                        filament_id: FilamentId::new(parts.1),
                        filepath,
                        print_weight,
                        priority,
                        labels,
                        status,
                    })
                }
            ),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let reason = || option::of(text());
    let revision = || option::of(prop_oneof![1_u64..12, any::<u64>()].prop_map(Revision));
    prop_oneof![
        4 => creations(),
        3 => (text(), text(), option::of(weight()), reason(), any::<bool>()).prop_map(
            |(id, status, used, reason, wants_override)| {
                let id = JobId::new(id);
                Command::SetJobStatus(SetJobStatus { id, status, used, reason, wants_override })
            }
        ),
        1 => upload().prop_map(Command::UploadModule),
        1 => known_module().prop_map(|digest| Command::DeleteModule(DeleteModule { digest })),
        2 => (ruleset(), revision(), any::<bool>(), reason()).prop_map(
            |(ruleset, expected, force, reason)| {
                Command::ActivateRuleset(ActivateRuleset { ruleset, expected, force, reason })
            }
        ),
        1 => (revision(), revision(), any::<bool>(), reason()).prop_map(
            |(to, expected, force, reason)| {
                Command::RollbackRuleset(RollbackRuleset { to, expected, force, reason })
            }
        ),
        1 => (vec(upload(), 0..3), ruleset(), 0_u32..3).prop_map(|(modules, ruleset, epoch)| {
            let cluster_id = ClusterId([1; 16]);
            Command::Bootstrap(Bootstrap { cluster_id, modules, ruleset, epoch })
        }),
        1 => (0_u32..8).prop_map(|to| Command::RaiseEpoch(RaiseEpoch { to })),
        1 => Just(Command::Checkpoint),
        1 => (number(), number(), reason()).prop_map(|(offset_ms, expected, reason)| {
            let expected = Revision(expected);
            Command::AdjustClock(AdjustClock { offset_ms, expected, reason })
        }),
    ]
}

prop_compose! {
    fn envelope()(
        times in option::weighted(0.2, (number(), number())), who in option::weighted(0.2, (text(), text())),
        verified in any::<bool>(), by_client in any::<bool>(), unique in any::<u64>(), command in command(),
    ) -> Envelope {
        let (proposed_at_ms, deadline_ms) = times.unwrap_or((common::START_MS, common::START_MS + 9));
        let (name, id) = who.unwrap_or(("ann".to_owned(), unique.to_string()));
        Envelope {
            version: raft3d_core::command::ENVELOPE_VERSION,
            proposed_at_ms,
            deadline_ms,
            actor: Actor { name, verified },
            request_id: RequestId::new(id),
            request_origin: if by_client { RequestOrigin::Client } else { RequestOrigin::Node },
            request_hash: [0; 32],
            command,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_an_envelope_or_refused(
        bytes in vec(any::<u8>(), 0..200),
        envelope in envelope(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let _ = Envelope::from_bytes(&bytes);
        let mut damaged = envelope.to_bytes().unwrap();
        for (at, byte) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= byte;
        }
        if let Ok(decoded) = Envelope::from_bytes(&damaged) {
            let mut machine = Machine { epochs: ANY_EPOCH, ..Machine::with_shop() };
            let index = Revision(machine.index + 1);
            let host = Parrot(bytes);
            let outcome = machine.apply_with(index, &decoded, &host);
            prop_assert!(outcome.is_ok(), "{outcome:?}");
        }
    }

    #[test]
    fn any_command_ends_in_an_outcome(
        entries in vec((envelope(), parrot()), 1..12),
    ) {
        let mut machine = Machine { epochs: ANY_EPOCH, ..Machine::with_shop() };
        for (envelope, host) in entries {
            machine.index += 1;
            let index = Revision(machine.index);
            let outcome = machine.apply_with(index, &envelope, &host);
            let outcome = outcome.unwrap_or_else(|fault| panic!("{fault}: {envelope:?}"));
            let stored = bytes(&outcome.response).len();
            prop_assert!(stored <= STORED_BYTES_MAX, "{stored} bytes are stored of {envelope:?}");
        }
        prop_assert_eq!(digest::recompute(&machine.rows).unwrap(), machine.digest);
    }
}
