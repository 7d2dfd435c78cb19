//! How long the judges take for the histories that they are made for. Prints figures; fails only
//! where a judge is wrong.

use std::time::Instant;

use raft3d_checkers::history::{Answer, Consistency, Facts, History, JobFacts, Op, Operation};
use raft3d_checkers::{Finals, check_all, linearizable};

use crate::making::{Plan, make};
use crate::random::Random;

const OPERATIONS: usize = 20_000;
const CLIENTS: u32 = 10;

fn figure(what: &str, started: Instant) {
    println!("{what}: {} ms", started.elapsed().as_millis());
}

/// Ten clients on one filament: every job is on it.
#[test]
fn ten_clients_on_one_filament() {
    let plan = Plan {
        clients: CLIENTS,
        operations: OPERATIONS,
        filaments: 1,
        lost_answers: 1,
        wide: false,
        reads: 30,
        rows: 0,
    };
    let mut made = make(7, &plan);
    let started = Instant::now();
    let verdict = made.check();
    figure(
        "20,000 operations of 10 clients on one filament, all judges, right",
        started,
    );
    assert!(
        verdict.is_good() && verdict.undecided.is_empty(),
        "{verdict}"
    );
    let reads = made.history.operations.iter_mut().rev();
    let last = reads
        .into_iter()
        .find_map(|operation| match &mut operation.answer {
            Answer::Accepted {
                facts: Facts::Filament(row),
                ..
            } => Some(row),
            _ => None,
        });
    last.unwrap().reserved_mg += 1;
    let started = Instant::now();
    let verdict = made.check();
    figure("the same with one wrong read at its end", started);
    assert!(verdict.blames(linearizable::JUDGE), "{verdict}");
}

/// Ten clients that write and read the priority of one job: the hardest row for a search, because
/// every write can hide behind the next.
fn one_job(seed: u64) -> History {
    let mut random = Random::new(seed);
    let mut now = JobFacts {
        id: "j".to_owned(),
        status: "Queued".to_owned(),
        ..JobFacts::default()
    };
    let op = Op::CreateJob {
        id: Some("j".to_owned()),
        printer: String::new(),
        filament: String::new(),
        weight_mg: 0,
        priority: 0,
        tag: String::new(),
    };
    let mut operations = vec![operation(0, (0, 1), op, now.clone())];
    let mut free = vec![2_u64; CLIENTS as usize];
    let mut moment = 2;
    for _ in 1..OPERATIONS {
        // The moments at which the operations take effect rise; each lies within its operation.
        moment += 1 + random.below(3);
        let client = random.below(u64::from(CLIENTS)) as usize;
        let invoked = free[client].max(moment.saturating_sub(random.below(30)));
        moment = moment.max(invoked);
        let returned = moment + 1 + random.below(30);
        free[client] = returned + 1;
        let job = "j".to_owned();
        let consistency = Consistency::Linearizable;
        let mut op = Op::ReadJob { job, consistency };
        if random.chance(50) {
            let (job, priority) = ("j".to_owned(), i32::try_from(random.below(4)).unwrap());
            now.priority = priority;
            op = Op::SetPriority { job, priority };
        }
        let client = u32::try_from(client).unwrap();
        operations.push(operation(client, (invoked, returned), op, now.clone()));
    }
    operations.sort_by_key(|operation| operation.invoked);
    History {
        operations,
        ..History::default()
    }
}

fn operation(client: u32, (invoked, returned): (u64, u64), op: Op, shown: JobFacts) -> Operation {
    Operation {
        client,
        node: None,
        invoked,
        returned: Some(returned),
        request: None,
        op,
        answer: Answer::accepted(1, Facts::Job(shown)),
    }
}

#[test]
fn ten_clients_on_one_job() {
    let mut history = one_job(11);
    let on_job = |history: &History| {
        let verdict = check_all(history, &Finals::new());
        let blamed = verdict.violations.iter().any(|violation| {
            violation.judge == linearizable::JUDGE && violation.what.contains("job j")
        });
        let undecided = verdict.undecided.iter().any(|line| line.contains("job j"));
        (blamed, undecided)
    };
    let started = Instant::now();
    assert_eq!(on_job(&history), (false, false));
    figure(
        "20,000 operations of 10 clients on one job, all judges, right",
        started,
    );
    let reads = history.operations.iter_mut().rev();
    let mut reads = reads.filter(|operation| !operation.op.is_write());
    if let Answer::Accepted {
        facts: Facts::Job(shown),
        ..
    } = &mut reads.next().unwrap().answer
    {
        shown.priority = 7;
    }
    let started = Instant::now();
    assert_eq!(on_job(&history), (true, false));
    figure("the same with one wrong read at its end", started);
}
