//! A print shop in memory, and what must hold of its rows whatever was applied to them.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use raft3d_core::apply::apply_alone;
use raft3d_core::command::{
    Actor, CreateFilament, CreateJob, CreatePrinter, ENVELOPE_VERSION, RequestOrigin,
};
use raft3d_core::state::digest::{self, Digest};
use raft3d_core::state::jobs::{self, JobFilter};
use raft3d_core::state::ledger::{self, LedgerKind};
use raft3d_core::state::memory::MemoryRows;
use raft3d_core::state::rulesets::DecodedRuleset;
use raft3d_core::state::{filaments, meta};
use raft3d_core::{
    ClusterId, Command, Envelope, Epochs, Evaluation, FilamentId, JobId, Judge, LocalFault,
    ModuleDigest, ModuleSource, Outcome, PolicyCall, PolicyError, PolicyHost, PrinterId, RequestId,
    Response, Revision,
};
use raft3d_engine::policy::tally::PolicyTallies;
use raft3d_engine::policy::{AloudHost, ModuleReport, Trial, inspect};
use raft3d_engine::raft::api::{
    ClockStatus, ClusterStatus, DiskStatus, MembershipError, NodeStatus, ReadError, ReadOptions,
    Role, WriteError, WriteOutcome, WriteRequest,
};
use raft3d_engine::raft::readiness::NotCompiled;
use raft3d_engine::raft::{Incarnation, Member, NodeId};
use raft3d_sdk::Grams;
use raft3d_sdk::native::call_native;
use raft3d_server::backend::{Backend, CheckError, DryRun, View};
use standard_deduction::StandardDeduction;
use standard_lifecycle::StandardLifecycle;
use tokio::sync::Semaphore;

/// Rows of one kind that are looked at: an input writes far fewer.
const ROWS_MAX: usize = 10_000;
/// When the shop opened, milliseconds since the Unix epoch.
pub(crate) const OPENED_AT_MS: u64 = 1_700_000_000_000;

/// Waits for a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// The default policies without WebAssembly: what is fuzzed here is what is around them.
struct NativeHost;

impl PolicyHost for NativeHost {
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        _modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        let export = call.export.name();
        let answer = if call.module == *LIFECYCLE {
            call_native::<StandardLifecycle>(export, call.input)
        } else {
            call_native::<StandardDeduction>(export, call.input)
        };
        Ok(Evaluation {
            gas: 1,
            output: answer.map_err(|_| PolicyError::Unreachable),
        })
    }

    fn is_compiled(&self, _: ModuleDigest) -> bool {
        true
    }
}

impl AloudHost for NativeHost {
    fn evaluate_aloud(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Trial, LocalFault> {
        let evaluation = self.evaluate(call, modules)?;
        Ok(Trial {
            evaluation,
            panic: None,
        })
    }
}

/// The module that provides the default lifecycle.
static LIFECYCLE: LazyLock<ModuleDigest> = LazyLock::new(|| {
    let command = raft3d_server::bootstrap::command(ClusterId([7; 16]), inspect);
    let modules = command.expect("the default modules pass the check").modules;
    let lifecycle = modules.iter().find(|m| m.manifest.lifecycle.is_some());
    lifecycle.expect("one of them has a lifecycle").digest
});

/// The shop that every input finds: `p1`, 800 g of PLA on `f1`, the job `j1`.
static STOCKED: LazyLock<Shop> = LazyLock::new(|| {
    let mut shop = Shop::default();
    let bootstrap = raft3d_server::bootstrap::command(ClusterId([7; 16]), inspect);
    shop.accept(Command::Bootstrap(
        bootstrap.expect("the default modules pass the check"),
    ));
    for command in stock() {
        shop.accept(command);
    }
    shop
});

/// What is in stock, as commands.
pub(crate) fn stock() -> [Command; 3] {
    let gram = |grams| Grams::from_grams(grams).expect("within the limit");
    [
        Command::CreatePrinter(CreatePrinter {
            id: Some(PrinterId::new("p1")),
            company: "HP".to_owned(),
            model: "DeskJet 123".to_owned(),
            ..CreatePrinter::default()
        }),
        Command::CreateFilament(CreateFilament {
            id: Some(FilamentId::new("f1")),
            material: "PLA".to_owned(),
            color: "Red".to_owned(),
            total: gram(1_000),
            remaining: Some(gram(800)),
            ..CreateFilament::default()
        }),
        Command::CreateJob(CreateJob {
            id: Some(JobId::new("j1")),
            printer_id: PrinterId::new("p1"),
            filament_id: FilamentId::new("f1"),
            filepath: "prints/sword/file123.gcode".to_owned(),
            print_weight: gram(120),
            priority: 0,
            labels: [("site".to_owned(), "north".to_owned())].into(),
            status: None,
        }),
    ]
}

/// Rows and what goes with them.
#[derive(Clone, Default)]
pub(crate) struct Shop {
    rows: MemoryRows,
    digest: Digest,
    ruleset: DecodedRuleset,
    index: u64,
}

impl Shop {
    /// A copy of the stocked shop.
    pub(crate) fn stocked() -> Self {
        STOCKED.clone()
    }

    /// An envelope as the leader would make it next.
    pub(crate) fn envelope(&self, command: Command) -> Envelope {
        let now_ms = OPENED_AT_MS + self.index;
        Envelope {
            version: ENVELOPE_VERSION,
            proposed_at_ms: now_ms,
            deadline_ms: now_ms + 10_000,
            actor: Actor {
                name: "fuzzer".to_owned(),
                verified: false,
            },
            request_id: RequestId::new(format!("minted-{}", self.index)),
            request_origin: RequestOrigin::Node,
            request_hash: command.request_hash().expect("it encodes"),
            command,
        }
    }

    fn accept(&mut self, command: Command) {
        let envelope = self.envelope(command);
        let outcome = self.apply(&envelope);
        assert!(
            matches!(outcome.response, Response::Accepted(_)),
            "{outcome:?}"
        );
    }

    /// Applies the next entry. No input is a fault of this replica.
    pub(crate) fn apply(&mut self, envelope: &Envelope) -> Outcome {
        self.index += 1;
        let index = Revision(self.index);
        let (rows, digest) = (&mut self.rows, &mut self.digest);
        let judge = Judge {
            host: &NativeHost,
            ruleset: &mut self.ruleset,
            // An epoch that this program does not support would be a fault.
            epochs: Epochs {
                oldest: 1,
                newest: u32::MAX,
            },
        };
        apply_alone(rows, digest, index, envelope, judge).expect("no local fault")
    }

    pub(crate) const fn rows(&self) -> &MemoryRows {
        &self.rows
    }

    pub(crate) const fn index(&self) -> u64 {
        self.index
    }

    /// What holds after every entry.
    pub(crate) fn check(&self) {
        let rows = &self.rows;
        assert_eq!(
            digest::recompute(rows).expect("rows in memory"),
            self.digest,
            "the digest of the rows"
        );
        let all = JobFilter::default();
        let jobs = jobs::list(rows, &all, None, ROWS_MAX).expect("jobs").jobs;
        let spools = filaments::list(rows, None, ROWS_MAX).expect("filaments");
        for spool in &spools {
            assert!(spool.remaining <= spool.total, "{spool:?}");
            let own = jobs.iter().filter(|job| job.filament_id == spool.id);
            let reserved: u64 = own.clone().map(|job| job.reservation().mg()).sum();
            assert_eq!(spool.reserved.mg(), reserved, "{spool:?}");
            let lines = ledger::list(rows, &spool.id, None, ROWS_MAX).expect("the ledger");
            let sum = |kinds: [LedgerKind; 2]| -> u64 {
                let lines = lines.iter().filter(|line| kinds.contains(&line.kind));
                lines.map(|line| line.amount.mg()).sum()
            };
            let came = sum([LedgerKind::Loaded, LedgerKind::AdjustedUp]);
            let went = sum([LedgerKind::Deducted, LedgerKind::AdjustedDown]);
            assert_eq!(spool.remaining.mg() + went, came, "{spool:?}");
            let used: u64 = own.map(|job| job.deducted.mg()).sum();
            assert_eq!(sum([LedgerKind::Deducted; 2]), used, "{spool:?}");
        }
        let open = jobs.iter().filter(|job| !job.state.terminal).count() as u64;
        let counted = jobs::open_by_state(rows).expect("sums");
        assert_eq!(counted.iter().map(|count| count.jobs).sum::<u64>(), open);
        let totals = meta::totals(rows).expect("the totals");
        assert_eq!(totals.jobs, jobs.len() as u64);
        assert_eq!(totals.filaments, spools.len() as u64);
    }
}

/// The shop as a node, for the API.
pub(crate) struct ShopNode(Mutex<Shop>);

impl ShopNode {
    pub(crate) fn stocked() -> Self {
        Self(Mutex::new(Shop::stocked()))
    }

    pub(crate) fn shop(&self) -> MutexGuard<'_, Shop> {
        self.0.lock().expect("no panic before")
    }

    fn write_now(&self, request: WriteRequest) -> WriteOutcome {
        let mut shop = self.shop();
        let mut envelope = shop.envelope(request.command);
        envelope.actor = request.actor;
        if let Some(key) = request.idempotency_key {
            envelope.request_id = key;
            envelope.request_origin = RequestOrigin::Client;
        }
        // What a handler lets through also travels: the other nodes must read the same in it.
        let bytes = envelope.to_bytes().expect("a request's envelope is small");
        let travelled = Envelope::from_bytes(&bytes).expect("an envelope that was encoded");
        assert_eq!(travelled, envelope);
        let outcome = shop.apply(&travelled);
        WriteOutcome {
            revision: outcome.revision,
            replayed: outcome.replayed,
            response: outcome.response,
            certain_since_ms: outcome.certain_since_ms,
        }
    }

    fn membership(expected: Option<u64>) -> Result<(), MembershipError> {
        match expected {
            Some(expected) if expected != 1 => Err(MembershipError::RevisionMismatch {
                actual: 1,
                expected,
            }),
            _ => Ok(()),
        }
    }
}

impl Backend for ShopNode {
    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteOutcome, WriteError>> {
        ready(Ok(self.write_now(request))).boxed()
    }

    fn read(&self, options: ReadOptions) -> BoxFuture<'_, Result<View, ReadError>> {
        let shop = self.shop();
        let applied = Revision(shop.index);
        let wanted = options.min_revision.filter(|wanted| *wanted > applied);
        let view = match wanted {
            Some(wanted) => Err(ReadError::Behind { applied, wanted }),
            None => Ok(View {
                rows: Box::new(shop.rows.clone()),
                revision: applied,
            }),
        };
        ready(view).boxed()
    }

    fn check_module(
        &self,
        module: bytes::Bytes,
    ) -> BoxFuture<'_, Result<ModuleReport, CheckError>> {
        ready(inspect(&module).map_err(CheckError::from)).boxed()
    }

    fn await_compiled(&self, _: Vec<ModuleDigest>) -> BoxFuture<'_, Result<(), NotCompiled>> {
        ready(Ok(())).boxed()
    }

    fn dry_run(&self) -> Option<DryRun> {
        // One input makes one request after the other.
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().ok()?;
        let host = Arc::new(NativeHost);
        Some(DryRun { host, permit })
    }

    fn status(&self) -> NodeStatus {
        let shop = self.shop();
        NodeStatus {
            node_id: 1,
            incarnation: Incarnation::default(),
            role: Role::Leader,
            leader: Some(1),
            term: 1,
            last_log_index: shop.index,
            applied: Revision(shop.index),
            digest: shop.digest,
            snapshot_index: 0,
            purged_index: 0,
            version: "fuzz".to_owned(),
            engine_epoch: 1,
            engine_epoch_oldest: 1,
            engine_epoch_newest: 1,
            denied: Vec::new(),
            not_ready: None,
            clock: ClockStatus::default(),
            disk: DiskStatus::default(),
            warnings: Vec::new(),
        }
    }

    fn trust_clock(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn policy_tallies(&self) -> PolicyTallies {
        PolicyTallies::default()
    }

    fn cluster_status(&self) -> BoxFuture<'_, ClusterStatus> {
        ready(ClusterStatus {
            cluster_id: Some(ClusterId([7; 16])),
            leader: Some(1),
            membership_revision: 1,
            members: Vec::new(),
        })
        .boxed()
    }

    fn add_learner(&self, _: Member) -> BoxFuture<'_, Result<NodeId, MembershipError>> {
        ready(Ok(1_001)).boxed()
    }

    fn promote(
        &self,
        _: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        ready(Self::membership(expected)).boxed()
    }

    fn remove(
        &self,
        _: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        ready(Self::membership(expected)).boxed()
    }

    fn readdress(
        &self,
        _: NodeId,
        _: Option<String>,
        _: Option<String>,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        ready(Self::membership(expected)).boxed()
    }

    fn transfer_leader(&self, _: NodeId) -> BoxFuture<'_, Result<(), MembershipError>> {
        ready(Ok(())).boxed()
    }
}
