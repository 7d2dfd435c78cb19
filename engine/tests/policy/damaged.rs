//! Bytes that are almost a module: never a panic, never a local fault.

use raft3d_core::{Export, PolicyError};
use raft3d_engine::policy::inspect;
use raft3d_sdk::Hook;

use crate::random::Random;
use crate::support::{TestHost, guest};

fn victim() -> Vec<u8> {
    guest(
        "(local i64)
         (block (loop (br_if 1 (i32.eqz (local.get 1)))
           (local.set 2 (i64.add (local.get 2) (i64.load8_u (local.get 0))))
           (local.set 0 (i32.add (local.get 0) (i32.const 1)))
           (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
           (br 0)))
         (if (i64.eqz (local.get 2)) (then (return (i64.const 1))))
         (i64.store (i32.const 0) (call $mix (local.get 2) (i32.const 3)))
         (i64.const 8)",
        r#"(table 2 funcref) (elem (i32.const 0) $mix $mix) (data (i32.const 64) "raft3d")
           (global $depth (mut i32) (i32.const 0))
           (func $mix (param i64 i32) (result i64)
             (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
             (memory.copy (i32.const 128) (i32.const 64) (i32.const 6))
             (br_table 0 0 0 (i64.rotl (local.get 0) (i64.const 7)) (local.get 1)))"#,
    )
}

#[test]
fn truncated_modules_are_refused() {
    let bytes = victim();
    inspect(&bytes).unwrap();
    // The manifest is the last section: nothing that lacks a byte is whole.
    for len in 0..bytes.len() {
        assert!(inspect(&bytes[..len]).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn flipped_bits_are_refused_or_run_to_an_answer() {
    let host = TestHost::new();
    let bytes = victim();
    let mut random = Random::seeded("damaged");
    let mut ran = 0;
    for _ in 0..400 {
        let mut copy = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(copy.len() as u64) as usize;
            copy[at] ^= 1 << random.below(8);
        }
        let input = [1, 2, 3];
        let evaluation = host
            .evaluate(&copy, Export::Hook(Hook::Admission), &input)
            .unwrap_or_else(|fault| panic!("local fault: {fault}\n{copy:02x?}"));
        let refused = evaluation.output == Err(PolicyError::InvalidModule);
        assert_eq!(refused, inspect(&copy).is_err());
        ran += u32::from(!refused);
    }
    assert!(
        ran > 0,
        "some flips (of constants, of data) leave a module valid"
    );
}
