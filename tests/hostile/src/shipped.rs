//! The policies that are shipped, with the cases that their authors thought of.

use std::path::Path;

use raft3d_sdk::testkit::Case;
use raft3d_sdk::{HookSet, Policy};

use crate::engines::Module;

/// A policy that is shipped.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// Its name, of its module's file too.
    pub name: &'static str,
    /// What it answers.
    pub hooks: HookSet,
    /// Its cases.
    pub cases: Vec<Case>,
}

impl Shipped {
    fn of<P: Policy>(cases: Vec<Case>) -> Self {
        Self {
            name: P::NAME,
            hooks: P::HOOKS,
            cases,
        }
    }

    /// The module as it is shipped.
    ///
    /// # Panics
    /// Its file is not there.
    #[must_use]
    pub fn module(&self) -> Module {
        let path = folder().join(format!("{}.wasm", self.name));
        let bytes = std::fs::read(&path);
        Module::new(bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/prebuilt")
}

/// All of them.
///
/// # Panics
/// There are others in `policies/prebuilt`.
#[must_use]
pub fn all() -> Vec<Shipped> {
    let all = vec![
        Shipped::of::<standard_lifecycle::StandardLifecycle>(standard_lifecycle::cases()),
        Shipped::of::<standard_deduction::StandardDeduction>(standard_deduction::cases()),
        Shipped::of::<approval::Approval>(approval::cases()),
        Shipped::of::<exclusive_printer::ExclusivePrinter>(exclusive_printer::cases()),
        Shipped::of::<material_match::MaterialMatch>(material_match::cases()),
        Shipped::of::<quiet_hours::QuietHours>(quiet_hours::cases()),
        Shipped::of::<quota::Quota>(quota::cases()),
        Shipped::of::<safety_margin::SafetyMargin>(safety_margin::cases()),
        Shipped::of::<waste_factor::WasteFactor>(waste_factor::cases()),
    ];
    let files = std::fs::read_dir(folder()).expect("policies/prebuilt");
    let modules = files.filter(|file| {
        let name = file.as_ref().expect("a file").file_name();
        name.to_string_lossy().ends_with(".wasm")
    });
    assert_eq!(modules.count(), all.len(), "a shipped policy is not listed");
    all
}

/// The one of that name.
///
/// # Panics
/// There is none.
#[must_use]
pub fn named(name: &str) -> Shipped {
    let found = all().into_iter().find(|policy| policy.name == name);
    found.unwrap_or_else(|| panic!("no policy {name} is shipped"))
}
