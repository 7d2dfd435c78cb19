//! Which clocks stamp.

use std::sync::Arc;

use super::*;

const DAY_MS: u64 = 86_400_000;
const START_MS: u64 = 1_700_000_000_000;

/// A clock that stands where the test puts it, and the place to put it.
fn clock(at_ms: u64) -> (StampClock, Arc<AtomicU64>) {
    clock_with(at_ms, false)
}

fn clock_with(at_ms: u64, vouched: bool) -> (StampClock, Arc<AtomicU64>) {
    let hand = Arc::new(AtomicU64::new(at_ms));
    let read = Arc::clone(&hand);
    let wall = Arc::new(move || read.load(Ordering::Relaxed));
    (StampClock::new(wall, vouched), hand)
}

fn log_at(now_ms: u64) -> LogTime {
    LogTime {
        now_ms,
        offset: ClockOffset::default(),
    }
}

fn word(node_id: NodeId, ahead_ms: i64, evidence: ClockEvidence) -> ClockWord {
    ClockWord {
        node_id,
        ahead_ms,
        evidence,
    }
}

/// This node is one of them.
fn of(count: usize) -> Voters {
    Voters { count, own: true }
}

const NONE: ClockEvidence = ClockEvidence::None;
const PLAUSIBLE: ClockEvidence = ClockEvidence::Plausible;
const CONFIRMED: ClockEvidence = ClockEvidence::Confirmed;
const DAYS_3: i64 = 3 * 86_400_000;

#[test]
fn nothing_is_stamped_before_the_clocks_were_compared() {
    for vouched in [false, true] {
        let (clock, _) = clock_with(START_MS, vouched);
        assert!(clock.waits().is_some());
    }
}

#[test]
fn alone_a_clock_goes_on_from_the_log_s_last_stamp_or_waits_for_the_flag() {
    let hour = START_AHEAD_MS_MAX;
    let cases = [
        (START_MS, true),
        (START_MS + hour, true),
        (START_MS + hour + 1, false),
        (START_MS + 3 * DAY_MS, false),
        (START_MS - CLOCK_SKEW_MS_MAX, true),
        (START_MS - CLOCK_SKEW_MS_MAX - 1, false),
        (START_MS - 3 * DAY_MS, false),
    ];
    for (at_ms, stamps) in cases {
        let (clock, _) = clock(at_ms);
        clock.saw_log_time(log_at(START_MS));
        clock.compare(&[], of(1), false);
        assert!(clock.waits().is_some(), "the log's end is not known yet");
        clock.compare(&[], of(1), true);
        let waits = clock.waits();
        assert_eq!(waits.is_none(), stamps, "{at_ms}: {waits:?}");
        assert!(waits.is_none_or(|reason| reason.contains("--trust-clock")));
        let (clock, _) = clock_with(at_ms, true);
        clock.saw_log_time(log_at(START_MS));
        clock.compare(&[], of(1), true);
        assert_eq!(clock.waits(), None, "an operator vouches for it");
    }
    let (clock, _) = clock(START_MS);
    clock.compare(&[], of(1), true);
    assert_eq!(clock.waits(), None, "a new cluster has no stamp yet");
}

#[test]
fn after_a_weekend_a_majority_that_agrees_needs_no_flag() {
    let (clock, _) = clock(START_MS + 3 * DAY_MS);
    clock.saw_log_time(log_at(START_MS));
    clock.compare(&[], of(3), true);
    assert!(clock.waits().is_some());
    clock.compare(&[word(2, 9_000, NONE)], of(3), false);
    assert_eq!(clock.waits(), None);
    assert_eq!(clock.status().evidence, CONFIRMED);
}

#[test]
fn of_two_clocks_that_differ_neither_stamps() {
    for evidence in [PLAUSIBLE, CONFIRMED] {
        let (clock, _) = clock_with(START_MS, evidence == CONFIRMED);
        clock.saw_log_time(log_at(START_MS));
        clock.compare(&[word(2, DAYS_3, evidence)], of(3), true);
        assert!(
            clock
                .waits()
                .is_some_and(|reason| reason.contains("node 2"))
        );
        clock.compare(&[word(2, 3_000, evidence)], of(3), true);
        assert_eq!(clock.waits(), None, "they agree");
    }
    // Two that have just been started, long after the log's last stamp.
    let (clock, _) = clock(START_MS + 3 * DAY_MS);
    clock.saw_log_time(log_at(START_MS));
    clock.compare(&[word(2, -DAYS_3, NONE)], of(2), true);
    assert!(clock.waits().is_some());
}

#[test]
fn a_clock_for_which_nothing_speaks_stops_no_other() {
    let (clock, _) = clock(START_MS);
    clock.saw_log_time(log_at(START_MS));
    clock.compare(&[word(2, 0, CONFIRMED)], of(3), true);
    // One is away, one was started with a wrong clock.
    clock.compare(&[word(2, DAYS_3, NONE)], of(3), true);
    assert_eq!(clock.waits(), None);
    clock.compare(&[word(2, DAYS_3, PLAUSIBLE)], of(3), true);
    assert_eq!(clock.waits(), None);
    clock.compare(&[], of(3), true);
    assert_eq!(clock.waits(), None, "nobody answers, and it did not jump");
}

#[test]
fn the_odd_one_of_three_waits_even_if_vouched_for() {
    let (clock, _) = clock_with(START_MS, true);
    let against = [word(2, DAYS_3, NONE), word(3, DAYS_3, NONE)];
    clock.compare(&against, of(3), true);
    assert!(clock.waits().is_some());
    assert_eq!(clock.status().evidence, NONE);
}

#[test]
fn a_jump_stamps_nothing_until_others_have_the_same_or_it_goes_back() {
    for to_ms in [START_MS + 1_800_000, START_MS - 1_800_000] {
        let (clock, hand) = clock(START_MS);
        clock.saw_log_time(log_at(START_MS));
        clock.compare(&[word(2, 0, NONE)], of(3), true);
        assert_eq!(clock.waits(), None);
        hand.store(to_ms, Ordering::Relaxed);
        assert!(clock.waits().is_some(), "nobody was asked yet");
        clock.compare(&[], of(3), true);
        assert!(clock.waits().is_some(), "nobody answered");
        hand.store(START_MS, Ordering::Relaxed);
        clock.compare(&[], of(3), true);
        assert_eq!(clock.waits(), None, "it is back");
        hand.store(to_ms, Ordering::Relaxed);
        clock.compare(&[word(2, 0, CONFIRMED)], of(3), true);
        assert_eq!(clock.waits(), None, "the others have the same");
    }
}

#[test]
fn alone_a_jump_is_judged_as_a_start_is() {
    let (clock, hand) = clock(START_MS);
    clock.saw_log_time(log_at(START_MS));
    clock.compare(&[], of(1), true);
    for (to_ms, stamps) in [
        (START_MS + 1_800_000, true),
        (START_MS + DAY_MS, false),
        (START_MS - DAY_MS, false),
    ] {
        hand.store(to_ms, Ordering::Relaxed);
        clock.compare(&[], of(1), true);
        assert_eq!(clock.waits().is_none(), stamps, "{to_ms}");
    }
}

#[test]
fn a_small_step_is_no_jump() {
    let (clock, hand) = clock(START_MS);
    clock.compare(&[word(2, 0, NONE)], of(3), true);
    hand.store(START_MS + CLOCK_SKEW_MS_MAX / 2, Ordering::Relaxed);
    assert_eq!(clock.waits(), None);
}

#[test]
fn a_node_without_a_vote_is_judged_by_the_voters() {
    let (clock, _) = clock(START_MS);
    let learner = Voters {
        count: 1,
        own: false,
    };
    clock.compare(&[word(1, DAYS_3, CONFIRMED)], learner, true);
    assert!(clock.waits().is_some());
    clock.compare(&[word(1, 0, CONFIRMED)], learner, true);
    assert_eq!(clock.waits(), None);
}

#[test]
fn a_stamp_is_never_before_the_log_s_time() {
    let (clock, hand) = clock(5_000);
    assert_eq!(clock.stamp_ms(), 5_000);
    clock.saw_log_time(log_at(9_000));
    clock.saw_log_time(log_at(7_000));
    assert_eq!(clock.stamp_ms(), 9_000);
    hand.store(9_500, Ordering::Relaxed);
    assert_eq!(clock.stamp_ms(), 9_500);
}

#[test]
fn with_an_offset_log_time_goes_on_at_the_clock_s_pace() {
    let (clock, hand) = clock(START_MS);
    let offset = ClockOffset {
        ms: 3 * DAY_MS,
        revision: Revision(9),
    };
    let now_ms = START_MS + 3 * DAY_MS;
    clock.saw_log_time(LogTime { now_ms, offset });
    clock.compare(&[], of(1), true);
    assert_eq!(clock.waits(), None, "the offset is part of the log's clock");
    hand.store(START_MS + 1_500, Ordering::Relaxed);
    assert_eq!(clock.stamp_ms(), now_ms + 1_500);
    assert_eq!(clock.leader_log_time_ms(true), now_ms + 1_500);
    assert_eq!(clock.status().log_time_ahead_ms(), 0);
}

#[test]
fn a_follower_s_deadlines_go_by_the_leader_s_clock() {
    let (clock, _) = clock(START_MS + DAY_MS);
    assert_eq!(clock.leader_log_time_ms(false), START_MS + DAY_MS);
    clock.saw_leader(Some(&ClockStatus {
        clock_ms: START_MS,
        ..ClockStatus::default()
    }));
    let now_ms = clock.leader_log_time_ms(false);
    assert!((START_MS..START_MS + 60_000).contains(&now_ms), "{now_ms}");
    clock.saw_log_time(log_at(START_MS + 90_000));
    assert_eq!(clock.leader_log_time_ms(false), START_MS + 90_000);
}

/// A node alone that was suspended for hours paused its writes until it was restarted.
#[test]
fn a_clock_that_jumped_alone_stamps_again_at_an_operator_s_word() {
    let (clock, hand) = clock(START_MS);
    clock.saw_log_time(log_at(START_MS));
    clock.compare(&[], of(1), true);
    assert_eq!(clock.waits(), None);
    hand.store(START_MS + 2 * START_AHEAD_MS_MAX, Ordering::Relaxed);
    clock.compare(&[], of(1), true);
    let waits = clock.waits().unwrap_or_default();
    for way in [
        "raft3d clock trust",
        "PUT /api/v1/cluster/clock",
        "--trust-clock",
    ] {
        assert!(waits.contains(way), "{waits}");
    }
    clock.vouch();
    clock.compare(&[], of(1), true);
    assert_eq!(clock.waits(), None);
    assert_eq!(clock.status().evidence, CONFIRMED);
    // It is a word about the clock as it is now, and no majority's.
    hand.store(START_MS + 9 * START_AHEAD_MS_MAX, Ordering::Relaxed);
    clock.compare(&[], of(1), true);
    assert!(clock.waits().is_some());
    clock.vouch();
    let others = [word(2, -DAYS_3, CONFIRMED), word(3, -DAYS_3, CONFIRMED)];
    clock.compare(&others, of(3), true);
    assert!(clock.waits().is_some(), "a majority has another time");
}
