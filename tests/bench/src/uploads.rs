//! Latency of writes while large modules are uploaded and activated, beside the other times of the
//! same run.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use raft3d_checkers::report::Table;
use raft3d_cluster_tests::{Answer, Client};
use raft3d_engine::sdk::manifest::{ABI_VERSION, SECTION};
use raft3d_engine::sdk::{Hook, HookSet, Manifest};
use serde_json::{Value, json};
use wasm_encoder::{CustomSection, Section as _};

use crate::load::driver::LoadProcess;
use crate::load::{Until, Work};
use crate::moments::{Latency, Moments};
use crate::setting::{Setting, bar, leader_first, remove};
use crate::stats::{Rounds, short};
use crate::systems::{Cluster, System};
use crate::table::table;
use crate::targets::Target;

/// Clients of the load.
const CLIENTS: usize = 64;
/// Size of each module, in bytes: somewhat below the largest that is taken.
const MODULE_BYTES: usize = 500 * 1024;
/// Functions of each module, of some hundred bytes each.
const FUNCTIONS: usize = 4_000;
/// p99 of writes meanwhile, beside the normal one.
const P99_MOST: f64 = 3.0;
/// Status of an answer to an activation for which too few nodes have compiled the module.
const NOT_COMPILED: u16 = 503;
/// Longest wait until a majority has.
const PATIENCE: Duration = Duration::from_secs(120);
/// The ruleset's binding of each module.
const BINDING: &str = "large";

/// What goes on at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing but writes.
    Normal,
    /// A module is checked, compiled and replicated.
    Uploading,
    /// It is activated, which waits until a majority has compiled it; and rolled back.
    Activating,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Uploads {
    normal: Latency,
    uploading: Latency,
    activating: Latency,
    upload_seconds: Rounds,
    activation_seconds: Rounds,
}

/// Uploads and activates `setting.rounds` modules, one after the other, under one load.
///
/// # Errors
/// The cluster does not serve, or takes no such module.
pub fn run(setting: &Setting) -> Result<Uploads> {
    let folder = setting.folder("uploads")?;
    let cluster = Cluster::start(setting.launch(System::Raft3d)?, &folder)?;
    cluster.open_shop()?;
    let places = leader_first(&cluster)?;
    let client = Client::new(cluster.address(*places.last().context("a node")?)?);
    let mut spec = setting.spec(&cluster, &places, Work::Write, CLIENTS, "up")?;
    spec.until = Until::Told;
    spec.trace = true;
    let mut load = LoadProcess::start(&spec)?;
    load.wait_begin()?;
    let steps = bar("uploads", setting.rounds as u64);
    let (mut found, mut moments) = (Uploads::default(), Moments::default());
    for round in 0..setting.rounds {
        let bytes = module(round)?;
        // Half of it warms up the first round, and is a little less of normal moments.
        moments.now(Doing::Normal);
        std::thread::sleep(setting.window);
        found.upload(&client, &bytes, &mut moments, &steps)?;
        steps.inc(1);
    }
    moments.now(Doing::Normal);
    std::thread::sleep(setting.window);
    load.stop();
    load.wait_end(|_| {})?;
    steps.finish_and_clear();
    let trace = load.outcome()?.trace;
    found.normal = moments.latency(&trace, Doing::Normal);
    found.uploading = moments.latency(&trace, Doing::Uploading);
    found.activating = moments.latency(&trace, Doing::Activating);
    cluster.wait_level()?;
    drop(cluster);
    remove(&folder)?;
    Ok(found)
}

impl Uploads {
    fn upload(
        &mut self,
        client: &Client,
        bytes: &[u8],
        moments: &mut Moments<Doing>,
        steps: &ProgressBar,
    ) -> Result<()> {
        steps.set_message("uploaded");
        let begun = Instant::now();
        moments.now(Doing::Uploading);
        let uploaded = accepted(client.upload(bytes))?.json();
        self.upload_seconds.push(begun.elapsed().as_secs_f64());
        steps.set_message("activated");
        let begun = Instant::now();
        moments.now(Doing::Activating);
        let active = client.ruleset();
        let field = |of: &Value, name: &str| of.get(name).cloned().unwrap_or_default();
        let mut bindings = field(&active, "bindings");
        let module = field(&uploaded, "sha256");
        let binding = json!({"id": BINDING, "module": module, "hooks": ["admission"]});
        bindings
            .as_array_mut()
            .context("no bindings")?
            .push(binding);
        let revision = field(&active, "revision").as_u64().context("no revision")?;
        // The compilers run at the lowest priority, so a busy node takes its time: asked again, as
        // the answer says.
        let mut answer = client.put_ruleset(&bindings, revision);
        while answer.status == NOT_COMPILED && begun.elapsed() < PATIENCE {
            answer = client.put_ruleset(&bindings, revision);
        }
        accepted(answer)?;
        self.activation_seconds.push(begun.elapsed().as_secs_f64());
        accepted(client.post("/api/v1/ruleset/rollback", &json!({})))?;
        moments.now(Doing::Normal);
        Ok(())
    }

    /// What was measured.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let title = format!(
            "Latency of writes and modules of {} KiB, {CLIENTS} clients, one run",
            MODULE_BYTES / 1024
        );
        let mut shown = table(title, &Latency::HEAD);
        let took = |what: &str, seconds: &Rounds| {
            let (median, most) = (short(seconds.median()), short(seconds.max()));
            format!("a module is {what} ({median} s, at most {most})")
        };
        let rows = [
            ("nothing else".to_owned(), &self.normal),
            (took("uploaded", &self.upload_seconds), &self.uploading),
            (
                took("activated", &self.activation_seconds),
                &self.activating,
            ),
        ];
        for (what, latency) in rows {
            shown.rows.push(latency.row(&what));
        }
        vec![shown]
    }

    /// What must be reached.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let what = "p99 of writes while a module of 500 KiB is";
        [
            ("uploaded", &self.uploading),
            ("activated", &self.activating),
        ]
        .map(|(kind, latency)| latency.target(&self.normal, &format!("{what} {kind}"), P99_MOST))
        .into()
    }
}

fn accepted(answer: Answer) -> Result<Answer> {
    ensure!((200..300).contains(&answer.status), "{answer}");
    Ok(answer)
}

/// A module that allows everything, with much code that is compiled and never called: each function
/// a loop, branches and arithmetic.
///
/// # Errors
/// It is not of the size that it should be.
fn module(number: usize) -> Result<Vec<u8>> {
    let mut text = String::from(
        r#"(module (memory (export "memory") 1) (data (i32.const 16) "\a0")
             (func (export "raft3d_abi_1"))
             (func (export "raft3d_alloc") (param i32) (result i32) (i32.const 1024))
             (func (export "check_config") (param i32 i32) (result i64) (i64.const 0x1000000001))
             (func (export "admission") (param i32 i32) (result i64) (i64.const 0x1000000001))"#,
    );
    for function in 0..FUNCTIONS {
        let (a, b) = (1_000_003 * (function + 1) % 65_521, 7 * function + number);
        write!(
            text,
            "(func (param i32 i32) (result i32) (local i32)
               (loop $again
                 (if (i32.lt_u (local.get 0) (i32.const {a}))
                   (then (local.set 2 (i32.mul (local.get 1) (i32.const {b}))))
                   (else (local.set 2 (i32.xor (local.get 2) (i32.rotl (local.get 0) (i32.const 7))))))
                 (i32.store (i32.and (local.get 2) (i32.const 4092)) (i32.add (local.get 1) (i32.const {a})))
                 (local.set 0 (i32.sub (local.get 0) (i32.load offset=8 (i32.and (local.get 1) (i32.const 4092)))))
                 (br_if $again (i32.gt_u (local.get 0) (i32.const {b}))))
               (i32.add (local.get 2) (local.get 1)))"
        )?;
    }
    text.push(')');
    let mut bytes = wat::parse_str(&text)?;
    let manifest = Manifest {
        abi: ABI_VERSION,
        name: "large".to_owned(),
        version: "1.0.0".to_owned(),
        description: "Much code.".to_owned(),
        hooks: HookSet::of(&[Hook::Admission]),
        config_schema: None,
        lifecycle: None,
        ..Manifest::default()
    };
    let manifest = minicbor::to_vec(manifest).context("a manifest")?;
    custom_section(&mut bytes, SECTION, &manifest);
    ensure!(
        bytes.len() <= MODULE_BYTES,
        "the module has {} bytes",
        bytes.len()
    );
    // The rest is a section that nobody reads.
    let rest = MODULE_BYTES - bytes.len();
    custom_section(&mut bytes, "rest", &vec![0; rest.saturating_sub(16)]);
    Ok(bytes)
}

/// Appends a custom section.
fn custom_section(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection {
        name: name.into(),
        data: data.into(),
    }
    .append_to(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn modules_are_as_large_as_is_said_and_differ() {
        let (one, other) = (module(0).unwrap(), module(1).unwrap());
        assert!(
            MODULE_BYTES - 32 <= one.len() && one.len() <= MODULE_BYTES,
            "{}",
            one.len()
        );
        assert_ne!(one, other);
        let code = one.iter().filter(|byte| **byte != 0).count();
        assert!(code > MODULE_BYTES / 2, "most of it is code: {code}");
    }
}
