//! More ways to spoil a history, with the calls that are not served yet: claims, adjustments,
//! priorities and deletions.

use raft3d_checkers::history::{
    Answer, EventFacts, EventWhat, Facts, FilamentFacts, LedgerWay, Op, PrinterFacts,
};
use raft3d_checkers::{Finals, events, grams, lifecycle, linearizable, lost, once, replay};

use crate::making::{Plan, SMALL};
use crate::mutations::{any, blamed_of};
use crate::random::Random;

const WIDE: Plan = Plan {
    operations: 600,
    lost_answers: 2,
    wide: true,
    ..SMALL
};
/// Without lost answers nothing can hide behind one.
const TOLD: Plan = Plan {
    lost_answers: 0,
    ..WIDE
};

#[test]
fn a_printer_or_filament_that_a_node_lost() {
    blamed_of(&WIDE, &[lost::JUDGE], |made, random| {
        let node = random.below(3) as usize;
        match random.chance(50) {
            true => made.finals[node].printers.as_mut()?.pop().map(|_| ()),
            false => made.finals[node].filaments.as_mut()?.pop().map(|_| ()),
        }
    });
}

/// Whose requests got no answer, and whose effects no events tell.
#[test]
fn a_printer_or_filament_that_nobody_asked_for() {
    blamed_of(&WIDE, &[replay::JUDGE], |made, random| {
        let is_printer = random.chance(50);
        for node in &mut made.finals {
            node.events = None;
            let id = "ghost".to_owned();
            match is_printer {
                true => node.printers.as_mut()?.push(PrinterFacts { id }),
                false => node.filaments.as_mut()?.push(FilamentFacts {
                    id,
                    total_mg: 1_000,
                    remaining_mg: 1_000,
                    reserved_mg: 0,
                }),
            }
        }
        Some(())
    });
}

#[test]
fn a_deleted_job_that_is_still_there() {
    blamed_of(&WIDE, &[lost::JUDGE, replay::JUDGE], |made, random| {
        let operations = &made.history.operations;
        let deleted = any(random, operations, |operation| {
            let done = matches!(operation.answer, Answer::Accepted { .. });
            done && matches!(operation.op, Op::DeleteJob { .. })
        })?;
        let Op::DeleteJob { job } = &operations[deleted].op else {
            return None;
        };
        let (_, last) = made.versions[job].iter().rev().nth(1)?;
        let last = last.clone()?;
        for node in &mut made.finals {
            let jobs = node.jobs.as_mut()?;
            // Another one may have taken the id since.
            jobs.iter().all(|job| job.id != last.id).then_some(())?;
            jobs.push(last.clone());
        }
        Some(())
    });
}

/// Repeats a line of the ledger and its effect, on all nodes.
fn adjust_again(finals: &mut Finals, random: &mut Random) -> Option<()> {
    let place = any(random, finals[0].ledger.as_ref()?, |line| {
        line.way == LedgerWay::AdjustedDown && line.amount_mg > 0
    })?;
    for node in finals {
        let ledger = node.ledger.as_mut()?;
        let mut again = ledger[place].clone();
        again.revision += 1;
        let rows = node.filaments.as_mut()?;
        let row = rows.iter_mut().find(|row| row.id == again.filament)?;
        row.remaining_mg = row.remaining_mg.checked_sub(again.amount_mg)?;
        ledger.push(again);
    }
    Some(())
}

#[test]
fn an_adjustment_that_was_made_twice() {
    blamed_of(&TOLD, &[once::JUDGE, replay::JUDGE], |made, random| {
        adjust_again(&mut made.finals, random)
    });
}

#[test]
fn a_load_that_the_ledger_lacks() {
    blamed_of(&WIDE, &[grams::JUDGE], |made, random| {
        let node = random.below(3) as usize;
        let ledger = made.finals[node].ledger.as_mut()?;
        let place = any(random, ledger, |line| line.way == LedgerWay::Loaded)?;
        ledger.remove(place);
        Some(())
    });
}

#[test]
fn an_answer_that_shows_another_state() {
    let judges = [lifecycle::JUDGE, linearizable::JUDGE, replay::JUDGE];
    blamed_of(&WIDE, &judges, |made, random| {
        let operations = &mut made.history.operations;
        let place = any(random, operations, |operation| {
            let moved = matches!(operation.op, Op::SetStatus { .. });
            moved
                && matches!(
                    operation.answer,
                    Answer::Accepted {
                        replayed: false,
                        ..
                    }
                )
        })?;
        let key = operations[place].request.clone()?.id;
        // All attempts of the call, so that it is not their difference that shows.
        for operation in operations.iter_mut() {
            let same = operation
                .request
                .as_ref()
                .is_some_and(|request| request.id == key);
            if let Answer::Accepted {
                facts: Facts::Job(job),
                ..
            } = &mut operation.answer
                && same
            {
                job.status = "Queued".to_owned();
            }
        }
        Some(())
    });
}

#[test]
fn a_job_that_nobody_asked_for() {
    blamed_of(&TOLD, &[events::JUDGE], |made, _| {
        for node in &mut made.finals {
            let events = node.events.as_mut()?;
            let last = events.last()?;
            let ghost = EventFacts {
                revision: last.revision + 1,
                sequence: 0,
                at_ms: last.at_ms,
                what: EventWhat::JobCreated("ghost".to_owned()),
            };
            // Behind everything that anybody was told.
            node.applied = node.applied.max(ghost.revision);
            events.push(ghost);
        }
        Some(())
    });
}
