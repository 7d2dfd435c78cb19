//! The model.

mod compare;

use std::collections::{BTreeMap, BTreeSet};

use crate::common::*;
use raft3d_core::command::RequestOrigin;
use raft3d_core::limits::EXPIRED_ROWS_PER_APPLY_MAX;
use raft3d_core::{Accepted, Command, Envelope, RejectionKind, Response, Revision};

use crate::steps::{Ask, DAY_MS, KEPT_DEFAULT, Kept};

/// What an entry comes to, as far as the model knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted(&'static str),
    Rejected(RejectionKind),
}

impl Verdict {
    pub(crate) fn of(response: &Response) -> Self {
        match response {
            Response::Rejected(rejection) => Self::Rejected(rejection.kind),
            Response::Accepted(accepted) => Self::Accepted(match accepted {
                Accepted::Printer(_) => "printer",
                Accepted::Filament(_) => "filament",
                Accepted::Job(_) => "job",
                Accepted::Module(_, true) => "new module",
                Accepted::Module(_, false) => "known module",
                Accepted::ModuleDeleted(_) => "deleted",
                Accepted::Ruleset(_) => "ruleset",
                Accepted::Done => "done",
            }),
        }
    }
}

#[derive(Clone, Debug)]
struct Spool {
    total: u64,
    loaded: u64,
    remaining: u64,
    deducted: u64,
}

#[derive(Clone, Debug)]
struct Print {
    printer: String,
    filament: String,
    weight: u64,
    priority: i32,
    state: &'static str,
    deducted: u64,
    created: u64,
    actor: String,
}

impl Print {
    fn terminal(&self) -> bool {
        matches!(self.state, "Done" | "Canceled")
    }

    fn reserved(&self) -> u64 {
        let reserves = matches!(self.state, "Queued" | "Running");
        if reserves {
            self.weight.saturating_sub(self.deducted)
        } else {
            0
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    hash: [u8; 32],
    index: u64,
    verdict: Verdict,
    pub(crate) response: Response,
    /// Log time in milliseconds where it lies in its entry's row, otherwise record time in
    /// microseconds.
    expires: u64,
    in_entry: bool,
}

/// An entry that asked policies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    index: u64,
    at_ms: u64,
    job: String,
    evaluations: usize,
    epoch: u32,
}

/// The model.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    now_ms: u64,
    record_us: u64,
    epoch: u32,
    printers: Vec<String>,
    spools: BTreeMap<String, Spool>,
    prints: BTreeMap<String, Print>,
    modules: Vec<&'static str>,
    /// Revision, whether its lifecycle knows `Paused`, and the decision records that it keeps.
    rulesets: Vec<(u64, bool, Kept)>,
    /// Entries that asked policies, as far as they are kept.
    decisions: Vec<Asked>,
    pub(crate) records: BTreeMap<(String, String), Record>,
    /// Until then nobody looks for expired records: those under their ids (record time), and those in
    /// entries' rows (log time).
    look_from: [u64; 2],
    events: usize,
    /// Entries that emitted any.
    eventful: BTreeSet<u64>,
}

type Ruling = Result<&'static str, RejectionKind>;

impl Shop {
    pub(crate) fn new() -> Self {
        let mut modules = vec!["standard", "pausing", "deduction"];
        modules.sort_unstable();
        let bootstrapped = Record {
            hash: [0; 32],
            index: 1,
            verdict: Verdict::Accepted("ruleset"),
            response: Response::Accepted(Accepted::Done),
            expires: START_MS + 20_000,
            in_entry: true,
        };
        Self {
            now_ms: START_MS,
            record_us: 15 * 60 * 1_000 * 1_000,
            epoch: 1,
            printers: Vec::new(),
            spools: BTreeMap::new(),
            prints: BTreeMap::new(),
            modules,
            rulesets: vec![(1, false, KEPT_DEFAULT)],
            decisions: Vec::new(),
            records: [(("ann".to_owned(), "auto-1".to_owned()), bootstrapped)].into(),
            look_from: [u64::MAX, START_MS + 20_000],
            events: 4,
            eventful: [1].into(),
        }
    }

    /// Log time and record time go on.
    fn go_on(&mut self, proposed_ms: u64, is_checkpoint: bool) {
        let before_ms = self.now_ms;
        self.now_ms = self.now_ms.max(proposed_ms);
        let step_us = (self.now_ms - before_ms).min(15 * 60 * 1_000) * 1_000;
        let least_us = if is_checkpoint { 0 } else { 50 };
        self.record_us += step_us.max(least_us);
    }

    fn has_expired(&self, record: &Record) -> bool {
        if record.in_entry {
            record.expires < self.now_ms
        } else {
            record.expires < self.record_us
        }
    }

    /// So many of either kind at once at most, and then a second's pause where that was all.
    fn clean_up(&mut self) {
        for in_entry in [false, true] {
            let (now, pause) = if in_entry {
                (self.now_ms, 1_000)
            } else {
                (self.record_us, 1_000_000)
            };
            let look_from = self.look_from[usize::from(in_entry)];
            if look_from >= now {
                continue;
            }
            let of_kind = self.records.iter().filter(|(_, r)| r.in_entry == in_entry);
            // They go in the order of the entries.
            let by_entry = of_kind.map(|(key, record)| (record.index, record.expires, key.clone()));
            let mut oldest: Vec<_> = by_entry.collect();
            oldest.sort();
            let expired = oldest.iter().take_while(|(_, expires, _)| *expires < now);
            let gone: Vec<_> = expired.take(EXPIRED_ROWS_PER_APPLY_MAX).cloned().collect();
            self.look_from[usize::from(in_entry)] = match oldest.get(gone.len()) {
                // Where that many went, the next look comes at once.
                _ if gone.len() == EXPIRED_ROWS_PER_APPLY_MAX => look_from,
                Some((_, expires, _)) => (*expires).max(now + pause),
                None => u64::MAX,
            };
            for (.., key) in gone {
                self.records.remove(&key);
            }
        }
    }

    fn pausing(&self) -> bool {
        self.rulesets.last().unwrap().1
    }

    fn reserved(&self, filament: &str) -> u64 {
        self.prints
            .values()
            .filter(|p| p.filament == filament)
            .map(Print::reserved)
            .sum()
    }

    /// What the entry must come to: verdict, revision, whether it is a retry.
    pub(crate) fn expect(
        &mut self,
        index: u64,
        envelope: &Envelope,
        ask: &Ask,
    ) -> (Verdict, u64, bool) {
        self.go_on(envelope.proposed_at_ms, matches!(ask, Ask::Checkpoint));
        if matches!(ask, Ask::Checkpoint) {
            return (Verdict::Accepted("done"), index, false);
        }
        let now_ms = self.now_ms;
        self.clean_up();
        let key = (envelope.actor.name.clone(), envelope.request_id.to_string());
        if let Some(record) = self.records.get(&key).filter(|r| !self.has_expired(r)) {
            if record.hash == envelope.request_hash {
                return (record.verdict.clone(), record.index, true);
            }
            return (
                Verdict::Rejected(RejectionKind::RequestMismatch),
                index,
                false,
            );
        }
        let deadline_ms = envelope.deadline_ms.min(envelope.proposed_at_ms + 60_000);
        if now_ms > deadline_ms {
            return (
                Verdict::Rejected(RejectionKind::DeadlineExceeded),
                index,
                false,
            );
        }
        let active = self.rulesets.last().unwrap().0;
        let stale = match &envelope.command {
            Command::ActivateRuleset(command) => command.expected != Some(Revision(active)),
            _ => false,
        };
        let ruling = if stale {
            Err(RejectionKind::RevisionMismatch)
        } else {
            let events = self.events;
            let ruling = self.rule(index, ask, &envelope.actor.name);
            self.eventful
                .extend((self.events > events).then_some(index));
            ruling
        };
        let verdict = match ruling {
            Ok(what) => Verdict::Accepted(what),
            Err(kind) => Verdict::Rejected(kind),
        };
        (verdict, index, false)
    }

    pub(crate) fn remember(
        &mut self,
        index: u64,
        envelope: &Envelope,
        verdict: &Verdict,
        told: &Response,
    ) {
        let in_entry = envelope.request_origin == RequestOrigin::Node;
        let (now, expires, pause) = if in_entry {
            let span_ms = envelope.deadline_ms.saturating_sub(envelope.proposed_at_ms);
            let kept_ms = (2 * span_ms.min(60_000)).max(20_000);
            (self.now_ms, self.now_ms + kept_ms, 1_000)
        } else {
            let kept_us = DAY_MS.unsigned_abs() * 1_000;
            (self.record_us, self.record_us + kept_us, 1_000_000)
        };
        let response = match told {
            Response::Rejected(rejection) if !in_entry => {
                Response::Rejected(rejection.remembered())
            }
            told => told.clone(),
        };
        let record = Record {
            hash: envelope.request_hash,
            index,
            verdict: verdict.clone(),
            response,
            expires,
            in_entry,
        };
        let key = (envelope.actor.name.clone(), envelope.request_id.to_string());
        let look_from = &mut self.look_from[usize::from(in_entry)];
        *look_from = expires.max(now + pause).min(*look_from);
        self.records.insert(key, record);
    }

    fn rule(&mut self, index: u64, ask: &Ask, actor: &str) -> Ruling {
        match *ask {
            Ask::Printer(id) => self.printer(id),
            Ask::Filament {
                id,
                total,
                remaining,
            } => self.filament(id, total, remaining),
            Ask::Job { .. } => self.job(index, ask, actor),
            Ask::Status { .. } => self.status(index, ask),
            Ask::Activate {
                pausing,
                force,
                kept,
                ..
            } => self.activate(index, pausing, force, kept),
            Ask::Rollback { force } => match self.rulesets.iter().rev().nth(1) {
                Some(&(_, pausing, kept)) => self.activate(index, pausing, force, kept),
                None => Err(RejectionKind::NotFound),
            },
            Ask::Upload { wrong: true, .. } => Err(RejectionKind::InvalidField),
            Ask::Upload { name, .. } if self.modules.contains(&name) => Ok("known module"),
            Ask::Upload { name, .. } => {
                self.modules.push(name);
                self.events += 1;
                Ok("new module")
            }
            Ask::Delete { name } if !self.modules.contains(&name) => Err(RejectionKind::NotFound),
            Ask::Delete { name: "standard" } => Err(RejectionKind::ModuleInUse),
            Ask::Delete { name } => {
                self.modules.retain(|known| *known != name);
                self.events += 1;
                Ok("deleted")
            }
            Ask::Checkpoint => Ok("done"),
            Ask::Raise(to) if to == self.epoch + 1 => {
                self.epoch = to;
                self.events += 1;
                Ok("done")
            }
            Ask::Raise(_) => Err(RejectionKind::RevisionMismatch),
        }
    }

    fn printer(&mut self, id: &str) -> Ruling {
        if id.contains('/') {
            return Err(RejectionKind::InvalidField);
        }
        if self.printers.iter().any(|known| known == id) {
            return Err(RejectionKind::AlreadyExists);
        }
        self.printers.push(id.to_owned());
        self.printers.sort();
        self.events += 1;
        Ok("printer")
    }

    fn filament(&mut self, id: &str, total: u64, remaining: Option<u64>) -> Ruling {
        let loaded = remaining.unwrap_or(total);
        if total == 0 || loaded > total {
            return Err(RejectionKind::InvalidField);
        }
        if self.spools.contains_key(id) {
            return Err(RejectionKind::AlreadyExists);
        }
        let spool = Spool {
            total,
            loaded,
            remaining: loaded,
            deducted: 0,
        };
        self.spools.insert(id.to_owned(), spool);
        self.events += 1;
        Ok("filament")
    }

    fn job(&mut self, index: u64, ask: &Ask, actor: &str) -> Ruling {
        let &Ask::Job {
            id,
            printer,
            filament,
            weight,
            priority,
            status,
        } = ask
        else {
            panic!()
        };
        let id = id.map_or_else(|| format!("r3d-{index}"), str::to_owned);
        if id.contains('\n') {
            return Err(RejectionKind::InvalidField);
        }
        if self.prints.contains_key(&id) {
            return Err(RejectionKind::AlreadyExists);
        }
        let known = self.printers.iter().any(|known| known == printer);
        let (true, Some(spool)) = (known, self.spools.get(filament)) else {
            return Err(RejectionKind::UnknownReference);
        };
        match status.map(|status| self.state(status)) {
            None | Some(Some("Queued")) => {}
            Some(Some(_)) => return Err(RejectionKind::InvalidField),
            Some(None) => return Err(RejectionKind::UnknownState),
        }
        let remaining = spool.remaining;
        self.asked(index, &id, 1);
        if weight == 0 {
            return Err(RejectionKind::PolicyDenied);
        }
        if self.reserved(filament) + weight > remaining {
            return Err(RejectionKind::ReservationExceedsAvailable);
        }
        let print = Print {
            printer: printer.to_owned(),
            filament: filament.to_owned(),
            weight,
            priority,
            state: "Queued",
            deducted: 0,
            created: index,
            actor: actor.to_owned(),
        };
        self.prints.insert(id, print);
        self.events += 1;
        Ok("job")
    }

    fn state(&self, status: &str) -> Option<&'static str> {
        Some(match status.to_ascii_lowercase().as_str() {
            "queued" => "Queued",
            "running" | "printing" => "Running",
            "done" => "Done",
            "canceled" | "cancelled" => "Canceled",
            "paused" if self.pausing() => "Paused",
            _ => return None,
        })
    }

    /// An entry asked policies so often about a job. Where there are more records than are kept,
    /// the oldest go, and a few more; and all that are too old.
    fn asked(&mut self, index: u64, job: &str, evaluations: usize) {
        let (count, days) = self.rulesets.last().unwrap().2;
        self.decisions.push(Asked {
            index,
            at_ms: self.now_ms,
            job: job.to_owned(),
            evaluations,
            epoch: self.epoch,
        });
        let excess = (self.decisions.len() as u64).saturating_sub(count);
        let mut too_many = match excess {
            0 => 0,
            excess => excess + (count / 16).min(127),
        };
        let since_ms = self.now_ms.saturating_sub(days * DAY_MS.unsigned_abs());
        while self.decisions.len() > 1 && (too_many > 0 || self.decisions[0].at_ms < since_ms) {
            self.decisions.remove(0);
            too_many = too_many.saturating_sub(1);
        }
    }

    fn status(&mut self, index: u64, ask: &Ask) -> Ruling {
        let &Ask::Status {
            id,
            status: to,
            used,
            wants_override,
        } = ask
        else {
            panic!()
        };
        let print = self.prints.get(id).ok_or(RejectionKind::NotFound)?.clone();
        let to = self.state(to).ok_or(RejectionKind::UnknownState)?;
        if print.state == to || print.terminal() {
            return Err(RejectionKind::IllegalTransition);
        }
        let stranded = print.state == "Paused" && !self.pausing();
        let finishes = matches!(to, "Done" | "Canceled");
        let asked = !(stranded && wants_override && finishes);
        let allowed = !asked || may_move(self.pausing(), print.state, to);
        self.asked(index, id, usize::from(asked) + usize::from(allowed));
        if !allowed {
            return Err(RejectionKind::PolicyDenied);
        }
        let due = if to == "Done" {
            print.weight.saturating_sub(print.deducted)
        } else {
            0
        };
        let taken = used.unwrap_or(due);
        let others = self.reserved(&print.filament) - print.reserved();
        let spool = self.spools.get_mut(&print.filament).unwrap();
        if taken > spool.remaining {
            return Err(RejectionKind::DeductionExceedsRemaining);
        }
        let moved = Print {
            state: to,
            deducted: print.deducted + taken,
            ..print.clone()
        };
        let enters = print.state == "Paused" && !finishes;
        if enters && moved.reserved() > (spool.remaining - taken).saturating_sub(others) {
            return Err(RejectionKind::ReservationExceedsAvailable);
        }
        spool.remaining -= taken;
        spool.deducted += taken;
        self.events += if taken > 0 { 2 } else { 1 };
        self.prints.insert(id.to_owned(), moved);
        Ok("job")
    }

    fn activate(&mut self, index: u64, pausing: bool, force: bool, kept: Kept) -> Ruling {
        let paused = self.prints.values().any(|print| print.state == "Paused");
        if paused && !pausing && !force {
            return Err(RejectionKind::ActivationBlocked);
        }
        self.rulesets.push((index, pausing, kept));
        self.events += 1;
        Ok("ruleset")
    }
}
