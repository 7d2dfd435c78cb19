//! Names in configurations: aliases are put right, what matches nothing is refused, and what is never
//! asked is warned of.

use std::sync::mpsc::{Sender, channel};

use crate::common::*;
use crate::{activate, rollback, upload};
use minicbor::Encoder;
use raft3d_core::command::{ActivateRuleset, CreateJob};
use raft3d_core::state::rulesets::{Binding, Finding, Mode, Ruleset, RulesetRevision, Scope};
use raft3d_core::{
    Accepted, BindingId, Command, Evaluation, Export, LocalFault, ModuleDigest, ModuleSource,
    PolicyCall, PolicyHost, Rejection, RejectionKind, Response, Revision,
};
use raft3d_sdk::manifest::ConfigName;
use raft3d_sdk::{Grams, Hook, HookSet};

/// A small JSON, as CBOR.
enum Json<'a> {
    Text(&'a str),
    Number(u64),
    List(Vec<Json<'a>>),
    Map(Vec<(&'a str, Json<'a>)>),
}

use Json::{List, Map, Number, Text};

impl Json<'_> {
    fn write(&self, out: &mut Encoder<Vec<u8>>) {
        match self {
            Text(text) => drop(out.str(text).unwrap()),
            Number(number) => drop(out.u64(*number).unwrap()),
            List(items) => {
                out.array(items.len() as u64).unwrap();
                items.iter().for_each(|item| item.write(out));
            }
            Map(fields) => {
                out.map(fields.len() as u64).unwrap();
                for (key, value) in fields {
                    out.str(key).unwrap();
                    value.write(out);
                }
            }
        }
    }

    fn cbor(&self) -> Vec<u8> {
        let mut out = Encoder::new(Vec::new());
        self.write(&mut out);
        out.into_writer()
    }
}

fn texts<'a>(texts: &[&'a str]) -> Json<'a> {
    List(texts.iter().map(|text| Text(text)).collect())
}

fn done_states<'a>(states: &[&'a str]) -> Json<'a> {
    Map(vec![("done_states", texts(states))])
}

fn partial_states<'a>(states: &[(&'a str, u64)]) -> Json<'a> {
    let states = states.iter().map(|(name, share)| (*name, Number(*share)));
    Map(vec![("partial_states", Map(states.collect()))])
}

/// A shop to whose ruleset a binding of the test module of that name is added in front.
fn with(name: &str, config: &Json<'_>) -> (Machine, Ruleset) {
    let mut machine = Machine::with_shop();
    for module in ["waste-factor", "named", "standard-deduction", "take-all"] {
        machine.accept(upload(module));
    }
    let mut set = ruleset(&[name, "standard", "deduction"]);
    set.bindings[0].config = config.cbor();
    (machine, set)
}

fn activated(machine: &mut Machine, set: Ruleset) -> RulesetRevision {
    let Accepted::Ruleset(active) = machine.accept(Command::ActivateRuleset(activate(set))) else {
        panic!()
    };
    active
}

fn refused(machine: &mut Machine, set: Ruleset) -> Rejection {
    let rejection = machine.reject(Command::ActivateRuleset(activate(set)));
    assert_eq!(rejection.kind, RejectionKind::ActivationBlocked);
    rejection
}

fn pointers(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|it| it.pointer.as_str()).collect()
}

/// The configuration, which names nothing that is unknown, is stored as `stored`.
fn check_stored(name: &str, config: &Json<'_>, stored: &Json<'_>) {
    let (mut machine, set) = with(name, config);
    let active = activated(&mut machine, set);
    assert_eq!(active.ruleset.bindings[0].config, stored.cbor());
    assert_eq!(active.warnings, []);
}

/// The one place at fault is named, by the field of the rejection too; force lets it pass, and says
/// the same as a warning.
fn check_refused(name: &str, config: &Json<'_>, place: &str, message: &str) {
    let (mut machine, set) = with(name, config);
    let rejection = refused(&mut machine, set.clone());
    let pointer = format!("/bindings/0/config{place}");
    assert_eq!(rejection.details, [format!("{pointer}: {message}")]);
    assert_eq!(rejection.field.as_ref(), Some(&pointer));
    let forced = ActivateRuleset {
        force: true,
        ..activate(set.clone())
    };
    let Accepted::Ruleset(active) = machine.accept(Command::ActivateRuleset(forced)) else {
        panic!()
    };
    assert_eq!(active.ruleset, set, "what is forced stays as it is");
    assert_eq!(active.warnings, [Finding::new(pointer, message)]);
}

#[test]
fn a_policy_is_handed_the_states_own_name() {
    // The alias that the API takes everywhere takes filament now.
    let (mut machine, set) = with("waste-factor", &partial_states(&[("Cancelled", 250)]));
    activated(&mut machine, set);
    machine.accept(job("j1", 100));
    machine.accept(status("j1", "Running"));
    let Accepted::Job(canceled) = machine.accept(status("j1", "cancelled")) else {
        panic!()
    };
    assert_eq!(canceled.deducted, grams(25));

    check_stored(
        "waste-factor",
        &partial_states(&[("CANCELLED", 1), ("printing", 2)]),
        &partial_states(&[("Canceled", 1), ("Running", 2)]),
    );
    check_stored(
        "waste-factor",
        &done_states(&["dOnE", "Printing"]),
        &done_states(&["Done", "Running"]),
    );
    // At any depth, and nothing else is touched.
    let nested = |state| {
        let inner = || Map(vec![("state", Text(state)), ("other", Text("Cancelled"))]);
        let list = List(vec![List(vec![inner(), inner()]), Number(1)]);
        Map(vec![("nested", list), ("states", texts(&["Running"]))])
    };
    check_stored("named", &nested("Cancelled"), &nested("Canceled"));
}

#[test]
fn keys_stay_in_order_under_their_states_names() {
    // Equal configurations have equal bytes, whichever spelling was given.
    check_stored(
        "waste-factor",
        &partial_states(&[("Queued", 1), ("cancelled", 2), ("printing", 3)]),
        &partial_states(&[("Canceled", 2), ("Queued", 1), ("Running", 3)]),
    );
}

#[test]
fn stranded_jobs_are_told_before_names() {
    let (mut machine, mut set) = with("waste-factor", &done_states(&["Done"]));
    let mut pausing = set.clone();
    pausing.bindings[1] = binding("pausing");
    pausing.bindings[0].config = done_states(&["Done"]).cbor();
    activated(&mut machine, pausing);
    machine.accept(job("j1", 100));
    machine.accept(status("j1", "Running"));
    machine.accept(status("j1", "Paused"));
    // The module itself refuses a list that names one twice.
    set.bindings[0].config = done_states(
        &(0..40)
            .map(|n| ["x", &"y".repeat(n)].concat())
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
    .cbor();
    let forced = ActivateRuleset {
        force: true,
        ..activate(set)
    };
    let Accepted::Ruleset(active) = machine.accept(Command::ActivateRuleset(forced)) else {
        panic!()
    };
    let warnings = &active.warnings;
    assert!(
        warnings[0].message.ends_with("they are stranded"),
        "{warnings:?}"
    );
    let last = warnings.last().unwrap();
    assert_eq!((last.pointer.as_str(), warnings.len()), ("", 33));
    assert!(last.message.starts_with("and at least "), "{last:?}");
}

#[test]
fn a_name_that_matches_nothing_is_refused_with_its_place() {
    let unknown = |name: &str| {
        format!(
            "names '{name}', which is no state of the lifecycle (Queued, Running, Done, Canceled)"
        )
    };
    let place = "/done_states/1";
    let config = |name| done_states(&["Done", name]);
    check_refused(
        "waste-factor",
        &config("Finished"),
        place,
        &unknown("Finished"),
    );
    check_refused("waste-factor", &config("Runing"), place, &unknown("Runing"));
    check_refused("waste-factor", &config("Done "), place, &unknown("Done "));
    check_refused(
        "waste-factor",
        &partial_states(&[("a/b", 1)]),
        "/partial_states/a~1b",
        &unknown("a/b"),
    );
    let named =
        |field: &'static str, value| Map(vec![(field, value), ("states", texts(&["Running"]))]);
    let spaced = "which begins or ends with white space: nothing matches it";
    check_refused(
        "named",
        &named("actors", texts(&["ada", "bob "])),
        "/actors/1",
        &format!("names the actor 'bob ', {spaced}"),
    );
    check_refused(
        "named",
        &named("actors", texts(&[""])),
        "/actors/0",
        "is empty, as no actor's name is: nothing matches it",
    );
    check_refused(
        "named",
        &named("material", Text(" PLA")),
        "/material",
        &format!("names the material ' PLA', {spaced}"),
    );
    check_refused(
        "named",
        &named("label", Text(&"k".repeat(65))),
        "/label",
        "has 65 bytes; a label's name has at most 64: nothing matches it",
    );
    check_refused(
        "waste-factor",
        &Map(vec![("materials", Map(vec![("PLA\t", Map(vec![]))]))]),
        "/materials/PLA\t",
        "names the material a text of 4 bytes, which holds a control character, as no name does: \
         nothing matches it",
    );
    // A name is not repeated beyond its limit, nor is a pointer.
    let long = "x".repeat(2_000);
    check_refused(
        "waste-factor",
        &partial_states(&[(&long, 1)]),
        "/partial_states",
        "names a text of 2000 bytes, which is no state of the lifecycle (Queued, Running, Done, \
         Canceled)",
    );
}

#[test]
fn two_keys_for_one_state_are_refused() {
    let (mut machine, set) = with(
        "waste-factor",
        &partial_states(&[("Canceled", 1), ("Cancelled", 2)]),
    );
    let rejection = refused(&mut machine, set);
    for key in ["Canceled", "Cancelled"] {
        let at = format!(
            "/bindings/0/config/partial_states/{key}: names a state that another key names, too"
        );
        assert!(rejection.details.contains(&at), "{rejection:?}");
    }
}

#[test]
fn a_long_list_of_misspelt_names_gives_a_short_answer() {
    let (mut machine, set) = with("waste-factor", &done_states(&["x"; 5_000]));
    let rejection = refused(&mut machine, set);
    // 32, the line that there are more, and what the module itself says.
    assert_eq!(rejection.details.len(), 34, "{rejection:?}");
    assert!(rejection.details[32].starts_with(": and "), "{rejection:?}");
}

#[test]
fn every_binding_is_compared_with_the_lifecycle_that_will_be_active() {
    let (mut machine, mut set) = with("named", &Map(vec![("states", texts(&["Paused"]))]));
    refused(&mut machine, set.clone());
    set.bindings[1] = binding("pausing");
    activated(&mut machine, set.clone());
    set.bindings[1] = binding("standard");
    let rejection = refused(&mut machine, set);
    assert_eq!(
        rejection.field.as_deref(),
        Some("/bindings/0/config/states/0")
    );
}

#[test]
fn a_rollback_is_never_refused_for_a_name() {
    let (mut machine, set) = with("waste-factor", &done_states(&["Finished"]));
    let forced = ActivateRuleset {
        force: true,
        ..activate(set)
    };
    machine.accept(Command::ActivateRuleset(forced));
    activated(&mut machine, ruleset(&["standard", "deduction"]));
    let back = machine.accept(Command::RollbackRuleset(rollback(None)));
    let Accepted::Ruleset(active) = back else {
        panic!()
    };
    assert_eq!(
        pointers(&active.warnings),
        ["/bindings/0/config/done_states/0"]
    );
}

#[test]
fn what_holds_by_default_is_warned_of() {
    // Nobody wrote `Printing`, which a policy that compares names never meets.
    let (mut machine, set) = with("named", &Map(vec![]));
    let active = activated(&mut machine, set);
    assert_eq!(
        active.warnings,
        [Finding::new(
            "/bindings/0/config/states",
            "is left out, and then names 'Printing', which is no state of the lifecycle (Queued, \
             Running, Done, Canceled)"
        )]
    );
    // Of no interest where no job moves.
    let (mut machine, mut set) = with("named", &Map(vec![]));
    set.bindings[0].hooks = HookSet::of(&[Hook::Admission]);
    assert_eq!(activated(&mut machine, set).warnings, []);
}

/// Warnings for bindings that are put in this order, each changed.
fn warned(names: &[&str], change: impl FnOnce(&mut [Binding])) -> Vec<(String, String)> {
    let (mut machine, _) = with("named", &Map(vec![]));
    let mut set = ruleset(names);
    for (place, binding) in set.bindings.iter_mut().enumerate() {
        binding.id = BindingId::new(format!("b{place}"));
    }
    change(&mut set.bindings);
    let warnings = activated(&mut machine, set).warnings;
    let pair = |it: Finding| (it.pointer, it.message);
    warnings.into_iter().map(pair).collect()
}

#[test]
fn a_deduction_that_is_never_asked_is_warned_of() {
    let behind = ["standard", "standard-deduction", "waste-factor"];
    let never = "its deduction is never asked: it answers moves to Canceled, Done alone, and 'b1' \
                 before it decides those; put it in front";
    let at = |message: &str| vec![("/bindings/2".to_owned(), message.to_owned())];
    assert_eq!(warned(&behind, |_| {}), at(never));
    // The standard one is there for what nobody else decides, be it nothing.
    let in_front = ["standard", "waste-factor", "standard-deduction"];
    assert_eq!(warned(&in_front, |_| {}), []);
    // It still has Running.
    let part = "its deduction is not asked about moves to Canceled, Done: 'b1' before it decides \
                those; put it in front if it is to answer them";
    let config = done_states(&["Done", "Running"]).cbor();
    assert_eq!(warned(&behind, |set| set[2].config = config), at(part));
    // Nobody knows what this one answers.
    let unknown = ["standard", "standard-deduction", "take-all"];
    assert_eq!(warned(&unknown, |_| {}), at(part));
    // What is not asked for every job of the one behind it hides nothing.
    let pla = || Scope::FilamentType("PLA".to_owned());
    assert_eq!(warned(&behind, |set| set[1].share = 9_999), []);
    assert_eq!(warned(&behind, |set| set[1].mode = Mode::Shadow), []);
    assert_eq!(warned(&behind, |set| set[1].scope = pla()), []);
    assert_eq!(warned(&behind, |set| set[2].mode = Mode::Shadow), []);
    assert_eq!(warned(&behind, |set| set[2].scope = pla()), at(never));
    let both = |set: &mut [Binding]| {
        set[1].scope = pla();
        set[2].scope = Scope::FilamentType("pla".to_owned());
    };
    assert_eq!(warned(&behind, both), at(never));
    let part_of_jobs = warned(&behind, |set| set[2].share = 0);
    assert_eq!(
        part_of_jobs,
        [(
            "/bindings/2/percentage".to_owned(),
            "is 0: the binding is never asked".to_owned()
        )]
    );
}

#[test]
fn a_scope_that_no_job_has_is_refused() {
    let label = |key: &str, value: &str| Scope::PrinterLabel {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    for (scope, place) in [
        (Scope::FilamentType("PLA ".to_owned()), "filament_type"),
        (label(" room", "2"), "printer_label/key"),
        (label("room", "2\n"), "printer_label/value"),
    ] {
        let (mut machine, mut set) = with("named", &Map(vec![]));
        set.bindings[0].scope = scope;
        let rejection = refused(&mut machine, set);
        let place = format!("/bindings/0/scope/{place}");
        assert_eq!(rejection.field, Some(place));
    }
}

#[test]
fn a_lifecycle_says_what_a_new_job_may_be_called() {
    let mut machine = Machine::with_shop();
    let mut module = module("pausing-2");
    let mut declared = lifecycle(true);
    for state in &mut declared.states {
        state.initial = state.name == "Paused";
    }
    declared.created_as = vec!["Queued".to_owned(), "new".to_owned()];
    module.manifest.lifecycle = Some(declared);
    let provider = Binding {
        module: module.digest,
        lifecycle: true,
        hooks: HookSet::default(),
        ..binding("pausing")
    };
    machine.accept(Command::UploadModule(module));
    let mut set = ruleset(&["standard", "deduction"]);
    set.bindings[0].lifecycle = false;
    set.bindings.push(provider);
    activated(&mut machine, set);
    let mut create = |id: &str, status: &str| {
        machine.run(Command::CreateJob(CreateJob {
            status: Some(status.to_owned()),
            ..new_job(id, 1)
        }))
    };
    for (id, status) in [("j1", "queued"), ("j2", "NEW"), ("j3", "Paused")] {
        let response = create(id, status).response;
        let raft3d_core::Response::Accepted(Accepted::Job(job)) = response else {
            panic!("{response:?}")
        };
        assert_eq!(
            (job.state.name.as_str(), job.deducted),
            ("Paused", Grams::ZERO)
        );
    }
    for status in ["Running", "Done", "other"] {
        let response = create("j4", status).response;
        let raft3d_core::Response::Rejected(rejection) = response else {
            panic!("{response:?}")
        };
        assert_eq!(rejection.field.as_deref(), Some("/status"));
    }
}

/// What a manifest says about names has its limits, where it is applied as where it is checked.
#[test]
fn a_manifest_says_only_so_much_about_names() {
    let check = |part: &str, change: fn(&mut raft3d_sdk::Manifest)| {
        let mut module = module("waste-factor");
        change(&mut module.manifest);
        let rejection = Machine::new().reject(Command::UploadModule(module));
        assert!(rejection.message.contains(part), "{rejection:?}");
    };
    check("config_names has 33 items", |it| {
        it.config_names = vec![it.config_names[1].clone(); 33];
    });
    check("begins with '/'", |it| it.config_names[0].pointer.clear());
    check("at most 256 bytes", |it| {
        it.config_names[0].pointer = format!("/{}", "x".repeat(256));
    });
    check("default has at most 32", |it| {
        it.config_names[0].default = vec![String::new(); 33];
    });
    check("decides is for states", |it| {
        it.config_names[0].decides = true
    });
    check("are one place", |it| {
        it.config_names.push(it.config_names[0].clone());
    });
    check("/x/* and /x/0 are one place", |it| {
        let at = |pointer: &str| ConfigName {
            pointer: pointer.to_owned(),
            ..ConfigName::material()
        };
        it.config_names = vec![at("/x/*"), at("/y"), at("/x"), at("/x/0")];
    });
    check("decides has at most 32", |it| {
        it.decides = vec![String::new(); 33]
    });
    check("of at most 32 bytes", |it| {
        it.decides = vec!["x".repeat(33)]
    });
    check("with the hook deduction alone", |it| {
        it.hooks = HookSet::of(&[Hook::Admission]);
        it.config_names.clear();
        it.decides = vec!["Done".to_owned()];
    });
    check("is not sound", |it| {
        let mut declared = lifecycle(false);
        declared.created_as = vec![String::new()];
        it.lifecycle = Some(declared);
    });
}

/// Notes what `check_config` is asked.
struct Noting(Sender<Vec<u8>>);

impl PolicyHost for Noting {
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        if call.export == Export::CheckConfig {
            self.0.send(call.input.to_vec()).unwrap();
        }
        NativeHost.evaluate(call, modules)
    }

    fn is_compiled(&self, module: ModuleDigest) -> bool {
        NativeHost.is_compiled(module)
    }
}

/// A module that takes its states' own names alone must not refuse an alias that it would never see.
#[test]
fn a_module_checks_the_configuration_that_it_is_going_to_get() {
    let sent = partial_states(&[("CANCELLED", 1), ("printing", 2)]);
    let (machine, set) = with("waste-factor", &sent);
    let (note, notes) = channel();
    let host = Noting(note);
    let next = Revision(machine.index + 1);
    let envelope = machine.envelope(Command::ActivateRuleset(activate(set)));
    let outcome = machine.clone().apply_with(next, &envelope, &host).unwrap();
    let Response::Accepted(Accepted::Ruleset(active)) = outcome.response else {
        panic!("{outcome:?}");
    };
    let asked: Vec<_> = notes.try_iter().collect();
    let resolved = partial_states(&[("Canceled", 1), ("Running", 2)]).cbor();
    assert_eq!(asked[0], resolved);
    let stored = active.ruleset.bindings.into_iter();
    assert_eq!(asked, stored.map(|it| it.config).collect::<Vec<_>>());
}
