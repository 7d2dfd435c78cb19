//! One client: what it asks, where, and how it follows a write to its end.

use std::sync::Arc;
use std::time::Duration;

use raft3d_checkers::history::{Answer, Consistency, Facts, Op, RequestKey};
use raft3d_cluster_tests::client::Client;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::request::{Request, answer, request};
use super::{Accepted, FILAMENTS, PRINTERS, Shop, any_consistency, lock};
use crate::rng::Rng;

/// Longest wait for one answer. Shorter than the server's own deadline: a client that gives up
/// early and asks elsewhere under the same key is what exactly-once is for.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(4);
/// Longest wait for the answer to an upload: it is compiled first.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(60);
/// Attempts of one write.
const ATTEMPTS_MAX: u32 = 8;
/// Pause before the next attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two operations: a history is to hold much of a run, not only its first second.
const THINK_MIN_MS: u64 = 5;
/// And its longest.
const THINK_MAX_MS: u64 = 40;
/// One accepted write in so many is sent again under its key, to be answered from memory.
const REPEAT_ONE_IN: u64 = 12;
/// Of the newest jobs, so many are worked on: clients are to meet at the same jobs.
const HOT_JOBS: usize = 24;
/// The states that jobs are sent to; not all of these steps are legal.
const STATES: [&str; 5] = ["Running", "Running", "Done", "Done", "Canceled"];

/// A client.
#[derive(Debug)]
pub struct Desk {
    shop: Arc<Shop>,
    number: u32,
    rng: Rng,
    writes: u64,
    /// The newest revision that it was told.
    seen: u64,
}

impl Desk {
    /// A client with a number of its own.
    #[must_use]
    pub fn new(shop: &Arc<Shop>, number: u32, rng: Rng) -> Self {
        let shop = Arc::clone(shop);
        let (writes, seen) = (0, 0);
        Self {
            shop,
            number,
            rng,
            writes,
            seen,
        }
    }

    /// Does one thing, and thinks.
    pub(super) fn work(&mut self) {
        match self.rng.below(100) {
            0..34 => self.create_job(),
            34..62 => self.set_status(),
            62..66 => self.create_another(),
            _ => self.read(),
        }
        let think = THINK_MIN_MS + self.rng.below(THINK_MAX_MS - THINK_MIN_MS);
        std::thread::sleep(Duration::from_millis(think));
    }

    fn create_job(&mut self) {
        let place = self.writes;
        // Every second client leaves the id to the cluster: only exactly-once records keep a
        // retry from making a second job there.
        let named = self.number.is_multiple_of(2);
        let op = Op::CreateJob {
            id: named.then(|| format!("j-{}-{place}", self.number)),
            printer: (*self.rng.pick(&PRINTERS)).to_owned(),
            filament: self.rng.pick(&FILAMENTS).0.to_owned(),
            weight_mg: 1 + self.rng.below(20_000),
            priority: i32::try_from(self.rng.below(5)).unwrap_or_default(),
            tag: format!("/models/{}-{place}.stl", self.number),
        };
        if let Some(Facts::Job(job)) = self.write(&op) {
            lock(&self.shop.jobs).push(job.id);
        }
    }

    fn a_job(&mut self) -> Option<String> {
        let jobs = lock(&self.shop.jobs);
        let hot = jobs.len().saturating_sub(HOT_JOBS);
        let hot = jobs.get(hot..).filter(|hot| !hot.is_empty())?;
        Some(self.rng.pick(hot).clone())
    }

    fn set_status(&mut self) {
        let Some(job) = self.a_job() else { return };
        let op = Op::SetStatus {
            job,
            to: (*self.rng.pick(&STATES)).to_owned(),
            used_mg: None,
            wants_override: false,
        };
        self.write(&op);
    }

    fn create_another(&mut self) {
        let id = Some(format!("x-{}-{}", self.number, self.writes));
        let op = if self.rng.one_in(2) {
            Op::CreatePrinter { id }
        } else {
            Op::CreateFilament {
                id,
                total_mg: 1_000_000,
                remaining_mg: self.rng.below(1_000_001),
            }
        };
        self.write(&op);
    }

    fn read(&mut self) {
        let consistency = any_consistency(&mut self.rng, self.seen);
        let job = self.a_job();
        let op = match (self.rng.below(10), job) {
            (0..6, Some(job)) => Op::ReadJob { job, consistency },
            (6, _) => Op::ReadPrinter {
                printer: (*self.rng.pick(&PRINTERS)).to_owned(),
                consistency,
            },
            (7, _) => Op::ListJobs {
                consistency,
                complete: false,
            },
            _ => Op::ReadFilament {
                filament: self.rng.pick(&FILAMENTS).0.to_owned(),
                consistency,
            },
        };
        if let Some(request) = request(&op) {
            self.attempt(&op, None, &request, ATTEMPT_PATIENCE);
        }
    }

    /// Follows a write until it is accepted (answers what it shows) or refused, or nobody can
    /// tell.
    pub fn write(&mut self, op: &Op) -> Option<Facts> {
        let request = request(op)?;
        self.follow(op, &request, ATTEMPT_PATIENCE)
    }

    /// Uploads a module; answers its digest.
    pub fn upload(&mut self, module: &[u8]) -> Option<String> {
        let digest = sha256(module);
        let op = Op::UploadPolicy {
            module: digest.clone(),
        };
        let request = Request {
            method: "POST",
            path: "/api/v1/policies".to_owned(),
            content: "application/wasm",
            if_match: None,
            body: Some(module.to_vec()),
        };
        self.follow(&op, &request, UPLOAD_PATIENCE).map(|_| digest)
    }

    /// Activates `bindings` in place of the ruleset of revision `expected`; none: rolls back to
    /// the one before.
    pub fn activate(&mut self, name: &str, bindings: Option<&Value>, expected: u64) -> bool {
        let op = Op::ActivateRuleset {
            name: name.to_owned(),
            expected: Some(expected),
        };
        let (method, path, body) = match bindings {
            Some(bindings) => {
                let body = serde_json::json!({"bindings": bindings, "reason": name});
                ("PUT", "/api/v1/ruleset", body)
            }
            None => {
                let body = serde_json::json!({"reason": name});
                ("POST", "/api/v1/ruleset/rollback", body)
            }
        };
        let request = Request {
            method,
            path: path.to_owned(),
            content: "application/json",
            if_match: Some(expected),
            body: Some(body.to_string().into_bytes()),
        };
        self.follow(&op, &request, UPLOAD_PATIENCE).is_some()
    }

    /// Reads which ruleset is active, and records that it did.
    pub fn read_ruleset(&mut self) {
        let op = Op::ReadRuleset {
            consistency: Consistency::Linearizable,
        };
        if let Some(request) = request(&op) {
            self.attempt(&op, None, &request, ATTEMPT_PATIENCE);
        }
    }

    fn follow(&mut self, op: &Op, request: &Request, patience: Duration) -> Option<Facts> {
        self.writes += 1;
        let mut key = RequestKey {
            actor: format!("client-{}", self.number),
            id: format!("k-{}-{}", self.number, self.writes),
            attempt: 0,
        };
        loop {
            let answer = self.attempt(op, Some(&key), request, patience);
            key.attempt += 1;
            match answer {
                Answer::Accepted { facts, .. } => {
                    if self.rng.one_in(REPEAT_ONE_IN) {
                        self.attempt(op, Some(&key), request, patience);
                    }
                    return Some(facts);
                }
                Answer::Rejected { why, .. } if why.is_remembered() => return None,
                _ if key.attempt >= ATTEMPTS_MAX => return None,
                _ => std::thread::sleep(RETRY_PAUSE),
            }
        }
    }

    /// Asks any node once, and records it.
    fn attempt(
        &mut self,
        op: &Op,
        key: Option<&RequestKey>,
        request: &Request,
        patience: Duration,
    ) -> Answer {
        let targets = self.shop.targets();
        let (node, addr) = *self.rng.pick(&targets);
        let if_match = request.if_match.map(|revision| format!("\"{revision}\""));
        let mut headers = vec![("content-type", request.content)];
        if let Some(key) = key {
            headers.push(("idempotency-key", &key.id));
            headers.push(("raft3d-actor", &key.actor));
        }
        if let Some(if_match) = &if_match {
            headers.push(("if-match", if_match));
        }
        let client = Client::with_patience(addr, patience);
        let sent = self.shop.now();
        let from = (self.number, Some(node));
        let pending = self
            .shop
            .recorder
            .invoke(from, sent, key.cloned(), op.clone());
        let body = request.body.as_deref();
        let result = client.try_call(request.method, &request.path, &headers, body);
        let answer = answer(op, result);
        let at = self.shop.now();
        if let (Answer::Accepted { .. }, Some(_)) = (&answer, key) {
            lock(&self.shop.accepted).push(Accepted { sent, at });
        }
        self.seen = self.seen.max(answer.revision().unwrap_or(0));
        self.shop.recorder.returned(&pending, at, answer.clone());
        answer
    }
}

/// SHA-256 in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
