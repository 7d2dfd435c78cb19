//! What authors see beyond a verdict: the words of a guest that panicked.

use raft3d_core::{Export, PolicyError};
use raft3d_engine::policy::{Workbench, inspect};
use raft3d_sdk::Hook;

use crate::support::{TestHost, guest};

/// Asks `admission` of a guest on a workbench, and on a replica too: the verdicts are the same.
fn ask(bytes: &[u8]) -> (Result<Vec<u8>, PolicyError>, Option<String>) {
    let bench = Workbench::new(bytes).unwrap();
    let trial = bench.evaluate(Export::Hook(Hook::Admission), b"").unwrap();
    assert_eq!(trial.evaluation, TestHost::new().admission(bytes, b""));
    (trial.evaluation.output, trial.panic)
}

/// A guest that stores "at 7" at address 64 and traps, with `words` as its `raft3d_panic`.
fn panicking(words: &str) -> Vec<u8> {
    guest(
        "(i32.store (i32.const 64) (i32.const 0x37207461)) (unreachable)",
        &format!("(func (export \"raft3d_panic\") (result i64) {words})"),
    )
}

#[test]
fn a_guest_that_panicked_is_asked_what_it_said() {
    let (output, panic) = ask(&panicking("(i64.const 0x4000000004)"));
    assert_eq!(output, Err(PolicyError::Unreachable));
    assert_eq!(panic.as_deref(), Some("at 7"));
}

#[test]
fn words_that_cannot_be_had_are_none_and_long_ones_are_cut() {
    for words in [
        "(i64.const 0)",
        "(i64.const 0x7fffffff00000004)",
        "(unreachable)",
        "(loop (br 0)) (unreachable)",
    ] {
        assert_eq!(ask(&panicking(words)).1, None, "{words}");
    }
    let (_, long) = ask(&panicking("(i64.const 0x4000001000)"));
    // What controls a terminal does not reach one.
    assert!(long.is_some_and(|text| text.len() == 512 && !text.contains('\0')));
}

#[test]
fn only_a_panic_is_asked_about() {
    let words = r#"(func (export "raft3d_panic") (result i64) (i64.const 0x4000000004))"#;
    let (output, panic) = ask(&guest("(loop (br 0)) (unreachable)", words));
    assert_eq!((output, panic), (Err(PolicyError::OutOfGas), None));
    let (output, panic) = ask(&guest("(unreachable)", ""));
    assert_eq!((output, panic), (Err(PolicyError::Unreachable), None));
}

#[test]
fn the_export_has_one_signature() {
    let bytes = guest(
        "(unreachable)",
        r#"(func (export "raft3d_panic") (result i32) (i32.const 0))"#,
    );
    let problem = inspect(&bytes).unwrap_err();
    assert_eq!(problem.code, "wrong_signature");
    assert!(problem.message.contains("raft3d_panic"), "{problem}");
}
