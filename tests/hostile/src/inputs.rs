//! Random calls of a policy: made of what its cases are made of, and of what they are not.

use raft3d_core::Export;
use raft3d_fuzz::Random;
use raft3d_fuzz::mutate::mutated;
use raft3d_sdk::wire::{self, Call};
use raft3d_sdk::{
    ActorView, AdmissionInput, FilamentView, Grams, Hook, JobView, Label, PrinterStatus,
    PrinterView, TransitionInput,
};

use crate::shipped::Shipped;

/// A field is changed in one of so many calls.
const CHANGED_ONE_IN: usize = 4;
/// A call's bytes are damaged in one of so many.
const DAMAGED_ONE_IN: usize = 8;
/// Of so many calls one asks `check_config`.
const CHECKED_ONE_IN: usize = 10;
/// Milliseconds of a week: for everything that depends on the time of day or the day.
const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Texts that no case has.
const TEXTS: [&str; 8] = [
    "",
    "x",
    "PLA",
    "pla",
    "Done",
    "queued",
    "\u{130}\u{df}\u{1f9f5}",
    "a\0b",
];
/// Weights on borders, in milligrams.
const WEIGHTS_MG: [u64; 8] = [
    0,
    1,
    999,
    1_000,
    120_000,
    800_000,
    999_999_999_999,
    1_000_000_000_000,
];
/// Numbers on borders.
const NUMBERS: [u64; 6] = [0, 1, 2, 3, u32::MAX as u64, u64::MAX];

/// What calls of one policy are made of.
#[derive(Clone, Debug)]
pub struct Inputs {
    hooks: Vec<Hook>,
    /// Calls of `admission`, and of the other hooks.
    admissions: Vec<Vec<u8>>,
    transitions: Vec<Vec<u8>>,
    configs: Vec<Vec<u8>>,
    /// Texts of its cases and their configurations.
    texts: Vec<String>,
}

impl Inputs {
    /// Those of that policy; where its cases lack a hook's calls, the test kit's sample.
    ///
    /// # Panics
    /// A case does not decode.
    #[must_use]
    pub fn of(policy: &Shipped) -> Self {
        let mut inputs = Self {
            hooks: policy.hooks.iter().collect(),
            admissions: vec![crate::engines::plain_input(Hook::Admission)],
            transitions: vec![crate::engines::plain_input(Hook::Transition)],
            configs: vec![wire::EMPTY_CONFIG.to_vec()],
            texts: TEXTS.map(str::to_owned).into(),
        };
        for case in &policy.cases {
            let bytes = case.input.clone();
            match Hook::from_name(case.export) {
                None => inputs.configs.push(bytes),
                Some(Hook::Admission) => inputs.admissions.push(bytes),
                Some(_) => inputs.transitions.push(bytes),
            }
        }
        let calls = inputs
            .admissions
            .iter()
            .map(|bytes| admission(bytes).config);
        let more = inputs
            .transitions
            .iter()
            .map(|bytes| transition(bytes).config);
        let configs: Vec<Vec<u8>> = calls.chain(more).map(<[u8]>::to_vec).collect();
        inputs.configs.extend(configs);
        for bytes in [&inputs.admissions, &inputs.transitions, &inputs.configs] {
            for bytes in bytes {
                collect_texts(bytes, &mut inputs.texts);
            }
        }
        inputs.texts.sort();
        inputs.texts.dedup();
        inputs
    }

    /// A call, the same for the same random numbers.
    ///
    /// # Panics
    /// A case does not decode.
    #[must_use]
    pub fn random(&self, random: &mut Random) -> (Export, Vec<u8>) {
        let config = pick(random, &self.configs).clone();
        let damaged = one_in(random, DAMAGED_ONE_IN);
        if one_in(random, CHECKED_ONE_IN) {
            let config = self.damage(random, config, damaged);
            return (Export::CheckConfig, config);
        }
        let hook = *pick(random, &self.hooks);
        let own_config = !one_in(random, CHANGED_ONE_IN);
        let bytes = if hook == Hook::Admission {
            let mut call = admission(pick::<Vec<u8>>(random, &self.admissions));
            self.vary_admission(random, &mut call.input);
            wire::encode_call(&call.input, if own_config { call.config } else { &config })
        } else {
            let mut call = transition(pick::<Vec<u8>>(random, &self.transitions));
            self.vary_transition(random, &mut call.input);
            wire::encode_call(&call.input, if own_config { call.config } else { &config })
        };
        (Export::Hook(hook), self.damage(random, bytes, damaged))
    }

    fn damage(&self, random: &mut Random, bytes: Vec<u8>, damaged: bool) -> Vec<u8> {
        if !damaged {
            return bytes;
        }
        let other = pick::<Vec<u8>>(random, &self.transitions);
        mutated(random, &bytes, other)
    }

    fn vary_admission<'a>(&'a self, random: &mut Random, input: &mut AdmissionInput<'a>) {
        self.vary_common(
            random,
            (&mut input.now_ms, &mut input.actor, &mut input.creator),
            &mut input.job,
            (&mut input.printer, &mut input.filament),
        );
    }

    fn vary_transition<'a>(&'a self, random: &mut Random, input: &mut TransitionInput<'a>) {
        self.vary_common(
            random,
            (&mut input.now_ms, &mut input.actor, &mut input.creator),
            &mut input.job,
            (&mut input.printer, &mut input.filament),
        );
        self.text(random, &mut input.to);
        let reported = &mut input.reported;
        if changed(random) {
            reported.used = one_in(random, 2).then(|| weight(random));
        }
        if changed(random) {
            reported.reason = one_in(random, 2).then(|| self.any_text(random));
        }
        if changed(random) {
            reported.wants_override = one_in(random, 2);
        }
    }

    fn vary_common<'a>(
        &'a self,
        random: &mut Random,
        (now_ms, actor, creator): (&mut u64, &mut &'a str, &mut ActorView),
        job: &mut JobView<'a>,
        (printer, filament): (&mut PrinterView<'a>, &mut FilamentView<'a>),
    ) {
        if changed(random) {
            *now_ms = match random.below(8) {
                0 => *pick(random, &NUMBERS),
                _ => now_ms.wrapping_add(random.next() % WEEK_MS),
            };
        }
        self.text(random, actor);
        number(random, &mut creator.open_jobs);
        number(random, &mut creator.reserved_mg);
        for text in [&mut job.id, &mut job.printer_id, &mut job.filament_id] {
            self.text(random, text);
        }
        for text in [&mut job.filepath, &mut job.status, &mut job.created_by] {
            self.text(random, text);
        }
        if changed(random) {
            job.priority = random.next() as i32;
        }
        number(random, &mut job.created_at_ms);
        self.labels(random, &mut job.labels);
        for text in [&mut printer.id, &mut printer.company, &mut printer.model] {
            self.text(random, text);
        }
        if changed(random) {
            use PrinterStatus::{Active, Maintenance, Retired};
            printer.status = *pick(random, &[Active, Maintenance, Retired]);
        }
        self.labels(random, &mut printer.labels);
        number(random, &mut printer.open_jobs);
        number(random, &mut printer.occupying_jobs);
        for text in [
            &mut filament.id,
            &mut filament.material,
            &mut filament.color,
        ] {
            self.text(random, text);
        }
        let weights = [
            &mut job.print_weight,
            &mut job.deducted,
            &mut filament.total,
            &mut filament.remaining,
            &mut filament.reserved_by_others,
        ];
        for grams in weights {
            if changed(random) {
                *grams = weight(random);
            }
        }
        if changed(random) {
            filament.archived = one_in(random, 2);
        }
    }

    fn any_text(&self, random: &mut Random) -> &str {
        pick::<String>(random, &self.texts)
    }

    fn text<'a>(&'a self, random: &mut Random, text: &mut &'a str) {
        if changed(random) {
            *text = self.any_text(random);
        }
    }

    fn labels<'a>(&'a self, random: &mut Random, labels: &mut Vec<Label<'a>>) {
        if !changed(random) {
            return;
        }
        labels.clear();
        for _ in 0..random.below(5) {
            labels.push(Label {
                key: self.any_text(random),
                value: self.any_text(random),
            });
        }
        labels.sort_by_key(|label| label.key);
        labels.dedup_by_key(|label| label.key);
    }
}

fn pick<'a, T>(random: &mut Random, of: &'a [T]) -> &'a T {
    &of[random.below(of.len())]
}

fn one_in(random: &mut Random, many: usize) -> bool {
    random.below(many) == 0
}

fn changed(random: &mut Random) -> bool {
    one_in(random, CHANGED_ONE_IN)
}

fn number(random: &mut Random, number: &mut u64) {
    if changed(random) {
        *number = match random.below(2) {
            0 => *pick(random, &NUMBERS),
            _ => random.next() % 1_000_000,
        };
    }
}

fn weight(random: &mut Random) -> Grams {
    let mg = match random.below(2) {
        0 => *pick(random, &WEIGHTS_MG),
        _ => random.next() % 1_000_000,
    };
    Grams::from_mg(mg).expect("below the largest weight")
}

fn admission(bytes: &[u8]) -> Call<'_, AdmissionInput<'_>> {
    minicbor::decode(bytes).expect("a case's call")
}

fn transition(bytes: &[u8]) -> Call<'_, TransitionInput<'_>> {
    minicbor::decode(bytes).expect("a case's call")
}

/// Every text in one item of CBOR; ends where it is no CBOR, which some cases are meant to be.
fn collect_texts(bytes: &[u8], texts: &mut Vec<String>) {
    use minicbor::data::Type;
    let mut decoder = minicbor::Decoder::new(bytes);
    while let Ok(ty) = decoder.datatype() {
        let read = match ty {
            Type::Map => decoder.map().map(|_| ()),
            Type::Array => decoder.array().map(|_| ()),
            Type::String => decoder.str().map(|text| texts.push(text.to_owned())),
            // The configuration within a call is an item of its own.
            Type::Bytes => decoder.bytes().map(|inner| collect_texts(inner, texts)),
            _ => decoder.skip(),
        };
        if read.is_err() {
            return;
        }
    }
}
