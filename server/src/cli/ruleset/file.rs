//! Ruleset files: the body of `PUT /api/v1/ruleset`, with modules also by name or by path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use raft3d_engine::core::ModuleDigest;
use raft3d_engine::core::limits::{BINDINGS_ENFORCING_MAX, BINDINGS_SHADOW_MAX, MODULES_MAX};
use raft3d_engine::core::review::review;
use raft3d_engine::core::state::rulesets::{DecisionsKept, Finding};
use raft3d_engine::policy::ModuleReport;
use raft3d_engine::sdk::{Lifecycle, Manifest};
use serde_json::{Map, Value, json};

use crate::cli::client::Node;
use crate::cli::policy;
use crate::config_schema::{ConfigSchema, FAILURES_MAX, Failure};
use crate::distinct::{TWICE, field_given_twice};
use crate::http::{Fields, config_to_json, read_activate};
use crate::module::inspect;

/// Largest ruleset file, in bytes: what a request's body may hold.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Where modules are.
const POLICIES: &str = "/api/v1/policies";

/// A ruleset file.
#[derive(Clone, Debug)]
pub(super) struct RulesetFile {
    path: PathBuf,
    bindings: Vec<Value>,
    decisions_kept: Value,
    force: bool,
    reason: Option<Value>,
    /// Modules that were given as files: digest, file, bytes.
    local: BTreeMap<String, (PathBuf, Vec<u8>)>,
    /// The manifests of the modules that are here or on the node, by digest.
    manifests: BTreeMap<String, Manifest>,
}

/// What activation says to a file.
pub(super) struct Reviewed {
    /// The bindings as they would be stored: states under their names.
    pub(super) bindings: Vec<Value>,
    /// Names that match nothing: reasons to refuse.
    pub(super) problems: Vec<String>,
    /// What would be warned of.
    pub(super) warnings: Vec<String>,
}

/// A state of a lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateOf {
    /// Its name.
    pub(super) name: String,
    /// Whether jobs never leave it.
    pub(super) is_terminal: bool,
    /// Aliases and flags, for comparing.
    pub(super) rest: Value,
}

impl RulesetFile {
    /// Reads the file.
    ///
    /// # Errors
    /// There is none, or it does not have the shape of a ruleset.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let about = || format!("{}", path.display());
        let size = std::fs::metadata(path).with_context(about)?.len();
        ensure!(
            size <= FILE_BYTES_MAX,
            "{}: {size} bytes, above the limit of {FILE_BYTES_MAX}",
            path.display()
        );
        let text = std::fs::read_to_string(path).with_context(about)?;
        if let Some(pointer) = field_given_twice(&text) {
            bail!("{}: {pointer}: {TWICE}", path.display());
        }
        let value = serde_json::from_str(&text)
            .with_context(|| format!("{}: is not JSON", path.display()))?;
        Self::parse(path, value).with_context(about)
    }

    fn parse(path: &Path, value: Value) -> Result<Self> {
        let Value::Object(mut fields) = value else {
            bail!("must be an object such as {{\"bindings\": […]}}");
        };
        let bindings = match fields.remove("bindings") {
            Some(Value::Array(bindings)) => bindings,
            _ => bail!("/bindings: must be a list"),
        };
        let max = BINDINGS_ENFORCING_MAX + BINDINGS_SHADOW_MAX;
        ensure!(
            bindings.len() <= max,
            "/bindings: has {} items, above the limit of {max}",
            bindings.len()
        );
        let kept = fields.remove("decisions_kept");
        let decisions_kept = decisions_kept(kept).context("/decisions_kept")?;
        let force = match fields.remove("force") {
            None => false,
            Some(Value::Bool(force)) => force,
            Some(_) => bail!("/force: must be true or false"),
        };
        let reason = fields.remove("reason").filter(|reason| !reason.is_null());
        if let Some(unknown) = fields.keys().next() {
            bail!(
                "/{unknown}: is not a known field; there are bindings, decisions_kept, force and \
                 reason"
            );
        }
        let bindings = bindings
            .into_iter()
            .enumerate()
            .map(|(at, binding)| normal(binding).with_context(|| format!("/bindings/{at}")))
            .collect::<Result<_>>()?;
        Ok(Self {
            path: path.to_owned(),
            bindings,
            decisions_kept,
            force,
            reason,
            local: BTreeMap::new(),
            manifests: BTreeMap::new(),
        })
    }

    /// The bindings, each with all of its fields.
    pub(super) fn bindings(&self) -> &[Value] {
        &self.bindings
    }

    /// What is kept of their decisions, with all fields.
    pub(super) fn decisions_kept(&self) -> &Value {
        &self.decisions_kept
    }

    /// The same with every module as its digest.
    ///
    /// # Errors
    /// There is no such module, or several of that name.
    pub(super) fn resolved(mut self, node: &Node) -> Result<Self> {
        let mut uploaded = None;
        for at in 0..self.bindings.len() {
            let name = self
                .bindings
                .get(at)
                .and_then(|binding| binding.get("module"));
            let name = name.and_then(Value::as_str).unwrap_or_default().to_owned();
            let about = || format!("{}: /bindings/{at}/module", self.path.display());
            let digest = if name.parse::<ModuleDigest>().is_ok() {
                name
            } else if Path::new(&name)
                .extension()
                .is_some_and(|end| end == "wasm")
            {
                let (report, file, bytes) = self.local_module(&name).with_context(about)?;
                let digest = report.digest.to_string();
                self.local.insert(digest.clone(), (file, bytes));
                self.manifests.insert(digest.clone(), report.manifest);
                digest
            } else {
                if uploaded.is_none() {
                    uploaded = Some(node.list(POLICIES, MODULES_MAX as usize)?);
                }
                named(&name, uploaded.as_deref().unwrap_or_default()).with_context(about)?
            };
            if !self.manifests.contains_key(&digest) {
                // A module that is not there, or is none here, is left to `apply`.
                let bytes = node.bytes(&format!("{POLICIES}/{digest}/module"))?;
                let report = bytes.and_then(|bytes| inspect(&bytes).ok());
                self.manifests
                    .extend(report.map(|report| (digest.clone(), report.manifest)));
            }
            if let Some(Value::Object(binding)) = self.bindings.get_mut(at) {
                binding.insert("module".into(), digest.into());
            }
        }
        Ok(self)
    }

    fn local_module(&self, name: &str) -> Result<(ModuleReport, PathBuf, Vec<u8>)> {
        let beside = self.path.parent().unwrap_or(Path::new("."));
        let file = beside.join(name);
        let bytes = policy::read_module(&file)?;
        let report = inspect(&bytes)
            .map_err(|problem| anyhow!("{}: {}: {problem}", file.display(), problem.code))?;
        Ok((report, file, bytes))
    }

    /// Uploads the modules that were given as files; those that are there already stay.
    ///
    /// # Errors
    /// The node refuses one.
    pub(super) fn upload_missing(&self, node: &Node) -> Result<()> {
        for (digest, (file, bytes)) in &self.local {
            node.upload(bytes)
                .with_context(|| format!("{}", file.display()))?;
            eprintln!("uploaded {} as {digest}", file.display());
        }
        Ok(())
    }

    /// The lifecycle that the file's ruleset has; none if no binding provides one that is known.
    pub(super) fn lifecycle(&self) -> Option<&Lifecycle> {
        let provides = |binding: &&Value| binding.get("lifecycle") == Some(&Value::Bool(true));
        let binding = self.bindings.iter().find(provides)?;
        self.manifest_of(binding)?.lifecycle.as_ref()
    }

    fn manifest_of(&self, binding: &Value) -> Option<&Manifest> {
        let digest = binding.get("module").and_then(Value::as_str)?;
        self.manifests.get(digest)
    }

    /// What activation makes of it and says to it, found here as there; none if it is not known
    /// enough, or is no ruleset, which `apply` says better.
    pub(super) fn reviewed(&self) -> Option<Reviewed> {
        let body = self.body(false, None).to_string();
        let fields = Fields::parse(body.as_bytes()).ok()?;
        let ruleset = read_activate(fields, None).ok()?.ruleset;
        let manifests = self
            .bindings
            .iter()
            .map(|binding| self.manifest_of(binding));
        let manifests: Vec<_> = manifests.collect();
        let review = review(&ruleset, &manifests, self.lifecycle()?);
        let mut bindings = self.bindings.clone();
        for (shown, stored) in bindings.iter_mut().zip(&review.ruleset.bindings) {
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("config".into(), config_to_json(&stored.config));
            }
        }
        Some(Reviewed {
            bindings,
            problems: review.problems.iter().map(Finding::to_string).collect(),
            warnings: review.warnings.iter().map(Finding::to_string).collect(),
        })
    }

    /// What the modules' schemas say against the configurations, a line each. A module that is not
    /// known is left to `apply`.
    pub(super) fn config_failures(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (at, binding) in self.bindings.iter().enumerate() {
            let config = binding.get("config").unwrap_or(&Value::Null);
            let schema = self
                .manifest_of(binding)
                .and_then(|it| it.config_schema.as_deref());
            let Some(schema) = schema.and_then(|text| ConfigSchema::parse(text).ok()) else {
                continue;
            };
            for Failure { pointer, message } in schema.failures(config) {
                lines.push(format!("/bindings/{at}/config{pointer}: {message}"));
            }
        }
        lines.truncate(FAILURES_MAX);
        lines
    }

    /// The body that activates it.
    pub(super) fn body(&self, force: bool, reason: Option<&str>) -> Value {
        let mut body = json!({
            "bindings": self.bindings, "decisions_kept": self.decisions_kept,
            "force": force || self.force,
        });
        let reason = reason.map(Value::from).or_else(|| self.reason.clone());
        if let (Some(fields), Some(reason)) = (body.as_object_mut(), reason) {
            fields.insert("reason".into(), reason);
        }
        body
    }
}

/// A binding with what the server takes for the fields that are left out, as the server shows it.
/// What a field may hold is the server's word.
fn normal(binding: Value) -> Result<Value> {
    let Value::Object(given) = binding else {
        bail!("must be an object");
    };
    for name in ["id", "module"] {
        let text = given.get(name).and_then(Value::as_str);
        ensure!(text.is_some(), "/{name}: must be text");
    }
    ensure!(
        given.get("hooks").is_some_and(Value::is_array),
        "/hooks: must be a list"
    );
    let known = json!({
        "id": null, "module": null, "hooks": null, "scope": "all", "mode": "enforce",
        "percentage": 100, "lifecycle": false, "config": {},
    });
    overlaid(known, given)
}

/// What is kept of decisions, with what the server takes for what is left out.
fn decisions_kept(given: Option<Value>) -> Result<Value> {
    let DecisionsKept { count, days } = DecisionsKept::default();
    let known = json!({ "count": count, "days": days });
    match given {
        None | Some(Value::Null) => Ok(known),
        Some(Value::Object(given)) => overlaid(known, given),
        Some(_) => bail!("must be an object"),
    }
}

/// The object `known` with the fields of `given` in place of its own; it has no others.
fn overlaid(known: Value, given: Map<String, Value>) -> Result<Value> {
    let Value::Object(mut fields) = known else {
        return Ok(known);
    };
    for (name, value) in given {
        ensure!(
            fields.contains_key(&name),
            "/{name}: is not a known field; there are {}",
            fields.keys().cloned().collect::<Vec<_>>().join(", ")
        );
        if !value.is_null() {
            fields.insert(name, value);
        }
    }
    Ok(Value::Object(fields))
}

/// The digest of the one uploaded module that NAME or NAME@VERSION means.
fn named(wanted: &str, uploaded: &[Value]) -> Result<String> {
    let (name, version) = match wanted.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (wanted, None),
    };
    let text = |module: &Value, field: &str| {
        module
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let found: Vec<_> = uploaded
        .iter()
        .filter(|module| {
            text(module, "name") == name
                && version.is_none_or(|version| text(module, "version") == version)
        })
        .collect();
    match found.as_slice() {
        [one] => Ok(text(one, "sha256")),
        [] => bail!(
            "{wanted}: no uploaded module has this name (`raft3d policy push FILE` uploads one; a \
             path must end in .wasm)"
        ),
        several => {
            let choices: Vec<_> = several
                .iter()
                .map(|module| {
                    format!(
                        "{}@{} {}",
                        name,
                        text(module, "version"),
                        text(module, "sha256")
                    )
                })
                .collect();
            bail!(
                "{wanted}: several modules are called so; give the sha256 of one: {}",
                choices.join(", ")
            )
        }
    }
}

/// The states of a lifecycle as the API shows it.
pub(super) fn states_of(lifecycle: &Value) -> Vec<StateOf> {
    let states = lifecycle.get("states").and_then(Value::as_array);
    let state = |state: &Value| {
        let mut rest = state.clone();
        if let Some(fields) = rest.as_object_mut() {
            fields.remove("name");
        }
        StateOf {
            name: state
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            is_terminal: state.get("terminal") == Some(&Value::Bool(true)),
            rest,
        }
    };
    states.into_iter().flatten().map(state).collect()
}

/// The states of a lifecycle as a manifest holds it.
pub(super) fn states_of_manifest(lifecycle: &Lifecycle) -> Vec<StateOf> {
    lifecycle.states.iter().map(state_of_manifest).collect()
}

fn state_of_manifest(state: &raft3d_engine::sdk::State) -> StateOf {
    StateOf {
        name: state.name.clone(),
        is_terminal: state.terminal,
        rest: json!({
            "aliases": state.aliases, "initial": state.initial, "terminal": state.terminal,
            "reserves": state.reserves, "occupies": state.occupies,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn parse(value: Value) -> Result<RulesetFile> {
        RulesetFile::parse(Path::new("r.json"), value)
    }

    #[test]
    fn what_is_left_out_is_what_the_server_takes_for_it() {
        let file = parse(json!({"bindings": [{"id": "a", "module": "m", "hooks": []}]})).unwrap();
        assert_eq!(
            file.bindings(),
            [
                json!({"id": "a", "module": "m", "hooks": [], "scope": "all", "mode": "enforce",
                "percentage": 100, "lifecycle": false, "config": {}})
            ]
        );
        let default = json!({"count": 200_000, "days": 30});
        assert_eq!(file.decisions_kept(), &default);
        let fewer = parse(json!({"bindings": [], "decisions_kept": {"count": 9}})).unwrap();
        let expected = json!({"count": 9, "days": 30});
        assert_eq!(fewer.body(false, None)["decisions_kept"], expected);
    }

    #[test]
    fn a_file_that_gives_a_field_twice_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        let text = r#"{"bindings":[{"id":"a","config":{"max":1,"max":2}}]}"#;
        std::fs::write(&path, text).unwrap();
        let error = format!("{:#}", RulesetFile::read(&path).unwrap_err());
        let expected = "/bindings/0/config/max: is given more than once";
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn what_is_not_a_ruleset_is_refused_with_its_place() {
        let good = json!({"id": "a", "module": "m", "hooks": []});
        let mut misspelt = good.clone();
        misspelt["percent"] = 5.into();
        for (value, place) in [
            (json!([]), "must be an object"),
            (json!({"bindings": {}}), "/bindings: must be a list"),
            (
                json!({"bindings": [], "revision": 1}),
                "/revision: is not a known field",
            ),
            (json!({"bindings": [], "force": 1}), "/force: "),
            (
                json!({"bindings": [], "decisions_kept": {"weeks": 1}}),
                "/decisions_kept: /weeks: is not a known field",
            ),
            (
                json!({"bindings": [], "decisions_kept": 5}),
                "/decisions_kept: must be an object",
            ),
            (
                json!({"bindings": [good, misspelt]}),
                "/bindings/1: /percent: is not a known",
            ),
            (
                json!({"bindings": [{"id": 1}]}),
                "/bindings/0: /id: must be text",
            ),
            (
                json!({"bindings": vec![1; 21]}),
                "/bindings: has 21 items, above the limit of 20",
            ),
        ] {
            let error = format!("{:#}", parse(value).unwrap_err());
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn a_name_must_mean_one_module() {
        let uploaded = [("a", "1", "x"), ("a", "2", "y"), ("b", "1", "z")].map(
            |(name, version, sha256)| json!({"name": name, "version": version, "sha256": sha256}),
        );
        assert_eq!(named("a@2", &uploaded).unwrap(), "y");
        assert_eq!(named("b", &uploaded).unwrap(), "z");
        let error = named("a", &uploaded).unwrap_err().to_string();
        assert!(error.contains("a@1 x, a@2 y"), "{error}");
        assert!(named("c", &uploaded).is_err() && named("a@3", &uploaded).is_err());
    }
}
