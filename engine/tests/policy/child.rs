//! The compiling child as a real process: this test binary plays its role too.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use raft3d_core::{Export, LocalFault, PolicyCall, PolicyHost};
use raft3d_engine::policy::{
    ChildCompiler, CompileError, CompileLimits, Compiler, EngineSettings, HostOptions, WasmHost,
    compile, module_digest,
};
use raft3d_sdk::Hook;

use crate::support::{Source, guest};

/// What the role below does instead of compiling.
const MISCHIEF: &str = "RAFT3D_TEST_MISCHIEF";

/// Not a test: the child's side. The harness writes to stdout, so the shell that starts it keeps
/// the real one as descriptor 3.
#[test]
#[ignore = "the role of the compiling child"]
fn role_of_the_worker() {
    let mut output = File::options().write(true).open("/proc/self/fd/3").unwrap();
    let mischief = std::env::var(MISCHIEF);
    match mischief.as_deref() {
        Ok("other-build") => {
            let stdin = &mut std::io::stdin().lock();
            compile::serve(stdin, &mut output, "another commit").unwrap();
            std::process::exit(0);
        }
        Ok("no-introduction") => std::process::exit(0),
        // As it was before children introduced themselves: a whole answer, and whose it is unsaid.
        Ok("code-alone") => {
            std::io::Write::write_all(&mut output, &[0; 100]).unwrap();
            std::process::exit(0);
        }
        Ok("sleep") | Err(_) => {}
        Ok(_) => compile::introduce(&mut output, compile::BUILD_UNKNOWN).unwrap(),
    }
    match mischief.as_deref() {
        Ok("sleep") => std::thread::sleep(Duration::from_secs(600)),
        Ok("abort") => std::process::abort(),
        Ok("silence") => std::process::exit(0),
        Ok("half") => {
            std::io::Write::write_all(&mut output, &[0, 1, 2, 3]).unwrap();
            std::process::exit(3);
        }
        _ => {}
    }
    let stdin = &mut std::io::stdin().lock();
    compile::serve(stdin, &mut output, compile::BUILD_UNKNOWN).unwrap();
    std::process::exit(0);
}

fn child() -> ChildCompiler {
    let script = r#"exec "$0" "$@" 3>&1 1>/dev/null"#;
    let program = std::env::current_exe().unwrap();
    let words = [
        "child::role_of_the_worker",
        "--exact",
        "--ignored",
        "--nocapture",
    ];
    let args = [OsString::from("-c"), script.into(), program.into()];
    let args = args.into_iter().chain(words.map(OsString::from));
    ChildCompiler::new("/bin/sh".into(), args)
}

fn error_of(compiler: &ChildCompiler, module: &[u8], limits: CompileLimits) -> CompileError {
    compiler
        .compile(module, limits)
        .map(|code| code.len())
        .unwrap_err()
}

fn error(compiler: &ChildCompiler, limits: CompileLimits) -> CompileError {
    error_of(compiler, &guest("(i64.const 4)", ""), limits)
}

/// Within every static limit, and yet some seconds of work: functions full of values that are all
/// needed again at the end.
fn heavy() -> Vec<u8> {
    let mut body = String::new();
    for round in 0..2 {
        for value in 0..1_150 {
            let at = 2_048 + 4 * value;
            let product = format!("(i32.mul (local.get 0) (i32.const {value}))");
            write!(body, "(i32.store (i32.const {at}) {product})").unwrap();
        }
        if round == 0 {
            body.push_str("(call $f (i32.const 1))");
        }
    }
    let functions = (1..16).map(|n| format!("(func $f{n} (param i32) {body})"));
    let extra = format!(
        "(func $f (param i32) {body}) {}",
        functions.collect::<String>()
    );
    guest("(i64.const 4)", &extra)
}

#[test]
fn code_from_the_child_runs_here() {
    let dir = tempfile::tempdir().unwrap();
    let host = WasmHost::new(HostOptions {
        cache_dir: dir.path().to_owned(),
        compiler: Arc::new(child()),
        settings: EngineSettings {
            slots: 1,
            ..EngineSettings::default()
        },
    })
    .unwrap();
    let bytes = guest("(i64.const 4)", "");
    host.prepare_upload(&bytes).unwrap();
    let call = PolicyCall::new(module_digest(&bytes), Export::Hook(Hook::Admission), b"");
    let evaluation = host.evaluate(&call, &Source(None)).unwrap();
    assert_eq!(evaluation.output.unwrap().len(), 4);
}

#[test]
fn a_module_that_is_refused_starts_no_process() {
    let nobody = ChildCompiler::new("/nonexistent".into(), []);
    let refused = nobody
        .compile(b"nonsense", CompileLimits::UPLOAD)
        .unwrap_err();
    assert!(matches!(refused, CompileError::Refused(problem) if problem.code == "not_wasm"));
    assert!(matches!(
        error(&nobody, CompileLimits::UPLOAD),
        CompileError::Spawn(_)
    ));
}

#[test]
fn a_child_that_takes_too_long_is_killed() {
    let limits = CompileLimits {
        wall: Duration::from_millis(300),
        ..CompileLimits::UPLOAD
    };
    let error = error(&child().with_env(MISCHIEF, "sleep"), limits);
    assert!(
        matches!(&error, CompileError::OverLimit { limit } if limit == "0 s"),
        "{error}"
    );
}

#[test]
fn a_child_without_memory_is_over_its_limit() {
    // Less than the process has mapped already, and no arena of 64 MiB to use up first.
    let limits = CompileLimits {
        address_space_bytes: 1024 * 1024,
        ..CompileLimits::UPLOAD
    };
    let error = error_of(&child().with_env("MALLOC_ARENA_MAX", "1"), &heavy(), limits);
    assert!(
        matches!(&error, CompileError::OverLimit { limit } if limit.contains("MiB")),
        "{error}"
    );
}

#[test]
fn a_child_without_processor_time_is_over_its_limit() {
    // The limit counts whole seconds, and the system ends a process with none after the first.
    let limits = CompileLimits {
        cpu_seconds: 0,
        ..CompileLimits::UPLOAD
    };
    let error = error_of(&child(), &heavy(), limits);
    assert!(
        matches!(&error, CompileError::OverLimit { limit } if limit.contains("processor")),
        "{error}"
    );
}

#[test]
fn a_child_that_dies_or_answers_by_half_is_a_crash() {
    for mischief in ["abort", "silence", "half"] {
        let error = error(&child().with_env(MISCHIEF, mischief), CompileLimits::UPLOAD);
        assert!(
            matches!(error, CompileError::Crashed(_)),
            "{mischief}: {error}"
        );
    }
}

/// The program's file was replaced under a running node, say: what another program compiles is not
/// what this one would have made of the module, and no fault of the module.
#[test]
fn a_child_of_another_program_is_not_believed() {
    for (mischief, said) in [
        ("other-build", "commit another commit"),
        ("no-introduction", "did not say which program it is"),
        ("code-alone", "did not say which program it is"),
    ] {
        let error = error(&child().with_env(MISCHIEF, mischief), CompileLimits::UPLOAD);
        assert!(
            matches!(error, CompileError::OtherProgram(_)),
            "{mischief}: {error}"
        );
        assert!(error.to_string().contains(said), "{mischief}: {error}");
        assert!(error.is_of_this_machine());
    }
    let echo = ChildCompiler::new("/bin/echo".into(), ["hello".into()]);
    let error = error(&echo, CompileLimits::UPLOAD);
    assert!(error.to_string().contains("it says \"hello\""), "{error}");
}

/// Nothing of such a child is kept, and what applies is told that it is this node's own trouble: to
/// deny the entry would be wrong.
#[test]
fn another_program_is_a_fault_of_this_node_and_leaves_nothing_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let host = WasmHost::new(HostOptions {
        cache_dir: dir.path().to_owned(),
        compiler: Arc::new(child().with_env(MISCHIEF, "other-build")),
        settings: EngineSettings {
            slots: 1,
            ..EngineSettings::default()
        },
    })
    .unwrap();
    let bytes = guest("(i64.const 4)", "");
    let fault = host.prefetch(module_digest(&bytes), &bytes).unwrap_err();
    assert!(matches!(fault, LocalFault::Compiler { .. }), "{fault}");
    assert!(!fault.may_be_the_entrys());
    let files = std::fs::read_dir(dir.path()).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["key"]);
}

/// Native code differs from machine to machine, so its size is asked at an upload and never by apply.
#[test]
fn native_code_above_the_limit_is_refused_by_name() {
    let limits = |native_bytes| CompileLimits {
        native_bytes,
        ..CompileLimits::UPLOAD
    };
    let module = guest("(i64.const 4)", "");
    let size = |limits| {
        child()
            .compile(&module, limits)
            .map(|code| code.len() as u64)
    };
    let needed = size(CompileLimits::UPLOAD).unwrap();
    assert!(size(limits(2 * needed)).is_ok());
    for native_bytes in [0, 1_024, needed / 2] {
        let limit = "0 MiB of native code".to_owned();
        let expected = Err(CompileError::OverLimit { limit });
        assert!(
            size(limits(native_bytes)) == expected,
            "{native_bytes} of {needed}"
        );
    }
}
