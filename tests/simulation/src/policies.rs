//! The policies of a simulated cluster: the shipped ones, and copies of them to upload.

use std::sync::Arc;

use raft3d_checkers::canary;
use raft3d_core::command::{Bootstrap, UploadModule};
use raft3d_core::state::rulesets::{Binding, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_core::{BindingId, ClusterId, PolicyHost};
use raft3d_engine::policy::{EngineSettings, HostOptions, InProcessCompiler, WasmHost, inspect};
use tempfile::TempDir;

use crate::random::Random;

const LIFECYCLE: &[u8] = include_bytes!("../../../policies/prebuilt/standard-lifecycle.wasm");
const DEDUCTION: &[u8] = include_bytes!("../../../policies/prebuilt/standard-deduction.wasm");
/// Copies of the shipped deduction that clients may upload.
const COPIES: u8 = 2;
/// A configuration without fields, as CBOR.
const EMPTY_CONFIG: [u8; 1] = [0xa0];

/// Modules with their native code, shared by the nodes of many runs.
#[derive(Debug)]
pub struct Policies {
    lifecycle: UploadModule,
    deduction: UploadModule,
    copies: Vec<UploadModule>,
    canary: UploadModule,
    cache: TempDir,
}

impl Policies {
    /// Compiles all of them, in this process.
    #[must_use]
    pub fn compile() -> Arc<Self> {
        let policies = Self {
            lifecycle: module(LIFECYCLE.to_vec()),
            deduction: module(DEDUCTION.to_vec()),
            copies: (0..COPIES).map(|n| module(copy_of(DEDUCTION, n))).collect(),
            canary: module(canary::module()),
            cache: TempDir::new().expect("a temporary folder"),
        };
        let host = policies.wasm_host();
        let modules = [&policies.lifecycle, &policies.deduction, &policies.canary];
        for module in modules.into_iter().chain(&policies.copies) {
            host.prefetch(module.digest, &module.bytes)
                .expect("the shipped policies compile");
        }
        Arc::new(policies)
    }

    /// A host as a process has it that was just started.
    pub(crate) fn host(&self) -> Arc<dyn PolicyHost> {
        Arc::new(self.wasm_host())
    }

    fn wasm_host(&self) -> WasmHost {
        let settings = EngineSettings {
            slots: 2,
            ..EngineSettings::default()
        };
        let options = HostOptions {
            cache_dir: self.cache.path().to_owned(),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        };
        WasmHost::new(options).expect("wasmtime starts")
    }

    pub(crate) fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            cluster_id: ClusterId([7; 16]),
            modules: vec![self.lifecycle.clone(), self.deduction.clone()],
            ruleset: self.ruleset(&self.deduction, false),
            epoch: 1,
        }
    }

    /// Some module that a client may upload.
    pub(crate) fn any_upload(&self, random: &mut Random) -> UploadModule {
        let copies = self.copies.iter();
        let modules: Vec<_> = copies.chain([&self.canary]).collect();
        (*random.pick(&modules).expect("there are modules")).clone()
    }

    /// Rules that decide what the shipped ones do, made of other modules.
    pub(crate) fn any_ruleset(&self, random: &mut Random) -> Ruleset {
        let deduction = random.pick(&self.copies).unwrap_or(&self.deduction);
        let with_canary = random.percent(60);
        self.ruleset(deduction, with_canary)
    }

    /// The shipped rules, with `deduction` for what is taken. The canary denies what is asked of an
    /// instance that was used before, which is nothing.
    fn ruleset(&self, deduction: &UploadModule, with_canary: bool) -> Ruleset {
        let binding = |module: &UploadModule| Binding {
            id: BindingId::new(module.manifest.name.clone()),
            module: module.digest,
            hooks: module.manifest.hooks,
            scope: Scope::All,
            mode: Mode::Enforce,
            share: SHARE_ALL,
            lifecycle: module.manifest.lifecycle.is_some(),
            config: EMPTY_CONFIG.to_vec(),
        };
        let mut bindings = vec![binding(&self.lifecycle), binding(deduction)];
        if with_canary {
            bindings.push(binding(&self.canary));
        }
        Ruleset {
            bindings,
            ..Ruleset::default()
        }
    }
}

fn module(bytes: Vec<u8>) -> UploadModule {
    let report = inspect(&bytes).expect("the policy passes the static check");
    UploadModule {
        digest: report.digest,
        bytes,
        manifest: report.manifest,
    }
}

/// The same module with one custom section more: it does the same and is another one.
fn copy_of(module: &[u8], number: u8) -> Vec<u8> {
    let mut bytes = module.to_vec();
    // Section 0, 6 bytes: a name of 4, and the number.
    bytes.extend_from_slice(&[0, 6, 4]);
    bytes.extend_from_slice(b"copy");
    bytes.push(number);
    bytes
}
