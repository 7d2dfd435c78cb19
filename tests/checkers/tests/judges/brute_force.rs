//! The search for an order against one that tries every order, on tiny histories. proptest prints
//! the smallest history that fails, and keeps its seed beside this file to run it first next time.

use proptest::prelude::*;
use raft3d_checkers::history::{
    Answer, Consistency, Facts, FilamentFacts, Finals, History, JobFacts, Op, Operation, Refusal,
    RequestKey,
};
use raft3d_checkers::{check_all, linearizable};

/// What is done to the one row, and what was answered.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Job: created, with its priority as what it holds.
    Create {
        known: bool,
    },
    Exists,
    Set {
        value: u8,
        known: bool,
    },
    Missing,
    Read(Option<u8>),
    /// Filament: grams reserved by a job that fits.
    Reserve {
        grams: u8,
        known: bool,
    },
    TooHeavy(u8),
    Adjust {
        grams: i8,
        known: bool,
    },
    Shows {
        remaining: u8,
        reserved: u8,
    },
}

/// The row: absent, or two numbers.
type Row = Option<(i32, i32)>;

/// Grams of the filament when full, and at the start.
const FULL: i32 = 20;
const START: i32 = 8;

impl Act {
    const fn is_known(self) -> bool {
        match self {
            Self::Create { known }
            | Self::Set { known, .. }
            | Self::Reserve { known, .. }
            | Self::Adjust { known, .. } => known,
            _ => true,
        }
    }

    /// The row after it, if the answer fits the row before.
    fn step(self, row: Row) -> Option<Row> {
        match (self, row) {
            (Self::Create { .. }, None) => Some(Some((0, 0))),
            (Self::Exists, Some(_)) | (Self::Missing | Self::Read(None), None) => Some(row),
            (Self::Set { value, .. }, Some(_)) => Some(Some((i32::from(value), 0))),
            (Self::Read(Some(value)), Some((held, _))) => (i32::from(value) == held).then_some(row),
            (Self::Reserve { grams, .. }, Some((remaining, reserved))) => {
                let after = reserved + i32::from(grams);
                (after <= remaining).then_some(Some((remaining, after)))
            }
            (Self::TooHeavy(grams), Some((remaining, reserved))) => {
                (reserved + i32::from(grams) > remaining).then_some(row)
            }
            (Self::Adjust { grams, .. }, Some((remaining, reserved))) => {
                let after = remaining + i32::from(grams);
                (0..=FULL)
                    .contains(&after)
                    .then_some(Some((after, reserved)))
            }
            (
                Self::Shows {
                    remaining,
                    reserved,
                },
                Some(row),
            ) => (row == (i32::from(remaining), i32::from(reserved))).then_some(Some(row)),
            _ => None,
        }
    }

    fn op(self, place: usize) -> (Op, Answer) {
        let (op, answer) = self.job_op().unwrap_or_else(|| self.filament_op(place));
        if self.is_known() {
            (op, answer)
        } else {
            (op, Answer::Unknown)
        }
    }

    fn job_op(self) -> Option<(Op, Answer)> {
        let job = "j".to_owned();
        let set = |priority: u8| Op::SetPriority {
            job: "j".to_owned(),
            priority: i32::from(priority),
        };
        Some(match self {
            Self::Create { .. } => (create("j", 1), shows(0)),
            Self::Exists => (create("j", 1), refused(Refusal::AlreadyExists, None)),
            Self::Set { value, .. } => (set(value), shows(value)),
            Self::Missing => (set(9), refused(Refusal::NotFound, None)),
            Self::Read(shown) => {
                let consistency = Consistency::Linearizable;
                let absent = Answer::accepted(1, Facts::Absent);
                (
                    Op::ReadJob { job, consistency },
                    shown.map_or(absent, shows),
                )
            }
            _ => return None,
        })
    }

    fn filament_op(self, place: usize) -> (Op, Answer) {
        let (job, filament) = (format!("k{place}"), "f".to_owned());
        let done = Answer::accepted(1, Facts::None);
        match self {
            Self::Reserve { grams, .. } => (create(&job, grams), done),
            Self::TooHeavy(grams) => {
                let code = Some("weight_exceeds_available".to_owned());
                (create(&job, grams), refused(Refusal::PolicyDenied, code))
            }
            Self::Adjust { grams, .. } => {
                let delta_mg = i64::from(grams);
                (Op::AdjustFilament { filament, delta_mg }, done)
            }
            Self::Shows {
                remaining,
                reserved,
            } => {
                let consistency = Consistency::Linearizable;
                let row = FilamentFacts {
                    id: filament.clone(),
                    total_mg: FULL as u64,
                    remaining_mg: u64::from(remaining),
                    reserved_mg: u64::from(reserved),
                };
                let read = Op::ReadFilament {
                    filament,
                    consistency,
                };
                (read, Answer::accepted(1, Facts::Filament(row)))
            }
            other => panic!("{other:?} is about a job"),
        }
    }
}

fn create(id: &str, weight_mg: u8) -> Op {
    Op::CreateJob {
        id: Some(id.to_owned()),
        printer: "p".to_owned(),
        filament: "f".to_owned(),
        weight_mg: u64::from(weight_mg),
        priority: 0,
        tag: format!("/{id}"),
    }
}

/// An answer that shows the job with that priority.
fn shows(priority: u8) -> Answer {
    let job = JobFacts {
        id: "j".to_owned(),
        printer: "p".to_owned(),
        filament: "f".to_owned(),
        status: "Queued".to_owned(),
        priority: i32::from(priority),
        weight_mg: 1,
        tag: "/j".to_owned(),
        ..JobFacts::default()
    };
    Answer::accepted(1, Facts::Job(job))
}

fn refused(why: Refusal, code: Option<String>) -> Answer {
    Answer::Rejected {
        why,
        code,
        revision: None,
        replayed: false,
    }
}

/// What is done, when it was sent and how long it took.
type Timed = (Act, u64, u64);

/// Whether any order explains all: every item that may come next is tried.
fn has_order(row: Row, left: &[Timed]) -> bool {
    if left.iter().all(|(act, ..)| !act.is_known()) {
        return true;
    }
    let first_return = left.iter().filter(|(act, ..)| act.is_known());
    let first_return = first_return
        .map(|(_, sent, took)| sent + took)
        .min()
        .unwrap();
    (0..left.len()).any(|next| {
        let (act, sent, _) = left[next];
        let mut rest = left.to_vec();
        rest.remove(next);
        sent <= first_return && act.step(row).is_some_and(|row| has_order(row, &rest))
    })
}

fn history(acts: &[Timed]) -> History {
    let operation = |(place, (act, sent, took)): (usize, &Timed)| {
        let (op, answer) = act.op(place);
        let id = place.to_string();
        let request = op.is_write().then(|| RequestKey {
            actor: String::new(),
            id,
            attempt: 0,
        });
        let client = u32::try_from(place).unwrap();
        // Behind the creation of the filament.
        let (invoked, returned) = (sent + 10, Some(sent + took + 10));
        Operation {
            client,
            node: None,
            invoked,
            returned,
            request,
            op,
            answer,
        }
    };
    History {
        operations: acts.iter().enumerate().map(operation).collect(),
        ..History::default()
    }
}

/// Whether the judge says the same of that row as trying every order.
fn agrees(row: &str, start: Row, acts: &[Timed], mut history: History) {
    history
        .operations
        .sort_by_key(|operation| operation.invoked);
    let verdict = check_all(&history, &Finals::new());
    let found = verdict
        .violations
        .iter()
        .any(|violation| violation.judge == linearizable::JUDGE && violation.what.contains(row));
    assert_eq!(found, !has_order(start, acts), "{verdict}");
}

fn timed(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Vec<Timed>> {
    prop::collection::vec((act, 0..16_u64, 1..12_u64), 1..8)
}

fn job_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        any::<bool>().prop_map(|known| Act::Create { known }),
        Just(Act::Exists),
        (0..2_u8, prop::bool::weighted(0.7)).prop_map(|(value, known)| Act::Set { value, known }),
        Just(Act::Missing),
        prop::option::weighted(0.9, 0..2_u8).prop_map(Act::Read),
    ]
}

fn filament_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..5_u8, any::<bool>()).prop_map(|(grams, known)| Act::Reserve { grams, known }),
        (1..6_u8).prop_map(Act::TooHeavy),
        (-3..4_i8, any::<bool>()).prop_map(|(grams, known)| Act::Adjust { grams, known }),
        (4..12_u8, 0..9_u8).prop_map(|(remaining, reserved)| Act::Shows {
            remaining,
            reserved
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn jobs_are_judged_as_by_trying_every_order(acts in timed(job_act())) {
        agrees("job j", None, &acts, history(&acts));
    }

    #[test]
    fn filaments_are_judged_as_by_trying_every_order(acts in timed(filament_act())) {
        let mut history = history(&acts);
        let (total_mg, remaining_mg) = (FULL as u64, START as u64);
        let op = Op::CreateFilament { id: Some("f".to_owned()), total_mg, remaining_mg };
        let answer = Answer::Accepted { revision: 1, replayed: false, facts: Facts::None };
        history.operations.push(Operation {
            client: 99,
            node: None,
            invoked: 0,
            returned: Some(1),
            request: None,
            op,
            answer,
        });
        agrees("filament f", Some((START, 0)), &acts, history);
    }
}
