//! Small histories by hand, right and wrong ones, for what random ones seldom hold.

use raft3d_checkers::history::{
    Answer, Consistency, DigestSeen, Facts, FilamentFacts, Finals, History, JobFacts, Mark,
    MarkKind, Op, Operation, PrinterFacts, Refusal, RequestKey,
};
use raft3d_checkers::{Verdict, check_all, digests, linearizable, once, recovery, replay, stale};

const SECOND: u64 = 1_000_000_000;

/// A history under construction: revisions rise from write to write.
#[derive(Default)]
struct Script {
    history: History,
    revision: u64,
}

impl Script {
    /// A shop with printer `p` and filament `f` that holds `grams` g.
    fn with(grams: u64) -> Self {
        let mut script = Self::default();
        let id = Some("p".to_owned());
        let row = Facts::Printer(PrinterFacts { id: "p".to_owned() });
        script.write((0, 1), Op::CreatePrinter { id }, row);
        let (total_mg, remaining_mg) = (grams * 1_000, grams * 1_000);
        let op = Op::CreateFilament {
            id: Some("f".to_owned()),
            total_mg,
            remaining_mg,
        };
        script.write((2, 3), op, filament(grams, grams, 0));
        script
    }

    fn push(&mut self, (invoked, returned): (u64, u64), op: Op, answer: Answer) {
        let number = self.history.operations.len();
        let id = format!("key-{number}");
        let request = op.is_write().then(|| RequestKey {
            actor: "a".to_owned(),
            id,
            attempt: 0,
        });
        let returned = Some(returned);
        let client = u32::try_from(number).unwrap();
        let node = Some(1);
        let operation = Operation {
            client,
            node,
            invoked,
            returned,
            request,
            op,
            answer,
        };
        self.history.operations.push(operation);
    }

    fn write(&mut self, times: (u64, u64), op: Op, facts: Facts) {
        self.revision += 1;
        let revision = self.revision;
        self.push(times, op, Answer::accepted(revision, facts));
    }

    fn read(&mut self, times: (u64, u64), op: Op, facts: Facts) {
        let revision = self.revision;
        self.push(times, op, Answer::accepted(revision, facts));
    }

    fn check(&self) -> Verdict {
        check_all(&self.history, &Finals::new())
    }

    #[track_caller]
    fn is_right(&self) {
        let verdict = self.check();
        assert!(
            verdict.is_good() && verdict.undecided.is_empty(),
            "{verdict}"
        );
    }

    #[track_caller]
    fn is_blamed_by(&self, judge: &str) {
        let verdict = self.check();
        assert!(
            verdict.blames(judge),
            "{judge} saw nothing wrong\n{verdict}"
        );
    }
}

fn filament(total: u64, remaining: u64, reserved: u64) -> Facts {
    Facts::Filament(FilamentFacts {
        id: "f".to_owned(),
        total_mg: total * 1_000,
        remaining_mg: remaining * 1_000,
        reserved_mg: reserved * 1_000,
    })
}

fn job(id: &str, grams: u64, status: &str, revision: u64) -> JobFacts {
    JobFacts {
        id: id.to_owned(),
        printer: "p".to_owned(),
        filament: "f".to_owned(),
        weight_mg: grams * 1_000,
        status: status.to_owned(),
        deducted_mg: if status == "Done" { grams * 1_000 } else { 0 },
        tag: format!("/{id}"),
        revision,
        ..JobFacts::default()
    }
}

fn create(id: &str, grams: u64) -> Op {
    Op::CreateJob {
        id: Some(id.to_owned()),
        printer: "p".to_owned(),
        filament: "f".to_owned(),
        weight_mg: grams * 1_000,
        priority: 0,
        tag: format!("/{id}"),
    }
}

fn set(job: &str, to: &str) -> Op {
    let (job, to) = (job.to_owned(), to.to_owned());
    Op::SetStatus {
        job,
        to,
        used_mg: None,
        wants_override: false,
    }
}

fn read_filament() -> Op {
    let consistency = Consistency::Linearizable;
    Op::ReadFilament {
        filament: "f".to_owned(),
        consistency,
    }
}

fn read_job(job: &str) -> Op {
    Op::ReadJob {
        job: job.to_owned(),
        consistency: Consistency::Linearizable,
    }
}

/// A job `j` of 60 g that runs, known since time 13.
fn running() -> Script {
    let mut script = Script::with(100);
    script.write(
        (10, 11),
        create("j", 60),
        Facts::Job(job("j", 60, "Queued", 3)),
    );
    script.write(
        (12, 13),
        set("j", "Running"),
        Facts::Job(job("j", 60, "Running", 4)),
    );
    script
}

#[test]
fn two_jobs_that_fit_only_one_at_a_time() {
    let mut script = Script::with(100);
    script.write(
        (10, 20),
        create("a", 60),
        Facts::Job(job("a", 60, "Queued", 3)),
    );
    script.write(
        (10, 20),
        create("b", 60),
        Facts::Job(job("b", 60, "Queued", 4)),
    );
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
}

#[test]
fn a_job_that_was_refused_although_it_fits() {
    let refused = |revision| Answer::Rejected {
        why: Refusal::PolicyDenied,
        code: Some("weight_exceeds_available".to_owned()),
        revision: Some(revision),
        replayed: false,
    };
    let mut script = Script::with(100);
    script.push((10, 11), create("a", 60), refused(3));
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
    let mut script = Script::with(50);
    script.push((10, 11), create("a", 60), refused(3));
    script.is_right();
}

#[test]
fn a_deduction_that_counted_twice() {
    let mut script = running();
    script.write(
        (20, 21),
        set("j", "Done"),
        Facts::Job(job("j", 60, "Done", 5)),
    );
    script.read((22, 23), read_filament(), filament(100, 40, 0));
    script.is_right();
    let mut script = running();
    script.write(
        (20, 21),
        set("j", "Done"),
        Facts::Job(job("j", 60, "Done", 5)),
    );
    script.read((22, 23), read_filament(), filament(100, 0, 0));
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
}

#[test]
fn a_job_that_ended_twice() {
    let mut script = running();
    script.write(
        (20, 30),
        set("j", "Done"),
        Facts::Job(job("j", 60, "Done", 5)),
    );
    script.write(
        (20, 30),
        set("j", "Canceled"),
        Facts::Job(job("j", 60, "Canceled", 6)),
    );
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
}

#[test]
fn a_write_without_an_answer_may_happen_late_or_never() {
    for (shown, is_right) in [("Running", true), ("Done", true), ("Canceled", false)] {
        let mut script = running();
        script.push((20, 21), set("j", "Done"), Answer::Unknown);
        script.read(
            (900, 901),
            read_job("j"),
            Facts::Job(job("j", 60, shown, 4)),
        );
        let found = script.check().blames(linearizable::JUDGE);
        assert_eq!(found, !is_right, "{shown}");
    }
    // But it does not happen and then not have happened.
    let mut script = running();
    script.push((20, 21), set("j", "Done"), Answer::Unknown);
    script.read((30, 31), read_job("j"), Facts::Job(job("j", 60, "Done", 5)));
    script.read(
        (40, 41),
        read_job("j"),
        Facts::Job(job("j", 60, "Running", 4)),
    );
    script.is_blamed_by(linearizable::JUDGE);
}

#[test]
fn a_write_that_certainly_did_not_happen_does_not() {
    let mut script = running();
    script.push((20, 21), set("j", "Done"), Answer::Never);
    script.read((30, 31), read_job("j"), Facts::Job(job("j", 60, "Done", 5)));
    script.is_blamed_by(linearizable::JUDGE);
}

#[test]
fn a_retry_takes_effect_once() {
    let again = |script: &mut Script, replayed| {
        let first = script.history.operations.last().unwrap();
        let (op, mut request) = (first.op.clone(), first.request.clone().unwrap());
        request.attempt = 1;
        let facts = Facts::Job(job("j", 60, "Done", 5));
        script.push(
            (30, 31),
            op,
            Answer::Accepted {
                revision: 5,
                replayed,
                facts,
            },
        );
        script.history.operations.last_mut().unwrap().request = Some(request);
        script.revision = 5;
    };
    for replayed in [false, true] {
        let mut script = running();
        script.push((20, 21), set("j", "Done"), Answer::Unknown);
        again(&mut script, replayed);
        script.read((40, 41), read_filament(), filament(100, 40, 0));
        script.is_right();
    }
    let mut script = running();
    script.write(
        (20, 21),
        set("j", "Done"),
        Facts::Job(job("j", 60, "Done", 5)),
    );
    again(&mut script, false);
    script.is_blamed_by(once::JUDGE);
}

#[test]
fn another_request_under_a_used_key_is_refused() {
    let mut script = running();
    let key = script.history.operations.last().unwrap().request.clone();
    let facts = Facts::Job(job("k", 10, "Queued", 5));
    script.write((20, 21), create("k", 10), facts);
    script.history.operations.last_mut().unwrap().request = key;
    script.is_blamed_by(once::JUDGE);
}

#[test]
fn two_claims_never_get_one_job() {
    let claim = || Op::Claim {
        printer: "p".to_owned(),
    };
    let mut script = Script::with(100);
    script.write(
        (10, 11),
        create("j", 60),
        Facts::Job(job("j", 60, "Queued", 3)),
    );
    script.write((20, 30), claim(), Facts::Job(job("j", 60, "Running", 4)));
    script.write((20, 30), claim(), Facts::Absent);
    script.is_right();
    let mut script = Script::with(100);
    script.write(
        (10, 11),
        create("j", 60),
        Facts::Job(job("j", 60, "Queued", 3)),
    );
    script.write((20, 30), claim(), Facts::Job(job("j", 60, "Running", 4)));
    script.write((20, 30), claim(), Facts::Job(job("j", 60, "Running", 5)));
    for judge in [once::JUDGE, linearizable::JUDGE, replay::JUDGE] {
        script.is_blamed_by(judge);
    }
}

#[test]
fn a_claim_takes_the_most_urgent_job() {
    let mut script = Script::with(100);
    script.write(
        (10, 11),
        create("a", 10),
        Facts::Job(job("a", 10, "Queued", 3)),
    );
    script.write(
        (12, 13),
        create("b", 10),
        Facts::Job(job("b", 10, "Queued", 4)),
    );
    let claim = Op::Claim {
        printer: "p".to_owned(),
    };
    script.write((20, 30), claim, Facts::Job(job("b", 10, "Running", 5)));
    script.is_blamed_by(replay::JUDGE);
}

#[test]
fn a_write_that_changes_nothing_at_first_may_be_needed_later() {
    let activate = |name: &str| Op::ActivateRuleset {
        name: name.to_owned(),
        expected: None,
    };
    let read = || Op::ReadRuleset {
        consistency: Consistency::Linearizable,
    };
    let mut script = Script::default();
    script.write((0, 1), activate("one"), Facts::Ruleset("one".to_owned()));
    script.write((12, 20), activate("two"), Facts::Ruleset("two".to_owned()));
    script.read((25, 30), read(), Facts::Ruleset("two".to_owned()));
    script.write((10, 50), activate("one"), Facts::Ruleset("one".to_owned()));
    script.read((35, 40), read(), Facts::Ruleset("one".to_owned()));
    script.is_right();
}

#[test]
fn a_ruleset_that_went_back() {
    let activate = |name: &str| Op::ActivateRuleset {
        name: name.to_owned(),
        expected: None,
    };
    let read = || Op::ReadRuleset {
        consistency: Consistency::Linearizable,
    };
    let mut script = Script::default();
    script.write((0, 1), activate("one"), Facts::Ruleset("one".to_owned()));
    script.write((2, 9), activate("two"), Facts::Ruleset("two".to_owned()));
    script.read((3, 4), read(), Facts::Ruleset("two".to_owned()));
    script.read((5, 6), read(), Facts::Ruleset("two".to_owned()));
    script.is_right();
    script.read((7, 8), read(), Facts::Ruleset("one".to_owned()));
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
}

#[test]
fn a_stale_read_may_be_old_but_not_older_than_it_asked_for() {
    let read = |min_revision| {
        let consistency = Consistency::Stale { min_revision };
        Op::ReadJob {
            job: "j".to_owned(),
            consistency,
        }
    };
    let mut script = running();
    script.revision = 3;
    script.read(
        (20, 21),
        read(Some(3)),
        Facts::Job(job("j", 60, "Queued", 3)),
    );
    script.is_right();
    script.read(
        (22, 23),
        read(Some(4)),
        Facts::Job(job("j", 60, "Queued", 3)),
    );
    script.is_blamed_by(stale::JUDGE);
    // What it shows was true at its revision.
    let mut script = running();
    script.read((20, 21), read(None), Facts::Job(job("j", 60, "Done", 4)));
    script.is_blamed_by(replay::JUDGE);
}

/// A history that is healed at second 100, with a write that is answered at `answered` seconds.
fn healed(answered: Option<u64>, fault_at: Option<u64>) -> Verdict {
    let mut script = Script::with(100);
    let sent = 101 * SECOND;
    match answered {
        Some(at) => {
            let facts = Facts::Job(job("j", 60, "Queued", 3));
            script.write((sent, at * SECOND), create("j", 60), facts);
        }
        None => script.push((sent, 102 * SECOND), create("j", 60), Answer::Unknown),
    }
    script.push((130 * SECOND, 131 * SECOND), create("k", 1), Answer::Never);
    let mark = |at: u64, kind| Mark {
        at: at * SECOND,
        kind,
        what: "a cut".to_owned(),
    };
    script.history.marks.push(mark(50, MarkKind::Fault));
    script.history.marks.push(mark(100, MarkKind::Healed));
    script
        .history
        .marks
        .extend(fault_at.map(|at| mark(at, MarkKind::Fault)));
    script.check()
}

#[test]
fn after_healing_a_write_is_accepted_within_ten_seconds() {
    assert!(!healed(Some(109), None).blames(recovery::JUDGE));
    assert!(healed(Some(111), None).blames(recovery::JUDGE));
    assert!(healed(None, None).blames(recovery::JUDGE));
    // The next fault came too early to judge, which is said.
    let verdict = healed(None, Some(105));
    assert!(!verdict.blames(recovery::JUDGE));
    assert!(
        verdict
            .skipped
            .iter()
            .any(|line| line.contains(recovery::JUDGE)),
        "{verdict}"
    );
}

#[test]
fn digests_seen_during_the_run_count() {
    let mut script = running();
    for (node, digest) in [(1, "aa"), (2, "bb")] {
        let digest = digest.to_owned();
        script.history.digests.push(DigestSeen {
            at: 50,
            node,
            index: 4,
            digest,
        });
    }
    script.is_blamed_by(digests::JUDGE);
}

#[test]
fn a_violation_shows_what_happened() {
    let mut script = running();
    script.read(
        (20, 21),
        read_job("j"),
        Facts::Job(job("j", 60, "Queued", 3)),
    );
    let verdict = script.check();
    let text = verdict.to_string();
    for part in [
        "no order of the calls on job j",
        "client 4 at node 1",
        "Running",
    ] {
        assert!(text.contains(part), "{part} is missing from\n{text}");
    }
}
