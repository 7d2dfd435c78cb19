//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer.
//!
//! Stable Rust will do: coverage comes from LLVM's own pass, and no sanitizer is asked for. There
//! is no unsafe code of ours for one to watch; what is looked for are broken properties.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use raft3d_checkers::report::{Report, Table};
use xtask::workspace_dir;

use crate::steps::{self, cargo, target_dir};
use crate::tools;

/// Longest input that is tried, in bytes: `raft3d_fuzz::INPUT_BYTES_MAX`.
const INPUT_BYTES_MAX: usize = 80 * 1024;
/// One input may take so long, in seconds; more is a finding.
const INPUT_SECONDS_MAX: u64 = 20;
/// Memory of a fuzzing process, in MiB; more is a finding.
const MEMORY_MIB_MAX: u64 = 2_048;

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// This target alone; may be given more than once
    #[arg(long)]
    target: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Builds, fuzzes, and writes `target/report/fuzz.json`.
///
/// # Errors
/// The fuzzer does not build or start, or an input broke a property; it is then named.
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::cargo_fuzz()?;
    let folders = Folders::find()?;
    let targets = folders.targets(&options.target)?;
    build(&folders)?;
    let mut report = Report::new(
        "fuzz",
        format!("cargo xtask fuzz --seconds {}", options.seconds),
    );
    let started = Instant::now();
    let mut runs = Vec::new();
    for target in &targets {
        runs.push(fuzz(&folders, target, options.seconds)?);
    }
    report.seconds = started.elapsed().as_secs();
    fill(&mut report, &runs);
    let path = report.write(&target_dir()?)?;
    eprintln!("figures: {}", path.display());
    for finding in &report.violations {
        eprintln!("{finding}");
    }
    ensure!(
        report.violations.is_empty(),
        "{} inputs broke a property",
        report.violations.len()
    );
    Ok(())
}

/// Where things are.
struct Folders {
    /// The fuzzer's own workspace.
    project: PathBuf,
    /// What is checked in.
    corpus: PathBuf,
    /// What is built and found.
    out: PathBuf,
}

impl Folders {
    fn find() -> Result<Self> {
        let package = workspace_dir()?.join("tests/fuzz");
        Ok(Self {
            project: package.join("fuzz"),
            corpus: package.join("corpus"),
            out: target_dir()?.join("fuzz"),
        })
    }

    /// The targets that are asked for; all of them where none is.
    fn targets(&self, asked: &[String]) -> Result<Vec<String>> {
        let mut known = Vec::new();
        for file in fs::read_dir(self.project.join("fuzz_targets"))? {
            let path = file?.path();
            if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                known.push(name.to_owned());
            }
        }
        known.sort();
        for name in asked {
            ensure!(
                known.contains(name),
                "there is no target {name}; there are {}",
                known.join(", ")
            );
        }
        Ok(if asked.is_empty() {
            known
        } else {
            asked.to_vec()
        })
    }

    /// `cargo fuzz` builds for a named platform, and puts what it made into a folder of that name.
    fn program(&self, target: &str) -> Result<PathBuf> {
        for platform in fs::read_dir(&self.out)? {
            let path = platform?.path().join("release").join(target);
            if path.is_file() {
                return Ok(path);
            }
        }
        anyhow::bail!(
            "{target} was built, but is not under {}",
            self.out.display()
        )
    }
}

fn build(folders: &Folders) -> Result<()> {
    let mut build = cargo(&["fuzz", "build", "--sanitizer", "none"])?;
    build.arg("--fuzz-dir").arg(&folders.project);
    build.arg("--target-dir").arg(&folders.out);
    steps::run("build the fuzzer", &mut build)
}

/// What one target came to.
#[derive(Debug, Default)]
struct Run {
    target: String,
    seconds: u64,
    executions: u64,
    /// Edges of the program that some input reached.
    edges: String,
    /// Inputs that reach something that no other does.
    inputs: String,
    memory_mib: u64,
    findings: Vec<String>,
}

impl Run {
    /// Takes what one line of libFuzzer says.
    fn note(&mut self, line: &str) {
        if let Some(value) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = value.trim().parse().unwrap_or_default();
        } else if let Some(value) = line.strip_prefix("stat::peak_rss_mb:") {
            self.memory_mib = value.trim().parse().unwrap_or_default();
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.findings.push(path.trim().to_owned());
        } else if line.starts_with('#') {
            let executions = line.trim_start_matches('#').split_whitespace().next();
            let executions = executions.and_then(|text| text.parse().ok());
            self.executions = executions.unwrap_or(self.executions);
            let after = |name: &str| {
                let (_, rest) = line.split_once(name)?;
                rest.split_whitespace().next().map(str::to_owned)
            };
            self.edges = after("cov: ").unwrap_or_else(|| self.edges.clone());
            let inputs = after("corp: ").map(|text| {
                let count = text.split('/').next();
                count.unwrap_or_default().to_owned()
            });
            self.inputs = inputs.unwrap_or_else(|| self.inputs.clone());
        }
    }
}

fn fuzz(folders: &Folders, target: &str, seconds: u64) -> Result<Run> {
    let found = folders.out.join("corpus").join(target);
    let artifacts = folders.out.join("artifacts").join(target);
    for dir in [&found, &artifacts] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let mut fuzzer = Command::new(folders.program(target)?);
    fuzzer
        .arg(&found)
        .arg(folders.corpus.join(target))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg("-print_final_stats=1");
    let words = folders.project.join("words").join(target);
    if words.is_file() {
        fuzzer.arg(format!("-dict={}", words.display()));
    }
    follow(&mut fuzzer, target, seconds)
}

/// Runs the fuzzer, shows how it is doing, and keeps its words for when it fails.
fn follow(fuzzer: &mut Command, target: &str, seconds: u64) -> Result<Run> {
    let bar = ProgressBar::new(seconds).with_style(
        ProgressStyle::with_template("{prefix:10} [{bar:30}] {pos:>5}/{len} s  {msg}")?
            .progress_chars("=> "),
    );
    bar.set_prefix(target.to_owned());
    bar.enable_steady_tick(Duration::from_secs(1));
    let started = Instant::now();
    let mut child = fuzzer
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run the fuzzer of {target}"))?;
    let mut run = Run {
        target: target.to_owned(),
        ..Run::default()
    };
    let mut said = Vec::new();
    let stderr = child.stderr.take().context("the fuzzer's words")?;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        run.note(&line);
        if !line.starts_with(['#', '\t']) {
            said.push(line);
        }
        bar.set_position(started.elapsed().as_secs().min(seconds));
        bar.set_message(format!(
            "{} executions, {} edges",
            run.executions, run.edges
        ));
    }
    let status = child.wait()?;
    bar.finish();
    run.seconds = started.elapsed().as_secs();
    if !status.success() && run.findings.is_empty() {
        let last = said
            .iter()
            .rev()
            .take(20)
            .rev()
            .cloned()
            .collect::<Vec<_>>();
        anyhow::bail!(
            "the fuzzer of {target} ended with {status}:\n{}",
            last.join("\n")
        );
    }
    if !run.findings.is_empty() {
        eprintln!("{}", said.join("\n"));
    }
    Ok(run)
}

fn fill(report: &mut Report, runs: &[Run]) {
    let sum = |of: fn(&Run) -> u64| runs.iter().map(of).sum::<u64>();
    report.figure("executions", sum(|run| run.executions));
    report.figure("targets", runs.len());
    report.figure(
        "inputs that broke a property",
        sum(|run| run.findings.len() as u64),
    );
    let head = [
        "target",
        "seconds",
        "executions",
        "a second",
        "edges reached",
        "inputs kept",
        "memory, MiB",
        "findings",
    ];
    let row = |run: &Run| {
        let rate = run.executions / run.seconds.max(1);
        vec![
            run.target.clone(),
            run.seconds.to_string(),
            run.executions.to_string(),
            rate.to_string(),
            run.edges.clone(),
            run.inputs.clone(),
            run.memory_mib.to_string(),
            run.findings.len().to_string(),
        ]
    };
    report.tables.push(Table {
        title: "Targets".to_owned(),
        head: head.map(str::to_owned).into(),
        rows: runs.iter().map(row).collect(),
    });
    for run in runs {
        for path in &run.findings {
            report
                .violations
                .push(finding(&run.target, Path::new(path)));
        }
    }
}

/// What to do with an input that broke a property.
fn finding(target: &str, path: &Path) -> String {
    let path = path.display();
    format!(
        "{target}: {path}; replay: cp {path} tests/fuzz/corpus/{target}/ && cargo test --workspace \
         --test corpus {target}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_fuzzer_are_understood() {
        let mut run = Run::default();
        for line in [
            "INFO: Seed: 1",
            "#2\tINITED cov: 42 ft: 43 corp: 1/1b exec/s: 0 rss: 30Mb",
            "#4096\tpulse  cov: 142 ft: 243 corp: 12/1024b lim: 8 exec/s: 2048 rss: 40Mb",
            "artifact_prefix='out/'; Test unit written to out/crash-1",
            "stat::number_of_executed_units: 5000",
            "stat::peak_rss_mb:              77",
        ] {
            run.note(line);
        }
        assert_eq!((run.executions, run.memory_mib), (5_000, 77));
        assert_eq!((run.edges.as_str(), run.inputs.as_str()), ("142", "12"));
        assert_eq!(run.findings, ["out/crash-1"]);
        let mut report = Report::default();
        fill(&mut report, &[run]);
        assert!(
            report
                .violations
                .iter()
                .all(|line| line.contains("out/crash-1"))
        );
        assert_eq!(report.violations.len(), 1);
    }
}
