//! A node in memory: entries are applied as they come, policies answer natively.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http_body_util::BodyExt;
use raft3d_engine::core::apply::apply_alone;
use raft3d_engine::core::command::{Actor, ENVELOPE_VERSION, RequestOrigin};
use raft3d_engine::core::epoch::EPOCHS;
use raft3d_engine::core::limits::KEYED_RECORDS_MAX;
use raft3d_engine::core::state::digest::{self, Digest};
use raft3d_engine::core::state::memory::MemoryRows;
use raft3d_engine::core::state::meta::{self, Forgotten, Totals};
use raft3d_engine::core::state::rulesets::DecodedRuleset;
use raft3d_engine::core::{ClusterId, Command, Envelope, Judge, ModuleDigest, RequestId, Revision};
use raft3d_engine::policy::tally::PolicyTallies;
use raft3d_engine::policy::{AloudHost, ModuleReport};
use raft3d_engine::raft::api::{
    ClockEvidence, ClockStatus, ClusterStatus, Consistency, DiskStatus, MemberStatus,
    MembershipError, NodeStatus, ReadError, ReadOptions, Role, WriteError, WriteOutcome,
    WriteRequest,
};
use raft3d_engine::raft::readiness::{LackingVoter, NotCompiled};
use raft3d_engine::raft::{Incarnation, Member, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::native::{NativeHost, inspect};
use crate::backend::{Backend, CheckError, DRY_RUNS_MAX, DryRun, View};

#[derive(Debug)]
struct Inner {
    rows: MemoryRows,
    digest: Digest,
    index: u64,
    write_errors: VecDeque<WriteError>,
    read_errors: VecDeque<ReadError>,
    /// What the last read was asked for.
    last_read: Option<Consistency>,
    not_ready: Option<String>,
    warnings: Vec<String>,
    clock_behind_ms: u64,
    clock_waits: Option<String>,
    not_compiled: Option<(ModuleDigest, NotCompiled)>,
    membership: Vec<String>,
    tallies: PolicyTallies,
    reads_more: bool,
}

impl Inner {
    /// The clock shows log time, or less.
    fn clock(&self) -> ClockStatus {
        let log = meta::log_time(&self.rows).unwrap();
        ClockStatus {
            clock_ms: log.now_ms - log.offset.ms - self.clock_behind_ms,
            log_time_ms: log.now_ms,
            offset_ms: log.offset.ms,
            adjusted_at: log.offset.revision,
            evidence: ClockEvidence::Confirmed,
            waits: self.clock_waits.clone(),
        }
    }
}

/// The node.
#[derive(Debug)]
pub(crate) struct Fake {
    host: Arc<NativeHost>,
    dry_runs: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

impl Fake {
    fn new() -> Self {
        let command = crate::bootstrap::command(ClusterId([7; 16]), inspect).unwrap();
        let lifecycle = command.modules[0].digest;
        let inner = Inner {
            rows: MemoryRows::default(),
            digest: Digest::default(),
            index: 0,
            write_errors: VecDeque::new(),
            read_errors: VecDeque::new(),
            last_read: None,
            not_ready: None,
            warnings: Vec::new(),
            clock_behind_ms: 0,
            clock_waits: None,
            not_compiled: None,
            membership: Vec::new(),
            tallies: PolicyTallies::default(),
            reads_more: false,
        };
        let fake = Self {
            host: Arc::new(NativeHost { lifecycle }),
            dry_runs: Arc::new(Semaphore::new(DRY_RUNS_MAX as usize)),
            inner: Mutex::new(inner),
        };
        let bootstrap = fake.apply(WriteRequest {
            command: Command::Bootstrap(command),
            asked: None,
            actor: Actor {
                name: "test".to_owned(),
                verified: false,
            },
            idempotency_key: None,
            timeout: std::time::Duration::from_secs(1),
        });
        assert!(matches!(
            bootstrap.response,
            raft3d_engine::core::Response::Accepted(_)
        ));
        fake
    }

    fn apply(&self, request: WriteRequest) -> WriteOutcome {
        let mut guard = self.inner.lock().unwrap();
        let inner = &mut *guard;
        inner.index += 1;
        let now_ms = 1_700_000_000_000 + inner.index;
        let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap();
        let origin = match &request.idempotency_key {
            Some(_) => RequestOrigin::Client,
            None => RequestOrigin::Node,
        };
        let request_hash = request.hash();
        let minted = || RequestId::new(format!("minted-{now_ms}"));
        let envelope = Envelope {
            version: ENVELOPE_VERSION,
            proposed_at_ms: now_ms,
            deadline_ms: now_ms + timeout_ms,
            actor: request.actor,
            request_id: request.idempotency_key.unwrap_or_else(minted),
            request_origin: origin,
            request_hash,
            command: request.command,
        };
        let index = Revision(inner.index);
        let Inner { rows, digest, .. } = &mut *inner;
        let judge = Judge {
            host: &*self.host,
            ruleset: &mut DecodedRuleset::default(),
            epochs: EPOCHS,
        };
        let applied = apply_alone(rows, digest, index, &envelope, judge).unwrap();
        WriteOutcome {
            revision: applied.revision,
            replayed: applied.replayed,
            response: applied.response,
            certain_since_ms: applied.certain_since_ms,
        }
    }
}

fn membership(
    inner: &mut Inner,
    expected: Option<u64>,
    what: String,
) -> Result<(), MembershipError> {
    let actual = 40;
    match expected {
        Some(expected) if expected != actual => {
            Err(MembershipError::RevisionMismatch { actual, expected })
        }
        _ => {
            inner.membership.push(what);
            Ok(())
        }
    }
}

impl Backend for Fake {
    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteOutcome, WriteError>> {
        let error = self.inner.lock().unwrap().write_errors.pop_front();
        ready(error.map_or_else(|| Ok(self.apply(request)), Err)).boxed()
    }

    fn read(&self, options: ReadOptions) -> BoxFuture<'_, Result<View, ReadError>> {
        let mut inner = self.inner.lock().unwrap();
        inner.last_read = Some(options.consistency);
        let applied = Revision(inner.index);
        let wanted = options.min_revision.filter(|wanted| *wanted > applied);
        let behind = wanted.map(|wanted| ReadError::Behind { applied, wanted });
        let error = inner.read_errors.pop_front().or(behind);
        let view = View {
            rows: Box::new(inner.rows.clone()),
            revision: applied,
        };
        ready(error.map_or(Ok(view), Err)).boxed()
    }

    fn check_module(&self, module: Bytes) -> BoxFuture<'_, Result<ModuleReport, CheckError>> {
        let more = self.inner.lock().unwrap().reads_more;
        let report = inspect(&module).map(|mut report| {
            report.manifest.fallback |= more;
            report
        });
        ready(report.map_err(CheckError::from)).boxed()
    }

    fn await_compiled(&self, modules: Vec<ModuleDigest>) -> BoxFuture<'_, Result<(), NotCompiled>> {
        let lacking = self.inner.lock().unwrap().not_compiled.clone();
        let lacking = lacking.filter(|(module, _)| modules.contains(module));
        async move { lacking.map_or(Ok(()), |(_, lacking)| Err(lacking)) }.boxed()
    }

    fn dry_run(&self) -> Option<DryRun> {
        let permit = Arc::clone(&self.dry_runs).try_acquire_owned().ok()?;
        let host = Arc::clone(&self.host) as Arc<dyn AloudHost>;
        Some(DryRun { host, permit })
    }

    fn status(&self) -> NodeStatus {
        let inner = self.inner.lock().unwrap();
        NodeStatus {
            node_id: 1,
            incarnation: Incarnation::default(),
            role: Role::Leader,
            leader: Some(1),
            term: 3,
            last_log_index: inner.index,
            applied: Revision(inner.index),
            digest: inner.digest,
            snapshot_index: 0,
            purged_index: 0,
            version: "0.0.0-test".to_owned(),
            engine_epoch: 1,
            engine_epoch_oldest: 1,
            engine_epoch_newest: 1,
            denied: Vec::new(),
            not_ready: inner.not_ready.clone(),
            clock: inner.clock(),
            warnings: inner.warnings.clone(),
            disk: DiskStatus {
                path: "/data".to_owned(),
                free_bytes: Some(1 << 30),
                oldest_unsynced_ms: 1_500,
                alarm: None,
                merges_stopped: false,
                merges_wait: false,
            },
        }
    }

    fn trust_clock(&self) -> BoxFuture<'_, ()> {
        self.inner.lock().unwrap().clock_waits = None;
        ready(()).boxed()
    }

    fn policy_tallies(&self) -> PolicyTallies {
        self.inner.lock().unwrap().tallies.clone()
    }

    fn cluster_status(&self) -> BoxFuture<'_, ClusterStatus> {
        let member = |node_id: NodeId, status| MemberStatus {
            node_id,
            member: Member {
                peer_addr: "127.0.0.1:9000".to_owned(),
                http_addr: "127.0.0.1:8000".to_owned(),
                incarnation: Incarnation::default(),
            },
            voter: true,
            status,
        };
        let silent = Err("connection refused".to_owned());
        let status = ClusterStatus {
            cluster_id: Some(ClusterId([7; 16])),
            leader: Some(1),
            membership_revision: 40,
            members: vec![member(1, Ok(self.status())), member(2, silent)],
        };
        ready(status).boxed()
    }

    fn add_learner(&self, member: Member) -> BoxFuture<'_, Result<NodeId, MembershipError>> {
        let mut inner = self.inner.lock().unwrap();
        ready(membership(&mut inner, None, format!("add {}", member.peer_addr)).map(|()| 1_041))
            .boxed()
    }

    fn promote(
        &self,
        node_id: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        let mut inner = self.inner.lock().unwrap();
        ready(membership(
            &mut inner,
            expected,
            format!("promote {node_id}"),
        ))
        .boxed()
    }

    fn remove(
        &self,
        node_id: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        let mut inner = self.inner.lock().unwrap();
        ready(membership(
            &mut inner,
            expected,
            format!("remove {node_id}"),
        ))
        .boxed()
    }

    fn readdress(
        &self,
        node_id: NodeId,
        peer_addr: Option<String>,
        http_addr: Option<String>,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        let change = format!("readdress {node_id} {peer_addr:?} {http_addr:?}");
        let mut inner = self.inner.lock().unwrap();
        ready(membership(&mut inner, expected, change)).boxed()
    }

    fn transfer_leader(&self, to: NodeId) -> BoxFuture<'_, Result<(), MembershipError>> {
        let known = to <= 2;
        let unknown = MembershipError::UnknownMember { node_id: to };
        ready(if known { Ok(()) } else { Err(unknown) }).boxed()
    }
}

/// The API on top of a node in memory.
pub(crate) struct Shop {
    node: Arc<Fake>,
    router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The last part of the problem's `type`, and its `field`.
    pub(crate) fn problem(&self) -> (String, Option<String>) {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        assert!(json["title"].is_string() && json["detail"].is_string());
        let kind = json["type"]
            .as_str()
            .unwrap()
            .strip_prefix("/docs/problems/")
            .unwrap();
        (kind.to_owned(), json["field"].as_str().map(str::to_owned))
    }

    /// The URI of the next page.
    pub(crate) fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let (uri, rel) = link.split_once(';').unwrap();
        assert_eq!(rel.trim(), "rel=\"next\"");
        Some(uri.trim_matches(['<', '>']).to_owned())
    }
}

impl Shop {
    /// An empty shop under the default rules.
    pub(crate) fn new() -> Self {
        let node = Arc::new(Fake::new());
        let backend: Arc<dyn Backend> = Arc::clone(&node) as Arc<dyn Backend>;
        Self {
            node,
            router: crate::http::router(backend),
        }
    }

    /// A shop with the printer `p1` and 800 g of PLA on `f1`.
    pub(crate) async fn stocked() -> Self {
        let shop = Self::new();
        let printer = r#"{"id":"p1","company":"HP","model":"DeskJet 123"}"#;
        assert_eq!(
            shop.post("/printers", printer).await.status,
            StatusCode::CREATED
        );
        let filament = r#"{"id":"f1","type":"PLA","color":"Red","total_weight_in_grams":1000,
            "remaining_weight_in_grams":800}"#;
        assert_eq!(
            shop.post("/filaments", filament).await.status,
            StatusCode::CREATED
        );
        shop
    }

    /// The API itself.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        assert!(parts.headers.contains_key("raft3d-revision"), "{parts:?}");
        let text = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text).into_owned();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.call("GET", uri, &[], Body::empty()).await
    }

    pub(crate) async fn post(&self, uri: &str, body: &str) -> Answer {
        self.call(
            "POST",
            uri,
            &[("content-type", "application/json")],
            body.to_owned(),
        )
        .await
    }

    /// Everything that clients can see.
    pub(crate) async fn visible(&self) -> String {
        let mut all = String::new();
        for uri in [
            "/api/v1/printers?limit=1000",
            "/api/v1/filaments?limit=1000",
            "/api/v1/print_jobs?limit=1000",
            "/api/v1/policies",
            "/api/v1/ruleset",
        ] {
            all.push_str(&self.get(uri).await.text);
        }
        all
    }

    /// Entries so far.
    pub(crate) fn log_index(&self) -> u64 {
        self.node.inner.lock().unwrap().index
    }

    /// The next write meets `error`.
    pub(crate) fn fail_write(&self, error: WriteError) {
        self.node
            .inner
            .lock()
            .unwrap()
            .write_errors
            .push_back(error);
    }

    /// The next read meets `error`.
    pub(crate) fn fail_read(&self, error: ReadError) {
        self.node.inner.lock().unwrap().read_errors.push_back(error);
    }

    /// What the last read was asked for; none if there was none since it was looked at.
    pub(crate) fn take_last_read(&self) -> Option<Consistency> {
        self.node.inner.lock().unwrap().last_read.take()
    }

    /// A voter is still compiling the module.
    pub(crate) fn set_compiling(&self, module: ModuleDigest) {
        let why = format!("is still compiling {module}");
        let voters = vec![LackingVoter { node_id: 3, why }];
        let lacking = (module, NotCompiled { voters });
        self.node.inner.lock().unwrap().not_compiled = Some(lacking);
    }

    /// From now on the node's clock is so much behind log time.
    pub(crate) fn set_clock_behind(&self, ms: u64) {
        self.node.inner.lock().unwrap().clock_behind_ms = ms;
    }

    /// From now on nothing speaks for the node's clock.
    pub(crate) fn set_clock_waits(&self, why: &str) {
        self.node.inner.lock().unwrap().clock_waits = Some(why.to_owned());
    }

    /// From now on the program is one that reads more in a module.
    pub(crate) fn set_reads_more(&self) {
        self.node.inner.lock().unwrap().reads_more = true;
    }

    pub(crate) fn set_tallies(&self, tallies: PolicyTallies) {
        self.node.inner.lock().unwrap().tallies = tallies;
    }

    /// Takes the place of one dry run for as long as the answer lives; none where all are taken.
    pub(crate) fn occupy_dry_run(&self) -> Option<OwnedSemaphorePermit> {
        self.node.dry_run().map(|leave| leave.permit)
    }

    /// From now on there are so many others with keys that each share is the guaranteed part.
    pub(crate) fn crowd_the_keys(&self) {
        self.change_totals(|totals| totals.keys_unverified.crowds = KEYED_RECORDS_MAX);
    }

    /// Keys up to that time were forgotten, and answers up to that log time, milliseconds.
    pub(crate) fn forget_keys_up_to(&self, keys_ms: u64, certain_since_ms: u64) {
        self.change_totals(|totals| {
            totals.keys_unverified.forgotten = Forgotten {
                keys_from_ms: keys_ms,
                certain_since_ms,
            };
        });
    }

    fn change_totals(&self, change: impl FnOnce(&mut Totals)) {
        let mut inner = self.node.inner.lock().unwrap();
        let mut totals = meta::totals(&inner.rows).unwrap();
        change(&mut totals);
        meta::put_totals(&mut inner.rows, &totals).unwrap();
        inner.digest = digest::recompute(&inner.rows).unwrap();
    }

    /// The digest of all rows.
    pub(crate) fn digest(&self) -> Digest {
        self.node.inner.lock().unwrap().digest
    }

    pub(crate) fn warn(&self, warning: &str) {
        let mut inner = self.node.inner.lock().unwrap();
        inner.warnings.push(warning.to_owned());
    }

    pub(crate) fn set_not_ready(&self, reason: &str) {
        self.node.inner.lock().unwrap().not_ready = Some(reason.to_owned());
    }

    /// Changes of the membership that were asked for.
    pub(crate) fn membership(&self) -> Vec<String> {
        self.node.inner.lock().unwrap().membership.clone()
    }
}
