//! A plain model of the print shop: rows in maps, one call after the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Facts, FilamentFacts, JobFacts, Op, Refusal};
use crate::rules::{self, CLAIMED, INITIAL, TOO_HEAVY};

/// Under what the active ruleset stands among the rows that are uncertain; no id has blanks.
pub(crate) const RULESET: &str = "the active ruleset";

/// The shop at one revision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shop {
    pub(crate) printers: BTreeSet<String>,
    filaments: BTreeMap<String, FilamentFacts>,
    pub(crate) jobs: BTreeMap<String, JobFacts>,
    /// Revisions that made the jobs: their age in their printer's queue.
    made: BTreeMap<String, u64>,
    /// Name and revision of the active ruleset; no revision before the first activation.
    ruleset: (String, Option<u64>),
    /// Rows that a write without an answer may have changed in a way that nothing tells.
    uncertain: BTreeSet<String>,
    /// Creations of printers and filaments without an answer. Such a row is made when something
    /// first shows it; from then on it is a row like any other.
    perhaps: Vec<Op>,
}

impl Shop {
    /// An empty one. `uncertain`: rows that are not to be compared; `perhaps`: creations of printers
    /// and filaments that happened at a revision that nothing tells, or never.
    pub(crate) fn new(uncertain: BTreeSet<String>, perhaps: Vec<Op>) -> Self {
        Self {
            uncertain,
            perhaps,
            ..Self::default()
        }
    }

    /// Something shows this printer: if a request without an answer may have made it, one has.
    fn found_printer(&mut self, id: &str) {
        if self.printers.contains(id) {
            return;
        }
        let fits = |op: &Op| matches!(op, Op::CreatePrinter { id: own } if may_be(own, id));
        if let Some(place) = self.perhaps.iter().position(fits) {
            self.perhaps.swap_remove(place);
            self.printers.insert(id.to_owned());
        }
    }

    /// Something shows this filament: if a request without an answer may have made it, one has.
    fn found_filament(&mut self, id: &str) {
        if self.filaments.contains_key(id) {
            return;
        }
        let weights = |op: &Op| match op {
            Op::CreateFilament {
                id: own,
                total_mg,
                remaining_mg,
            } if may_be(own, id) => Some((*total_mg, *remaining_mg)),
            _ => None,
        };
        let first = |op: &Op| weights(op).is_some();
        let Some(place) = self.perhaps.iter().position(first) else {
            return;
        };
        let made = weights(&self.perhaps.swap_remove(place));
        let Some((total_mg, remaining_mg)) = made else {
            return;
        };
        // Where several asked for it, nothing tells which of them it was.
        if self
            .perhaps
            .iter()
            .filter_map(weights)
            .any(|other| Some(other) != made)
        {
            self.uncertain.insert(id.to_owned());
        }
        let row = FilamentFacts {
            id: id.to_owned(),
            total_mg,
            remaining_mg,
            reserved_mg: 0,
        };
        self.filaments.insert(row.id.clone(), row);
    }

    /// Does an accepted write, and says what is wrong with its answer.
    pub(crate) fn write(&mut self, op: &Op, facts: &Facts, revision: u64) -> Result<(), String> {
        let done = self.do_write(op, facts, revision);
        // However uncertain the row is, its answer shows where the call put it.
        if let (Op::SetStatus { to, .. }, Facts::Job(shown)) = (op, facts)
            && shown.status != *to
        {
            return Err(format!("the answer shows {shown:?}; it was sent to {to}"));
        }
        if done.is_ok() || !self.is_unsure(op) {
            return done;
        }
        // What the model lacks, the answer shows.
        match (op, facts) {
            (Op::DeleteJob { job }, _) => {
                self.jobs.remove(job);
            }
            (_, Facts::Job(job)) => {
                self.jobs.insert(job.id.clone(), job.clone());
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a write is about a row that is uncertain.
    fn is_unsure(&self, op: &Op) -> bool {
        match op {
            Op::CreatePrinter { id: Some(id) }
            | Op::CreateFilament { id: Some(id), .. }
            | Op::SetStatus { job: id, .. }
            | Op::SetPriority { job: id, .. }
            | Op::DeleteJob { job: id } => self.uncertain.contains(id),
            Op::CreateJob {
                id,
                printer,
                filament,
                ..
            } => {
                let mut rows = id.iter().chain([printer, filament]);
                rows.any(|id| self.uncertain.contains(id))
            }
            Op::AdjustFilament { filament, .. } => self.uncertain.contains(filament),
            Op::Claim { .. } => !self.uncertain.is_empty(),
            Op::ActivateRuleset { .. } => self.uncertain.contains(RULESET),
            _ => false,
        }
    }

    fn do_write(&mut self, op: &Op, facts: &Facts, revision: u64) -> Result<(), String> {
        match op {
            Op::CreatePrinter { id } => {
                let shown = if let Facts::Printer(row) = facts {
                    Some(&row.id)
                } else {
                    None
                };
                let id = shown.or(id.as_ref()).ok_or("the answer shows no printer")?;
                new(self.printers.insert(id.clone()), "printer", id)
            }
            Op::CreateFilament {
                id,
                total_mg,
                remaining_mg,
            } => {
                let row = filament_row(id.as_ref(), (*total_mg, *remaining_mg), facts)?;
                let id = row.id.clone();
                new(
                    self.filaments.insert(id.clone(), row).is_none(),
                    "filament",
                    &id,
                )
            }
            Op::CreateJob { id, .. } => {
                let shown = if let Facts::Job(job) = facts {
                    Some(&job.id)
                } else {
                    None
                };
                let id = id
                    .as_ref()
                    .or(shown)
                    .ok_or("the answer shows no job")?
                    .clone();
                self.create_job(op, &id, revision)?;
                self.stamp(&id, facts, revision)
            }
            Op::SetStatus {
                job, to, used_mg, ..
            } => {
                self.move_job(job, to, *used_mg)?;
                self.stamp(job, facts, revision)
            }
            Op::Claim { printer } => self.claim(printer, facts, revision),
            Op::AdjustFilament { filament, delta_mg } => self.adjust(filament, *delta_mg, facts),
            Op::SetPriority { job, priority } => {
                let row = self.jobs.get_mut(job).ok_or_else(|| missing("job", job))?;
                row.priority = *priority;
                self.stamp(job, facts, revision)
            }
            Op::DeleteJob { job } => {
                let row = self.jobs.remove(job).ok_or_else(|| missing("job", job))?;
                match rules::is_terminal(&row.status) {
                    true => Ok(()),
                    false => Err(format!("job {job} is {} and was deleted", row.status)),
                }
            }
            Op::ActivateRuleset { name, expected } => {
                let active = core::mem::replace(&mut self.ruleset, (name.clone(), Some(revision)));
                match (expected, active.1) {
                    (Some(expected), Some(active)) if *expected != active => {
                        Err(format!("revision {active} was active, not {expected}"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Adds the job that a request makes.
    pub(crate) fn create_job(&mut self, op: &Op, id: &str, revision: u64) -> Result<(), String> {
        let job = rules::created(op, id).ok_or("no request for a job")?;
        self.found_printer(&job.printer);
        self.found_filament(&job.filament);
        if !self.printers.contains(&job.printer) {
            return Err(missing("printer", &job.printer));
        }
        let unsure = self.uncertain.contains(&job.filament);
        let Some(filament) = self.filaments.get_mut(&job.filament) else {
            return Err(missing("filament", &job.filament));
        };
        if job.weight_mg > rules::available(filament) && !unsure {
            return Err(format!(
                "job {id} needs {} mg; the filament has {filament:?}",
                job.weight_mg
            ));
        }
        filament.reserved_mg = filament.reserved_mg.saturating_add(job.weight_mg);
        self.made.insert(id.to_owned(), revision);
        new(
            self.jobs
                .insert(id.to_owned(), JobFacts { revision, ..job })
                .is_none(),
            "job",
            id,
        )
    }

    /// Moves a job to its next state.
    pub(crate) fn move_job(
        &mut self,
        id: &str,
        to: &str,
        used_mg: Option<u64>,
    ) -> Result<(), String> {
        let job = self.jobs.get_mut(id).ok_or_else(|| missing("job", id))?;
        let moved = rules::moved(job, to, used_mg)
            .ok_or_else(|| format!("job {id} is {} and went to {to}", job.status))?;
        let taken = moved.deducted_mg.saturating_sub(job.deducted_mg);
        let freed = rules::reserves(job).saturating_sub(rules::reserves(&moved));
        let filament = job.filament.clone();
        *job = moved;
        let unsure = self.uncertain.contains(&filament);
        let row = self
            .filaments
            .get_mut(&filament)
            .ok_or_else(|| missing("filament", &filament))?;
        if taken > row.remaining_mg && !unsure {
            return Err(format!("job {id} took {taken} mg of {row:?}"));
        }
        row.remaining_mg = row.remaining_mg.saturating_sub(taken);
        row.reserved_mg = row.reserved_mg.saturating_sub(freed);
        Ok(())
    }

    /// Writes down what comes from the entry, and compares the job with what the answer shows.
    fn stamp(&mut self, id: &str, facts: &Facts, revision: u64) -> Result<(), String> {
        let unsure = self.uncertain.contains(id);
        let Some(job) = self.jobs.get_mut(id) else {
            return Ok(());
        };
        job.revision = revision;
        let Facts::Job(shown) = facts else {
            return Ok(());
        };
        let before = job.stamps_ms;
        if let (Some((created, _)), Some((shown_created, _))) = (before, shown.stamps_ms)
            && created != shown_created
        {
            return Err(format!(
                "the job was created at {created}, now at {shown_created}"
            ));
        }
        job.stamps_ms = shown.stamps_ms;
        if same(job, shown) || unsure {
            return Ok(());
        }
        Err(format!("the answer shows {shown:?}; it must show {job:?}"))
    }

    /// Takes the next queued job of the printer: the highest priority, then the oldest.
    fn claim(&mut self, printer: &str, facts: &Facts, revision: u64) -> Result<(), String> {
        let queue = self.jobs.values().filter(|job| job.printer == printer);
        let queue = queue.filter(|job| job.status == INITIAL);
        let made = |id: &str| self.made.get(id).copied().unwrap_or_default();
        let next = queue.min_by_key(|job| (core::cmp::Reverse(job.priority), made(&job.id)));
        let next = next.map(|job| job.id.clone());
        let Facts::Job(shown) = facts else {
            return match next {
                None => Ok(()),
                Some(id) => Err(format!("nothing was claimed, although job {id} is queued")),
            };
        };
        let unsure = self
            .jobs
            .values()
            .any(|job| self.uncertain.contains(&job.id));
        if next.as_ref() != Some(&shown.id) && !unsure {
            return Err(format!(
                "job {} was claimed; the next one is {next:?}",
                shown.id
            ));
        }
        self.move_job(&shown.id, CLAIMED, None)?;
        self.stamp(&shown.id, facts, revision)
    }

    /// Corrects what is left of a filament.
    pub(crate) fn adjust(&mut self, id: &str, delta: i64, facts: &Facts) -> Result<(), String> {
        self.found_filament(id);
        let unsure = self.uncertain.contains(id);
        let row = self
            .filaments
            .get_mut(id)
            .ok_or_else(|| missing("filament", id))?;
        let remaining = row.remaining_mg.checked_add_signed(delta);
        let Some(remaining) = remaining.filter(|remaining| *remaining <= row.total_mg || unsure)
        else {
            return Err(format!("{delta} mg do not fit {row:?}"));
        };
        row.remaining_mg = remaining;
        match facts {
            Facts::Filament(shown) if shown != row && !unsure => {
                Err(format!("the answer shows {shown:?}; it must show {row:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Says what is wrong with a read.
    pub(crate) fn read(&mut self, op: &Op, facts: &Facts) -> Result<(), String> {
        let differ = |shown: &dyn core::fmt::Debug, own: &dyn core::fmt::Debug| {
            Err(format!("the read shows {shown:?}; it must show {own:?}"))
        };
        match (op, facts) {
            (Op::ReadJob { job, .. }, Facts::Job(_) | Facts::Absent) => {
                let shown = if let Facts::Job(job) = facts {
                    Some(job)
                } else {
                    None
                };
                self.read_job(job, shown)
            }
            (Op::ReadFilament { filament, .. }, Facts::Filament(_) | Facts::Absent) => {
                let shown = if let Facts::Filament(row) = facts {
                    Some(row)
                } else {
                    None
                };
                if shown.is_some() {
                    self.found_filament(filament);
                }
                let own = self.filaments.get(filament);
                match shown == own || self.uncertain.contains(filament) {
                    true => Ok(()),
                    false => differ(&shown, &own),
                }
            }
            (Op::ReadPrinter { printer, .. }, Facts::Printer(_) | Facts::Absent) => {
                let shown = *facts != Facts::Absent;
                if shown {
                    self.found_printer(printer);
                }
                let own = self.printers.contains(printer);
                if shown == own {
                    Ok(())
                } else {
                    differ(&shown, &own)
                }
            }
            (Op::ReadRuleset { .. }, Facts::Ruleset(shown)) => {
                let unsure = self.uncertain.contains(RULESET);
                let own = &self.ruleset.0;
                if shown == own || unsure {
                    Ok(())
                } else {
                    differ(shown, own)
                }
            }
            (Op::ListJobs { complete, .. }, Facts::Jobs(shown)) => {
                for job in shown {
                    self.read_job(&job.id, Some(job))?;
                }
                let listed: BTreeSet<&str> = shown.iter().map(|job| job.id.as_str()).collect();
                let unlisted = self.jobs.keys().find(|id| !listed.contains(id.as_str()));
                match unlisted.filter(|id| *complete && !self.uncertain.contains(*id)) {
                    Some(id) => Err(format!("job {id} is missing from the list")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn read_job(&self, id: &str, shown: Option<&JobFacts>) -> Result<(), String> {
        let own = self.jobs.get(id);
        let fits = match (shown, own) {
            (Some(shown), Some(own)) => same(own, shown),
            (shown, own) => shown.is_none() && own.is_none(),
        };
        match fits || self.uncertain.contains(id) {
            true => Ok(()),
            false => Err(format!("the read shows {shown:?}; it must show {own:?}")),
        }
    }

    /// Says what is wrong with a refusal. Those that hang on policies may come at any time.
    pub(crate) fn refuse(&self, op: &Op, why: &Refusal, code: Option<&str>) -> Result<(), String> {
        let wrong = |own: &dyn core::fmt::Debug| Err(format!("it was refused, with {own:?}"));
        match (op, why) {
            (Op::CreateJob { id: Some(id), .. }, Refusal::AlreadyExists)
                if !self.jobs.contains_key(id) && !self.uncertain.contains(id) =>
            {
                wrong(&"no job of that id")
            }
            (
                Op::CreateJob {
                    printer, filament, ..
                },
                Refusal::UnknownReference,
            ) if self.printers.contains(printer) && self.filaments.contains_key(filament) => {
                wrong(&"both its printer and its filament there")
            }
            (
                Op::CreateJob {
                    filament,
                    weight_mg,
                    ..
                },
                why,
            ) if too_heavy(why, code) => match self.filaments.get(filament) {
                Some(row)
                    if *weight_mg <= rules::available(row)
                        && !self.uncertain.contains(filament) =>
                {
                    wrong(row)
                }
                _ => Ok(()),
            },
            (Op::SetStatus { job, to, .. }, why) if !self.uncertain.contains(job) => {
                let row = self.jobs.get(job);
                let fits = match why {
                    Refusal::NotFound => row.is_none(),
                    Refusal::IllegalTransition => {
                        row.is_some_and(|job| !rules::may_move(&job.status, to))
                    }
                    _ => true,
                };
                if fits { Ok(()) } else { wrong(&row) }
            }
            _ => Ok(()),
        }
    }
}

fn too_heavy(why: &Refusal, code: Option<&str>) -> bool {
    match why {
        Refusal::ReservationExceedsAvailable => true,
        Refusal::PolicyDenied => code == Some(TOO_HEAVY),
        _ => false,
    }
}

fn filament_row(
    id: Option<&String>,
    (total_mg, remaining_mg): (u64, u64),
    facts: &Facts,
) -> Result<FilamentFacts, String> {
    let shown = if let Facts::Filament(row) = facts {
        Some(row)
    } else {
        None
    };
    let id = id
        .or(shown.map(|row| &row.id))
        .ok_or("the answer shows no filament")?
        .clone();
    let row = FilamentFacts {
        id,
        total_mg,
        remaining_mg,
        reserved_mg: 0,
    };
    match shown {
        Some(shown) if *shown != row => {
            Err(format!("the answer shows {shown:?}; it must show {row:?}"))
        }
        _ => Ok(row),
    }
}

fn new(is_new: bool, what: &str, id: &str) -> Result<(), String> {
    if is_new {
        Ok(())
    } else {
        Err(format!("{what} {id} was there already"))
    }
}

/// Whether a request that asked for that id, or left it to the cluster, may have made the row.
fn may_be(asked: &Option<String>, id: &str) -> bool {
    asked.as_ref().is_none_or(|asked| asked == id)
}

fn missing(what: &str, id: &str) -> String {
    format!("{what} {id} is not there")
}

/// Whether the row is as it is shown; times only where both have them.
fn same(own: &JobFacts, shown: &JobFacts) -> bool {
    let stamps = own.stamps_ms.is_none() || shown.stamps_ms.is_none();
    let stamps_ms = if stamps {
        shown.stamps_ms
    } else {
        own.stamps_ms
    };
    JobFacts {
        stamps_ms,
        ..own.clone()
    } == *shown
}
