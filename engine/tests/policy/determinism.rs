//! The same bytes and the same input give the same answer and the same gas, whatever the engine.

use crate::support::{SETTINGS, TestHost, guest};

/// Mixes its input through loops, branches, calls, tables and memory for a while.
const MIXER: &str = r#"
    (local $at i32) (local $sum i64)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get 1)))
        (local.set $sum
          (i64.add
            (i64.mul (local.get $sum) (i64.const 6364136223846793005))
            (call_indirect (param i32) (result i64)
              (i32.load8_u (i32.add (local.get 0) (local.get $at)))
              (i32.and (i32.load8_u (i32.add (local.get 0) (local.get $at))) (i32.const 3)))))
        (if (i64.lt_s (local.get $sum) (i64.const 0))
          (then (local.set $sum (i64.rotl (local.get $sum) (i64.const 13))))
          (else (memory.copy (i32.const 512) (i32.const 500) (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i64.store (i32.const 0) (local.get $sum))
    (i64.const 8)"#;

const PARTS: &str = r#"
    (table 4 funcref) (elem (i32.const 0) $a $b $c $d)
    (func $a (param i32) (result i64) (i64.extend_i32_u (local.get 0)))
    (func $b (param i32) (result i64)
      (i64.div_u (i64.const 1000000007) (i64.extend_i32_u (i32.or (local.get 0) (i32.const 1)))))
    (func $c (param i32) (result i64)
      (if (result i64) (i32.lt_u (local.get 0) (i32.const 32))
        (then (i64.const 1))
        (else (i64.add (i64.const 3)
          (call $c (i32.div_u (local.get 0) (i32.const 2)))))))
    (func $d (param i32) (result i64)
      (block $x (block $y (block $z
        (br_table $x $y $z (i32.rem_u (local.get 0) (i32.const 5))))
        (return (i64.const 77)))
        (return (i64.const 88)))
      (i64.const 99))"#;

#[test]
fn settings_change_neither_answers_nor_gas() {
    let bytes = guest(MIXER, PARTS);
    let hosts = SETTINGS.map(TestHost::with);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for len in 0..200_usize {
        let input: Vec<u8> = (0..len)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        let expected = hosts[0].admission(&bytes, &input);
        assert_eq!(expected.output.as_ref().unwrap().len(), 8);
        for host in &hosts[1..] {
            assert_eq!(
                host.admission(&bytes, &input),
                expected,
                "input of {len} bytes"
            );
        }
    }
}

#[test]
fn gas_is_paid_for_what_runs_and_not_for_what_does_not() {
    let host = TestHost::new();
    let gas = |body: &str| {
        let evaluation = host.admission(&guest(body, ""), b"");
        assert!(evaluation.output.is_ok(), "{body}");
        evaluation.gas
    };
    let nothing = gas("(i64.const 0)");
    let if_of = |condition: u32| {
        format!(
            "(if (i32.const {condition}) (then {})) (i64.const 0)",
            "(nop)".repeat(50)
        )
    };
    assert_eq!(gas(&if_of(0)) - nothing, 2);
    assert_eq!(gas(&if_of(1)) - nothing, 52);
    // A loop pays for every round.
    let rounds = |count: u32| {
        format!(
            "(local i32)
             (loop (br_if 0 (i32.lt_u
               (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const {count}))))
             (i64.const 0)"
        )
    };
    let each = gas(&rounds(2)) - gas(&rounds(1));
    assert_eq!(gas(&rounds(1_001)) - gas(&rounds(1)), 1_000 * each);
    assert_eq!(
        each, 8,
        "loop, get, const, add, tee, const, compare, branch"
    );
}
