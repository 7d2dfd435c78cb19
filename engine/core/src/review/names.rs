//! The names in a configuration, at the places that the manifest says: found, compared with what
//! they name, and put in place of aliases.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use raft3d_sdk::config::push_token;
use raft3d_sdk::manifest::{ConfigName, Hook, Manifest, NameKind};
use raft3d_sdk::{Lifecycle, State};

use crate::limits::{
    ACTOR_BYTES_MAX, CONFIG_BYTES_MAX, CONFIG_NESTING_MAX, FINDINGS_MAX, LABEL_BYTES_MAX,
    POINTER_BYTES_MAX, STATE_NAME_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::state::rulesets::{Binding, Finding};

/// Longest name that a message repeats, in bytes.
const SHOWN_BYTES_MAX: usize = 64;

/// Where a binding has its configuration.
pub(super) const CONFIG: &str = "/config";

/// The states of a lifecycle by every spelling.
pub(super) struct States<'l> {
    by_spelling: BTreeMap<String, &'l State>,
    /// Their names, for messages.
    listed: String,
}

impl<'l> States<'l> {
    pub(super) fn of(lifecycle: &'l Lifecycle) -> Self {
        let mut by_spelling = BTreeMap::new();
        for state in &lifecycle.states {
            for spelling in core::iter::once(&state.name).chain(&state.aliases) {
                by_spelling.insert(spelling.to_ascii_lowercase(), state);
            }
        }
        let names: Vec<_> = lifecycle.states.iter().map(|it| it.name.as_str()).collect();
        Self {
            by_spelling,
            listed: names.join(", "),
        }
    }

    fn find(&self, text: &str) -> Option<&'l State> {
        if text.len() > STATE_NAME_BYTES_MAX {
            return None;
        }
        self.by_spelling.get(&text.to_ascii_lowercase()).copied()
    }

    /// The state of that name. An alias is not enough: policies compare names.
    fn named(&self, name: &str) -> Option<&'l State> {
        let state = self.find(name)?;
        state.name.eq_ignore_ascii_case(name).then_some(state)
    }
}

/// What a binding's configuration names.
pub(super) struct Names {
    /// The configuration with states under their names.
    pub(super) config: Vec<u8>,
    pub(super) problems: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    pub(super) deduction: Deduction,
}

/// What is known of a binding's deduction.
#[derive(Default)]
pub(super) struct Deduction {
    /// The states at the move to which it never passes; none if its module does not say.
    pub(super) decides: Option<BTreeSet<String>>,
    /// It is for what nobody else decides.
    pub(super) is_fallback: bool,
}

impl Names {
    /// Looks at the configuration of `binding`; the binding stands at `whole`.
    pub(super) fn find(
        whole: &str,
        binding: &Binding,
        manifest: &Manifest,
        states: &States<'_>,
    ) -> Self {
        let at = &format!("{whole}{CONFIG}");
        let pointers: Vec<Vec<String>> = manifest
            .config_names
            .iter()
            .map(|name| tokens(&name.pointer))
            .collect();
        let named = manifest.config_names.iter().zip(&pointers);
        let places: Vec<_> = named.map(|(name, rest)| Place { name, rest }).collect();
        let mut walk = Walk {
            states,
            at: at.clone(),
            out: Vec::with_capacity(binding.config.len()),
            problems: Vec::new(),
            decides: BTreeSet::new(),
        };
        let mut input = Decoder::new(&binding.config);
        let read = walk.value(&mut input, &places, CONFIG_NESTING_MAX);
        let Walk {
            out,
            mut problems,
            mut decides,
            ..
        } = walk;
        // What is no configuration is refused elsewhere; here it stays as it is.
        let read = read.filter(|()| binding.config.len() <= CONFIG_BYTES_MAX);
        let config = match read {
            Some(()) if out.len() <= CONFIG_BYTES_MAX => out,
            Some(()) => {
                let message = format!(
                    "exceeds {CONFIG_BYTES_MAX} bytes once its states have their full names"
                );
                problems.push(Finding::new(at, message));
                binding.config.clone()
            }
            None => binding.config.clone(),
        };
        let mut warnings = Vec::new();
        if binding.hooks.contains(Hook::Transition) || binding.hooks.contains(Hook::Deduction) {
            let given = fields(&binding.config);
            for place in &places {
                place.defaults(at, &given, states, &mut decides, &mut warnings);
            }
        }
        let says = !manifest.decides.is_empty() || places.iter().any(|it| it.name.decides);
        if binding.hooks.contains(Hook::Deduction) {
            for name in &manifest.decides {
                match states.named(name) {
                    Some(state) => drop(decides.insert(state.name.clone())),
                    None => warnings.push(Finding::new(
                        whole,
                        format!("takes filament at a move to {}", states.unknown(name)),
                    )),
                }
            }
        }
        Self {
            config,
            problems,
            warnings,
            deduction: Deduction {
                decides: says.then_some(decides),
                is_fallback: manifest.fallback,
            },
        }
    }
}

impl States<'_> {
    /// The end of a sentence about a name that no state has.
    fn unknown(&self, name: &str) -> String {
        format!(
            "{}, which is no state of the lifecycle ({})",
            shown(name),
            self.listed
        )
    }
}

/// A place that holds names, seen from somewhere above it.
#[derive(Clone, Copy)]
struct Place<'m> {
    name: &'m ConfigName,
    /// The tokens of the pointer that are still to come.
    rest: &'m [String],
}

impl<'m> Place<'m> {
    /// The same from one step nearer: into the value under `key`, or into a list's item.
    fn within(self, key: Option<&str>) -> Option<Self> {
        let (first, rest) = self.rest.split_first()?;
        let fits = first == "*" || key == Some(first.as_str());
        fits.then_some(Self { rest, ..self })
    }

    /// What holds here: the keys of the map, or the text.
    fn here(places: &[Self], keys: bool) -> Option<&'m ConfigName> {
        let mut places = places.iter();
        let place = places.find(|place| place.rest.is_empty() && place.name.keys == keys);
        place.map(|place| place.name)
    }

    /// Looks at the names that hold because the field is not among those `given`. Nobody wrote
    /// them, so one that is unknown is no reason to refuse.
    fn defaults(
        &self,
        at: &str,
        given: &BTreeSet<String>,
        states: &States<'_>,
        decides: &mut BTreeSet<String>,
        warnings: &mut Vec<Finding>,
    ) {
        let Some(field) = self.rest.first().filter(|field| !given.contains(*field)) else {
            return;
        };
        if self.name.kind != NameKind::State {
            return;
        }
        for name in &self.name.default {
            match states.named(name) {
                Some(state) if self.name.decides => drop(decides.insert(state.name.clone())),
                Some(_) => {}
                None => {
                    let message = format!("is left out, and then names {}", states.unknown(name));
                    warnings.push(Finding::new(within(at, field), message));
                }
            }
        }
    }
}

/// One way through a configuration, which is copied on the way.
struct Walk<'a> {
    states: &'a States<'a>,
    /// Pointer of the value that is read. One text that grows and shrinks: a key may be as long as
    /// the configuration, and what lies under it may be as many values.
    at: String,
    out: Vec<u8>,
    problems: Vec<Finding>,
    decides: BTreeSet<String>,
}

impl Walk<'_> {
    /// Reads one value that holds `places`. None if it is not well-formed. The recursion ends with
    /// `nesting`.
    fn value(
        &mut self,
        input: &mut Decoder<'_>,
        places: &[Place<'_>],
        nesting: usize,
    ) -> Option<()> {
        let nesting = nesting.checked_sub(1)?;
        if places.is_empty() {
            return self.copy(input);
        }
        match input.datatype().ok()? {
            Type::Map => self.map(input, places, nesting),
            Type::Array => {
                let count = input.array().ok()??;
                Encoder::new(&mut self.out).array(count).ok()?;
                let places: Vec<_> = places.iter().filter_map(|it| it.within(None)).collect();
                (0..count).try_for_each(|index| {
                    self.under(&index.to_string(), |walk| {
                        walk.value(input, &places, nesting)
                    })
                })
            }
            Type::String => {
                let text = input.str().ok()?;
                let name = Place::here(places, false).map(|name| self.name(text, name));
                let text = name.as_deref().unwrap_or(text);
                Encoder::new(&mut self.out).str(text).ok().map(drop)
            }
            _ => self.copy(input),
        }
    }

    fn map(&mut self, input: &mut Decoder<'_>, places: &[Place<'_>], nesting: usize) -> Option<()> {
        let count = input.map().ok()??;
        let keys = Place::here(places, true);
        let by_state = keys.is_some_and(|name| name.kind == NameKind::State);
        let twice = if by_state {
            self.twice(input.clone(), count)?
        } else {
            BTreeSet::new()
        };
        let mut pairs = Vec::new();
        for _ in 0..count {
            let key = input.str().ok()?;
            let places: Vec<_> = places
                .iter()
                .filter_map(|it| it.within(Some(key)))
                .collect();
            let pair = self.under(key, |walk| {
                let name = match keys {
                    Some(_) if twice.contains(key) => {
                        walk.problem("names a state that another key names, too".to_owned());
                        key.to_owned()
                    }
                    Some(name) => walk.name(key, name),
                    None => key.to_owned(),
                };
                // Written apart, because under its new name the pair may have another place.
                let before = mem::take(&mut walk.out);
                let read = walk.value(input, &places, nesting);
                let value = mem::replace(&mut walk.out, before);
                read.map(|()| (name, value))
            });
            pairs.push(pair?);
        }
        if by_state {
            // Configurations come with their keys in order, and are handed on so (sdk/ABI.md).
            pairs.sort();
        }
        Encoder::new(&mut self.out).map(count).ok()?;
        for (name, value) in pairs {
            Encoder::new(&mut self.out).str(&name).ok()?;
            self.out.extend_from_slice(&value);
        }
        Some(())
    }

    /// Does something with what lies under `token`.
    fn under<R>(&mut self, token: &str, then: impl FnOnce(&mut Self) -> R) -> R {
        let above = self.at.len();
        push_token(&mut self.at, token);
        let done = then(self);
        self.at.truncate(above);
        done
    }

    /// Keys that name one state together with another key: they stay as they are, because a map
    /// holds each key once.
    fn twice<'b>(&self, mut input: Decoder<'b>, count: u64) -> Option<BTreeSet<&'b str>> {
        let mut by_state: BTreeMap<&str, &str> = BTreeMap::new();
        let mut twice = BTreeSet::new();
        for _ in 0..count {
            let key = input.str().ok()?;
            input.skip().ok()?;
            let Some(state) = self.states.find(key) else {
                continue;
            };
            if let Some(other) = by_state.insert(&state.name, key) {
                twice.extend([other, key]);
            }
        }
        Some(twice)
    }

    fn copy(&mut self, input: &mut Decoder<'_>) -> Option<()> {
        let start = input.position();
        input.skip().ok()?;
        self.out
            .extend_from_slice(input.input().get(start..input.position())?);
        Some(())
    }

    /// What stands for the name `text`: a state's own name, or the text itself.
    fn name(&mut self, text: &str, name: &ConfigName) -> String {
        if name.kind != NameKind::State {
            if let Some(problem) = unmatched(name.kind, text) {
                self.problem(problem);
            }
            return text.to_owned();
        }
        let Some(state) = self.states.find(text) else {
            let problem = format!("names {}", self.states.unknown(text));
            self.problem(problem);
            return text.to_owned();
        };
        if name.decides {
            self.decides.insert(state.name.clone());
        }
        state.name.clone()
    }

    fn problem(&mut self, message: String) {
        if self.problems.len() <= FINDINGS_MAX {
            self.problems.push(Finding::new(bounded(&self.at), message));
        }
    }
}

/// Why no material, actor or label has that name.
fn unmatched(kind: NameKind, name: &str) -> Option<String> {
    let max = match kind {
        NameKind::State => STATE_NAME_BYTES_MAX,
        NameKind::Material => TEXT_BYTES_MAX,
        NameKind::Actor => ACTOR_BYTES_MAX,
        NameKind::Label => LABEL_BYTES_MAX,
    };
    let kind = kind.name();
    if name.is_empty() {
        return Some(format!(
            "is empty, as no {kind}'s name is: nothing matches it"
        ));
    }
    if name.len() > max {
        return Some(format!(
            "has {} bytes; a {kind}'s name has at most {max}: nothing matches it",
            name.len()
        ));
    }
    spaced(name).map(|problem| format!("names the {kind} {}, which {problem}", shown(name)))
}

/// What is wrong with a name that has white space around it or control characters in it.
pub(super) fn spaced(name: &str) -> Option<&'static str> {
    if name.chars().any(char::is_control) {
        return Some("holds a control character, as no name does: nothing matches it");
    }
    (name.trim() != name).then_some("begins or ends with white space: nothing matches it")
}

/// A name as a message repeats it.
fn shown(name: &str) -> String {
    if name.len() > SHOWN_BYTES_MAX || name.chars().any(char::is_control) {
        return format!("a text of {} bytes", name.len());
    }
    format!("'{name}'")
}

/// The fields of the whole configuration.
fn fields(config: &[u8]) -> BTreeSet<String> {
    let mut input = Decoder::new(config);
    let mut fields = BTreeSet::new();
    for _ in 0..input.map().ok().flatten().unwrap_or_default() {
        let (Ok(field), Ok(())) = (input.str(), input.skip()) else {
            break;
        };
        fields.insert(field.to_owned());
    }
    fields
}

/// The tokens of a JSON Pointer (RFC 6901, section 4).
pub(super) fn tokens(pointer: &str) -> Vec<String> {
    let tokens = pointer.split('/').skip(1);
    tokens
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// The pointer of what `at` holds under `key`.
fn within(at: &str, key: &str) -> String {
    let mut pointer = at.to_owned();
    push_token(&mut pointer, key);
    pointer
}

/// The pointer, or that of what holds the place if it is too long to be repeated.
fn bounded(mut pointer: &str) -> &str {
    while pointer.len() > POINTER_BYTES_MAX {
        pointer = pointer.rsplit_once('/').map_or("", |(above, _)| above);
    }
    pointer
}
