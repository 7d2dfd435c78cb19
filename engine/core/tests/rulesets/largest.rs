//! What is as large as is allowed is taken, and what is larger is not.

use crate::common::*;
use crate::{activate, check_blocked};
use raft3d_core::limits::{
    BINDINGS_ENFORCING_MAX, BINDINGS_SHADOW_MAX, CONFIG_BYTES_MAX, ID_BYTES_MAX,
    MANIFEST_BYTES_MAX, MANIFEST_TEXT_BYTES_MAX, MODULE_BYTES_MAX,
};
use raft3d_core::state::rulesets::Mode;
use raft3d_core::{BindingId, Command, ModuleDigest, RejectionKind};
use sha2::{Digest as _, Sha256};

/// A configuration of so many bytes: a map of one text to another.
fn config(bytes: usize) -> Vec<u8> {
    let head = [0xa1, 0x61, b'k', 0x79];
    let content = bytes - head.len() - 2;
    let length = u16::try_from(content).unwrap().to_be_bytes();
    [&head[..], &length, &vec![b'x'; content]].concat()
}

#[test]
fn names_of_states() {
    let mut command = module("pausing-2");
    let mut widest = lifecycle(true);
    widest.states[1].aliases = (0..8).map(|n| n.to_string().repeat(32)).collect();
    command.manifest.lifecycle = Some(widest);
    Machine::new().accept(Command::UploadModule(command));
}

#[test]
fn modules() {
    let mut command = module("no");
    command.bytes = vec![0; MODULE_BYTES_MAX];
    command.digest = ModuleDigest(Sha256::digest(&command.bytes).into());
    let manifest = &mut command.manifest;
    manifest.description = "x".repeat(MANIFEST_TEXT_BYTES_MAX);
    manifest.config_schema = Some("x".repeat(MANIFEST_BYTES_MAX / 2));
    let rest = MANIFEST_BYTES_MAX - minicbor::to_vec(&*manifest).unwrap().len();
    manifest.config_schema = Some("x".repeat(MANIFEST_BYTES_MAX / 2 + rest));
    assert_eq!(
        minicbor::to_vec(&*manifest).unwrap().len(),
        MANIFEST_BYTES_MAX
    );
    Machine::new().accept(Command::UploadModule(command));
}

#[test]
fn numbers_of_bindings() {
    let mut set = ruleset(&["standard"]);
    for n in 1..BINDINGS_ENFORCING_MAX + BINDINGS_SHADOW_MAX {
        let mut more = binding("deduction");
        more.id = BindingId::new(format!("b{n}"));
        if n >= BINDINGS_ENFORCING_MAX {
            more.mode = Mode::Shadow;
        }
        set.bindings.push(more);
    }
    let mut machine = Machine::with_shop();
    machine.accept(Command::ActivateRuleset(activate(set)));
}

#[test]
fn configurations() {
    let mut set = ruleset(&["standard", "deduction"]);
    set.bindings[1].config = config(CONFIG_BYTES_MAX);
    let mut machine = Machine::with_shop();
    machine.accept(Command::ActivateRuleset(activate(set)));
    for more in [1, 2] {
        check_blocked("are allowed", |set| {
            set.bindings[1].config = config(CONFIG_BYTES_MAX + more);
        });
    }
}

/// An id that no job can have is not repeated in what is stored.
#[test]
fn ids_of_jobs_that_are_not_there() {
    let mut machine = Machine::with_shop();
    let mut said = |bytes| {
        let rejection = machine.reject(status(&"x".repeat(bytes), "Running"));
        assert_eq!(rejection.kind, RejectionKind::NotFound);
        rejection.message
    };
    assert!(said(ID_BYTES_MAX).contains("'xxx"));
    for more in [1, 2] {
        assert!(said(ID_BYTES_MAX + more).ends_with("an id of that length"));
    }
}
