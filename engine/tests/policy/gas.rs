//! What instructions cost, in numbers. Engines are compared with each other elsewhere; all of them
//! could be wrong alike.

use raft3d_core::{Evaluation, Export, PolicyCall, PolicyError, PolicyHost};
use raft3d_engine::policy::module_digest;
use raft3d_sdk::Hook;

use crate::support::{Source, TestHost, guest, module};

/// What the snippets may use.
const FIELDS: &str = r#"
    (type $none (func))
    (global $g (mut i32) (i32.const 0))
    (table 1 funcref) (elem (i32.const 0) $empty)
    (func $empty)
    (func $locals (local i64 i64 i64 i64 i64))
    (func $wide (param i32 i32 i32) (result i32) (local.get 0))
    (data $passive "0123456789")"#;

/// Gas of `snippet`: what it adds to a hook that does nothing.
fn price(host: &TestHost, snippet: &str) -> u64 {
    let gas = |snippet: &str| {
        let evaluation = host.admission(&guest(&format!("{snippet} (i64.const 0)"), FIELDS), b"");
        assert!(evaluation.output.is_ok(), "{snippet}: {evaluation:?}");
        evaluation.gas
    };
    gas(snippet) - gas("")
}

/// Each row: instructions, and their gas. A constant costs 1, `drop` 1.
const PRICES: &[(&str, u64)] = &[
    ("(nop)", 1),
    ("(drop (i32.const 7))", 2),
    ("(drop (i64.const 7))", 2),
    ("(block)", 1),
    ("(block (br 0))", 2),
    ("(block (br_if 0 (i32.const 1)))", 3),
    ("(block (br_table 0 0 (i32.const 0)))", 5),
    ("(loop)", 1),
    ("(if (i32.const 0) (then))", 2),
    ("(if (i32.const 1) (then (nop)) (else))", 3),
    ("(drop (local.get 0))", 2),
    ("(local.set 0 (i32.const 1))", 2),
    ("(drop (local.tee 0 (i32.const 1)))", 3),
    ("(drop (global.get $g))", 2),
    ("(global.set $g (i32.const 1))", 2),
    (
        "(drop (select (i32.const 1) (i32.const 2) (i32.const 3)))",
        5,
    ),
    // A call costs 5, a function 2 and one for four locals.
    ("(call $empty)", 7),
    ("(call $locals)", 9),
    (
        "(drop (call $wide (i32.const 1) (i32.const 2) (i32.const 3)))",
        12,
    ),
    ("(call_indirect (type $none) (i32.const 0))", 13),
    // Integers.
    ("(drop (i32.add (i32.const 1) (i32.const 2)))", 4),
    ("(drop (i32.eqz (i32.const 1)))", 3),
    ("(drop (i64.lt_s (i64.const 1) (i64.const 2)))", 4),
    ("(drop (i64.xor (i64.const 1) (i64.const 2)))", 4),
    ("(drop (i64.rotl (i64.const 1) (i64.const 2)))", 4),
    ("(drop (i32.clz (i32.const 1)))", 3),
    ("(drop (i64.ctz (i64.const 1)))", 3),
    ("(drop (i64.extend_i32_u (i32.const 1)))", 3),
    ("(drop (i32.wrap_i64 (i64.const 1)))", 3),
    ("(drop (i32.extend8_s (i32.const 1)))", 3),
    ("(drop (i32.popcnt (i32.const 1)))", 7),
    ("(drop (i64.popcnt (i64.const 1)))", 7),
    ("(drop (i32.mul (i32.const 1) (i32.const 2)))", 5),
    ("(drop (i64.mul (i64.const 1) (i64.const 2)))", 5),
    ("(drop (i32.div_u (i32.const 1) (i32.const 2)))", 13),
    ("(drop (i32.rem_s (i32.const 1) (i32.const 2)))", 13),
    ("(drop (i64.div_s (i64.const 1) (i64.const 2)))", 23),
    ("(drop (i64.rem_u (i64.const 1) (i64.const 2)))", 23),
    // Memory, which may grow to 2 MiB.
    ("(drop (i32.load (i32.const 0)))", 7),
    ("(drop (i64.load (i32.const 0)))", 7),
    ("(drop (i32.load8_u (i32.const 0)))", 7),
    ("(drop (i64.load32_s (i32.const 0)))", 7),
    ("(i32.store (i32.const 0) (i32.const 1))", 7),
    ("(i64.store8 (i32.const 0) (i64.const 1))", 7),
    ("(drop (memory.size))", 2),
    ("(drop (memory.grow (i32.const 0)))", 102),
    ("(drop (memory.grow (i32.const 3)))", 3_102),
    // A growth that is refused is paid for as well.
    ("(drop (memory.grow (i32.const 40)))", 40_102),
    (
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0))",
        23,
    ),
    (
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 500))",
        523,
    ),
    (
        "(memory.copy (i32.const 0) (i32.const 600) (i32.const 0))",
        23,
    ),
    (
        "(memory.copy (i32.const 0) (i32.const 600) (i32.const 500))",
        523,
    ),
    (
        "(memory.init $passive (i32.const 0) (i32.const 0) (i32.const 0))",
        23,
    ),
    (
        "(memory.init $passive (i32.const 0) (i32.const 1) (i32.const 9))",
        32,
    ),
    ("(data.drop $passive)", 10),
];

#[test]
fn every_class_of_instruction_has_its_price() {
    let host = TestHost::new();
    for (snippet, gas) in PRICES {
        assert_eq!(price(&host, snippet), *gas, "{snippet}");
    }
}

/// Everything that a table could be changed with is refused, so there is no price for it.
#[test]
fn instructions_on_tables_have_no_price() {
    for snippet in [
        "(drop (table.size 0))",
        "(drop (table.grow 0 (ref.null func) (i32.const 1)))",
        "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))",
        "(table.copy 0 0 (i32.const 0) (i32.const 0) (i32.const 1))",
        "(drop (table.get 0 (i32.const 0)))",
        "(elem.drop 0)",
    ] {
        let bytes = guest(&format!("{snippet} (i64.const 0)"), FIELDS);
        let problem = raft3d_engine::policy::inspect(&bytes).unwrap_err();
        assert_eq!(problem.code, "instruction_not_allowed", "{snippet}");
    }
}

fn sized(memory: &str, extra: &str, body: &str) -> Vec<u8> {
    module(&format!(
        r#"(memory (export "memory") {memory})
           (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
           (func (export "admission") (param i32 i32) (result i64) {body} (i64.const 0))
           {extra}"#
    ))
}

/// Gas of a hook that does nothing: two functions are entered, each with one constant.
const NOTHING: u64 = 2 * (2 + 1);

#[test]
fn each_page_that_memory_starts_with_costs_as_much_as_one_that_it_grows_by() {
    let host = TestHost::new();
    for pages in [1, 2, 17, 32] {
        let evaluation = host.admission(&sized(&pages.to_string(), "", ""), b"");
        assert_eq!(evaluation.gas, NOTHING + pages * 1_000, "{pages} pages");
    }
    let grown = sized("1", "", "(drop (memory.grow (i32.const 16)))");
    let gas = host.admission(&grown, b"").gas;
    assert_eq!(gas, NOTHING + 17 * 1_000 + 102);
}

#[test]
fn loads_and_stores_cost_less_in_a_memory_that_stays_small() {
    let host = TestHost::new();
    let gas = |memory: &str, body: &str| host.admission(&sized(memory, "", body), b"").gas;
    for access in [
        "(drop (i32.load (i32.const 0)))",
        "(drop (i64.load16_s (i32.const 0)))",
        "(i64.store (i32.const 0) (i64.const 0))",
    ] {
        for (memory, price) in [
            ("1 1", 2),
            ("1 4", 2),
            ("4 4", 2),
            ("1 5", 5),
            ("1", 5),
            ("1 32", 5),
            ("1 65536", 5),
        ] {
            let gas = gas(memory, access) - gas(memory, "");
            assert_eq!(gas, price + 2, "{access} in {memory}");
        }
    }
}

#[test]
fn what_a_module_initialises_is_paid_for_in_each_call_and_seen_by_it() {
    let host = TestHost::new();
    let initialized = |body: &str| {
        sized(
            "1",
            &format!(
                r#"(global $g (mut i32) (i32.const 0))
                   (func (export "_initialize") {body})"#
            ),
            "(i32.store8 (i32.const 0) (global.get $g)) (return (i64.const 1))",
        )
    };
    let bytes = initialized("(global.set $g (i32.add (global.get $g) (i32.const 7)))");
    let first = host.admission(&bytes, b"");
    assert_eq!(first.output, Ok(vec![7]));
    for _ in 0..5 {
        assert_eq!(
            host.admission(&bytes, b""),
            first,
            "it runs once in each call"
        );
    }
    let without = host.admission(&initialized(""), b"");
    assert_eq!(first.gas - without.gas, 4);
    let trap = |body: &str| host.error(&initialized(body));
    assert_eq!(trap("(unreachable)"), PolicyError::Unreachable);
    assert_eq!(trap("(loop (br 0))"), PolicyError::OutOfGas);
}

/// A call may be given less than a whole budget.
#[test]
fn an_evaluation_uses_no_more_than_it_is_given() {
    let host = TestHost::new();
    let bytes = sized("2", "", "(loop (br 0))");
    let evaluate = |bytes: &[u8], gas: u64| -> Evaluation {
        let call = PolicyCall {
            gas,
            ..PolicyCall::new(module_digest(bytes), Export::Hook(Hook::Admission), b"")
        };
        let source = Source(Some(bytes.to_vec()));
        host.host.evaluate(&call, &source).unwrap()
    };
    for gas in [0, 1, 1_999, 2_000, 2_010, 500_000, 1_000_000] {
        let evaluation = evaluate(&bytes, gas);
        assert_eq!(evaluation.output, Err(PolicyError::OutOfGas), "{gas}");
        assert_eq!(evaluation.gas, gas);
    }
    assert_eq!(evaluate(&bytes, u64::MAX).gas, 1_000_000);
    let modest = sized("2", "", "");
    let needed = NOTHING + 2_000;
    assert!(evaluate(&modest, needed).output.is_ok());
    assert!(evaluate(&modest, needed - 1).output.is_err());
    assert_eq!(evaluate(&modest, needed).gas, needed);
}
