//! The compiling child, seen from its parent.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};

use rustix::process::Signal;

use super::program::{BUILD_UNKNOWN, INTRODUCTION_BYTES_MAX, introduction};
use super::worker::{STATUS_CODE, STATUS_REFUSED, header};
use super::{CompileError, CompileLimits, Compiler};
use crate::policy::validate;

/// Most of a child's last words that are kept, in bytes.
const STDERR_BYTES_MAX: u64 = 4 * 1024;
/// What Rust's runtime says when memory ends.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// Compiles in a child process that runs [`worker_main`](super::worker_main).
#[derive(Clone, Debug)]
pub struct ChildCompiler {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    name: Option<OsString>,
    build: String,
}

impl ChildCompiler {
    /// A compiler that starts `program` with `args`, in an environment that is empty.
    #[must_use]
    pub fn new(program: PathBuf, args: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program,
            args: args.into_iter().collect(),
            env: Vec::new(),
            name: None,
            build: BUILD_UNKNOWN.to_owned(),
        }
    }

    /// Gives the child a name in lists of processes, where `program` says little.
    #[must_use]
    pub fn named(mut self, name: impl Into<OsString>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Takes code from a child of this build alone: the commit that this program was built from.
    #[must_use]
    pub fn of_build(mut self, build: &str) -> Self {
        build.clone_into(&mut self.build);
        self
    }

    /// Gives the child an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        if let Some(name) = &self.name {
            command.arg0(name);
        }
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

impl Compiler for ChildCompiler {
    fn compile(&self, module: &[u8], limits: CompileLimits) -> Result<Vec<u8>, CompileError> {
        // The child checks again, but a module that is refused is not worth a process, and only
        // this side's word on it is final.
        validate::inspect(module).map_err(CompileError::Refused)?;
        let spawn_error = |error: io::Error| CompileError::Spawn(error.to_string());
        let expected = introduction(&self.build).map_err(CompileError::Spawn)?;
        let mut child = self.spawn().map_err(spawn_error)?;
        let answer = talk(&mut child, module, limits);
        // Whatever happened, the child is gone when this returns. One that answered has closed its
        // pipes by ending; killing one that has ended already is not an error.
        if answer.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(spawn_error)?;
        let mut answer = answer?;
        answer.stdout = introduced(answer.stdout, &expected)
            .map_err(|said| CompileError::OtherProgram(who(&said, &answer.stderr, status)))?;
        judge(answer, status, limits)
    }
}

/// What follows the introduction of this very program; otherwise what was said in its place.
fn introduced(mut stdout: Vec<u8>, expected: &str) -> Result<Vec<u8>, String> {
    if stdout.starts_with(expected.as_bytes()) {
        return Ok(stdout.split_off(expected.len()));
    }
    stdout.truncate(INTRODUCTION_BYTES_MAX);
    let text = String::from_utf8_lossy(&stdout);
    let line = text.lines().next().unwrap_or_default();
    Err(line.chars().filter(|c| !c.is_control()).collect())
}

/// What is known of a process that is not of this program.
fn who(said: &str, stderr: &str, status: ExitStatus) -> String {
    if said.is_empty() {
        format!("it did not say which program it is; {status}; {stderr}")
    } else {
        format!("it says \"{said}\"; {status}")
    }
}

/// What came back over the pipes.
struct Answer {
    stdout: Vec<u8>,
    stderr: String,
}

/// Sends the module and reads the answer, for as long as the limit says.
fn talk(child: &mut Child, module: &[u8], limits: CompileLimits) -> Result<Answer, CompileError> {
    let missing = || CompileError::Spawn("a pipe is missing".into());
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let spawn_error = |error: io::Error| CompileError::Spawn(error.to_string());
    let mut request = header(limits, module.len()).map_err(spawn_error)?.to_vec();
    request.extend_from_slice(module);
    // The introduction, the status byte, the native code, and a byte that tells that there was more.
    let answer_bytes_max = limits
        .native_bytes
        .saturating_add(INTRODUCTION_BYTES_MAX as u64 + 2);
    let (sender, receiver) = channel();
    // Reading has no time limit of its own; killing the child ends this thread.
    std::thread::Builder::new()
        .name("policy-compile".into())
        .spawn(move || {
            // Nobody listens any more once the time is up.
            let _ = sender.send(exchange(stdin, stdout, stderr, &request, answer_bytes_max));
        })
        .map_err(spawn_error)?;
    match receiver.recv_timeout(limits.wall) {
        Ok(answer) => answer.map_err(|error| CompileError::Crashed(error.to_string())),
        Err(RecvTimeoutError::Timeout) => Err(CompileError::OverLimit {
            limit: format!("{} s", limits.wall.as_secs()),
        }),
        Err(RecvTimeoutError::Disconnected) => {
            Err(CompileError::Crashed("the reader ended early".into()))
        }
    }
}

fn exchange(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    request: &[u8],
    answer_bytes_max: u64,
) -> io::Result<Answer> {
    // A child that ends early closes the pipe; what it said before tells more than this error.
    let _ = stdin.write_all(request);
    drop(stdin);
    let mut answer = Answer {
        stdout: Vec::new(),
        stderr: String::new(),
    };
    stdout
        .take(answer_bytes_max)
        .read_to_end(&mut answer.stdout)?;
    let mut words = Vec::new();
    stderr.take(STDERR_BYTES_MAX).read_to_end(&mut words)?;
    answer.stderr = String::from_utf8_lossy(&words).trim().to_owned();
    Ok(answer)
}

fn judge(
    answer: Answer,
    status: ExitStatus,
    limits: CompileLimits,
) -> Result<Vec<u8>, CompileError> {
    if let Some(signal) = status.signal() {
        let cpu = signal == Signal::XCPU.as_raw() || signal == Signal::KILL.as_raw();
        if cpu && answer.stdout.is_empty() {
            let limit = format!("{} s of processor time", limits.cpu_seconds);
            return Err(CompileError::OverLimit { limit });
        }
    }
    if answer.stderr.contains(OUT_OF_MEMORY) {
        let mebibytes = limits.address_space_bytes / (1024 * 1024);
        return Err(CompileError::OverLimit {
            limit: format!("{mebibytes} MiB of memory"),
        });
    }
    let mut bytes = answer.stdout;
    if bytes.is_empty() {
        return Err(CompileError::Crashed(format!(
            "{status}; {}",
            answer.stderr
        )));
    }
    // A child whose answer was not read to its end is cut off while it writes.
    let is_whole = bytes.len() as u64 <= limits.native_bytes.saturating_add(1);
    if is_whole && !status.success() {
        // The answer may be cut short.
        return Err(CompileError::Crashed(format!(
            "{status}; {}",
            answer.stderr
        )));
    }
    let status = bytes.remove(0);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match status {
        STATUS_CODE => limits.native(bytes),
        // This side found nothing wrong: the two are not of one build.
        STATUS_REFUSED => Err(CompileError::Crashed(format!(
            "it refuses: {}",
            text(bytes)
        ))),
        _ => Err(CompileError::Compiler(text(bytes))),
    }
}
