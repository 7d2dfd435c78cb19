//! A module as this program takes it: what the engine checks, the schema in its manifest, which the
//! engine does not read, and who compiles it.
//!
//! The schema becomes a part of what `/api/v1/policies/{sha256}` answers: one that is no JSON would
//! leave a module that no node can show.

use raft3d_engine::policy::{self, ChildCompiler, ModuleProblem, ModuleReport};
use raft3d_engine::sdk::Manifest;
use raft3d_engine::sdk::manifest::SECTION;

use crate::cli::{COMMIT, COMPILE_WORKER};
use crate::config_schema::{BAD_SCHEMA, ConfigSchema};

/// The allocator (mimalloc) takes address space by the gibibyte, which is all that a compiling child
/// is given: there it takes what it needs, from the system. Invariant: tests
/// `a_sound_module_is_taken_every_time` and `the_tutorial_works_as_it_stands`.
const CHILD_ALLOCATOR: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "0");

/// The file of this very program, also when another one was put in its place or it was deleted, as a
/// package manager does under a running node: the kernel keeps it for as long as the process runs.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// How a compiling child is called in lists of processes.
const CHILD_NAME: &str = "raft3d";

/// What compiles modules: this program, in a child process.
pub(crate) fn compiler() -> ChildCompiler {
    let (option, value) = CHILD_ALLOCATOR;
    ChildCompiler::new(THIS_PROGRAM.into(), [COMPILE_WORKER.into()])
        .named(CHILD_NAME)
        .of_build(COMMIT)
        .with_env(option, value)
}

/// Checks a module without running it, as an upload does.
///
/// # Errors
/// The first thing that it is refused for.
pub(crate) fn inspect(bytes: &[u8]) -> Result<ModuleReport, ModuleProblem> {
    let report = policy::inspect(bytes)?;
    check_schema(&report.manifest)?;
    Ok(report)
}

/// Checks that the schema, where there is one, is a JSON Schema that configurations can be compared
/// with. It may take some milliseconds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_schema(manifest: &Manifest) -> Result<(), ModuleProblem> {
    let Some(schema) = &manifest.config_schema else {
        return Ok(());
    };
    let parsed = ConfigSchema::parse(schema).map(drop);
    parsed.map_err(|error| ModuleProblem {
        code: BAD_SCHEMA,
        message: error.to_string(),
        place: Some(format!("custom section {SECTION}")),
        limit: None,
    })
}
