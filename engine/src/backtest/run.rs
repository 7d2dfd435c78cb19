//! Asks a candidate about recorded decisions, on several processors.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use raft3d_core::state::decisions::{self, Decision, DecisionRecord, Verdict};
use raft3d_core::{BindingId, Export, LocalFault, ModuleDigest};
use raft3d_sdk::{ConfigVerdict, Hook, wire};
use thiserror::Error;

use super::compare::{change, overall, with_candidate};
use super::tally::{Against, Example, HookReport, Report, Tally, actor_of};
use crate::policy::{ModuleReport, Trial, Workbench, WorkbenchError};

/// Records that travel to a processor together.
const BATCH_RECORDS: usize = 64;
/// Batches that wait for each processor: what is held in memory is this times some kilobytes.
const BATCHES_WAITING_PER_THREAD: usize = 2;
/// Stack of a thread that evaluates, in bytes: a policy may use 1 MiB of it.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum BacktestError {
    /// The module cannot be asked.
    #[error(transparent)]
    Candidate(#[from] WorkbenchError),
    /// The module does not take the configuration.
    #[error("the candidate refuses its configuration: {0}")]
    Config(String),
    /// This machine could not do it.
    #[error(transparent)]
    Fault(#[from] LocalFault),
    /// A thread did not start, or ended early.
    #[error("a thread of the backtest: {0}")]
    Thread(#[from] io::Error),
}

/// A module that is ready to be asked, with its configuration.
pub struct Candidate {
    bench: Workbench,
    config: Vec<u8>,
    threads: usize,
}

impl Candidate {
    /// Compiles a module to be asked on `threads` processors at once, with `config` as CBOR.
    ///
    /// # Errors
    /// A cluster would refuse the module or the configuration.
    pub fn new(bytes: &[u8], config: &[u8], threads: usize) -> Result<Self, BacktestError> {
        let threads = threads.max(1);
        let slots = u32::try_from(threads).unwrap_or(u32::MAX);
        let bench = Workbench::with_slots(bytes, slots)?;
        let answer = bench.evaluate(Export::CheckConfig, config)?;
        let verdict = answer.evaluation.output.map_err(|error| error.code());
        let verdict =
            verdict.and_then(|bytes| wire::decode_config_verdict(&bytes).map_err(|_| "bad_output"));
        match verdict {
            Ok(ConfigVerdict { problem: None, .. }) => Ok(Self {
                bench,
                config: config.to_vec(),
                threads,
            }),
            Ok(ConfigVerdict {
                problem: Some(problem),
                pointer,
            }) => Err(BacktestError::Config(match pointer {
                Some(at) if !at.is_empty() && !problem.starts_with(&at) => {
                    format!("{at}: {problem}")
                }
                _ => problem,
            })),
            Err(code) => Err(BacktestError::Config(format!(
                "check_config gave no answer: {code}"
            ))),
        }
    }

    /// What the static check found out.
    #[must_use]
    pub const fn report(&self) -> &ModuleReport {
        self.bench.report()
    }

    fn hooks(&self) -> impl Iterator<Item = Hook> {
        self.bench.report().manifest.hooks.iter()
    }

    fn ask(&self, hook: Hook, input: &[u8]) -> Result<Trial, LocalFault> {
        let call = decisions::call(input, &self.config)?;
        self.bench.evaluate(Export::Hook(hook), &call)
    }
}

/// What is compared with what.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The binding whose answers are compared. Without one: for each hook that of the same module
    /// (`same_name`) where the records show exactly one, otherwise what all decided together.
    pub binding: Option<BindingId>,
    /// Modules whose manifest has the candidate's name.
    pub same_name: BTreeSet<ModuleDigest>,
    /// Most examples kept of each kind of difference, for each hook.
    pub examples_max: usize,
}

/// Takes the records on their way to the processors.
pub struct Feed {
    sender: SyncSender<Vec<DecisionRecord>>,
    batch: Vec<DecisionRecord>,
    records: u64,
    span_ms: Option<(u64, u64)>,
}

impl Feed {
    /// Hands a record over, oldest first. Waits where all processors are busy. Answers whether more
    /// are wanted: not after a fault.
    pub fn push(&mut self, record: DecisionRecord) -> bool {
        let first = self.span_ms.map_or(record.at_ms, |(first, _)| first);
        self.span_ms = Some((first, record.at_ms));
        self.records += 1;
        self.batch.push(record);
        self.batch.len() < BATCH_RECORDS || self.flush()
    }

    /// Records so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    fn flush(&mut self) -> bool {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_RECORDS));
        self.sender.send(batch).is_ok()
    }
}

/// Asks `candidate` about every record that `feed` pushes, and compares. The report does not depend
/// on the number of processors.
///
/// # Errors
/// What `feed` says, or a fault of this machine.
pub fn run<E: From<BacktestError>>(
    candidate: &Candidate,
    options: &Options,
    feed: impl FnOnce(&mut Feed) -> Result<(), E>,
) -> Result<Report, E> {
    let (sender, receiver) = sync_channel(candidate.threads * BATCHES_WAITING_PER_THREAD);
    let receiver = Mutex::new(Some(receiver));
    let desk = Desk {
        candidate,
        options,
        receiver: &receiver,
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..candidate.threads)
            .map(|_| {
                let thread = thread::Builder::new().name("backtest".to_owned());
                let desk = &desk;
                thread
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, move || desk.work())
            })
            .collect::<Result<_, _>>()
            .map_err(BacktestError::from)?;
        let mut queue = Feed {
            sender,
            batch: Vec::with_capacity(BATCH_RECORDS),
            records: 0,
            span_ms: None,
        };
        let fed = feed(&mut queue);
        queue.flush();
        let (records, span_ms) = (queue.records, queue.span_ms);
        // Tells the workers that nothing follows.
        drop(queue);
        let counts = joined(workers, options)?;
        fed?;
        Ok(Report {
            records,
            span_ms,
            hooks: counts.into_reports(candidate, options),
        })
    })
}

/// What all workers have counted together.
fn joined(
    workers: Vec<ScopedJoinHandle<'_, Result<Counts, LocalFault>>>,
    options: &Options,
) -> Result<Counts, BacktestError> {
    let mut all = Counts::default();
    let mut failed = None;
    for worker in workers {
        match worker.join() {
            Ok(Ok(counts)) => all.merge(counts, options.examples_max),
            Ok(Err(fault)) => failed = Some(BacktestError::from(fault)),
            Err(_) => failed = Some(io::Error::other("it panicked").into()),
        }
    }
    failed.map_or(Ok(all), Err)
}

/// What the workers share.
struct Desk<'a> {
    candidate: &'a Candidate,
    options: &'a Options,
    /// Taken away after a fault, so that nobody waits for room in the queue.
    receiver: &'a Mutex<Option<Receiver<Vec<DecisionRecord>>>>,
}

/// What is compared with one binding of the candidate's own module.
#[derive(Default)]
enum SameName {
    /// No record names one.
    #[default]
    None,
    /// Every record that names one names this.
    One(BindingId, Tally),
    /// They name several: none of them is meant.
    Several,
}

/// What one worker counts of one hook.
#[derive(Default)]
struct HookCounts {
    /// With the binding of the options, or with what all decided.
    given: Tally,
    same_name: SameName,
}

/// What one worker counts.
#[derive(Default)]
struct Counts([HookCounts; Hook::ALL.len()]);

impl Desk<'_> {
    fn work(&self) -> Result<Counts, LocalFault> {
        let mut counts = Counts::default();
        while let Some(batch) = self.next() {
            for record in &batch {
                if let Err(fault) = self.record(record, &mut counts) {
                    *lock(self.receiver) = None;
                    return Err(fault);
                }
            }
        }
        Ok(counts)
    }

    fn next(&self) -> Option<Vec<DecisionRecord>> {
        lock(self.receiver).as_ref()?.recv().ok()
    }

    fn record(&self, record: &DecisionRecord, counts: &mut Counts) -> Result<(), LocalFault> {
        for hook in self.candidate.hooks() {
            let own = self.own(record, hook);
            let before = match &self.options.binding {
                Some(_) => own.map(|decision| decision.verdict.clone()),
                None => overall(record, hook),
            };
            let Some(before) = before else { continue };
            let trial = self.candidate.ask(hook, &record.input)?;
            let said = Verdict::of(hook, &trial.evaluation.output);
            let case = Case {
                record,
                hook,
                trial: &trial,
                examples_max: self.options.examples_max,
            };
            let Some(counts) = counts.0.get_mut(hook as usize) else {
                continue;
            };
            if self.options.binding.is_some() {
                case.count(&before, &said, &mut counts.given);
                continue;
            }
            let after = with_candidate(&before, said.clone());
            case.count(&before, &after, &mut counts.given);
            if let Some(own) = own
                && let Some(tally) = counts.same_name.tally(&own.binding)
            {
                case.count(&own.verdict, &said, tally);
            }
        }
        Ok(())
    }

    /// What the binding said with which the candidate is compared, or might be.
    fn own<'r>(&self, record: &'r DecisionRecord, hook: Hook) -> Option<&'r Decision> {
        let is_own = |decision: &&Decision| match &self.options.binding {
            Some(binding) => decision.binding == *binding,
            None => self.options.same_name.contains(&decision.module),
        };
        let mut asked = record.decisions.iter().filter(|d| d.hook == hook);
        asked.find(is_own)
    }
}

impl SameName {
    /// The counts of `binding`; none where there are several such bindings.
    fn tally(&mut self, binding: &BindingId) -> Option<&mut Tally> {
        match self {
            Self::None => *self = Self::One(binding.clone(), Tally::default()),
            Self::One(known, _) if known != binding => *self = Self::Several,
            _ => {}
        }
        match self {
            Self::One(_, tally) => Some(tally),
            _ => None,
        }
    }

    fn merge(&mut self, other: Self, examples_max: usize) {
        match other {
            Self::None => {}
            Self::Several => *self = Self::Several,
            Self::One(binding, more) => {
                if let Some(tally) = self.tally(&binding) {
                    tally.merge(more, examples_max);
                }
            }
        }
    }
}

impl Counts {
    fn merge(&mut self, other: Self, examples_max: usize) {
        for (into, from) in self.0.iter_mut().zip(other.0) {
            into.given.merge(from.given, examples_max);
            into.same_name.merge(from.same_name, examples_max);
        }
    }

    fn into_reports(self, candidate: &Candidate, options: &Options) -> Vec<HookReport> {
        let hooks: Vec<_> = candidate.hooks().collect();
        let of_hook = |(hook, counts): (Hook, HookCounts)| {
            let (against, tally) = match (&options.binding, counts.same_name) {
                (Some(binding), _) => (Against::Binding(binding.clone()), counts.given),
                (None, SameName::One(binding, tally)) => (Against::Binding(binding), tally),
                (None, _) => (Against::Overall, counts.given),
            };
            HookReport {
                hook,
                against,
                tally,
            }
        };
        let all = Hook::ALL.into_iter().zip(self.0);
        all.filter(|(hook, _)| hooks.contains(hook))
            .map(of_hook)
            .collect()
    }
}

/// One evaluation.
struct Case<'a> {
    record: &'a DecisionRecord,
    hook: Hook,
    trial: &'a Trial,
    examples_max: usize,
}

impl Case<'_> {
    fn count(&self, before: &Verdict, after: &Verdict, tally: &mut Tally) {
        tally.count_gas(self.trial.evaluation.gas);
        tally.count_taken(before, after);
        let Some(change) = change(before, after) else {
            tally.same += 1;
            return;
        };
        tally.count_change(change, after, self.examples_max, || Example {
            revision: self.record.revision,
            at_ms: self.record.at_ms,
            job: self.record.job.clone(),
            actor: actor_of(self.record, self.hook),
            before: before.clone(),
            after: after.clone(),
            panic: self.trial.panic.clone(),
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
