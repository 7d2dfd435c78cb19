//! Right histories, each spoilt at one random place: the judges whose business it is must see it.

use std::cell::Cell;

use raft3d_checkers::history::{Answer, Consistency, EventWhat, Facts, Op, Operation};
use raft3d_checkers::{digests, events, grams, lifecycle, linearizable, lost, once, replay, stale};

use crate::making::{Made, SMALL, make};
use crate::random::{Random, for_seeds};

/// Seeds to try.
const SEEDS: u64 = 30;
/// Of those, how many must have had something to spoil.
const SPOILT_MIN: u32 = 10;

/// Every history that `spoil` spoils is blamed by all of `judges`.
#[track_caller]
fn blamed(judges: &[&str], spoil: impl Fn(&mut Made, &mut Random) -> Option<()>) {
    let spoilt = Cell::new(0);
    for_seeds(SEEDS, |seed| {
        let mut made = make(seed, &SMALL);
        if spoil(&mut made, &mut Random::new(seed + 1_000_000)).is_none() {
            return;
        }
        spoilt.set(spoilt.get() + 1);
        let verdict = made.check();
        for judge in judges {
            assert!(
                verdict.blames(judge),
                "{judge} saw nothing wrong\n{verdict}"
            );
        }
    });
    let alone = std::env::var_os("JUDGES_SEED").is_some();
    assert!(
        alone || spoilt.get() >= SPOILT_MIN,
        "only {} were spoilt",
        spoilt.get()
    );
}

/// A random one of those that `which` takes.
fn any<T>(random: &mut Random, of: &[T], which: impl Fn(&T) -> bool) -> Option<usize> {
    let places: Vec<usize> = (0..of.len()).filter(|&place| which(&of[place])).collect();
    (!places.is_empty()).then(|| *random.pick(&places))
}

fn is_fresh(operation: &Operation) -> bool {
    operation.op.consistency() == Some(Consistency::Linearizable)
}

fn job_shown(operation: &Operation) -> Option<(&str, u64)> {
    match &operation.answer {
        Answer::Accepted {
            facts: Facts::Job(job),
            ..
        } => Some((&job.id, job.revision)),
        _ => None,
    }
}

/// The version of a job before the one of that revision.
fn version_before(made: &Made, job: &str, revision: u64) -> Option<Facts> {
    let versions = &made.versions[job];
    let place = versions.iter().position(|(at, _)| *at == revision)?;
    let (_, before) = versions.get(place.checked_sub(1)?)?;
    before.clone().map(Facts::Job)
}

#[test]
fn a_stale_read() {
    blamed(&[linearizable::JUDGE, replay::JUDGE], |made, random| {
        let operations = &made.history.operations;
        let was_known = |read: &Operation| {
            let Some((job, revision)) = job_shown(read) else {
                return false;
            };
            let told = operations.iter().any(|write| {
                write.op.is_write()
                    && job_shown(write) == Some((job, revision))
                    && write
                        .returned
                        .is_some_and(|returned| returned < read.invoked)
            });
            let read_one = matches!(read.op, Op::ReadJob { .. }) && is_fresh(read);
            read_one && told && version_before(made, job, revision).is_some()
        };
        let place = any(random, operations, was_known)?;
        let (job, revision) = job_shown(&operations[place])?;
        let older = version_before(made, job, revision)?;
        let Answer::Accepted { facts, .. } = &mut made.history.operations[place].answer else {
            return None;
        };
        *facts = older;
        Some(())
    });
}

#[test]
fn a_read_of_what_is_not_written_yet() {
    blamed(&[linearizable::JUDGE, replay::JUDGE], |made, random| {
        let operations = &made.history.operations;
        let end = operations
            .iter()
            .filter_map(|operation| operation.returned)
            .max()?;
        let seen = |write: &Operation| {
            let alone = operations.iter().filter(|other| {
                other.request.as_ref().map(|key| &key.id)
                    == write.request.as_ref().map(|key| &key.id)
            });
            let shown = job_shown(write);
            write.op.is_write()
                && shown.is_some()
                && alone.count() == 1
                && operations
                    .iter()
                    .any(|read| is_fresh(read) && job_shown(read) == shown)
        };
        let place = any(random, operations, seen)?;
        let write = &mut made.history.operations[place];
        (write.invoked, write.returned) = (end + 1, Some(end + 2));
        Some(())
    });
}

#[test]
fn wrong_sums_in_a_read() {
    blamed(&[linearizable::JUDGE, replay::JUDGE], |made, random| {
        let operations = &mut made.history.operations;
        let place = any(random, operations, |read| {
            let shown = matches!(
                &read.answer,
                Answer::Accepted {
                    facts: Facts::Filament(_),
                    ..
                }
            );
            shown && is_fresh(read)
        })?;
        if let Answer::Accepted {
            facts: Facts::Filament(row),
            ..
        } = &mut operations[place].answer
        {
            row.reserved_mg += 1;
        }
        Some(())
    });
}

#[test]
fn a_job_that_all_nodes_lost() {
    blamed(&[lost::JUDGE, grams::JUDGE], |made, random| {
        let jobs = made.finals[0].jobs.as_ref()?;
        let told = |id: &str| {
            let mut operations = made.history.operations.iter();
            operations.any(|o| job_shown(o).is_some_and(|(shown, _)| shown == id))
        };
        let place = any(random, jobs, |job| job.status == "Queued" && told(&job.id))?;
        for node in &mut made.finals {
            node.jobs.as_mut()?.remove(place);
        }
        Some(())
    });
}

#[test]
fn a_job_that_one_node_lost() {
    blamed(&[digests::JUDGE, replay::JUDGE], |made, random| {
        let node = random.below(3) as usize;
        let jobs = made.finals[node].jobs.as_mut()?;
        let place = any(random, jobs, |_| true)?;
        jobs.remove(place);
        Some(())
    });
}

#[test]
fn a_job_that_was_made_twice() {
    blamed(&[once::JUDGE, lifecycle::JUDGE], |made, random| {
        let place = any(random, made.finals[0].jobs.as_ref()?, |_| true)?;
        for node in &mut made.finals {
            let jobs = node.jobs.as_mut()?;
            let mut again = jobs[place].clone();
            again.id = "r3d-999999".to_owned();
            jobs.push(again);
        }
        Some(())
    });
}

#[test]
fn a_status_that_went_back() {
    blamed(
        &[lost::JUDGE, lifecycle::JUDGE, replay::JUDGE],
        |made, random| {
            let told = |id: &str| {
                made.history.operations.iter().any(|operation| {
                    matches!(operation.op, Op::SetStatus { .. })
                        && job_shown(operation).is_some_and(|(shown, _)| shown == id)
                })
            };
            let jobs = made.finals[0].jobs.as_ref()?;
            let place = any(random, jobs, |job| job.status != "Queued" && told(&job.id))?;
            for node in &mut made.finals {
                node.jobs.as_mut()?[place].status = "Queued".to_owned();
            }
            Some(())
        },
    );
}

/// Puts a further attempt of an answered write at the end, changed by `change`.
fn try_again(
    made: &mut Made,
    random: &mut Random,
    change: impl Fn(&mut u64, &mut bool),
) -> Option<()> {
    let operations = &mut made.history.operations;
    let end = operations
        .iter()
        .filter_map(|operation| operation.returned)
        .max()?;
    let answered =
        |operation: &Operation| operation.op.is_write() && job_shown(operation).is_some();
    let place = any(random, operations, answered)?;
    let mut again = operations[place].clone();
    (again.invoked, again.returned) = (end + 1, Some(end + 2));
    again.request.as_mut()?.attempt += 100;
    let Answer::Accepted {
        revision, replayed, ..
    } = &mut again.answer
    else {
        return None;
    };
    *replayed = true;
    change(revision, replayed);
    operations.push(again);
    Some(())
}

#[test]
fn a_retry_that_was_done_again() {
    blamed(&[once::JUDGE], |made, random| {
        let is_first = |made: &Made| {
            // One that is marked as repeated needs another one that is not.
            made.history
                .operations
                .iter()
                .any(|operation| !operation.answer.replayed())
        };
        is_first(made).then_some(())?;
        try_again(made, random, |revision, replayed| {
            *revision += 1_000_000;
            *replayed = false;
        })
    });
}

#[test]
fn a_retry_that_got_another_answer() {
    blamed(&[once::JUDGE], |made, random| {
        try_again(made, random, |revision, _| *revision += 1_000_000)
    });
}

#[test]
fn revisions_that_contradict_time() {
    blamed(&[replay::JUDGE], |made, random| {
        let operations = &made.history.operations;
        let first_try = |operation: &Operation| {
            operation.op.is_write()
                && matches!(
                    &operation.answer,
                    Answer::Accepted {
                        replayed: false,
                        ..
                    }
                )
        };
        let a = any(random, operations, first_try)?;
        let after = operations[a].returned?;
        let b = any(random, operations, |b| first_try(b) && b.invoked > after)?;
        let id = |place: usize| operations[place].request.as_ref().map(|key| key.id.clone());
        let once = |place: usize| {
            let same = operations
                .iter()
                .filter(|o| o.request.as_ref().map(|k| k.id.clone()) == id(place));
            same.count() == 1
        };
        (once(a) && once(b)).then_some(())?;
        let revisions = (
            operations[a].answer.revision()?,
            operations[b].answer.revision()?,
        );
        for (place, new) in [(a, revisions.1), (b, revisions.0)] {
            if let Answer::Accepted { revision, .. } = &mut made.history.operations[place].answer {
                *revision = new;
            }
        }
        Some(())
    });
}

#[test]
fn grams_that_vanished() {
    blamed(&[grams::JUDGE, digests::JUDGE], |made, random| {
        let node = random.below(3) as usize;
        let filaments = made.finals[node].filaments.as_mut()?;
        let place = any(random, filaments, |row| row.remaining_mg > 0)?;
        filaments[place].remaining_mg -= 1;
        Some(())
    });
}

#[test]
fn grams_that_are_reserved_for_nobody() {
    blamed(&[grams::JUDGE], |made, random| {
        let node = random.below(3) as usize;
        let filaments = made.finals[node].filaments.as_mut()?;
        let place = any(random, filaments, |_| true)?;
        filaments[place].reserved_mg += 1;
        Some(())
    });
}

#[test]
fn a_deduction_that_was_made_twice() {
    blamed(&[once::JUDGE, grams::JUDGE], |made, random| {
        let place = any(random, made.finals[0].ledger.as_ref()?, |line| {
            line.job.is_some()
        })?;
        for node in &mut made.finals {
            let ledger = node.ledger.as_mut()?;
            let mut again = ledger[place].clone();
            again.revision += 1;
            let filaments = node.filaments.as_mut()?;
            let row = filaments.iter_mut().find(|row| row.id == again.filament)?;
            row.remaining_mg = row.remaining_mg.checked_sub(again.amount_mg)?;
            ledger.push(again);
        }
        Some(())
    });
}

#[test]
fn an_event_that_one_node_lacks() {
    blamed(&[events::JUDGE], |made, random| {
        let node = random.below(3) as usize;
        let events = made.finals[node].events.as_mut()?;
        let place = any(random, events, |_| true)?;
        events.remove(place);
        Some(())
    });
}

#[test]
fn an_event_that_all_nodes_lack() {
    blamed(&[events::JUDGE], |made, random| {
        let answered: Vec<u64> = made
            .history
            .operations
            .iter()
            .filter_map(|o| o.answer.revision())
            .collect();
        let place = any(random, made.finals[0].events.as_ref()?, |event| {
            let told = matches!(
                event.what,
                EventWhat::JobCreated(_) | EventWhat::JobStatusChanged { .. }
            );
            told && answered.contains(&event.revision)
        })?;
        for node in &mut made.finals {
            node.events.as_mut()?.remove(place);
        }
        Some(())
    });
}

#[test]
fn events_out_of_order() {
    blamed(&[events::JUDGE], |made, random| {
        let place = any(random, &made.finals[0].events.as_ref()?[1..], |_| true)?;
        for node in &mut made.finals {
            node.events.as_mut()?.swap(place, place + 1);
        }
        Some(())
    });
}

#[test]
fn a_reader_that_missed_an_event() {
    blamed(&[events::JUDGE], |made, random| {
        let operations = &mut made.history.operations;
        let place = any(random, operations, |read| match &read.answer {
            Answer::Accepted {
                facts: Facts::Events(events),
                ..
            } => events.len() > 3,
            _ => false,
        })?;
        if let Answer::Accepted {
            facts: Facts::Events(events),
            ..
        } = &mut operations[place].answer
        {
            let lost = 1 + random.below(events.len() as u64 - 2);
            events.remove(lost as usize);
        }
        Some(())
    });
}

#[test]
fn a_transition_that_no_rule_allows() {
    blamed(&[lifecycle::JUDGE], |made, random| {
        let place = any(random, made.finals[0].events.as_ref()?, |event| {
            matches!(event.what, EventWhat::JobStatusChanged { .. })
        })?;
        for node in &mut made.finals {
            if let EventWhat::JobStatusChanged { from, .. } = &mut node.events.as_mut()?[place].what
            {
                *from = "Done".to_owned();
            }
        }
        Some(())
    });
}

#[test]
fn digests_that_differ() {
    blamed(&[digests::JUDGE], |made, random| {
        let node = random.below(3) as usize;
        match random.chance(50) {
            true => made.finals[node].digest.push('x'),
            false => made.finals[node].checkpoints[0].1.push('x'),
        }
        Some(())
    });
}

#[test]
fn a_node_on_which_time_ran_back() {
    blamed(&[stale::JUDGE], |made, random| {
        let operations = &made.history.operations;
        let read = |operation: &Operation| !operation.op.is_write();
        let first = any(random, operations, read)?;
        let (node, returned) = (operations[first].node, operations[first].returned?);
        let later = |o: &Operation| read(o) && o.node == node && o.invoked > returned;
        let second = any(random, operations, later)?;
        let seen = operations[first].answer.revision()?;
        let Answer::Accepted { revision, .. } = &mut made.history.operations[second].answer else {
            return None;
        };
        *revision = seen.checked_sub(1)?;
        Some(())
    });
}
