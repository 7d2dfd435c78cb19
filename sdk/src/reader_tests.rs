#![allow(
    clippy::unwrap_used,
    reason = "A test may end where a value is missing."
)]

use alloc::string::String;
use alloc::vec;

use minicbor::data::Int;
use proptest::prelude::*;

use super::*;
use crate::testkit;
use crate::wire::{self, Call};

/// The texts and numbers that an input is filled with.
type Seeds = (
    Vec<String>,
    Vec<u64>,
    Option<u64>,
    Option<String>,
    i32,
    bool,
);

fn seeds() -> impl Strategy<Value = Seeds> {
    (
        proptest::collection::vec(".{0,40}", 8),
        proptest::collection::vec(0..=Grams::MAX.mg(), 8),
        proptest::option::of(0..=Grams::MAX.mg()),
        proptest::option::of(".{0,300}"),
        any::<i32>(),
        any::<bool>(),
    )
}

fn input(seeds: &Seeds) -> TransitionInput<'_> {
    let (texts, numbers, used, reason, priority, flag) = seeds;
    let [a, b, c, d, e, f, g, h] = texts.as_slice() else {
        unreachable!()
    };
    let [n0, n1, n2, n3, n4, n5, n6, n7] = *numbers.as_slice() else {
        unreachable!()
    };
    let grams = |mg| Grams::from_mg(mg).unwrap();
    let mut input = testkit::transition(a, b);
    (input.now_ms, input.actor) = (n0, c);
    (input.job.id, input.job.filepath, input.job.priority) = (d, e, *priority);
    (input.job.print_weight, input.job.deducted) = (grams(n1), grams(n2));
    input.job.labels = vec![Label { key: f, value: g }, Label { key: g, value: h }];
    (
        input.printer.model,
        input.printer.open_jobs,
        input.printer.occupying_jobs,
    ) = (h, n3, n4);
    input.printer.status = if *flag {
        PrinterStatus::Maintenance
    } else {
        PrinterStatus::Retired
    };
    (input.filament.material, input.filament.archived) = (a, *flag);
    (input.filament.total, input.filament.remaining) = (grams(n5), grams(n6));
    input.filament.reserved_by_others = grams(n7);
    input.reported = Reported {
        used: used.map(grams),
        reason: reason.as_deref(),
        wants_override: !*flag,
    };
    input
}

proptest! {
    /// Invariant: a guest reads exactly what the host wrote.
    #[test]
    fn reads_what_the_host_writes(seeds in seeds()) {
        let input = input(&seeds);
        let bytes = wire::encode_call(&input, b"config");
        prop_assert_eq!(read_call(&bytes), Some((input.clone(), &b"config"[..])));
        let admission = AdmissionInput {
            now_ms: input.now_ms,
            actor: input.actor,
            job: input.job,
            printer: input.printer,
            filament: input.filament,
        };
        let bytes = wire::encode_call(&admission, wire::EMPTY_CONFIG);
        prop_assert_eq!(read_call(&bytes), Some((admission, wire::EMPTY_CONFIG)));
    }

    /// Whatever is damaged, this reader accepts nothing that minicbor refuses or reads otherwise.
    #[test]
    fn never_reads_more_into_bytes_than_minicbor(
        seeds in seeds(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = wire::encode_call(input(&seeds), wire::EMPTY_CONFIG);
        let at = at.index(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Some((input, config)) = read_call::<TransitionInput<'_>>(&bytes) {
            let call: Call<'_, TransitionInput<'_>> = minicbor::decode(&bytes).unwrap();
            prop_assert_eq!((call.input, call.config), (input, config));
        }
    }

    /// An item ends where minicbor says. (A skipped text need not be UTF-8 here.)
    #[test]
    fn skips_as_far_as_minicbor(bytes in proptest::collection::vec(any::<u8>(), 1..24)) {
        let mut reader = Reader::new(&bytes);
        let mut decoder = minicbor::Decoder::new(&bytes);
        if let (Some(()), Ok(())) = (reader.skip(), decoder.skip()) {
            prop_assert_eq!(decoder.position(), bytes.len() - reader.rest.len());
        }
    }

    #[test]
    fn reads_every_integer(value in any::<i64>()) {
        let bytes = minicbor::to_vec(Int::from(value)).unwrap();
        prop_assert_eq!(Reader::new(&bytes).integer(), Some(value));
        prop_assert_eq!(Reader::new(&bytes).unsigned(), u64::try_from(value).ok());
    }
}

#[test]
fn every_cut_is_noticed() {
    let bytes = wire::encode_call(testkit::transition("Running", "Done"), wire::EMPTY_CONFIG);
    for end in 0..bytes.len() {
        assert_eq!(
            read_call::<TransitionInput<'_>>(bytes.get(..end).unwrap()),
            None,
            "{end}"
        );
    }
}

#[test]
fn a_guest_skips_keys_that_it_does_not_know() {
    let input = testkit::transition("Running", "Done");
    let mut later = minicbor::to_vec(&input).unwrap();
    // A later host: one more key, with a nested value of every kind behind it.
    assert_eq!(later.first(), Some(&0xa7));
    later.splice(..1, [0xa8]);
    later.extend([
        0x18, 0x63, 0x88, 0x01, 0x20, 0x61, b'x', 0x41, 0, 0xa1, 0, NULL, TRUE,
    ]);
    later.extend([0xc1, 0x19, 1, 2, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut reader = Reader::new(&later);
    assert_eq!(TransitionInput::read(&mut reader), Some(input));
    assert!(reader.is_at_end());
}
