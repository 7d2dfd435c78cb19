//! A machine in memory and a native policy host, for every test of this package.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

use std::str::from_utf8;

use minicbor::Encode;
use raft3d_core::apply::apply_alone;
use raft3d_core::command::{
    Actor, Bootstrap, CreateFilament, CreateJob, CreatePrinter, ENVELOPE_VERSION, RequestOrigin,
    SetJobStatus, UploadModule,
};
use raft3d_core::state::digest::{self, Digest};
use raft3d_core::state::memory::MemoryRows;
use raft3d_core::state::meta::{self, Totals};
use raft3d_core::state::rulesets::{Binding, DecodedRuleset, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_core::{
    Accepted, BindingId, ClusterId, Command, Envelope, Epochs, Evaluation, Export, FilamentId,
    JobId, Judge, LocalFault, ModuleDigest, ModuleSource, Outcome, PolicyCall, PolicyError,
    PolicyHost, PrinterId, Rejection, RejectionKind, RequestId, Response, Revision,
};
use raft3d_sdk::manifest::ConfigName;
use raft3d_sdk::wire::Call;
use raft3d_sdk::{
    AdmissionInput, Claim, ConfigVerdict, DeductionOutput, Deny, DenyClass, Grams, Hook, HookSet,
    Lifecycle, Manifest, PrinterStatus, RuleOutput, State, TransitionInput,
};
use raft3d_sdk::{Policy as _, native::call_native};
use sha2::{Digest as _, Sha256};
use standard_deduction::StandardDeduction;
use standard_lifecycle::StandardLifecycle;
use waste_factor::WasteFactor;

/// The first entry's log time.
pub const START_MS: u64 = 1_000_000;

pub fn grams(grams: u64) -> Grams {
    Grams::from_grams(grams).unwrap()
}

/// Gas of each evaluation of the test module `greedy`, which allows whatever it is asked.
pub const GREEDY_GAS: u64 = 900_000;

/// A policy host without WebAssembly: a test module's bytes are the name of what it does.
#[derive(Debug, Default)]
pub struct NativeHost;

impl PolicyHost for NativeHost {
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        let Some(bytes) = modules.module_bytes(call.module)? else {
            let output = Err(PolicyError::UnknownModule);
            return Ok(Evaluation { gas: 0, output });
        };
        let name = from_utf8(&bytes).unwrap();
        let gas = if name == "greedy" { GREEDY_GAS } else { 1 };
        let (gas, output) = match gas > call.gas {
            true => (call.gas, Err(PolicyError::OutOfGas)),
            false => (gas, answer(name, call)?),
        };
        Ok(Evaluation { gas, output })
    }

    fn is_compiled(&self, _: ModuleDigest) -> bool {
        true
    }
}

/// The default policies, as they answer natively.
fn shipped(name: &str, call: &PolicyCall<'_>) -> Option<Vec<u8>> {
    let export = call.export.name();
    let answer = match name {
        "standard-lifecycle" => call_native::<StandardLifecycle>(export, call.input),
        "standard-deduction" => call_native::<StandardDeduction>(export, call.input),
        "waste-factor" => call_native::<WasteFactor>(export, call.input),
        _ => return None,
    };
    Some(answer.unwrap())
}

fn answer(name: &str, call: &PolicyCall<'_>) -> Result<Result<Vec<u8>, PolicyError>, LocalFault> {
    if let Some(answer) = shipped(name, call) {
        return Ok(Ok(answer));
    }
    if call.export == Export::CheckConfig && name != "broken" {
        let problem = (name == "bad-config").then(|| "color is unknown".to_owned());
        let pointer = problem.as_ref().map(|_| "/color".to_owned());
        return Ok(Ok(bytes(&ConfigVerdict { problem, pointer })));
    }
    Ok(match (name, call.export) {
        ("broken", _) => Err(PolicyError::OutOfGas),
        ("garbage", _) => Ok(vec![0xff]),
        ("trailing", _) => Ok([bytes(&RuleOutput::default()), vec![0]].concat()),
        ("talkative", _) => Ok(bytes(&deny("x", &"x".repeat(10_000)))),
        ("faulty", _) => return Err(LocalFault::Runtime("no memory".to_owned())),
        ("no", _) => Ok(bytes(&deny("no", "never"))),
        ("greedy", Export::Hook(Hook::Deduction)) => Ok(bytes(&DeductionOutput::pass())),
        ("greedy", _) => Ok(bytes(&RuleOutput::default())),
        ("take-all", _) => Ok(bytes(&DeductionOutput {
            take: Grams::from_mg(Grams::MAX.mg()),
            reason: "everything".to_owned(),
        })),
        ("standard" | "pausing", Export::Hook(Hook::Admission)) => {
            let call: Call<'_, AdmissionInput<'_>> = minicbor::decode(call.input).unwrap();
            Ok(bytes(&admission(&call.input)))
        }
        ("standard" | "pausing", Export::Hook(Hook::Transition)) => {
            let call: Call<'_, TransitionInput<'_>> = minicbor::decode(call.input).unwrap();
            let (from, to) = (call.input.job.status, call.input.to);
            Ok(bytes(&if may_move(name == "pausing", from, to) {
                RuleOutput::default()
            } else {
                RuleOutput {
                    deny: Some(Deny {
                        class: DenyClass::IllegalTransition,
                        code: "illegal".to_owned(),
                        message: format!("no way from '{from}' to '{to}'"),
                        field: Some("/status".to_owned()),
                    }),
                    warnings: Vec::new(),
                }
            }))
        }
        (_, Export::Hook(Hook::Deduction)) => {
            let call: Call<'_, TransitionInput<'_>> = minicbor::decode(call.input).unwrap();
            let input = call.input;
            let due = input.job.print_weight.saturating_sub(input.job.deducted);
            let done = (input.to == "Done").then_some(due);
            let take = input.reported.used.or(done);
            Ok(bytes(&DeductionOutput {
                take,
                reason: "printed".to_owned(),
            }))
        }
        (name, export) => panic!("test module {name} has no {}", export.name()),
    })
}

fn deny(code: &str, message: &str) -> RuleOutput {
    let (code, message) = (code.to_owned(), message.to_owned());
    let deny = Deny {
        class: DenyClass::Denied,
        code,
        message,
        field: None,
    };
    RuleOutput {
        deny: Some(deny),
        warnings: Vec::new(),
    }
}

fn admission(input: &AdmissionInput<'_>) -> RuleOutput {
    if input.printer.status == PrinterStatus::Retired {
        return deny("printer_retired", "the printer is retired");
    }
    if input.job.print_weight == Grams::ZERO {
        return deny("weight_is_zero", "nothing to print");
    }
    RuleOutput::default()
}

pub fn may_move(pausing: bool, from: &str, to: &str) -> bool {
    let standard = matches!(
        (from, to),
        ("Queued", "Running" | "Canceled") | ("Running", "Done" | "Canceled")
    );
    let paused = matches!(
        (from, to),
        ("Running", "Paused") | ("Paused", "Running" | "Canceled")
    );
    standard || (pausing && paused)
}

pub fn bytes<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

/// Queued, Running, (Paused, which reserves nothing,) Done, Canceled.
pub fn lifecycle(pausing: bool) -> Lifecycle {
    let state = |name: &str, flags: [bool; 4], aliases: &[&str]| State {
        name: name.to_owned(),
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        initial: flags[0],
        terminal: flags[1],
        reserves: flags[2],
        occupies: flags[3],
    };
    let mut states = vec![
        state("Queued", [true, false, true, false], &[]),
        state("Running", [false, false, true, true], &["Printing"]),
        state("Done", [false, true, false, false], &[]),
        state("Canceled", [false, true, false, false], &["Cancelled"]),
    ];
    if pausing {
        states.insert(2, state("Paused", [false; 4], &[]));
    }
    let claim = Claim {
        from: "Queued".to_owned(),
        to: "Running".to_owned(),
    };
    Lifecycle {
        states,
        claim: Some(claim),
        ..Lifecycle::default()
    }
}

/// The test module of that name; those that rule declare a lifecycle.
pub fn module(name: &str) -> UploadModule {
    let hooks: &[Hook] = match name {
        "deduction" | "take-all" | "standard-deduction" | "waste-factor" => &[Hook::Deduction],
        "standard" | "pausing" | "standard-lifecycle" => &[Hook::Admission, Hook::Transition],
        _ => &Hook::ALL,
    };
    let declared = match name {
        "standard" | "pausing" => Some(lifecycle(name == "pausing")),
        "standard-lifecycle" => StandardLifecycle::lifecycle(),
        _ => None,
    };
    UploadModule {
        digest: ModuleDigest(Sha256::digest(name.as_bytes()).into()),
        bytes: name.as_bytes().to_vec(),
        manifest: Manifest {
            abi: 1,
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            description: "A test module.".to_owned(),
            hooks: HookSet::of(hooks),
            config_schema: None,
            lifecycle: declared,
            config_names: config_names(name),
            decides: match name {
                "standard-deduction" => vec!["Done".to_owned(), "Canceled".to_owned()],
                _ => Vec::new(),
            },
            fallback: name.ends_with("deduction"),
        },
    }
}

/// What the configuration of the test module of that name names. Those of `named` are of every kind.
fn config_names(name: &str) -> Vec<ConfigName> {
    let at = |name: ConfigName, pointer: &str, default: &[&str]| ConfigName {
        pointer: pointer.to_owned(),
        default: default.iter().map(|&name| name.to_owned()).collect(),
        ..name
    };
    match name {
        "waste-factor" => vec![
            at(ConfigName::material().keys(), "/materials", &[]),
            at(ConfigName::state().decides(), "/done_states/*", &["Done"]),
            at(
                ConfigName::state().keys().decides(),
                "/partial_states",
                &["Canceled"],
            ),
        ],
        "named" => vec![
            at(ConfigName::state(), "/states/*", &["Running", "Printing"]),
            at(ConfigName::state(), "/nested/*/*/state", &[]),
            at(ConfigName::material(), "/material", &[]),
            at(ConfigName::actor(), "/actors/*", &[]),
            at(ConfigName::label(), "/label", &["materials"]),
        ],
        _ => Vec::new(),
    }
}

/// A binding of the test module of that name, as id too, to all its hooks.
pub fn binding(name: &str) -> Binding {
    let module = module(name);
    Binding {
        id: BindingId::new(name),
        module: module.digest,
        hooks: module.manifest.hooks,
        scope: Scope::All,
        mode: Mode::Enforce,
        share: SHARE_ALL,
        lifecycle: module.manifest.lifecycle.is_some(),
        config: vec![0xa0],
    }
}

pub fn ruleset(names: &[&str]) -> Ruleset {
    Ruleset {
        bindings: names.iter().map(|name| binding(name)).collect(),
        ..Ruleset::default()
    }
}

pub fn bootstrap() -> Command {
    Command::Bootstrap(Bootstrap {
        cluster_id: ClusterId([7; 16]),
        modules: ["standard", "pausing", "deduction"].map(module).to_vec(),
        ruleset: ruleset(&["standard", "deduction"]),
        epoch: 1,
    })
}

pub fn actor() -> Actor {
    Actor {
        name: "ann".to_owned(),
        verified: true,
    }
}

pub fn printer(id: &str) -> Command {
    Command::CreatePrinter(CreatePrinter {
        id: Some(PrinterId::new(id)),
        company: "HP".to_owned(),
        model: "DeskJet 123".to_owned(),
        ..CreatePrinter::default()
    })
}

pub fn filament(id: &str, total: u64) -> Command {
    Command::CreateFilament(CreateFilament {
        id: Some(FilamentId::new(id)),
        material: "PLA".to_owned(),
        color: "Red".to_owned(),
        total: grams(total),
        ..CreateFilament::default()
    })
}

pub fn new_job(id: &str, weight: u64) -> CreateJob {
    CreateJob {
        id: Some(JobId::new(id)),
        printer_id: PrinterId::new("p1"),
        filament_id: FilamentId::new("f1"),
        filepath: "/models/sample.stl".to_owned(),
        print_weight: grams(weight),
        priority: 0,
        labels: [].into(),
        status: None,
    }
}

pub fn job(id: &str, weight: u64) -> Command {
    Command::CreateJob(new_job(id, weight))
}

pub fn new_status(id: &str, status: &str) -> SetJobStatus {
    SetJobStatus {
        id: JobId::new(id),
        status: status.to_owned(),
        used: None,
        reason: None,
        wants_override: false,
    }
}

pub fn status(id: &str, status: &str) -> Command {
    Command::SetJobStatus(new_status(id, status))
}

/// A program that stops at no epoch.
pub const ANY_EPOCH: Epochs = Epochs {
    oldest: 1,
    newest: u32::MAX,
};

/// A state machine in memory. Every entry's digest is compared with one made from all rows.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub rows: MemoryRows,
    pub digest: Digest,
    /// Kept over all entries, as a replica does it.
    pub ruleset: DecodedRuleset,
    pub index: u64,
    pub now_ms: u64,
    /// What the program supports.
    pub epochs: Epochs,
}

impl Machine {
    /// Bootstrapped, at index 1.
    pub fn new() -> Self {
        let mut machine = Self {
            now_ms: START_MS,
            ..Self::default()
        };
        machine.accept(bootstrap());
        machine
    }

    /// With printer `p1` and filament `f1` of 1,000 g.
    pub fn with_shop() -> Self {
        let mut machine = Self::new();
        machine.accept(printer("p1"));
        machine.accept(filament("f1", 1_000));
        machine
    }

    /// An envelope with a request id of its own, proposed now.
    pub fn envelope(&self, command: Command) -> Envelope {
        Envelope {
            version: ENVELOPE_VERSION,
            proposed_at_ms: self.now_ms,
            deadline_ms: self.now_ms + 10_000,
            actor: actor(),
            request_id: RequestId::new(format!("auto-{}", self.index + 1)),
            request_origin: RequestOrigin::Node,
            request_hash: command.request_hash().unwrap(),
            command,
        }
    }

    /// Applies the entry as it is, at that index.
    pub fn apply_with(
        &mut self,
        index: Revision,
        envelope: &Envelope,
        host: &dyn PolicyHost,
    ) -> Result<Outcome, LocalFault> {
        let ruleset = &mut self.ruleset;
        let epochs = self.epochs;
        let judge = Judge {
            host,
            ruleset,
            epochs,
        };
        apply_alone(&mut self.rows, &mut self.digest, index, envelope, judge)
    }

    pub fn try_apply(&mut self, envelope: &Envelope) -> Result<Outcome, LocalFault> {
        // Through its bytes, as a log entry comes.
        let envelope = Envelope::from_bytes(&envelope.to_bytes().unwrap()).unwrap();
        self.index += 1;
        let index = Revision(self.index);
        let outcome = self.apply_with(index, &envelope, &NativeHost)?;
        assert_eq!(
            digest::recompute(&self.rows).unwrap(),
            self.digest,
            "digest of the rows"
        );
        Ok(outcome)
    }

    pub fn apply(&mut self, envelope: &Envelope) -> Outcome {
        self.try_apply(envelope).unwrap()
    }

    pub fn run(&mut self, command: Command) -> Outcome {
        let envelope = self.envelope(command);
        self.apply(&envelope)
    }

    pub fn accept(&mut self, command: Command) -> Accepted {
        match self.run(command).response {
            Response::Accepted(accepted) => accepted,
            Response::Rejected(rejection) => panic!("rejected: {rejection:?}"),
        }
    }

    pub fn reject(&mut self, command: Command) -> Rejection {
        match self.run(command).response {
            Response::Rejected(rejection) => rejection,
            Response::Accepted(accepted) => panic!("accepted: {accepted:?}"),
        }
    }
}

/// The rejection's kind and field.
pub fn kind(rejection: &Rejection) -> (RejectionKind, Option<&str>) {
    (rejection.kind, rejection.field.as_deref())
}

/// The seed of a random test: of the environment, or a new one. Says how to replay it.
#[allow(clippy::disallowed_methods, reason = "a test may be told its seed")]
pub fn seed(test: &str) -> u64 {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    let given = std::env::var("RAFT3D_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let any = proptest::num::u64::ANY
            .new_tree(&mut TestRunner::default())
            .unwrap();
        any.current()
    });
    println!("seed {seed}; replay: RAFT3D_SEED={seed} cargo test -p raft3d-core --test {test}");
    seed
}

pub fn totals(machine: &Machine) -> Totals {
    meta::totals(&machine.rows).unwrap()
}

/// Changes the totals row, digest included, as if history had been another one.
pub fn change_totals(machine: &mut Machine, change: impl FnOnce(&mut Totals)) {
    let mut totals = totals(machine);
    change(&mut totals);
    put_totals(machine, &totals);
}

/// A UUID of version 7 that was made then; `n` tells those of one moment apart.
pub fn uuid7(at_ms: u64, n: u64) -> String {
    let time = format!("{at_ms:012x}");
    let (high, low) = time.split_at(8);
    format!("{high}-{low}-7000-8000-{n:012x}")
}

/// Overwrites the totals row, digest included, as if history had been longer.
pub fn put_totals(machine: &mut Machine, totals: &Totals) {
    use raft3d_core::Rows;
    machine.rows.put(vec![0x01, 0x00], bytes(totals));
    machine.digest = digest::recompute(&machine.rows).unwrap();
}

/// Overwrites the active ruleset's row, digest included.
pub fn put_ruleset(machine: &mut Machine, active: &raft3d_core::state::rulesets::RulesetRevision) {
    use raft3d_core::Rows;
    let key = [&[0x40], active.revision.0.to_be_bytes().as_slice()].concat();
    machine.rows.put(key, bytes(active));
    machine.digest = digest::recompute(&machine.rows).unwrap();
}
