//! Is there an order of all calls, each between its sending and its answer, that explains every
//! answer? Decided for each row by itself, and without a look at revisions: a cluster that numbers
//! its writes wrongly does not get past this judge.
//!
//! A call that touches several rows (a job's transition changes its filament, too) is checked on
//! each. That is weaker than one order for all rows together, which `replay` checks with the help
//! of revisions; it is what keeps the search short.
//!
//! Only linearizable reads take part; `stale` judges the others. A write without an answer may take
//! effect at any time after it was sent, or never; where the final dumps tell which, they are
//! believed (`lost` judges them).

use std::collections::BTreeMap;

use crate::calls::{Call, Fate, Jobs};
use crate::history::{Consistency, Facts, Finals, JobFacts, Nanos, Op, Refusal};
use crate::search::{Found, Item, search};
use crate::verdict::{Court, Verdict};

mod filament;
mod job;
mod register;

use filament::{FilamentAction, FilamentModel};
use job::{JobAction, JobModel};
use register::{Register, RegisterAction};

/// Name of this judge.
pub const JUDGE: &str = "linearizable";

/// The items of every row.
#[derive(Default)]
struct Rows<'a> {
    jobs: BTreeMap<&'a str, Vec<Item<JobAction<'a>>>>,
    filaments: BTreeMap<&'a str, Vec<Item<FilamentAction<'a>>>>,
    printers: BTreeMap<&'a str, Vec<Item<RegisterAction<'a>>>>,
    ruleset: Vec<Item<RegisterAction<'a>>>,
}

/// Judges the calls.
pub(crate) fn judge(calls: &[Call<'_>], finals: &Finals, verdict: &mut Verdict) {
    let known = Known::gather(calls, finals);
    let mut rows = Rows::default();
    for (source, call) in calls.iter().enumerate() {
        rows.add(call, source, &known);
    }
    let mut court = Court::open(JUDGE, verdict);
    court.count("rows searched for an order", rows.count());
    for (id, items) in rows.jobs {
        tell(
            &mut court,
            calls,
            &format!("job {id}"),
            search::<JobModel<'_>>(None, items),
        );
    }
    for (id, items) in rows.filaments {
        let found = search::<FilamentModel<'_>>(None, items);
        tell(&mut court, calls, &format!("filament {id}"), found);
    }
    for (id, items) in rows.printers {
        tell(
            &mut court,
            calls,
            &format!("printer {id}"),
            search::<Register<'_>>(None, items),
        );
    }
    let bootstrapped = Some(String::new());
    tell(
        &mut court,
        calls,
        "the ruleset",
        search::<Register<'_>>(bootstrapped, rows.ruleset),
    );
}

fn tell(court: &mut Court<'_>, calls: &[Call<'_>], row: &str, found: Found) {
    match found {
        Found::Order => {}
        Found::Undecided => court.undecided(format!("{row}: too many orders to try them all")),
        Found::None {
            explained,
            state,
            stuck,
        } => {
            let what = format!(
                "no order of the calls on {row} explains all answers: {explained} can be \
                 explained, up to {state}, and then none of these that come next"
            );
            let stuck = stuck.into_iter().filter_map(|source| calls.get(source));
            court.blame(what, stuck.flat_map(Call::shown));
        }
    }
}

/// What is known beside the order of the calls.
struct Known<'a> {
    jobs: Jobs<'a>,
    /// Whether any job may have been deleted.
    deletes: bool,
    /// The jobs of one node's final dump, by id.
    last: Option<BTreeMap<&'a str, &'a JobFacts>>,
}

impl<'a> Known<'a> {
    fn gather(calls: &[Call<'a>], finals: &'a Finals) -> Self {
        let last = finals.iter().max_by_key(|node| node.applied);
        let last = last.and_then(|node| node.jobs.as_ref());
        Self {
            jobs: Jobs::gather(calls, finals),
            deletes: calls
                .iter()
                .any(|call| matches!(call.op, Op::DeleteJob { .. })),
            last: last.map(|jobs| jobs.iter().map(|job| (job.id.as_str(), job)).collect()),
        }
    }

    /// Whether a write without an answer took effect: `Some` where the final dump tells.
    fn happened(&self, op: &Op) -> Option<bool> {
        let last = self.last.as_ref()?;
        match op {
            Op::CreateJob { tag, .. } => match last.values().any(|job| job.tag == *tag) {
                false if self.deletes => None,
                there => Some(there),
            },
            Op::SetStatus { job, to, .. } if crate::rules::is_terminal(to) => {
                match last.get(job.as_str()) {
                    Some(job) if job.status == *to => None,
                    None if self.deletes => None,
                    _ => Some(false),
                }
            }
            _ => None,
        }
    }
}

impl<'a> Rows<'a> {
    fn count(&self) -> usize {
        self.jobs.len() + self.filaments.len() + self.printers.len() + 1
    }

    fn add(&mut self, call: &Call<'a>, source: usize, known: &Known<'a>) {
        let place = match &call.fate {
            Fate::Unknown => match known.happened(call.op) {
                Some(false) => return,
                happened => Place {
                    invoked: call.invoked,
                    returned: Nanos::MAX,
                    certain: happened == Some(true),
                    source,
                },
            },
            Fate::Done { .. } | Fate::Refused { .. } => Place {
                invoked: call.invoked,
                returned: call.deadline(),
                certain: true,
                source,
            },
        };
        match call.op.consistency() {
            None => self.add_write(call, place, known),
            Some(Consistency::Linearizable) => self.add_read(call, place),
            Some(Consistency::Stale { .. }) => {}
        }
    }

    fn add_write(&mut self, call: &Call<'a>, place: Place, known: &Known<'a>) {
        let fate = &call.fate;
        match call.op {
            Op::CreatePrinter { .. } | Op::ActivateRuleset { .. } => {
                self.add_register(call, place);
            }
            Op::CreateFilament { .. } | Op::AdjustFilament { .. } => {
                if let Some((id, action)) = filament::of_call(call.op, fate) {
                    self.filaments
                        .entry(id)
                        .or_default()
                        .push(place.item(action));
                }
            }
            Op::CreateJob { printer, .. } => {
                if matches!(fate, Fate::Done { .. }) {
                    let there = RegisterAction::Shows(Some(""));
                    self.printers
                        .entry(printer)
                        .or_default()
                        .push(place.item(there));
                }
                self.add_job_write(call, place, known);
            }
            Op::Claim { printer } if *fate == Fate::Unknown => {
                // It may have moved any queued job of the printer.
                for id in known.jobs.of_printer(printer) {
                    let action = JobAction::claim(id, None);
                    self.jobs.entry(id).or_default().push(place.item(action));
                }
            }
            Op::SetStatus { .. }
            | Op::SetPriority { .. }
            | Op::DeleteJob { .. }
            | Op::Claim { .. } => self.add_job_write(call, place, known),
            _ => {}
        }
    }

    fn add_job_write(&mut self, call: &Call<'a>, place: Place, known: &Known<'a>) {
        if let Some((id, action)) = job::of_call(call.op, &call.fate, known.jobs.id_of(call.op)) {
            self.jobs.entry(id).or_default().push(place.item(action));
        }
        let row = |id: &str| known.jobs.load(id);
        if let Some((id, action)) = filament::of_job_call(call.op, &call.fate, row) {
            self.filaments
                .entry(id)
                .or_default()
                .push(place.item(action));
        }
    }

    fn add_register(&mut self, call: &Call<'a>, place: Place) {
        match (call.op, &call.fate) {
            (
                Op::CreatePrinter { .. },
                Fate::Done {
                    facts: Facts::Printer(printer),
                    ..
                },
            ) => {
                let create = RegisterAction::Creates;
                self.printers
                    .entry(&printer.id)
                    .or_default()
                    .push(place.item(create));
            }
            (Op::CreatePrinter { id: Some(id) }, Fate::Unknown) => {
                let create = RegisterAction::Creates;
                self.printers
                    .entry(id)
                    .or_default()
                    .push(place.item(create));
            }
            (Op::ActivateRuleset { name, .. }, Fate::Done { .. } | Fate::Unknown) => {
                self.ruleset.push(place.item(RegisterAction::Sets(name)));
            }
            (
                Op::CreatePrinter { id: Some(id) },
                Fate::Refused {
                    why: Refusal::AlreadyExists,
                    ..
                },
            ) => {
                let there = RegisterAction::Shows(Some(""));
                self.printers.entry(id).or_default().push(place.item(there));
            }
            _ => {}
        }
    }

    fn add_read(&mut self, call: &Call<'a>, place: Place) {
        let Fate::Done { facts, .. } = call.fate else {
            return;
        };
        match (call.op, facts) {
            (Op::ReadJob { job, .. }, Facts::Job(_) | Facts::Absent) => {
                let shown = if let Facts::Job(job) = facts {
                    Some(job)
                } else {
                    None
                };
                let read = JobAction::read(job, shown);
                self.jobs.entry(job).or_default().push(place.item(read));
            }
            (Op::ListJobs { .. }, Facts::Jobs(jobs)) => {
                for job in jobs {
                    let read = JobAction::read(&job.id, Some(job));
                    self.jobs.entry(&job.id).or_default().push(place.item(read));
                }
            }
            (Op::ReadFilament { filament, .. }, Facts::Filament(_) | Facts::Absent) => {
                let shown = if let Facts::Filament(row) = facts {
                    Some(row)
                } else {
                    None
                };
                let read = FilamentAction::Shows(shown);
                self.filaments
                    .entry(filament)
                    .or_default()
                    .push(place.item(read));
            }
            (Op::ReadPrinter { printer, .. }, Facts::Printer(_) | Facts::Absent) => {
                let shown = matches!(facts, Facts::Printer(_)).then_some("");
                let read = RegisterAction::Shows(shown);
                self.printers
                    .entry(printer)
                    .or_default()
                    .push(place.item(read));
            }
            (Op::ReadRuleset { .. }, Facts::Ruleset(name)) => {
                self.ruleset
                    .push(place.item(RegisterAction::Shows(Some(name))));
            }
            _ => {}
        }
    }
}

/// When a call took effect, and whose it is.
#[derive(Clone, Copy)]
struct Place {
    invoked: Nanos,
    returned: Nanos,
    certain: bool,
    source: usize,
}

impl Place {
    fn item<A>(self, action: A) -> Item<A> {
        let Self {
            invoked,
            returned,
            certain,
            source,
        } = self;
        Item {
            invoked,
            returned,
            certain,
            action,
            source,
        }
    }
}
