//! Plays hostile modules and random calls for as long as it is told: `cargo xtask hostile`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use raft3d_checkers::report::{Report, Table};
use raft3d_hostile::arena::MODULES;
use raft3d_hostile::inputs_on_engines::{self, Calls};
use raft3d_hostile::modules_on_cluster;
use raft3d_hostile::modules_on_engines::{self, Modules};
use raft3d_hostile::plan::{Plan, fresh_seed};
use raft3d_hostile::shipped::{self, Shipped};

/// What is played where nothing is said: modules on engines, modules on clusters, calls of each
/// policy.
const EVERYTHING: (u64, u64, u64) = (20_000, 20_000, 10_000);

/// Hostile modules and random calls, by seed. Parts that are not named are left out; where none is
/// named, all are played
#[derive(Clone, Parser)]
struct Args {
    /// So many random modules on engines that are set differently (20000)
    #[arg(long)]
    modules: Option<u64>,
    /// So many random modules on clusters of three real nodes (20000)
    #[arg(long)]
    on_cluster: Option<u64>,
    /// So many random calls of each shipped policy, on engines that are set differently (10000)
    #[arg(long)]
    inputs: Option<u64>,
    /// The calls of this policy alone
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Seed of the first module and of the first call; the others count on from it
    #[arg(long)]
    seed: Option<u64>,
    /// Threads that play modules and calls on engines
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The workspace's folder of built things; figures go there
    #[arg(long, default_value = "target")]
    target: PathBuf,
}

impl Args {
    /// How much of each part is played.
    fn amounts(&self) -> (u64, u64, u64) {
        match (self.modules, self.on_cluster, self.inputs) {
            (None, None, None) if self.policy.is_some() => (0, 0, EVERYTHING.2),
            (None, None, None) => EVERYTHING,
            (modules, cluster, inputs) => (
                modules.unwrap_or_default(),
                cluster.unwrap_or_default(),
                inputs.unwrap_or_default(),
            ),
        }
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let (modules, cluster, inputs) = args.amounts();
    let mut command = "cargo xtask hostile".to_owned();
    let parts = [
        ("modules", modules),
        ("on-cluster", cluster),
        ("inputs", inputs),
    ];
    for (part, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        command.push_str(&format!(" --{part} {count}"));
    }
    let mut run = Run {
        jobs: args.jobs.max(1),
        seed,
        report: Report::new("hostile", format!("{command} --seed {seed}")),
    };
    println!("replay: {}", run.report.command);
    let began = Instant::now();
    run.modules(modules)?;
    run.inputs(inputs, args.policy.as_deref())?;
    run.clusters(cluster)?;
    run.report.seconds = began.elapsed().as_secs();
    run.finish(&args.target)
}

/// What is played, and what is told of it.
struct Run {
    jobs: usize,
    seed: u64,
    report: Report,
}

impl Run {
    const fn plan(&self, count: u64) -> Plan {
        Plan {
            seed: self.seed,
            count,
        }
    }

    fn modules(&mut self, count: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let bar = bar("modules on engines", count)?;
        let replay = |seed| format!("cargo xtask hostile --modules 1 --seed {seed}");
        let (players, found) = in_threads(
            self.jobs,
            self.plan(count),
            &bar,
            Modules::new,
            Modules::play,
            replay,
        );
        let mut all = modules_on_engines::Counts::default();
        players.iter().for_each(|player| all.add(&player.counts));
        println!("{}", all.told());
        self.report.figure("random modules", all.modules);
        self.report.figure("of these run on three engines", all.run);
        self.report.violations.extend(found);
        self.table("Answers of random modules", &all.answers);
        self.table("Random modules that were refused", &all.refused);
        Ok(())
    }

    fn inputs(&mut self, count: u64, policy: Option<&str>) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let policies = policy.map_or_else(shipped::all, |name| vec![shipped::named(name)]);
        let bar = bar("calls on engines", count * policies.len() as u64)?;
        for policy in &policies {
            let counts = self.calls(policy, count, &bar);
            // One call shows one answer.
            if count >= EVERYTHING.2 {
                self.report.violations.extend(counts.check(policy).err());
            }
            self.table(&format!("Answers of {}", policy.name), &counts.0);
        }
        self.report.figure(
            "random calls on five engines",
            count * policies.len() as u64,
        );
        Ok(())
    }

    fn calls(
        &mut self,
        policy: &Shipped,
        count: u64,
        bar: &ProgressBar,
    ) -> inputs_on_engines::Counts {
        let name = policy.name;
        let replay = |seed| format!("cargo xtask hostile --policy {name} --inputs 1 --seed {seed}");
        let make = || Calls::of(policy);
        let (players, found) =
            in_threads(self.jobs, self.plan(count), bar, make, Calls::play, replay);
        self.report.violations.extend(found);
        let mut all = inputs_on_engines::Counts::default();
        players.iter().for_each(|player| all.add(&player.counts));
        all
    }

    /// One cluster after the other: two at once would measure the machine.
    fn clusters(&mut self, count: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let bar = bar("modules on clusters", count)?;
        let seeds: Vec<u64> = self.plan(count).seeds().collect();
        let mut all = modules_on_cluster::Counts::default();
        for seeds in seeds.chunks(MODULES) {
            let done = |played: usize| bar.inc(played as u64);
            match catch_unwind(AssertUnwindSafe(|| modules_on_cluster::play(seeds, done))) {
                Ok(counts) => all.add(counts),
                Err(panic) => {
                    let (count, first) = (seeds.len(), seeds.first().copied().unwrap_or_default());
                    self.report.violations.push(format!(
                        "{}; replay: cargo xtask hostile --on-cluster {count} --seed {first}",
                        message(panic.as_ref()),
                    ));
                }
            }
        }
        println!("{}", all.told());
        self.report
            .figure("random modules on real clusters", all.uploaded);
        self.report.figure("clusters", all.seen.len());
        self.table("Decisions of random modules on clusters", &all.decisions);
        for (number, seen) in all.seen.iter().enumerate() {
            self.report.figure(format!("cluster {number}"), seen.told());
        }
        Ok(())
    }

    fn table<K: ToString>(&mut self, title: &str, counts: &BTreeMap<K, u64>) {
        let row = |(what, times): (&K, &u64)| vec![what.to_string(), times.to_string()];
        self.report.tables.push(Table {
            title: title.to_owned(),
            head: vec!["what".to_owned(), "times".to_owned()],
            rows: counts.iter().map(row).collect(),
        });
    }

    fn finish(self, target: &Path) -> Result<ExitCode> {
        let path = self.report.write(target).context("writing the figures")?;
        println!("figures: {}", path.display());
        for violation in &self.report.violations {
            println!("{violation}");
        }
        if self.report.violations.is_empty() {
            println!("nothing was found");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::FAILURE)
    }
}

fn bar(what: &str, count: u64) -> Result<ProgressBar> {
    let style =
        ProgressStyle::with_template("{prefix:20} {bar:40} {pos}/{len}, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(count)
        .with_style(style)
        .with_prefix(what.to_owned()))
}

/// Plays every seed of the plan on one of some threads, each with a player of its own. Answers the
/// players, and what panicked, with the line that replays it.
fn in_threads<P: Send>(
    jobs: usize,
    plan: Plan,
    bar: &ProgressBar,
    make: impl Fn() -> P + Sync,
    play: impl Fn(&mut P, u64) + Sync,
    replay: impl Fn(u64) -> String + Sync,
) -> (Vec<P>, Vec<String>) {
    let (next, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        let mut player = make();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= plan.count {
                return player;
            }
            let seed = plan.seed.wrapping_add(nth);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(&mut player, seed))) {
                let line = format!("{}; replay: {}", message(panic.as_ref()), replay(seed));
                found
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
            bar.inc(1);
        }
    };
    let players = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().filter_map(|thread| thread.join().ok());
        ended.collect::<Vec<P>>()
    });
    bar.finish();
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if players.len() < jobs {
        found.push(format!("{} threads ended early", jobs - players.len()));
    }
    (players, found)
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
