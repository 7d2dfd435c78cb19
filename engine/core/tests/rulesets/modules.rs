//! Uploading and deleting modules; their lifecycles.

use crate::common::*;
use crate::upload;
use raft3d_core::command::{DeleteModule, UploadModule};
use raft3d_core::state::{meta, modules};
use raft3d_core::{Accepted, Command, RejectionKind, Revision};
use raft3d_sdk::Lifecycle;

#[test]
fn a_module_is_uploaded_once_and_deleted_when_nobody_names_it() {
    let mut machine = Machine::new();
    let Accepted::Module(info, true) = machine.accept(upload("no")) else {
        panic!()
    };
    assert_eq!((info.size_bytes, info.revision), (2, Revision(2)));
    let Accepted::Module(same, false) = machine.accept(upload("no")) else {
        panic!()
    };
    assert_eq!(same, info);
    assert_eq!(
        modules::bytes(&machine.rows, info.digest).unwrap().unwrap(),
        b"no"
    );
    let delete = |digest| Command::DeleteModule(DeleteModule { digest });
    machine.accept(delete(info.digest));
    assert_eq!(modules::bytes(&machine.rows, info.digest).unwrap(), None);
    assert_eq!(
        machine.reject(delete(info.digest)).kind,
        RejectionKind::NotFound
    );
    let rejection = machine.reject(delete(module("standard").digest));
    assert_eq!(rejection.kind, RejectionKind::ModuleInUse);
    assert_eq!(meta::totals(&machine.rows).unwrap().modules, 3);
}

fn check_upload(part: &str, change: impl FnOnce(&mut UploadModule)) {
    let mut command = module("pausing-2");
    command.manifest.lifecycle = Some(lifecycle(true));
    change(&mut command);
    let rejection = Machine::new().reject(Command::UploadModule(command));
    assert_eq!(rejection.kind, RejectionKind::InvalidField);
    let said = format!("{} {:?}", rejection.message, rejection.details);
    assert!(said.contains(part), "{part}: {said}");
}

#[test]
fn a_module_is_checked_again_in_apply() {
    check_upload("SHA-256", |upload| upload.bytes.push(0));
    check_upload("bytes; this one has 0", |upload| upload.bytes.clear());
    check_upload("this one has 524289", |upload| {
        upload.bytes = vec![0; 512 * 1024 + 1]
    });
    check_upload("ABI 2", |upload| upload.manifest.abi = 2);
    check_upload("name is empty", |upload| upload.manifest.name.clear());
    check_upload("must not exceed 1024", |upload| {
        upload.manifest.description = "x".repeat(1_025);
    });
    check_upload("exceeds 65536", |upload| {
        upload.manifest.config_schema = Some("x".repeat(65_536));
    });
}

#[test]
fn a_lifecycle_must_be_sound() {
    let check = |part: &str, change: fn(&mut Lifecycle)| {
        check_upload(part, |upload| {
            change(upload.manifest.lifecycle.as_mut().unwrap())
        });
    };
    check("exactly one state must be initial, not 0", |l| {
        l.states[0].initial = false
    });
    check("exactly one state must be initial, not 2", |l| {
        l.states[1].initial = true
    });
    check("exactly one state must be initial, not 0", |l| {
        l.states.clear();
        l.claim = None;
    });
    check("'Queued' must not be terminal", |l| {
        (l.states[0].terminal, l.states[0].reserves) = (true, false);
        l.claim = None;
    });
    check("'Done' must not reserve", |l| l.states[3].reserves = true);
    check("'PAUSED' names both 'Running' and 'PAUSED'", |l| {
        l.states[2].name = "PAUSED".to_owned();
        l.states[1].aliases.push("paused".to_owned());
    });
    check("claim names 'Begun'", |l| {
        l.claim.as_mut().unwrap().to = "Begun".to_owned()
    });
    check("to itself", |l| {
        l.claim.as_mut().unwrap().to = "Queued".to_owned()
    });
    check("out of the terminal state", |l| {
        l.claim.as_mut().unwrap().from = "Done".to_owned()
    });
    check("1 to 32 bytes", |l| l.states[1].name = "x".repeat(33));
    for unsound in ["", "a\u{7}"] {
        check_upload("no control characters", |upload| {
            let lifecycle = upload.manifest.lifecycle.as_mut().unwrap();
            lifecycle.states[1].aliases.push(unsound.to_owned());
        });
    }
    check("more than 8 aliases", |l| {
        l.states[1].aliases = (0..9).map(|n| format!("a{n}")).collect();
    });
    // Thousands of short aliases that meet under one long name once made an answer of gigabytes.
    check("more than 8 aliases", |l| {
        l.states[1].aliases = vec!["a".to_owned(); 20_000];
    });
    check("claim names a state of more than 32 bytes", |l| {
        l.claim.as_mut().unwrap().to = "x".repeat(33)
    });
    check("at most 32 states", |l| {
        let more = (0..28).map(|n| raft3d_sdk::State {
            name: format!("s{n}"),
            ..l.states[2].clone()
        });
        l.states.extend(more.collect::<Vec<_>>());
    });
}
