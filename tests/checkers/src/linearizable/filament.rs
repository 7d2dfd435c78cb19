//! One filament as a sequential object: what is left of it and what open jobs reserve.

use crate::calls::Fate;
use crate::history::{Facts, FilamentFacts, JobFacts, Op, Refusal};
use crate::rules::{TOO_HEAVY, is_terminal};
use crate::search::Model;

/// Weights of a filament, in milligrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Weights {
    total: u64,
    remaining: u64,
    reserved: u64,
}

impl Weights {
    fn of(row: &FilamentFacts) -> Self {
        let (total, remaining, reserved) = (row.total_mg, row.remaining_mg, row.reserved_mg);
        Self {
            total,
            remaining,
            reserved,
        }
    }

    fn available(self) -> u64 {
        self.remaining.saturating_sub(self.reserved)
    }
}

/// What is done to a filament, in milligrams.
#[derive(Clone, Copy, Debug)]
pub(super) enum FilamentAction<'a> {
    /// It is added, and was not there.
    Creates(Weights),
    /// It was there already.
    Exists,
    /// An answer that no state gives.
    Impossible,
    /// A job is added, and fits.
    Reserves(u64),
    /// A job was refused, because it does not fit.
    TooHeavy(u64),
    /// A job ends.
    Ends { takes: u64, releases: u64 },
    /// A job was refused to end, because less than this is left.
    TooLittle(u64),
    /// An adjustment, and what the filament was shown as after it.
    Adjusts(i64, Option<Weights>),
    /// It is shown; none where it is not there.
    Shows(Option<&'a FilamentFacts>),
}

/// Which filament a write to filaments is about, and what it means to it.
pub(super) fn of_call<'a>(op: &'a Op, fate: &Fate<'a>) -> Option<(&'a str, FilamentAction<'a>)> {
    let shown = match fate {
        Fate::Done {
            facts: Facts::Filament(row),
            ..
        } => Some(row),
        _ => None,
    };
    match (op, fate) {
        (
            Op::CreateFilament {
                id,
                total_mg,
                remaining_mg,
            },
            Fate::Done { .. } | Fate::Unknown,
        ) => {
            let id = id.as_deref().or(shown.map(|row| row.id.as_str()))?;
            let asked = Weights {
                total: *total_mg,
                remaining: *remaining_mg,
                reserved: 0,
            };
            let fits = shown.is_none_or(|row| Weights::of(row) == asked);
            let creates = FilamentAction::Creates(asked);
            Some((
                id,
                if fits {
                    creates
                } else {
                    FilamentAction::Impossible
                },
            ))
        }
        (
            Op::CreateFilament { id: Some(id), .. },
            Fate::Refused {
                why: Refusal::AlreadyExists,
                ..
            },
        ) => Some((id, FilamentAction::Exists)),
        (Op::AdjustFilament { filament, delta_mg }, Fate::Done { .. } | Fate::Unknown) => {
            let shown = shown.map(Weights::of);
            Some((filament, FilamentAction::Adjusts(*delta_mg, shown)))
        }
        _ => None,
    }
}

/// Which filament a write to a job is about, and what it means to it. `created` answers the
/// filament and the weight of a job.
pub(super) fn of_job_call<'a>(
    op: &'a Op,
    fate: &Fate<'a>,
    created: impl Fn(&str) -> Option<(&'a str, u64)>,
) -> Option<(&'a str, FilamentAction<'a>)> {
    match (op, fate) {
        (
            Op::CreateJob {
                filament,
                weight_mg,
                ..
            },
            fate,
        ) => {
            let heavy = |why: &Refusal, code: Option<&str>| match why {
                Refusal::ReservationExceedsAvailable => true,
                Refusal::PolicyDenied => code == Some(TOO_HEAVY),
                _ => false,
            };
            match fate {
                Fate::Refused { why, code, .. } if heavy(why, *code) => {
                    Some((filament, FilamentAction::TooHeavy(*weight_mg)))
                }
                Fate::Refused { .. } => None,
                _ => Some((filament, FilamentAction::Reserves(*weight_mg))),
            }
        }
        (
            Op::SetStatus {
                job, to, used_mg, ..
            },
            fate,
        ) if is_terminal(to) => {
            // What an answer shows of the job counts more than what was asked.
            let (filament, weight, taken) = match fate {
                Fate::Done {
                    facts: Facts::Job(job),
                    ..
                } => (job.filament.as_str(), job.weight_mg, Some(job.deducted_mg)),
                _ => {
                    let (filament, weight) = created(job)?;
                    (filament, weight, None)
                }
            };
            let takes = taken.unwrap_or_else(|| asked_to_take(weight, to, *used_mg));
            match fate {
                Fate::Refused {
                    why: Refusal::DeductionExceedsRemaining,
                    ..
                } => Some((filament, FilamentAction::TooLittle(takes))),
                Fate::Refused { .. } => None,
                Fate::Done { .. } | Fate::Unknown => {
                    let ends = FilamentAction::Ends {
                        takes,
                        releases: weight,
                    };
                    Some((filament, ends))
                }
            }
        }
        _ => None,
    }
}

/// What a job that took nothing yet takes when it ends.
fn asked_to_take(weight_mg: u64, to: &str, used_mg: Option<u64>) -> u64 {
    let job = JobFacts {
        weight_mg,
        ..JobFacts::default()
    };
    crate::rules::takes(&job, to, used_mg)
}

/// A filament, or nothing.
pub(super) struct FilamentModel<'a>(core::marker::PhantomData<&'a ()>);

impl<'a> Model for FilamentModel<'a> {
    type State = Option<Weights>;
    type Action = FilamentAction<'a>;

    fn step(state: &Self::State, action: &Self::Action) -> Option<Self::State> {
        if let FilamentAction::Creates(weights) = action {
            return state.is_none().then_some(Some(*weights));
        }
        if let FilamentAction::Shows(shown) = action {
            let shown = shown.map(Weights::of);
            return (*state == shown).then_some(shown);
        }
        let row = (*state)?;
        let after = match *action {
            FilamentAction::Reserves(weight) => {
                let reserved = row.reserved.checked_add(weight);
                let reserved = reserved.filter(|_| weight <= row.available());
                reserved.map(|reserved| Weights { reserved, ..row })
            }
            FilamentAction::TooHeavy(weight) => (weight > row.available()).then_some(row),
            FilamentAction::Ends { takes, releases } => {
                let remaining = row.remaining.checked_sub(takes);
                let reserved = row.reserved.checked_sub(releases);
                remaining
                    .zip(reserved)
                    .map(|(remaining, reserved)| Weights {
                        remaining,
                        reserved,
                        ..row
                    })
            }
            FilamentAction::TooLittle(takes) => (takes > row.remaining).then_some(row),
            FilamentAction::Adjusts(delta, shown) => {
                let remaining = row.remaining.checked_add_signed(delta);
                let remaining = remaining.filter(|remaining| *remaining <= row.total);
                let after = remaining.map(|remaining| Weights { remaining, ..row });
                after.filter(|after| shown.is_none_or(|shown| shown == *after))
            }
            FilamentAction::Exists => Some(row),
            FilamentAction::Creates(_) | FilamentAction::Shows(_) | FilamentAction::Impossible => {
                None
            }
        };
        after.map(Some)
    }

    fn observes(action: &Self::Action) -> bool {
        matches!(
            action,
            FilamentAction::Exists
                | FilamentAction::TooHeavy(_)
                | FilamentAction::TooLittle(_)
                | FilamentAction::Shows(_)
        )
    }

    /// Sums do not mind the order of their parts, as long as only reservations lessen what is
    /// available: each is then refused or not whatever the others' order. An end that takes more
    /// than was reserved, or a correction downwards, must not come before a reservation that it
    /// would have prevented.
    fn commutes(a: &Self::Action, b: &Self::Action) -> bool {
        let is_part = |action: &Self::Action| match action {
            FilamentAction::Reserves(_) => true,
            FilamentAction::Ends { takes, releases } => takes <= releases,
            FilamentAction::Adjusts(delta, None) => *delta >= 0,
            _ => false,
        };
        is_part(a) && is_part(b)
    }
}
