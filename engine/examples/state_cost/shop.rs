//! A shop's entries as the log hands them over, and the host that judges them.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use raft3d_core::command::{
    Actor, Bootstrap, CreateFilament, CreateJob, CreatePrinter, ENVELOPE_VERSION, RequestOrigin,
    SetJobStatus, UploadModule,
};
use raft3d_core::state::meta;
use raft3d_core::state::rulesets::{Binding, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_core::{
    BindingId, ClusterId, Command, Envelope, Evaluation, FilamentId, JobId, LocalFault,
    ModuleDigest, ModuleSource, PolicyCall, PolicyHost, PrinterId, RequestId,
};
use raft3d_engine::policy::{EngineSettings, HostOptions, InProcessCompiler, WasmHost};
use raft3d_engine::raft::machine::StateMachine;
use raft3d_engine::raft::types::{Entry, EntryPayload, LeaderId, LogId, Proposal};
use raft3d_engine::storage::state::StateView;
use raft3d_sdk::{Grams, RuleOutput};

type Failure = Box<dyn Error>;

const PRINTERS: u64 = 50;
const ACTORS: u64 = 8;
/// Log time of the first entry, milliseconds since the Unix epoch.
const START_MS: u64 = 1_700_000_000_000;
/// Entries in one millisecond of log time.
const ENTRIES_PER_MS: u64 = 4;
/// The server's default deadline.
const DEADLINE_MS: u64 = 10_000;
const JOB_WEIGHT_MG: u64 = 10;
const SPOOL_MG: u64 = 1_000_000_000;
const EMPTY_CONFIG: [u8; 1] = [0xa0];
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/prebuilt");
const MODULES: [&str; 2] = ["standard-lifecycle", "standard-deduction"];

/// The real host, which can be told to allow everything unseen while a state is filled.
pub(crate) struct Host {
    wasm: WasmHost,
    allow_all: AtomicBool,
    allowed: Vec<u8>,
}

impl Host {
    pub(crate) fn new(cache_dir: &Path) -> Result<Self, Failure> {
        let settings = EngineSettings::default();
        let wasm = WasmHost::new(HostOptions {
            cache_dir: cache_dir.to_owned(),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        })?;
        Ok(Self {
            wasm,
            allow_all: AtomicBool::new(false),
            allowed: minicbor::to_vec(RuleOutput::default())?,
        })
    }

    pub(crate) fn allow_all(&self, yes: bool) {
        self.allow_all.store(yes, Ordering::Relaxed);
    }

    fn bootstrap(&self) -> Result<Bootstrap, Failure> {
        let mut modules = Vec::new();
        let mut ruleset = Ruleset::default();
        for name in MODULES {
            let bytes = std::fs::read(format!("{FOLDER}/{name}.wasm"))?;
            let report = self.wasm.prepare_upload(&bytes)?;
            let manifest = report.manifest;
            ruleset.bindings.push(Binding {
                id: BindingId::new(name),
                module: report.digest,
                hooks: manifest.hooks,
                scope: Scope::All,
                mode: Mode::Enforce,
                share: SHARE_ALL,
                lifecycle: manifest.lifecycle.is_some(),
                config: EMPTY_CONFIG.to_vec(),
            });
            let digest = report.digest;
            modules.push(UploadModule {
                digest,
                bytes,
                manifest,
            });
        }
        let cluster_id = ClusterId([7; 16]);
        Ok(Bootstrap {
            cluster_id,
            modules,
            ruleset,
            epoch: 1,
        })
    }
}

impl PolicyHost for Host {
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        if self.allow_all.load(Ordering::Relaxed) {
            let output = Ok(self.allowed.clone());
            return Ok(Evaluation { gas: 0, output });
        }
        self.wasm.evaluate(call, modules)
    }

    fn is_compiled(&self, _: ModuleDigest) -> bool {
        true
    }
}

/// What the next entries ask for, and how many of them.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Found,
    Create(usize),
    Start(usize),
    Finish(usize),
}

/// Makes entries. Jobs are created, started and finished in the same order.
pub(crate) struct Shop {
    pub(crate) host: Arc<Host>,
    index: u64,
    created: u64,
    started: u64,
    finished: u64,
    founding: Bootstrap,
}

impl Shop {
    /// Goes on where a state is.
    pub(crate) fn open(host: Arc<Host>, view: &StateView) -> Result<Self, Failure> {
        let jobs = meta::totals(view)?.jobs;
        let index = view.last_applied().map_or(0, |log_id| log_id.index + 1);
        let founding = host.bootstrap()?;
        Ok(Self {
            host,
            index,
            created: jobs,
            started: jobs,
            finished: jobs,
            founding,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index == 0
    }

    /// A state that was not written to the last entry is given what it lacks: new jobs.
    pub(crate) async fn catch_up(&mut self, machine: &mut StateMachine) -> Result<(), Failure> {
        let found = Self::open(Arc::clone(&self.host), &machine.handle().view())?;
        let lost = self.created - found.created;
        *self = found;
        if lost > 0 {
            println!("{lost} jobs were not in it, as they would come from the log");
        }
        super::apply(machine, self, Work::Create(lost as usize)).await?;
        self.started = self.created;
        self.finished = self.created;
        Ok(())
    }

    pub(crate) fn entries(&mut self, work: Work) -> Vec<Entry> {
        match work {
            Work::Found => self.found(),
            Work::Create(count) => (0..count).map(|_| self.create()).collect(),
            Work::Start(count) => (0..count)
                .map(|_| {
                    self.started += 1;
                    self.status(self.started, "Running")
                })
                .collect(),
            Work::Finish(count) => (0..count)
                .map(|_| {
                    self.finished += 1;
                    self.status(self.finished, "Done")
                })
                .collect(),
        }
    }

    fn found(&mut self) -> Vec<Entry> {
        let mut entries = vec![self.entry(Command::Bootstrap(self.founding.clone()))];
        for number in 0..PRINTERS {
            entries.push(self.entry(Command::CreatePrinter(CreatePrinter {
                id: Some(PrinterId::new(format!("printer-{number}"))),
                company: "Prusa".to_owned(),
                model: "MK4".to_owned(),
                ..CreatePrinter::default()
            })));
            entries.push(self.entry(Command::CreateFilament(CreateFilament {
                id: Some(FilamentId::new(format!("filament-{number}"))),
                material: "PLA".to_owned(),
                color: "Red".to_owned(),
                total: Grams::from_mg(SPOOL_MG).unwrap_or_default(),
                ..CreateFilament::default()
            })));
        }
        entries
    }

    fn create(&mut self) -> Entry {
        self.created += 1;
        let number = self.created;
        self.entry(Command::CreateJob(CreateJob {
            id: Some(job_id(number)),
            printer_id: PrinterId::new(format!("printer-{}", number % PRINTERS)),
            filament_id: FilamentId::new(format!("filament-{}", number / 7 % PRINTERS)),
            filepath: format!("/models/customer-{}/part-{number}.gcode", number % 97),
            print_weight: Grams::from_mg(JOB_WEIGHT_MG).unwrap_or_default(),
            priority: 0,
            labels: [].into(),
            status: None,
        }))
    }

    fn status(&mut self, number: u64, status: &str) -> Entry {
        self.entry(Command::SetJobStatus(SetJobStatus {
            id: job_id(number),
            status: status.to_owned(),
            used: None,
            reason: None,
            wants_override: false,
        }))
    }

    fn entry(&mut self, command: Command) -> Entry {
        let index = self.index;
        self.index += 1;
        let proposed_at_ms = START_MS + index / ENTRIES_PER_MS;
        let hash = blake3::hash(&index.to_le_bytes());
        let id = format!(
            "{proposed_at_ms:012x}{}",
            hex::encode(&hash.as_bytes()[..10])
        );
        let envelope = Envelope {
            version: ENVELOPE_VERSION,
            proposed_at_ms,
            deadline_ms: proposed_at_ms + DEADLINE_MS,
            actor: Actor {
                name: format!("client-{}", index % ACTORS),
                verified: false,
            },
            request_id: RequestId::new(id),
            request_origin: RequestOrigin::Node,
            request_hash: command.request_hash().unwrap_or_default(),
            command,
        };
        let payload = EntryPayload::Normal(Proposal(Bytes::from(
            envelope.to_bytes().unwrap_or_default(),
        )));
        let leader_id = LeaderId {
            term: 1,
            node_id: 1,
        };
        let log_id = LogId { leader_id, index };
        Entry { log_id, payload }
    }
}

/// Ids that do not come in the order of their keys, as clients' own do not.
fn job_id(number: u64) -> JobId {
    let hash = blake3::hash(&number.to_le_bytes());
    JobId::new(format!("job-{}", hex::encode(&hash.as_bytes()[..8])))
}
