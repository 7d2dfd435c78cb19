//! How a module gets from the state into the engine: cache, restart, faults of this node.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use raft3d_core::state::decisions::call_digest;
use raft3d_core::{Export, LocalFault, PolicyCall, PolicyError, PolicyHost};
use raft3d_engine::policy::{
    AloudHost, CompileError, CompileLimits, Compiler, DryRunHost, EngineSettings, HostOptions,
    InProcessCompiler, Listener, Trial, UploadError, WasmHost, module_digest,
};
use raft3d_sdk::Hook;

use crate::support::{Source, TestHost, guest};

const SETTINGS: EngineSettings = EngineSettings {
    optimise: true,
    copy_on_write: true,
    interpret: false,
    reuse: true,
    slots: 1,
};

/// Counts how often it is asked.
#[derive(Default)]
struct Counting(AtomicU32);

impl Compiler for Counting {
    fn compile(&self, module: &[u8], limits: CompileLimits) -> Result<Vec<u8>, CompileError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        InProcessCompiler::new(SETTINGS).compile(module, limits)
    }
}

struct Failing;

impl Compiler for Failing {
    fn compile(&self, _: &[u8], _: CompileLimits) -> Result<Vec<u8>, CompileError> {
        Err(CompileError::OverLimit {
            limit: "1 s".into(),
        })
    }
}

fn host(dir: &Path, compiler: Arc<dyn Compiler>) -> WasmHost {
    let cache_dir = dir.join("modules-cache");
    WasmHost::new(HostOptions {
        cache_dir,
        compiler,
        settings: SETTINGS,
    })
    .unwrap()
}

fn answer(host: &WasmHost, bytes: &[u8], source: &Source) -> Result<Vec<u8>, PolicyError> {
    let call = PolicyCall::new(module_digest(bytes), Export::Hook(Hook::Admission), b"");
    host.evaluate(&call, source).unwrap().output
}

#[test]
fn a_module_is_compiled_once_and_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Arc::new(Counting::default());
    let bytes = guest("(i64.const 4)", "");
    let digest = module_digest(&bytes);
    let first = host(dir.path(), compiler.clone());
    assert!(!first.is_compiled(digest));
    let report = first.prepare_upload(&bytes).unwrap();
    assert_eq!(report.digest, digest);
    assert!(first.is_compiled(digest));
    drop(first);

    let second = host(dir.path(), compiler.clone());
    assert!(second.is_compiled(digest));
    // Not even the bytes are asked for.
    assert_eq!(answer(&second, &bytes, &Source(None)).unwrap().len(), 4);
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);
}

#[test]
fn damaged_native_code_is_compiled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Arc::new(Counting::default());
    let bytes = guest("(i64.const 4)", "");
    host(dir.path(), compiler.clone())
        .prepare_upload(&bytes)
        .unwrap();
    let files = std::fs::read_dir(dir.path().join("modules-cache")).unwrap();
    let native: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|text| text == "native"))
        .collect();
    assert_eq!(native.len(), 1);
    let mut code = std::fs::read(&native[0]).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 0x40;
    std::fs::write(&native[0], &code).unwrap();

    let again = host(dir.path(), compiler.clone());
    assert!(!again.is_compiled(module_digest(&bytes)));
    let source = Source(Some(bytes.clone()));
    assert_eq!(answer(&again, &bytes, &source).unwrap().len(), 4);
    assert_eq!(compiler.0.load(Ordering::Relaxed), 2);
}

#[test]
fn a_missing_module_denies_and_a_wrong_one_is_a_fault() {
    let host = TestHost::new();
    let bytes = guest("(i64.const 4)", "");
    let denied = answer(&host.host, &bytes, &Source(None));
    assert_eq!(denied, Err(PolicyError::UnknownModule));
    let call = PolicyCall::new(
        module_digest(b"other bytes"),
        Export::Hook(Hook::Admission),
        b"",
    );
    let fault = host.host.evaluate(&call, &Source(Some(bytes))).unwrap_err();
    assert!(matches!(fault, LocalFault::CorruptRow { .. }), "{fault}");
}

#[test]
fn a_hook_that_is_not_there_denies() {
    let host = TestHost::new();
    let bytes = guest("(i64.const 4)", "");
    let evaluation = host
        .evaluate(&bytes, Export::Hook(Hook::Deduction), b"")
        .unwrap();
    assert_eq!(evaluation.output, Err(PolicyError::MissingExport));
    let evaluation = host.evaluate(&bytes, Export::CheckConfig, b"").unwrap();
    assert_eq!(evaluation.output, Ok(Vec::new()));
}

#[test]
fn a_compiler_that_fails_is_a_local_fault_and_refuses_an_upload() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path(), Arc::new(Failing));
    let bytes = guest("(i64.const 4)", "");
    let call = PolicyCall::new(module_digest(&bytes), Export::Hook(Hook::Admission), b"");
    let fault = host
        .evaluate(&call, &Source(Some(bytes.clone())))
        .unwrap_err();
    assert!(matches!(fault, LocalFault::Compile { .. }), "{fault}");
    let error = host.prepare_upload(&bytes).unwrap_err();
    assert!(
        matches!(error, UploadError::Compile(CompileError::OverLimit { .. })),
        "{error}"
    );
}

#[test]
fn more_threads_than_slots_wait_for_one_another() {
    let host = TestHost::with(SETTINGS);
    let bytes = guest("(i64.const 4)", "");
    let expected = host.admission(&bytes, b"");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert_eq!(host.admission(&bytes, b""), expected);
                }
            });
        }
    });
}

/// More modules than are kept ready, each with an instance that may be kept, asked by more threads
/// than may evaluate at once: the pool is never asked for more than it has, and no module gets
/// another's instance.
#[test]
fn many_modules_are_asked_by_many_threads() {
    let host = TestHost::new();
    let modules: Vec<Vec<u8>> = (1..=80)
        .map(|length| {
            let memory = "(i32.store8 (i32.const 9) (i32.add (i32.load8_u (i32.const 9)) \
                          (i32.const 1)))";
            // As many bytes as its number, the first of which counts its calls.
            let answer = format!("{memory} (i64.const {})", (9_u64 << 32) | length);
            guest(&answer, "")
        })
        .collect();
    let ask = |first: usize| {
        for (at, bytes) in modules.iter().enumerate().cycle().skip(first).take(200) {
            let answer = host.admission(bytes, b"").output.unwrap();
            assert_eq!((answer.len(), answer[0]), (at + 1, 1));
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || ask(thread * 20));
        }
    });
}

/// Compiles when it is told to.
struct Waiting {
    begun: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Compiler for Waiting {
    fn compile(&self, module: &[u8], limits: CompileLimits) -> Result<Vec<u8>, CompileError> {
        self.begun.lock().unwrap().send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        InProcessCompiler::new(SETTINGS).compile(module, limits)
    }
}

/// The question comes from peers, again and again, on threads that all else runs on too: a module
/// that takes long to compile stood the whole node still.
#[test]
fn who_asks_whether_a_module_is_compiled_does_not_wait_for_the_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let ((begun, has_begun), (go_on, told)) = (channel(), channel());
    let compiler = Waiting {
        begun: Mutex::new(begun),
        go_on: Mutex::new(told),
    };
    let host = host(dir.path(), Arc::new(compiler));
    let bytes = guest("(i64.const 4)", "");
    let digest = module_digest(&bytes);
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| host.prefetch(digest, &bytes));
        has_begun.recv().unwrap();
        // Waiting for the compiler would be for ever: it waits for this thread.
        assert!(!host.is_compiled(digest));
        go_on.send(()).unwrap();
        compiling.join().unwrap().unwrap();
    });
    assert!(host.is_compiled(digest));
}

fn dry_run(host: &DryRunHost, bytes: &[u8]) -> Trial {
    let call = PolicyCall::new(module_digest(bytes), Export::Hook(Hook::Admission), b"");
    let source = Source(Some(bytes.to_vec()));
    host.evaluate_aloud(&call, &source).unwrap()
}

#[test]
fn a_dry_run_takes_what_apply_compiled_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache_dir = dir.path().join("modules-cache");
    let files = || match std::fs::read_dir(&cache_dir) {
        Ok(files) => files.count(),
        Err(_) => 0,
    };
    let bytes = guest("(i64.const 0)", "");
    // Where apply has compiled nothing yet, not even its key is there.
    let compiler = Arc::new(Counting::default());
    let early = DryRunHost::new(cache_dir.clone(), compiler.clone(), 1);
    let evaluation = dry_run(&early, &bytes).evaluation;
    assert_eq!(dry_run(&early, &bytes).evaluation, evaluation);
    assert_eq!((compiler.0.load(Ordering::Relaxed), files()), (1, 0));

    let applies = host(dir.path(), Arc::new(InProcessCompiler::new(SETTINGS)));
    let source = Source(Some(bytes.clone()));
    assert_eq!(answer(&applies, &bytes, &source), evaluation.output);
    let kept = files();
    let compiler = Arc::new(Counting::default());
    let later = DryRunHost::new(cache_dir.clone(), compiler.clone(), 1);
    assert_eq!(dry_run(&later, &bytes).evaluation, evaluation);
    assert_eq!((compiler.0.load(Ordering::Relaxed), files()), (0, kept));
}

#[test]
fn a_listener_keeps_the_words_beside_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Arc::new(InProcessCompiler::new(SETTINGS));
    let host = DryRunHost::new(dir.path().to_owned(), compiler, 1);
    let words = r#"(func (export "raft3d_panic") (result i64) (i64.const 0x4000000004))"#;
    let body = "(i32.store (i32.const 64) (i32.const 0x37207461)) (unreachable)";
    let bytes = guest(body, words);
    let module = module_digest(&bytes);
    let listener = Listener::new(&host);
    let call = PolicyCall::new(module, Export::Hook(Hook::Admission), b"asked");
    let evaluation = listener.evaluate(&call, &Source(Some(bytes))).unwrap();
    assert_eq!(evaluation.output, Err(PolicyError::Unreachable));
    let said = |input: &[u8]| listener.panic_of(module, &call_digest(input));
    assert_eq!(said(b"asked").as_deref(), Some("at 7"));
    assert_eq!(said(b"other"), None);
}
