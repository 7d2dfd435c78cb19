//! Three real nodes, a ruleset that is full of hostile modules, and clients who want their work done.
//!
//! Each enforcing module is bound to a printer of its own (by a label), and the shadow ones to one
//! more, so that one ruleset asks them all and no denial hides another's answer.

mod background;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use raft3d_cluster_tests::cluster::{PATIENCE, process_lives};
use raft3d_cluster_tests::{Answer, Client, Cluster, Options};
use raft3d_core::limits::{BINDINGS_ENFORCING_MAX, BINDINGS_SHADOW_MAX, MODULES_MAX};
use raft3d_engine::policy::CompileLimits;
use raft3d_sdk::Hook;
use serde_json::{Value, json};

pub use background::{Background, Told};
pub use memory::{Peaks, Watch};

/// Nodes of the cluster.
const NODES: usize = 3;
/// Modules that are asked in one ruleset, in the place of the standard ones' two.
pub const ENFORCED: usize = BINDINGS_ENFORCING_MAX - STANDARD;
/// Modules that are asked beside them.
pub const SHADOWED: usize = BINDINGS_SHADOW_MAX;
/// Modules that one cluster takes: the standard two are there already.
pub const MODULES: usize = MODULES_MAX as usize - STANDARD;
/// Bindings of the standard ruleset.
const STANDARD: usize = 2;
/// Weight of the spool that everybody prints from, in grams: more than all take together.
const SPOOL_G: u64 = 100_000_000;
/// The filament of jobs that ask hostile modules.
const FILAMENT: &str = "f-hostile";
/// The label that binds a module to a printer.
const LABEL: &str = "trial";
/// How long clients work before, to know what is normal.
const NORMAL: Duration = Duration::from_secs(3);
/// No client's request may take so much longer than the slowest before.
const SLOWER_MAX: Duration = Duration::from_secs(2);
/// No node's anonymous memory may grow by more.
const GROWTH_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A module in the cluster, to be asked.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Name of its binding.
    pub name: String,
    /// Its SHA-256, as the upload answered.
    pub sha256: String,
    /// Hooks that it is bound to.
    pub hooks: Vec<Hook>,
}

/// What each asked module was recorded with, by hook: kind, code, and gas. The same on every node.
pub type Recorded = BTreeMap<(String, String), (String, Option<String>, u64)>;

/// The cluster and its observers.
#[derive(Debug)]
pub struct Arena {
    cluster: Cluster,
    pids: Vec<u32>,
    /// The standard bindings.
    standard: Vec<Value>,
    /// Revision of the standard ruleset.
    first_ruleset: u64,
    background: Background,
    watch: Watch,
    normal: Told,
    uploads: usize,
    rounds: usize,
}

/// What the observers saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What clients were told before.
    pub normal: Told,
    /// What they were told meanwhile.
    pub meanwhile: Told,
    /// Memory.
    pub peaks: Peaks,
}

impl Arena {
    /// Starts the cluster, opens the shop and lets clients work for a while.
    #[must_use]
    pub fn open(name: &str) -> Self {
        let cluster = Cluster::start(name, Options::nodes(NODES));
        let client = cluster.client(0);
        client.create_printer(background::PRINTER).expect(201);
        for filament in [background::FILAMENT, FILAMENT] {
            client.create_filament(filament, "PLA", SPOOL_G).expect(201);
        }
        for place in (0..ENFORCED).map(Place::Enforced).chain([Place::Shadowed]) {
            let body = json!({"id": place.printer(), "company": "Prusa", "model": "MK4",
                "labels": {LABEL: place.label()}});
            client.post("/api/v1/printers", &body).expect(201);
        }
        let active = client.ruleset();
        let standard = active["bindings"].as_array().expect("bindings").clone();
        assert_eq!(standard.len(), STANDARD);
        cluster.wait_converged(0);
        let clients = || {
            (0..NODES)
                .map(|node| cluster.client(node))
                .collect::<Vec<_>>()
        };
        let before = Background::start("before", clients());
        std::thread::sleep(NORMAL);
        let normal = before.finish();
        let pids: Vec<u32> = (0..NODES).map(|node| cluster.pid(node)).collect();
        Self {
            standard,
            first_ruleset: active["revision"].as_u64().expect("a revision"),
            background: Background::start("meanwhile", clients()),
            watch: Watch::start(pids.clone()),
            pids,
            normal,
            cluster,
            uploads: 0,
            rounds: 0,
        }
    }

    /// A client of the node whose turn it is.
    fn client(&self, turn: usize) -> Client {
        self.cluster.client(turn % NODES)
    }

    /// Uploads a module to the next node. A node that is busy with another is asked again.
    #[must_use]
    pub fn upload(&mut self, module: &[u8]) -> Answer {
        self.uploads += 1;
        let client = self.client(self.uploads);
        again_while_busy(|| client.upload(module))
    }

    fn activate(&self, bindings: &[Value]) -> Answer {
        let client = self.client(self.rounds);
        again_while_busy(|| {
            let revision = client.ruleset()["revision"].as_u64().expect("a revision");
            client.put_ruleset(&json!(bindings), revision)
        })
    }

    /// Asks for an activation that nothing stands in the way of but this module's `check_config`.
    #[must_use]
    pub fn activate_alone(&mut self, trial: &Trial) -> Answer {
        self.rounds += 1;
        self.activate(&self.bindings(std::slice::from_ref(trial), &[]))
    }

    /// Asks for the activation of these modules, and answers the names of those whose `check_config`
    /// stands in its way; none where they are active now.
    ///
    /// # Panics
    /// It is refused for something else.
    #[must_use]
    pub fn refused_together(&mut self, trials: &[Trial]) -> Option<BTreeSet<String>> {
        let (enforced, shadowed) = trials.split_at(trials.len().min(ENFORCED));
        self.rounds += 1;
        let answer = self.activate(&self.bindings(enforced, shadowed));
        if answer.status == 200 {
            return None;
        }
        let text = answer.text();
        let named = |trial: &&Trial| text.contains(&format!("('{}')", trial.name));
        let refused: BTreeSet<_> = trials
            .iter()
            .filter(named)
            .map(|t| t.name.clone())
            .collect();
        assert!(!refused.is_empty(), "{answer}");
        Some(refused)
    }

    fn bindings(&self, enforced: &[Trial], shadowed: &[Trial]) -> Vec<Value> {
        assert!(enforced.len() <= ENFORCED && shadowed.len() <= SHADOWED);
        let enforced = enforced.iter().zip((0..).map(Place::Enforced));
        let enforced = enforced.map(|(trial, place)| trial.binding(place));
        let shadowed = shadowed.iter().map(|trial| trial.binding(Place::Shadowed));
        let standard = self.standard.iter().cloned();
        enforced.chain(standard).chain(shadowed).collect()
    }

    /// Activates these modules, at most [`ENFORCED`] and [`SHADOWED`] of them, has each asked by
    /// jobs through all nodes in turn, and compares what the nodes recorded.
    ///
    /// # Panics
    /// The ruleset is refused, a request gets no answer that it may get, or two nodes differ.
    #[must_use]
    pub fn round(&mut self, enforced: &[Trial], shadowed: &[Trial]) -> Recorded {
        self.rounds += 1;
        self.activate(&self.bindings(enforced, shadowed))
            .expect(200);
        let mut recorded = Recorded::new();
        let places = (0..enforced.len()).map(Place::Enforced);
        for (turn, place) in places.chain([Place::Shadowed]).enumerate() {
            self.ask(turn, place, &mut recorded);
        }
        let standard = |binding: &str| self.standard.iter().any(|known| known["id"] == binding);
        recorded.retain(|(binding, _), _| !standard(binding));
        recorded
    }

    /// A job on the place's printer, created and, where that is allowed, started.
    fn ask(&self, turn: usize, place: Place, recorded: &mut Recorded) {
        let id = format!("r{}-{}", self.rounds, place.label());
        let client = self.client(turn);
        let created = client.create_job(&id, &place.printer(), FILAMENT, 1);
        let mut last = answered(created);
        if last.status == 201 {
            last = answered(self.client(turn + 1).set_status(&id, "Running"));
        }
        let records = self.records(&id, last.revision());
        for record in &records {
            for decision in record["decisions"].as_array().expect("decisions") {
                note(decision, recorded);
            }
        }
    }

    /// What every node has recorded about a job, which is the same.
    fn records(&self, job: &str, revision: u64) -> Vec<Value> {
        let path = format!("print_jobs/{job}/decisions");
        let of = |node: usize| self.cluster.client(node).list_stale(&path, revision);
        let first = of(0);
        for node in 1..NODES {
            assert_eq!(of(node), first, "node {node} and node 0 differ about {job}");
        }
        assert!(!first.is_empty(), "nothing is recorded about {job}");
        first
    }

    /// Rolls everything back to the rules of the beginning, sees them at work, ends the clients and
    /// the watch, and checks that nobody noticed anything.
    ///
    /// # Panics
    /// A node was restarted, is not ready or differs, or a limit is passed: memory, time of other
    /// requests.
    #[must_use]
    pub fn close(self) -> Seen {
        let client = self.cluster.client(1);
        let back = json!({"to": self.first_ruleset});
        let answer = client.post("/api/v1/ruleset/rollback", &back);
        assert!((200..300).contains(&answer.status), "{answer}");
        self.the_standard_rules_decide(answer.revision());
        let seen = Seen {
            normal: self.normal,
            meanwhile: self.background.finish(),
            peaks: self.watch.finish(),
        };
        println!("{}", seen.told());
        let digest = self.cluster.wait_converged(0);
        assert!(!digest.is_empty());
        for (node, pid) in self.pids.iter().enumerate() {
            assert!(process_lives(*pid), "node {node} was ended");
            assert_eq!(self.cluster.pid(node), *pid);
            self.cluster.client(node).get("/readyz").expect(200);
        }
        seen.check();
        seen
    }

    /// One job from its beginning to its end through every node, and what must not be.
    fn the_standard_rules_decide(&self, revision: u64) {
        let remaining = |client: &Client| {
            let path = format!("/api/v1/filaments/{FILAMENT}");
            let filament = client.get(&path).expect(200).json();
            filament["remaining_weight_in_grams"].clone()
        };
        for node in 0..NODES {
            let client = self.cluster.client(node);
            let before = remaining(&client);
            let id = format!("after-{revision}-{node}");
            let printer = Place::Enforced(node).printer();
            client.create_job(&id, &printer, FILAMENT, 5).expect(201);
            client.set_status(&id, "Done").expect(409);
            client.set_status(&id, "Running").expect(200);
            client.set_status(&id, "Done").expect(200);
            let left = before.as_f64().expect("grams") - 5.0;
            assert_eq!(remaining(&client).as_f64(), Some(left), "node {node}");
            let heavy = client.create_job("heavy", &printer, FILAMENT, 2 * SPOOL_G);
            heavy.expect(422);
        }
    }
}

impl Seen {
    /// One paragraph for people.
    #[must_use]
    pub fn told(&self) -> String {
        let Self {
            normal,
            meanwhile,
            peaks,
        } = self;
        let mib = |bytes: u64| bytes >> 20;
        let nodes = peaks.nodes.iter().map(|(before, peak)| {
            let (before, peak) = (mib(*before), mib(*peak));
            format!("{before} to {peak} MiB")
        });
        format!(
            "other requests: {} answered, slowest {:?}, {} sent again (before: {}, {:?}, {}); \
             memory of the nodes: {}; largest compiling child {} MiB",
            meanwhile.answered,
            meanwhile.slowest,
            meanwhile.again,
            normal.answered,
            normal.slowest,
            normal.again,
            nodes.collect::<Vec<_>>().join(", "),
            mib(peaks.child),
        )
    }

    fn check(&self) {
        for told in [&self.normal, &self.meanwhile] {
            assert!(told.answered > 0, "nobody asked anything");
            assert!(told.wrong.is_empty(), "{:#?}", told.wrong);
        }
        let allowed = self.normal.slowest + SLOWER_MAX;
        assert!(self.meanwhile.slowest <= allowed, "{}", self.told());
        for (before, peak) in &self.peaks.nodes {
            assert!(*before > 0, "memory was not seen");
            assert!(peak - before <= GROWTH_BYTES_MAX, "{}", self.told());
        }
        assert!(self.peaks.children_seen > 0, "no compiling child was seen");
        let most = CompileLimits::UPLOAD.address_space_bytes;
        assert!(self.peaks.child <= most, "{}", self.told());
    }
}

/// Where a module is bound.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// To a printer of its own.
    Enforced(usize),
    /// To the printer of all shadow bindings.
    Shadowed,
}

impl Place {
    fn label(self) -> String {
        match self {
            Self::Enforced(number) => format!("e{number}"),
            Self::Shadowed => "shadow".to_owned(),
        }
    }

    fn printer(self) -> String {
        format!("p-{}", self.label())
    }

    const fn mode(self) -> &'static str {
        match self {
            Self::Enforced(_) => "enforce",
            Self::Shadowed => "shadow",
        }
    }
}

impl Trial {
    fn binding(&self, place: Place) -> Value {
        let hooks: Vec<_> = self.hooks.iter().map(|hook| hook.name()).collect();
        json!({
            "id": self.name, "module": self.sha256, "hooks": hooks,
            "scope": {"printer_label": {"key": LABEL, "value": place.label()}},
            "mode": place.mode(), "percentage": 100, "lifecycle": false, "config": {},
        })
    }
}

/// The same answer, which is a decision: success, or a denial.
fn answered(answer: Answer) -> Answer {
    assert!(
        matches!(answer.status, 200 | 201 | 409 | 422),
        "no decision: {answer}"
    );
    answer
}

fn note(decision: &Value, recorded: &mut Recorded) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let verdict = &decision["verdict"];
    let binding = text(&decision["binding"]).expect("a binding");
    let hook = text(&decision["hook"]).expect("a hook");
    let kind = text(&verdict["kind"]).expect("a kind");
    let gas = decision["gas"].as_u64().expect("gas");
    recorded.insert((binding, hook), (kind, text(&verdict["code"]), gas));
}

/// Sends a request again while the cluster says that it cannot be just now: another upload is
/// compiled, or a majority has not compiled the modules yet.
fn again_while_busy(request: impl Fn() -> Answer) -> Answer {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = request();
        if !matches!(answer.status, 429 | 503) {
            return answer;
        }
        assert!(Instant::now() < until, "after {PATIENCE:?}: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let told = Told {
            answered: 10,
            slowest: Duration::from_millis(100),
            ..Told::default()
        };
        Seen {
            normal: told.clone(),
            meanwhile: told,
            peaks: Peaks {
                nodes: vec![(60 << 20, 90 << 20); NODES],
                child: 100 << 20,
                children_seen: 5,
            },
        }
    }

    /// Whether what is changed so is noticed.
    fn noticed(change: impl FnOnce(&mut Seen)) -> bool {
        let mut seen = seen();
        change(&mut seen);
        std::panic::catch_unwind(move || seen.check()).is_err()
    }

    #[test]
    fn whatever_a_cluster_must_not_do_is_noticed() {
        assert!(!noticed(|_| {}));
        assert!(!noticed(|seen| seen.meanwhile.slowest += SLOWER_MAX));
        let late = SLOWER_MAX + Duration::from_millis(1);
        assert!(noticed(|seen| seen.meanwhile.slowest += late));
        assert!(noticed(|seen| seen.meanwhile.answered = 0));
        assert!(noticed(|seen| seen.meanwhile.wrong.push("404".to_owned())));
        assert!(noticed(
            |seen| seen.peaks.nodes[2].1 = (60 << 20) + GROWTH_BYTES_MAX + 1
        ));
        assert!(noticed(|seen| seen.peaks.nodes[1] = (0, 0)));
        assert!(noticed(|seen| seen.peaks.children_seen = 0));
        assert!(noticed(|seen| seen.peaks.child = 2 << 30));
    }

    #[test]
    fn a_decision_is_read_as_it_is_shown() {
        let mut recorded = Recorded::new();
        let decision = json!({"binding": "b", "hook": "admission", "gas": 7,
            "verdict": {"kind": "failed", "code": "out_of_gas"}});
        note(&decision, &mut recorded);
        let key = ("b".to_owned(), "admission".to_owned());
        let code = Some("out_of_gas".to_owned());
        assert_eq!(recorded.get(&key), Some(&("failed".to_owned(), code, 7)));
    }
}
