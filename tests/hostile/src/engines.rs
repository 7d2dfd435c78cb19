//! Engines that are set differently, and must all answer the same.

use std::fs;
use std::sync::Arc;

use raft3d_core::limits::GAS_PER_EVALUATION_MAX;
use raft3d_core::{
    Evaluation, Export, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyError, PolicyHost,
};
use raft3d_engine::policy::{
    EngineSettings, HostOptions, InProcessCompiler, WasmHost, module_digest,
};
use raft3d_sdk::limits::OUTPUT_BYTES_MAX;
use raft3d_sdk::{Hook, testkit, wire};
use tempfile::TempDir;

use crate::corpus::Outcome;

/// An engine's settings, with a name for messages.
pub type Setting = (&'static str, EngineSettings);

const fn native(optimise: bool, copy_on_write: bool) -> EngineSettings {
    EngineSettings {
        optimise,
        copy_on_write,
        interpret: false,
        reuse: true,
        slots: 1,
    }
}

/// What nodes run.
pub const SHIPPED: Setting = ("optimised", native(true, true));
/// What nodes could run as well: instances that are never used twice, and the compiler's other
/// settings.
pub const COMPILED: [Setting; 4] = [
    (
        "a new instance each time",
        EngineSettings {
            reuse: false,
            ..native(true, true)
        },
    ),
    ("optimised, no copy on write", native(true, false)),
    ("not optimised", native(false, true)),
    (
        "not optimised, no copy on write, a new instance each time",
        EngineSettings {
            reuse: false,
            ..native(false, false)
        },
    ),
];
/// The interpreter: it shares the front half of the compiler, and nothing of the processor.
pub const INTERPRETED: Setting = (
    "Pulley",
    EngineSettings {
        interpret: true,
        ..native(true, true)
    },
);

/// A module with its name in the cluster.
#[derive(Clone, Debug)]
pub struct Module {
    digest: ModuleDigest,
    bytes: Vec<u8>,
}

impl Module {
    /// Of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: module_digest(&bytes),
            bytes,
        }
    }
}

impl ModuleSource for Module {
    fn module_bytes(&self, _: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
        Ok(Some(self.bytes.clone()))
    }
}

struct Machine {
    name: &'static str,
    host: WasmHost,
    cache: TempDir,
}

impl Machine {
    fn new((name, settings): Setting) -> Self {
        let cache = tempfile::tempdir().expect("a folder");
        let host = WasmHost::new(HostOptions {
            cache_dir: cache.path().to_owned(),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        });
        let host = host.unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, host, cache }
    }

    fn evaluate(&self, module: &Module, export: Export, input: &[u8]) -> Evaluation {
        let call = PolicyCall::new(module.digest, export, input);
        let answer = self.host.evaluate(&call, module);
        answer.unwrap_or_else(|fault| {
            let (name, digest) = (self.name, module.digest);
            panic!("{name}: module {digest} is a fault of this replica: {fault}")
        })
    }
}

/// Engines of which each must give the same answers.
pub struct Engines(Vec<Machine>);

impl Engines {
    /// The engine that nodes have, and these.
    ///
    /// # Panics
    /// One does not start.
    #[must_use]
    pub fn and(others: impl IntoIterator<Item = Setting>) -> Self {
        let all = std::iter::once(SHIPPED).chain(others);
        Self(all.map(Machine::new).collect())
    }

    /// Every one there is.
    #[must_use]
    pub fn all() -> Self {
        Self::and(COMPILED.into_iter().chain([INTERPRETED]))
    }

    /// What comes of asking `module`: the answer's bytes or the error, and the gas.
    ///
    /// # Panics
    /// Two engines differ, an evaluation is a fault of this replica, or a limit is broken.
    #[must_use]
    pub fn agree(&self, module: &Module, export: Export, input: &[u8]) -> Evaluation {
        let mut answers = self
            .0
            .iter()
            .map(|machine| (machine.name, machine.evaluate(module, export, input)));
        let (_, first) = answers.next().expect("at least one engine");
        assert!(first.gas <= GAS_PER_EVALUATION_MAX, "{first:?}");
        if let Ok(output) = &first.output {
            assert!(output.len() <= OUTPUT_BYTES_MAX, "{} bytes", output.len());
        }
        for (name, answer) in answers {
            assert_eq!(
                answer,
                first,
                "the engine '{name}' differs from '{}': module {}, {}, input {}",
                SHIPPED.0,
                module.digest,
                export.name(),
                hex(input),
            );
        }
        first
    }

    /// Removes compiled code from the disk, which would pile up.
    ///
    /// # Panics
    /// The folder cannot be read or a file not be removed.
    pub fn forget(&self) {
        for machine in &self.0 {
            for file in fs::read_dir(machine.cache.path()).expect("the cache") {
                let path = file.expect("a file").path();
                if path.extension().is_some_and(|text| text == "native") {
                    fs::remove_file(path).expect("a file of its own");
                }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an ordinary call of `hook` sends.
#[must_use]
pub fn plain_input(hook: Hook) -> Vec<u8> {
    match hook {
        Hook::Admission => wire::encode_call(testkit::admission(), wire::EMPTY_CONFIG),
        Hook::Transition | Hook::Deduction => {
            let input = testkit::transition("Running", "Done");
            wire::encode_call(input, wire::EMPTY_CONFIG)
        }
    }
}

/// What an evaluation of `hook` came to, read as every replica reads it: kind and code, as
/// [`Outcome::recorded`] has them.
#[must_use]
pub fn read(hook: Hook, evaluation: &Evaluation) -> (&'static str, Option<String>) {
    let failed = |error: PolicyError| ("failed", Some(error.code().to_owned()));
    let bytes = match &evaluation.output {
        Ok(bytes) => bytes,
        Err(error) => return failed(*error),
    };
    if hook == Hook::Deduction {
        return match wire::decode_deduction_output(bytes) {
            Err(_) => failed(PolicyError::BadOutput),
            Ok(output) if output.take.is_some() => ("take", None),
            Ok(_) => ("pass", None),
        };
    }
    match wire::decode_rule_output(bytes) {
        Err(_) => failed(PolicyError::BadOutput),
        Ok(output) => match output.deny {
            Some(deny) => ("deny", Some(deny.code)),
            None => ("allow", None),
        },
    }
}

/// What [`read`] gives, in short: the kind, and the code of a failure. Codes of denials are many.
#[must_use]
pub fn summary((kind, code): (&str, Option<String>)) -> String {
    match code {
        Some(code) if kind == "failed" => format!("{kind} {code}"),
        _ => kind.to_owned(),
    }
}

/// Holds what came against what must come.
///
/// # Errors
/// One line: it is something else; `what` says of what.
pub fn expect(
    what: &str,
    hook: Hook,
    evaluation: &Evaluation,
    expected: Outcome,
) -> Result<(), String> {
    let (kind, code) = read(hook, evaluation);
    let taken = match &evaluation.output {
        Ok(bytes) if kind == "take" => wire::decode_deduction_output(bytes)
            .ok()
            .and_then(|output| output.take.map(|grams| grams.mg())),
        _ => None,
    };
    let must_take = match expected {
        Outcome::Takes(mg) => Some(mg),
        _ => None,
    };
    if (kind, code.as_deref()) == expected.recorded() && taken == must_take {
        return Ok(());
    }
    let gas = evaluation.gas;
    Err(format!(
        "{what}: expected {expected:?}, came {kind} {code:?} {taken:?} for {gas} gas"
    ))
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use raft3d_engine::sabotage::{Bug, arm, disarm_all};

    use super::*;
    use crate::corpus;

    /// With a bug that keeps a guest's memory: every module that tries to keep something succeeds,
    /// and an engine that was asked more often answers something else than one that was not.
    #[test]
    fn what_is_kept_and_what_differs_is_noticed() {
        arm(Bug::GuestMemoryReused);
        let engines = Engines::and([COMPILED[3]]);
        let kept = [
            "keep-in-memory",
            "keep-in-data",
            "keep-in-global",
            "keep-in-size",
        ];
        let looked = ["look-at-fresh-memory", "look-at-2-mib"];
        let (export, input) = (Export::Hook(Hook::Admission), plain_input(Hook::Admission));
        let mut noticed = 0;
        for entry in corpus::all() {
            let name = entry.name.as_str();
            if !kept.iter().chain(&looked).any(|known| *known == name) {
                continue;
            }
            let module = Module::new(entry.bytes.clone());
            let outcome = entry.outcome().expect("it is asked");
            let first = engines.0[0].evaluate(&module, export, &input);
            expect(name, Hook::Admission, &first, outcome).expect("nothing to see the first time");
            let second = engines.0[0].evaluate(&module, export, &input);
            let again = expect(name, Hook::Admission, &second, outcome);
            again.expect_err("it sees its own mark");
            // The other engine is asked for the first time now.
            let differ = std::panic::AssertUnwindSafe(|| engines.agree(&module, export, &input));
            let panic = std::panic::catch_unwind(differ).expect_err("the engines differ");
            let said = panic.downcast_ref::<String>().expect("words");
            assert!(said.contains(COMPILED[3].0), "{said}");
            noticed += 1;
        }
        disarm_all();
        assert_eq!(noticed, kept.len() + looked.len());
    }
}
