//! The default policies without WebAssembly, and what stands for modules beside them.

use raft3d_engine::core::{
    Evaluation, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyError, PolicyHost,
};
use raft3d_engine::policy::{AloudHost, ModuleProblem, ModuleReport, Trial};
use raft3d_engine::sdk::manifest::{ABI_VERSION, ConfigName};
use raft3d_engine::sdk::native::call_native;
use raft3d_engine::sdk::policy::Policy;
use raft3d_engine::sdk::{Manifest, State};
use sha2::Digest as _;
use standard_deduction::StandardDeduction;
use standard_lifecycle::StandardLifecycle;

/// Answers for the two default modules without WebAssembly.
#[derive(Debug)]
pub(super) struct NativeHost {
    pub(super) lifecycle: ModuleDigest,
}

impl PolicyHost for NativeHost {
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        _modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        let export = call.export.name();
        let answer = if call.module == self.lifecycle {
            call_native::<StandardLifecycle>(export, call.input)
        } else {
            call_native::<StandardDeduction>(export, call.input)
        };
        Ok(Evaluation {
            gas: 1,
            output: answer.map_err(|_| PolicyError::Unreachable),
        })
    }

    fn is_compiled(&self, _: ModuleDigest) -> bool {
        true
    }
}

/// A panic is told in words of its own.
impl AloudHost for NativeHost {
    fn evaluate_aloud(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Trial, LocalFault> {
        let evaluation = self.evaluate(call, modules)?;
        let panic = evaluation.output.is_err().then(|| PANIC.to_owned());
        Ok(Trial { evaluation, panic })
    }
}

/// What a native guest says when it panics.
const PANIC: &str = "a native guest panicked";

/// The digest of `bytes`.
fn sha256(bytes: &[u8]) -> ModuleDigest {
    ModuleDigest(sha2::Sha256::digest(bytes).into())
}

fn manifest<P: Policy>() -> Manifest {
    Manifest {
        abi: ABI_VERSION,
        name: P::NAME.to_owned(),
        version: P::VERSION.to_owned(),
        description: P::DESCRIPTION.to_owned(),
        hooks: P::HOOKS,
        config_schema: Some("{\"type\":\"object\"}".to_owned()),
        lifecycle: P::lifecycle(),
        config_names: vec![ConfigName {
            pointer: "/materials/*".to_owned(),
            ..ConfigName::material()
        }],
        decides: P::DECIDES.iter().map(|&state| state.to_owned()).collect(),
        ..Manifest::default()
    }
}

/// Stands in for the static check. What begins with `bad` is refused; what holds the name of the
/// standard lifecycle is one, and its jobs begin as `Draft` if it holds that, too; what stands behind
/// `schema:` is its schema.
pub(super) fn inspect(bytes: &[u8]) -> Result<ModuleReport, ModuleProblem> {
    if bytes.starts_with(b"bad") {
        let (code, message) = ("not_wasm", "it does not begin as a module does".to_owned());
        return Err(ModuleProblem {
            code,
            message,
            place: Some("offset 0x0".to_owned()),
            limit: None,
        });
    }
    let name = StandardLifecycle::NAME.as_bytes();
    let is_lifecycle = bytes.windows(name.len()).any(|part| part == name);
    let mut manifest = if is_lifecycle {
        manifest::<StandardLifecycle>()
    } else {
        manifest::<StandardDeduction>()
    };
    if bytes.windows(5).any(|part| part == b"Draft")
        && let Some(lifecycle) = &mut manifest.lifecycle
    {
        let draft = State {
            name: "Draft".to_owned(),
            initial: true,
            ..State::default()
        };
        for state in &mut lifecycle.states {
            state.initial = false;
        }
        lifecycle.states.insert(0, draft);
    }
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    if let Some((_, schema)) = text.split_once("schema:") {
        manifest.config_schema = Some(schema.to_owned());
    }
    Ok(ModuleReport {
        digest: sha256(bytes),
        manifest,
        limits_used: Vec::new(),
    })
}
