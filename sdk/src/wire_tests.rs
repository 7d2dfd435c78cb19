#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "A test may end where a value is missing."
)]

use alloc::string::{String, ToString};
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::testkit;
use crate::verdict::{Deny, DenyClass, Warning};

fn rule(output: &RuleOutput) -> Result<RuleOutput, OutputProblem> {
    decode_rule_output(&minicbor::to_vec(output).unwrap())
}

fn deny(code: &str, message: &str) -> RuleOutput {
    Deny::new(code, message).at("/status").into()
}

#[test]
fn a_place_survives_packing() {
    for (ptr, len) in [(0, 0), (1, 2), (u32::MAX, 7), (7, u32::MAX)] {
        assert_eq!(unpack(pack(ptr, len)), (ptr, len));
    }
}

/// The bytes that every guest of ABI 1 can read. They only ever grow by keys.
#[test]
fn golden_bytes_of_a_call() {
    let mut input = testkit::transition("Running", "Done");
    input.reported.used = Some(testkit::grams("1.5"));
    let bytes = encode_call(&input, EMPTY_CONFIG);
    let hex = bytes
        .iter()
        .fold(String::new(), |hex, b| hex + &alloc::format!("{b:02x}"));
    assert_eq!(hex, include_str!("golden_call.hex").trim());
}

/// The bytes at the start of each line of `text`, up to the first word that is not hexadecimal.
fn bytes_of(text: &str) -> Vec<u8> {
    let is_hex = |word: &&str| word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let words = text
        .lines()
        .flat_map(|line| line.split_whitespace().take_while(is_hex));
    let hex: String = words.collect();
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap())
        .collect()
}

/// The example of the contract is what the host sends, and its answers are answers.
#[test]
fn the_examples_of_the_contract_hold() {
    let text = include_str!("../ABI.md");
    let (_, examples) = text.split_once("## 10. Example").unwrap();
    let (call, answers) = examples.split_once("Some answers:").unwrap();
    let (_, call) = call.split_once("\n\n    a2").unwrap();
    let golden = include_str!("golden_call.hex");
    assert_eq!(bytes_of(&(String::from("a2") + call)), bytes_of(golden));

    let answers: Vec<_> = answers
        .lines()
        .map(bytes_of)
        .filter(|b| !b.is_empty())
        .collect();
    let [allow, take, no] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!(decode_rule_output(allow), Ok(RuleOutput::allow()));
    assert_eq!(decode_deduction_output(allow), Ok(DeductionOutput::pass()));
    let weight = Grams::from_mg(1_500).unwrap();
    assert_eq!(
        decode_deduction_output(take),
        Ok(DeductionOutput::take(weight, ""))
    );
    assert_eq!(decode_rule_output(no), Ok(Deny::new("not", "No.").into()));
}

#[test]
fn every_limit_of_a_rule_answer_is_checked() {
    let warnings = |count| RuleOutput {
        deny: None,
        warnings: vec![
            Warning {
                code: "c".into(),
                message: "m".into()
            };
            count
        ],
    };
    assert_eq!(rule(&RuleOutput::allow()), Ok(RuleOutput::allow()));
    for good in [
        deny(&"c".repeat(CODE_BYTES_MAX), &"m".repeat(MESSAGE_BYTES_MAX)),
        deny("a_1", "größer"),
        warnings(WARNINGS_MAX),
    ] {
        assert_eq!(rule(&good), Ok(good.clone()));
    }
    let long_field = RuleOutput::from(Deny::new("c", "m").at("/".repeat(POINTER_BYTES_MAX + 1)));
    for (bad, problem) in [
        (deny("", "m"), OutputProblem::Code),
        (deny("Not A Code", "m"), OutputProblem::Code),
        (
            deny(&"c".repeat(CODE_BYTES_MAX + 1), "m"),
            OutputProblem::Code,
        ),
        (
            deny("c", &"m".repeat(MESSAGE_BYTES_MAX + 1)),
            OutputProblem::Text,
        ),
        (deny("c", "two\nlines"), OutputProblem::Text),
        (long_field, OutputProblem::Pointer),
        (
            Deny::new("c", "m").at("status").into(),
            OutputProblem::Pointer,
        ),
        (
            Deny::new("c", "m").at("/a~2").into(),
            OutputProblem::Pointer,
        ),
        (warnings(WARNINGS_MAX + 1), OutputProblem::Warnings),
        (RuleOutput::allow().warn("", "m"), OutputProblem::Code),
        (RuleOutput::allow().warn("c", "\u{7}"), OutputProblem::Text),
    ] {
        assert_eq!(rule(&bad), Err(problem));
    }
}

#[test]
fn every_limit_of_the_other_answers_is_checked() {
    let deduction = |output: &DeductionOutput| {
        decode_deduction_output(&minicbor::to_vec(output).unwrap()).map(drop)
    };
    let reason = |len| DeductionOutput::take(Grams::MAX, "r".repeat(len));
    assert_eq!(deduction(&DeductionOutput::pass()), Ok(()));
    assert_eq!(deduction(&reason(TEXT_BYTES_MAX)), Ok(()));
    assert_eq!(
        deduction(&reason(TEXT_BYTES_MAX + 1)),
        Err(OutputProblem::Text)
    );
    // {0: 2^63 milligrams}
    let heavy = [0xa1, 0x00, 0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert!(decode_deduction_output(&heavy).is_err());

    let check = |verdict: &ConfigVerdict| {
        decode_config_verdict(&minicbor::to_vec(verdict).unwrap()).map(drop)
    };
    assert_eq!(check(&ConfigVerdict::good()), Ok(()));
    assert_eq!(check(&ConfigVerdict::bad("/a", "p")), Ok(()));
    let long = "p".repeat(MESSAGE_BYTES_MAX + 1);
    assert_eq!(
        check(&ConfigVerdict::bad("/a", &*long)),
        Err(OutputProblem::Text)
    );
    for pointer in [long.as_str(), "limit", "/~"] {
        assert_eq!(
            check(&ConfigVerdict::bad(pointer, "p")),
            Err(OutputProblem::Pointer)
        );
    }
}

#[test]
fn an_answer_is_one_item_of_bounded_size() {
    assert_eq!(decode_rule_output(&[]), Err(OutputProblem::Malformed));
    assert_eq!(
        decode_rule_output(&[0xa0, 0x00]),
        Err(OutputProblem::Malformed)
    );
    assert_eq!(decode_rule_output(&[0xf6]), Err(OutputProblem::Malformed));
    assert_eq!(decode_rule_output(&[0xa0]), Ok(RuleOutput::allow()));
    let long = vec![0; OUTPUT_BYTES_MAX + 1];
    assert_eq!(decode_rule_output(&long), Err(OutputProblem::TooLong));
}

/// `{0: deny, 0: null}` was a denial to one reader and allowed to another.
#[test]
fn an_answer_with_a_key_twice_is_none() {
    let deny = [0xa3, 0x00, 0x01, 0x01, 0x61, b'c', 0x02, 0x61, b'm'];
    let twice = [&[0xa2, 0x00][..], &deny, &[0x00, 0xf6]].concat();
    assert_eq!(decode_rule_output(&twice), Err(OutputProblem::Malformed));
    let spelt_otherwise = [&[0xa2, 0x00][..], &deny, &[0x18, 0x00, 0xf6]].concat();
    let malformed = Err(OutputProblem::Malformed);
    assert_eq!(decode_rule_output(&spelt_otherwise), malformed);
    // Also in a map that is skipped: {7: {0: 0, 0: 0}}.
    let skipped = [0xa1, 0x07, 0xa2, 0x00, 0x00, 0x00, 0x00];
    assert_eq!(decode_rule_output(&skipped), Err(OutputProblem::Malformed));
    let take = [0xa2, 0x00, 0x01, 0x00, 0x02];
    let malformed = Err(OutputProblem::Malformed);
    assert_eq!(decode_deduction_output(&take), malformed);
    let problem = [0xa2, 0x00, 0x61, b'p', 0x00, 0xf6];
    let malformed = Err(OutputProblem::Malformed);
    assert_eq!(decode_config_verdict(&problem), malformed);
}

#[test]
fn classes_are_numbers() {
    let illegal = RuleOutput::from(Deny::illegal_transition("m"));
    assert_eq!(
        illegal.deny.as_ref().unwrap().class,
        DenyClass::IllegalTransition
    );
    assert_eq!(rule(&illegal).unwrap(), illegal);
}

proptest! {
    /// Whatever an author puts into an answer, the SDK sends something that the host accepts,
    /// apart from a code that is not one.
    #[test]
    fn tidied_answers_keep_every_limit(
        message in ".{0,700}",
        field in proptest::option::of(".{0,400}"),
        warnings in 0_usize..12,
    ) {
        let mut output = RuleOutput::from(Deny { field, ..Deny::new("code", message.clone()) });
        for _ in 0..warnings {
            output = output.warn("code", message.clone());
        }
        prop_assert!(rule(&output.tidy()).is_ok());
        prop_assert!(decode_deduction_output(
            &minicbor::to_vec(DeductionOutput::take(Grams::ZERO, message.repeat(3)).tidy())
                .map_err(|error| TestCaseError::fail(error.to_string()))?
        ).is_ok());
        let verdict = ConfigVerdict::bad(message.clone(), message).tidy();
        prop_assert!(decode_config_verdict(
            &minicbor::to_vec(verdict).map_err(|error| TestCaseError::fail(error.to_string()))?
        ).is_ok());
    }

    /// No bytes make a decoder of the host panic.
    #[test]
    fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode_rule_output(&bytes);
        let _ = decode_deduction_output(&bytes);
        let _ = decode_config_verdict(&bytes);
    }
}
