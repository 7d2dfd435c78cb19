//! Guests that do what they should not: each ends in its own error, none in a local fault.

use std::fmt::Write;

use raft3d_core::PolicyError;
use raft3d_core::limits::GAS_PER_EVALUATION_MAX;

use crate::support::{SETTINGS, TestHost, guest, module};

const LOOP: &str = "(loop (br 0)) (unreachable)";

#[test]
fn a_loop_for_ever_runs_out_of_gas() {
    let evaluation = TestHost::new().admission(&guest(LOOP, ""), b"");
    assert_eq!(evaluation.output, Err(PolicyError::OutOfGas));
    assert_eq!(evaluation.gas, GAS_PER_EVALUATION_MAX);
}

#[test]
fn a_loop_in_the_allocation_function_runs_out_of_gas_too() {
    let bytes = module(
        r#"(memory (export "memory") 1)
           (func (export "raft3d_alloc") (param i32) (result i32) (loop (br 0)) (unreachable))
           (func (export "admission") (param i32 i32) (result i64) i64.const 0)"#,
    );
    assert_eq!(TestHost::new().error(&bytes), PolicyError::OutOfGas);
}

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

/// Frames that take as much native stack as the static limits let them, each in a recursion
/// without end: the counter runs over first, whatever the compiler does.
#[test]
fn every_kind_of_frame_overflows_the_counter_first() {
    let many = |count: usize, text: &str| text.repeat(count);
    let numbered =
        |count: usize, make: fn(usize) -> String| -> String { (0..count).map(make).collect() };
    let locals_live = format!(
        "(func $down (param i64) (local {}) {} (call $down (local.get 1)) {})",
        many(256, "i64 "),
        numbered(256, |n| format!(
            "(local.set {} (i64.mul (local.get 0) (i64.const {n})))",
            n + 1
        )),
        numbered(256, |n| format!(
            "(i64.store (i32.const 2048) (local.get {}))",
            n + 1
        )),
    );
    let params = format!(
        "(func $wide (param {}) (call $wide {}))
         (func $down (param i64) (call $wide {}))",
        many(32, "i64 "),
        numbered(32, |n| format!("(i64.add (local.get {n}) (i64.const 1)) ")),
        many(32, "(local.get 0) "),
    );
    let results = format!(
        "(func $many (param i64) (result {0}) (call $many (i64.add (local.get 0) (i64.const 1))))
         (func $down (param i64) (call $many (local.get 0)) {1})",
        many(32, "i64 "),
        many(32, "(drop) "),
    );
    let operands = format!(
        "(func $down (param i64) {} (call $down (local.get 0)) {})",
        numbered(1_500, |n| format!(
            "(i64.mul (local.get 0) (i64.const {n})) "
        )),
        many(1_500, "(i64.store (i32.const 2048) (i64.const 1)) (drop) "),
    );
    let indirect = format!(
        "(type $t (func (param i64))) (table 2 2 funcref) (elem (i32.const 0) $down $other)
         (func $down (param i64)
           (call_indirect (type $t) (local.get 0) (i32.const 1)))
         (func $other (type $t) (local {})
           (call_indirect (type $t) (local.get 0) (i32.const 0)))",
        many(200, "i64 "),
    );
    // Each of 127 nested blocks yields 32 values to the one around it.
    let blocks = format!(
        "(func $down (param i64) {} {} (call $down (local.get 0)) {} {})",
        many(127, &format!("(block (result {})", many(32, "i64 "))),
        many(32, "(local.get 0) "),
        many(127, ") "),
        many(32, "(drop) "),
    );
    for extra in [locals_live, params, results, operands, indirect, blocks] {
        let bytes = guest("(call $down (i64.const 1)) (i64.const 0)", &extra);
        let mut gas = Vec::new();
        for settings in SETTINGS {
            let evaluation = TestHost::with(settings).admission(&bytes, b"");
            let shown = extra.get(..60);
            let over = Err(PolicyError::StackOverflow);
            assert_eq!(evaluation.output, over, "{settings:?}: {shown:?}");
            gas.push(evaluation.gas);
        }
        assert!(gas.iter().all(|used| *used == gas[0]), "{gas:?}");
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
fn memory_without_end_is_denied_by_the_guest_itself_or_by_gas() {
    // Grows page by page until it is refused, then answers how many pages it has.
    let bytes = guest(
        "(loop $more
           (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
         (i32.store (i32.const 0) (memory.size))
         (i64.const 4)",
        "",
    );
    let evaluation = TestHost::new().admission(&bytes, b"");
    assert_eq!(
        evaluation.output.unwrap(),
        256_u32.to_le_bytes(),
        "16 MiB and no more"
    );
    // The same until the end.
    let bytes = guest(
        "(loop (drop (memory.grow (i32.const 1))) (br 0)) (unreachable)",
        "",
    );
    assert_eq!(TestHost::new().error(&bytes), PolicyError::OutOfGas);
    // More pages than gas, at once.
    let bytes = guest("(drop (memory.grow (i32.const -1))) (i64.const 0)", "");
    assert_eq!(TestHost::new().error(&bytes), PolicyError::OutOfGas);
}

#[test]
fn a_declared_maximum_is_kept_and_a_missing_one_is_ours() {
    let grow = |declared: &str| {
        let bytes = module(&format!(
            r#"(memory (export "memory") {declared})
               (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
               (func (export "admission") (param i32 i32) (result i64)
                 (i32.store (i32.const 0) (memory.grow (i32.const 100)))
                 (i64.const 4))"#
        ));
        let output = TestHost::new().admission(&bytes, b"").output.unwrap();
        i32::from_le_bytes(output.try_into().unwrap())
    };
    assert_eq!(grow("1"), 1);
    assert_eq!(grow("1 60000"), 1);
    assert_eq!(grow("1 100"), -1);
    assert_eq!(grow("200"), -1);
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
fn each_trap_has_its_error() {
    let host = TestHost::new();
    let zero = "(i32.sub (local.get 1) (local.get 1))";
    let table = "(table 4 funcref) (elem (i32.const 0) $other)
                 (type $hook (func (result i64)))
                 (func $other (result i32) (i32.const 1))";
    for (body, extra, error) in [
        ("(unreachable)", "", PolicyError::Unreachable),
        (
            "(i64.load (i32.const -1))",
            "",
            PolicyError::MemoryOutOfBounds,
        ),
        (
            "(i64.div_s (i64.const 1) (i64.const 0))",
            "",
            PolicyError::DivisionByZero,
        ),
        (
            "(i64.div_s (i64.const 0x8000000000000000) (i64.const -1))",
            "",
            PolicyError::IntegerOverflow,
        ),
        (
            "(call_indirect (type $hook) (i32.const 99))",
            table,
            PolicyError::BadIndirectCall,
        ),
        (
            "(call_indirect (type $hook) (i32.const 1))",
            table,
            PolicyError::BadIndirectCall,
        ),
        (
            "(call_indirect (type $hook) (i32.const 0))",
            table,
            PolicyError::BadIndirectCall,
        ),
    ] {
        assert_eq!(host.error(&guest(body, extra)), error, "{body}");
    }
    let body = format!("(i64.extend_i32_u (i32.rem_u (i32.const 1) {zero}))");
    assert_eq!(host.error(&guest(&body, "")), PolicyError::DivisionByZero);
}

#[test]
fn answers_outside_memory_or_above_the_limit_are_refused() {
    let host = TestHost::new();
    for packed in [
        0xffff_ffff_0000_0010_u64,
        0x0000_fff0_0000_0011,
        0x0000_0000_0000_4001,
        0x0000_0000_ffff_ffff,
        u64::MAX,
    ] {
        let bytes = guest(&format!("(i64.const {packed:#x})"), "");
        assert_eq!(
            host.error(&bytes),
            PolicyError::BadOutputRange,
            "{packed:#x}"
        );
    }
    let longest = host.admission(&guest("(i64.const 0x4000)", ""), b"");
    assert_eq!(longest.output.unwrap().len(), 16 * 1024);
    let at_the_end = host.admission(&guest("(i64.const 0x0000fff000000010)", ""), b"");
    assert_eq!(at_the_end.output.unwrap().len(), 16);
}

#[test]
fn an_allocation_outside_memory_is_refused() {
    for place in [-1, 65_536, 65_533, i32::MIN] {
        let bytes = module(&format!(
            r#"(memory (export "memory") 1)
               (func (export "raft3d_alloc") (param i32) (result i32) i32.const {place})
               (func (export "admission") (param i32 i32) (result i64) i64.const 0)"#
        ));
        let output = TestHost::new().admission(&bytes, b"four").output;
        assert_eq!(output, Err(PolicyError::BadAllocation), "{place}");
    }
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
