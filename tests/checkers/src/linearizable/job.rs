//! One job as a sequential object.

use std::rc::Rc;

use crate::calls::Fate;
use crate::history::{Facts, JobFacts, Op, Refusal};
use crate::rules::{CLAIMED, INITIAL, created, is_terminal, may_move, moved, plain};
use crate::search::Model;

/// What is asked of a job.
#[derive(Clone, Copy, Debug)]
enum Ask<'a> {
    Create { op: &'a Op },
    Move { to: &'a str, used_mg: Option<u64> },
    Claim,
    Prioritize(i32),
    Delete,
    Read,
}

/// What is asked of a job, and what was answered.
#[derive(Clone, Debug)]
pub(super) struct JobAction<'a> {
    /// The job's id, by whomever it was given.
    id: &'a str,
    ask: Ask<'a>,
    told: Told<'a>,
}

#[derive(Clone, Debug)]
enum Told<'a> {
    /// It was done, and the job was shown so where anything was shown.
    Done(Option<JobFacts>),
    /// It is not there.
    Absent,
    Refused(&'a Refusal),
    /// Nothing: any effect that the job's state allows.
    Nothing,
}

impl<'a> JobAction<'a> {
    /// A read that showed the job, or that there is none.
    pub(super) fn read(id: &'a str, shown: Option<&JobFacts>) -> Self {
        let told = shown.map_or(Told::Absent, |job| Told::Done(Some(plain(job))));
        Self {
            id,
            ask: Ask::Read,
            told,
        }
    }

    /// A claim that got this job, or one without an answer that may have.
    pub(super) fn claim(id: &'a str, shown: Option<&JobFacts>) -> Self {
        let told = shown.map_or(Told::Nothing, |job| Told::Done(Some(plain(job))));
        Self {
            id,
            ask: Ask::Claim,
            told,
        }
    }
}

/// Which job a write is about, and what it means to it; none where it concerns no job that can be
/// named. `made`: the id of the job that the write makes, where it makes one.
pub(super) fn of_call<'a>(
    op: &'a Op,
    fate: &Fate<'a>,
    made: Option<&'a str>,
) -> Option<(&'a str, JobAction<'a>)> {
    let shown = match fate {
        Fate::Done {
            facts: Facts::Job(job),
            ..
        } => Some((job.id.as_str(), job)),
        _ => None,
    };
    let (id, ask) = match op {
        Op::CreateJob { .. } => (made?, Ask::Create { op }),
        Op::SetStatus {
            job, to, used_mg, ..
        } => (
            job.as_str(),
            Ask::Move {
                to,
                used_mg: *used_mg,
            },
        ),
        Op::SetPriority { job, priority } => (job.as_str(), Ask::Prioritize(*priority)),
        Op::DeleteJob { job } => (job.as_str(), Ask::Delete),
        Op::Claim { .. } => return shown.map(|(id, job)| (id, JobAction::claim(id, Some(job)))),
        _ => return None,
    };
    let told = match fate {
        Fate::Done { .. } => Told::Done(shown.map(|(_, job)| plain(job))),
        Fate::Refused { why, .. } => Told::Refused(why),
        Fate::Unknown => Told::Nothing,
    };
    Some((id, JobAction { id, ask, told }))
}

/// A job, or nothing.
pub(super) struct JobModel<'a>(core::marker::PhantomData<&'a ()>);

impl<'a> Model for JobModel<'a> {
    type State = Option<Rc<JobFacts>>;
    type Action = JobAction<'a>;

    fn step(state: &Self::State, action: &Self::Action) -> Option<Self::State> {
        let job = state.as_deref();
        match &action.told {
            Told::Absent => job.is_none().then(|| state.clone()),
            Told::Refused(why) => refusal_fits(job, &action.ask, why).then(|| state.clone()),
            Told::Nothing => Some(match after(job, action) {
                Some(after) => after.map(Rc::new),
                None => state.clone(),
            }),
            Told::Done(shown) => {
                if matches!(action.ask, Ask::Read) {
                    return (job == shown.as_ref()).then(|| state.clone());
                }
                let after = after(job, action)?;
                let fits = shown.is_none() || *shown == after;
                fits.then(|| after.map(Rc::new))
            }
        }
    }

    fn observes(action: &Self::Action) -> bool {
        let never_done = matches!(action.told, Told::Absent | Told::Refused(_));
        never_done || matches!(action.ask, Ask::Read)
    }
}

/// The job after what was asked; none where it is to be refused.
fn after(job: Option<&JobFacts>, action: &JobAction<'_>) -> Option<Option<JobFacts>> {
    match (&action.ask, job) {
        (Ask::Create { op }, None) => created(op, action.id).map(Some),
        (Ask::Move { to, used_mg }, Some(job)) => moved(job, to, *used_mg).map(Some),
        (Ask::Claim, Some(job)) if job.status == INITIAL => moved(job, CLAIMED, None).map(Some),
        (Ask::Prioritize(priority), Some(job)) => Some(Some(JobFacts {
            priority: *priority,
            ..job.clone()
        })),
        (Ask::Delete, Some(job)) if is_terminal(&job.status) => Some(None),
        _ => None,
    }
}

/// Whether a job in that state is refused so. Refusals that hang on other rows or on policies may
/// come at any time.
fn refusal_fits(job: Option<&JobFacts>, ask: &Ask<'_>, why: &Refusal) -> bool {
    match (ask, why) {
        (Ask::Create { .. }, Refusal::AlreadyExists) => job.is_some(),
        (
            Ask::Create { .. },
            Refusal::UnknownReference
            | Refusal::PolicyDenied
            | Refusal::PolicyFailed
            | Refusal::ReservationExceedsAvailable,
        ) => job.is_none(),
        (Ask::Create { .. }, _) => true,
        (_, Refusal::NotFound) => job.is_none(),
        (Ask::Move { to, .. }, Refusal::IllegalTransition) => {
            job.is_some_and(|job| !may_move(&job.status, to))
        }
        (Ask::Move { to, .. }, Refusal::DeductionExceedsRemaining) => {
            job.is_some_and(|job| may_move(&job.status, to))
        }
        (Ask::Move { .. }, Refusal::PolicyDenied | Refusal::UnknownState) => job.is_some(),
        _ => true,
    }
}
