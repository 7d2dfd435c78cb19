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
    (input.creator.open_jobs, input.creator.reserved_mg) = (n0, n3);
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
            creator: input.creator,
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
    assert_eq!(later.first(), Some(&0xa8));
    later.splice(..1, [0xa9]);
    later.extend([
        0x18, 0x63, 0x88, 0x01, 0x20, 0x61, b'x', 0x41, 0, 0xa1, 0, NULL, TRUE,
    ]);
    later.extend([0xc1, 0x19, 1, 2, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut reader = Reader::new(&later);
    assert_eq!(TransitionInput::read(&mut reader), Some(input));
    assert!(reader.is_at_end());
}

/// `bytes` read by `read`, and how many of them are left.
fn check<'b, T: PartialEq + core::fmt::Debug>(
    read: impl Fn(&mut Reader<'b>) -> Option<T>,
    bytes: &'b [u8],
    expected: Option<(T, usize)>,
) {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader);
    let found = value.map(|value| (value, reader.rest.len()));
    assert_eq!(found, expected, "{bytes:02x?}");
}

/// RFC 8949, section 3: every width of an argument, and the values that mean nothing.
#[test]
fn an_argument_is_read_as_wide_as_it_says() {
    let max = [0x1b, 255, 255, 255, 255, 255, 255, 255, 255];
    for (bytes, expected) in [
        (&[0x00][..], Some((0, 0))),
        (&[0x17, 9], Some((23, 1))),
        (&[0x18, 0x18, 9], Some((24, 1))),
        (&[0x19, 1, 2, 9], Some((0x0102, 1))),
        (&[0x1a, 1, 2, 3, 4, 9], Some((0x0102_0304, 1))),
        (
            &[0x1b, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            Some((0x0102_0304_0506_0708, 1)),
        ),
        (&max, Some((u64::MAX, 0))),
        (&[0x18], None),
        (&[0x19, 1], None),
        (&[0x1b, 1, 2, 3, 4, 5, 6, 7], None),
        (&[0x1c], None),
        (&[0x1d], None),
        (&[0x1e], None),
        (&[0x1f], None),
        (&[0x20], None),
        (&[0x40], None),
        (&[], None),
    ] {
        check(Reader::unsigned, bytes, expected);
    }
    let wide = |first, second| [first, second, 255, 255, 255, 255, 255, 255, 255];
    check(Reader::integer, &[0x20], Some((-1, 0)));
    check(Reader::integer, &[0x38, 0x63], Some((-100, 0)));
    check(Reader::integer, &wide(0x1b, 0x7f), Some((i64::MAX, 0)));
    check(Reader::integer, &wide(0x3b, 0x7f), Some((i64::MIN, 0)));
    check(Reader::integer, &wide(0x1b, 0x80), None);
    check(Reader::integer, &wide(0x3b, 0x80), None);
    check(Reader::integer, &[0x40], None);
}

#[test]
fn an_item_of_another_kind_is_refused() {
    let bytes = |reader: &mut Reader<'_>| reader.bytes().map(<[u8]>::to_vec);
    let text = |reader: &mut Reader<'_>| reader.text().map(String::from);
    check(bytes, &[0x42, 1, 2, 3], Some((vec![1, 2], 1)));
    check(bytes, &[0x42, 1], None);
    check(bytes, &[0x62, b'a', b'b'], None);
    check(text, &[0x62, b'a', b'b', 9], Some(("ab".into(), 1)));
    check(text, &[0x42, b'a', b'b'], None);
    check(text, &[0x61, 0xff], None);
    check(Reader::boolean, &[FALSE, 9], Some((false, 1)));
    check(Reader::boolean, &[TRUE], Some((true, 0)));
    for other in [NULL, 0x00, 0x01, 0xf8] {
        check(Reader::boolean, &[other, 0xf4], None);
    }
    check(|reader| Some(reader.null()), &[NULL, 9], Some((true, 1)));
    check(|reader| Some(reader.null()), &[TRUE, 9], Some((false, 2)));
    check(Reader::array, &[0x83, 9], Some((3, 1)));
    check(Reader::array, &[0xa3], None);
    check(Reader::map, &[0xa3, 9], Some((3, 1)));
    check(Reader::map, &[0x83], None);
    assert!(Reader::new(&[]).is_at_end() && !Reader::new(&[0]).is_at_end());
}

/// What is skipped ends where it ends, whatever a length claims.
#[test]
fn an_item_is_skipped_with_all_that_is_in_it() {
    for (bytes, left) in [
        (&[0x18, 0x63, 9][..], Some(1)),
        (&[0x3a, 1, 2, 3, 4, 9], Some(1)),
        (&[0x43, 1, 2, 3, 9], Some(1)),
        (&[0x62, 0xff, 0xff, 9], Some(1)),
        (&[0x80, 9], Some(1)),
        (&[0x82, 0x81, 1, 0x41, 0, 9], Some(1)),
        (&[0xa0, 9], Some(1)),
        (&[0xa2, 1, 2, 3, 0x81, 4, 9], Some(1)),
        (&[0xc1, 0x81, 1, 9], Some(1)),
        (&[0xd8, 0x20, 0xc2, 1, 9], Some(1)),
        (&[0xe0, 9], Some(1)),
        (&[0xf7, 9], Some(1)),
        (&[0xf8, 0x20, 9], Some(1)),
        (&[0xf8, 0x1f, 9], None),
        (&[0xf9, 1, 2, 9], Some(1)),
        (&[0xfb, 1, 2, 3, 4, 5, 6, 7, 8, 9], Some(1)),
        (&[0xc1], None),
        (&[0x82, 1], None),
        (&[0xa1, 1], None),
        (&[0x43, 1, 2], None),
        (&[0xff], None),
        // More than there can be: in an array, in a map, and in two of them together.
        (&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1], None),
        (&[0xbb, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1], None),
        (
            &[0x82, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            None,
        ),
    ] {
        check(Reader::skip, bytes, left.map(|left| ((), left)));
    }
}

#[test]
fn small_views_are_read_as_the_contract_says() {
    let label = |key: &'static str, value: &'static str| Label { key, value };
    for (bytes, expected) in [
        (
            &[0x82, 0x61, b'k', 0x61, b'v', 9][..],
            Some((label("k", "v"), 1)),
        ),
        (
            &[0x83, 0x61, b'k', 0x61, b'v', 0x81, 1, 9],
            Some((label("k", "v"), 1)),
        ),
        (&[0x83, 0x61, b'k', 0x61, b'v'], None),
        (&[0x82, 0x61, b'k', 1], None),
    ] {
        let mut reader = Reader::new(bytes);
        let read = Label::read(&mut reader);
        assert_eq!(
            read.map(|read| (read, reader.rest.len())),
            expected,
            "{bytes:02x?}"
        );
    }
    use PrinterStatus::{Active, Maintenance, Retired};
    for (nth, status) in [Some(Active), Some(Maintenance), Some(Retired), None]
        .into_iter()
        .enumerate()
    {
        let expected = status.map(|status| (status, 0));
        check(PrinterStatus::read, &[nth as u8], expected);
    }
    check(i32::read, &[0x1a, 0x80, 0, 0, 0], None);
    check(i32::read, &[0x3a, 0x7f, 255, 255, 255], Some((i32::MIN, 0)));
    let above = (Grams::MAX.mg() + 1).to_be_bytes();
    check(Grams::read, &[&[0x1b], above.as_slice()].concat(), None);
    check(Option::<bool>::read, &[NULL], Some((None, 0)));
    check(Option::<bool>::read, &[TRUE], Some((Some(true), 0)));
    check(
        Vec::<bool>::read,
        &[0x82, TRUE, FALSE],
        Some((vec![true, false], 0)),
    );
    check(Vec::<bool>::read, &[0x82, TRUE], None);
    // What is missing: nothing, where it may be left out; no view, where it may not.
    let reported = Reported::read(&mut Reader::new(&[0xa1, 2, TRUE])).unwrap();
    assert_eq!(
        (reported.used, reported.reason, reported.wants_override),
        (None, None, true)
    );
    assert!(Reported::read(&mut Reader::new(&[0xa0])).is_none());
}
