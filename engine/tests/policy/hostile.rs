//! The counters from close up: depth, gas and growth of guests that do what they should not. The
//! table of hostile modules, and what each of them comes to, is in `tests/hostile`.

use std::fmt::Write;

use raft3d_core::PolicyError;

use crate::support::{SETTINGS, TestHost, guest, module};

/// Counts its own depth in memory at 1024, and stops at the depth that the input gives.
fn recursion(frame: &str) -> Vec<u8> {
    guest(
        "(call $down (i32.load (local.get 0))) (i64.const 0x40000000004)",
        &format!(
            r#"(func $down (param i32) {frame}
                 (i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
                 (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))))))"#
        ),
    )
}

#[test]
fn recursion_without_end_overflows_at_the_same_depth_under_every_setting() {
    for frame in ["", "(local i64 i64 i64 i64 i64 i64 i64 i64)"] {
        let bytes = recursion(frame);
        let mut depths = Vec::new();
        for settings in SETTINGS {
            let host = TestHost::with(settings);
            let overflows = |depth: u32| {
                let output = host.admission(&bytes, &depth.to_le_bytes()).output;
                output
                    .map_err(|error| assert_eq!(error, PolicyError::StackOverflow))
                    .is_err()
            };
            // The deepest that fits, by halving.
            let (mut fits, mut over) = (0_u32, 100_000_u32);
            assert!(overflows(over) && !overflows(fits));
            while over - fits > 1 {
                let middle = fits.midpoint(over);
                *(if overflows(middle) {
                    &mut over
                } else {
                    &mut fits
                }) = middle;
            }
            depths.push(fits);
        }
        assert!(
            depths[0] > 100,
            "a real policy needs some depth: {depths:?}"
        );
        assert!(depths.iter().all(|depth| *depth == depths[0]), "{depths:?}");
    }
}

/// A compiler may keep far more values alive than a function has locals: here it is tempted to
/// keep some thousand sums over the recursive call.
#[test]
fn wide_frames_overflow_the_counter_first() {
    let mut body = String::new();
    let sums = 1_200;
    for round in 0..2 {
        for sum in 0..sums {
            let address = 2048 + 4 * sum;
            write!(
                body,
                "(i32.store (i32.const {address}) (i32.mul (local.get 0) (i32.const {sum})))"
            )
            .unwrap();
        }
        if round == 0 {
            body.push_str("(call $down (i32.add (local.get 0) (i32.const 1)))");
        }
    }
    let bytes = guest(
        "(call $down (i32.const 1)) (i64.const 0)",
        &format!("(func $down (param i32) {body})"),
    );
    for settings in SETTINGS {
        let error = TestHost::with(settings).error(&bytes);
        assert_eq!(error, PolicyError::StackOverflow, "{settings:?}");
    }
}

/// Whichever way a function ends, its frame is given back: 2,000 calls one after the other need no
/// more stack than one.
#[test]
fn a_frame_is_given_back_however_a_function_ends() {
    for end in [
        "(return)",
        "(br 0)",
        "(br_if 0 (i32.const 1))",
        "(br_table 0 (i32.const 0))",
        "",
    ] {
        let bytes = guest(
            "(local $n i32)
             (loop $again
               (call $leaf)
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $n) (i32.const 2000))))
             (i64.const 0)",
            &format!("(func $leaf {end})"),
        );
        let output = TestHost::new().admission(&bytes, b"").output;
        assert_eq!(output, Ok(Vec::new()), "{end}");
    }
}

#[test]
fn a_declared_maximum_is_kept_and_a_missing_one_is_ours() {
    let grow = |declared: &str| {
        let bytes = module(&format!(
            r#"(memory (export "memory") {declared})
               (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
               (func (export "admission") (param i32 i32) (result i64)
                 (i32.store (i32.const 0) (memory.grow (i32.const 10)))
                 (i64.const 4))"#
        ));
        let output = TestHost::new().admission(&bytes, b"").output.unwrap();
        i32::from_le_bytes(output.try_into().unwrap())
    };
    assert_eq!(grow("1"), 1);
    assert_eq!(grow("1 60000"), 1);
    assert_eq!(grow("1 10"), -1);
    assert_eq!(grow("23"), -1);
}

#[test]
fn bulk_operations_are_charged_by_the_byte() {
    let host = TestHost::new();
    let gas = |len: u32| {
        let body = format!(
            "(memory.fill (i32.const 2048) (i32.const 7) (i32.const {len}))
             (memory.copy (i32.const 4096) (i32.const 2048) (i32.const {len}))
             (i64.const 0)"
        );
        host.admission(&guest(&body, ""), b"").gas
    };
    assert_eq!(gas(1_000) - gas(0), 2_000);
    let forever = "(loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br 0))
                   (unreachable)";
    assert_eq!(host.error(&guest(forever, "")), PolicyError::OutOfGas);
    // A length beyond memory is paid for before it is refused.
    let far = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 70000)) (i64.const 0)";
    let evaluation = host.admission(&guest(far, ""), b"");
    assert_eq!(evaluation.output, Err(PolicyError::MemoryOutOfBounds));
    assert!(evaluation.gas > 70_000);
}

#[test]
fn the_largest_answer_and_the_last_bytes_of_memory_are_read() {
    let host = TestHost::new();
    let longest = host.admission(&guest("(i64.const 0x4000)", ""), b"");
    assert_eq!(longest.output.unwrap().len(), 16 * 1024);
    let at_the_end = host.admission(&guest("(i64.const 0x0000fff000000010)", ""), b"");
    assert_eq!(at_the_end.output.unwrap().len(), 16);
}

#[test]
fn nothing_of_a_guest_survives_a_call() {
    // Adds one to a counter in memory, one in a global and one in data, and answers all three.
    let bytes = guest(
        "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
         (i32.store (i32.const 60000) (i32.add (i32.load (i32.const 60000)) (i32.const 1)))
         (global.set $count (i32.add (global.get $count) (i32.const 1)))
         (drop (memory.grow (i32.const 1)))
         (i32.store (i32.const 4) (global.get $count))
         (i32.store (i32.const 8) (i32.load (i32.const 60000)))
         (i32.store (i32.const 12) (memory.size))
         (i64.const 16)",
        r#"(global $count (mut i32) (i32.const 0)) (data (i32.const 0) "\05\00\00\00")"#,
    );
    for settings in SETTINGS {
        let host = TestHost::with(settings);
        let first = host.admission(&bytes, b"");
        let words = [6_u32, 1, 1, 2].map(u32::to_le_bytes).concat();
        assert_eq!(first.output.as_deref(), Ok(words.as_slice()));
        for _ in 0..50 {
            assert_eq!(host.admission(&bytes, b""), first, "{settings:?}");
        }
    }
}
