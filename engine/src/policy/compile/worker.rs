//! The compiling child, seen from inside: `raft3d compile-worker`.
//!
//! Protocol: on stdin the address space and processor time it may use (two big-endian `u64`), the
//! length of the module (big-endian `u32`) and the module; on stdout, before anything is read, one
//! line that says which program this is ([`introduce`]), then one status byte and, up to the end,
//! the native code or a message.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal};

use super::program::introduction;
use super::{CompileError, CompileLimits, Compiler, InProcessCompiler};
use crate::policy::limits::MODULE_BYTES;

/// The answer is native code.
pub(super) const STATUS_CODE: u8 = 0;
/// The answer is a message: the static check refused the module.
pub(super) const STATUS_REFUSED: u8 = 1;
/// The answer is a message: the compiler failed.
pub(super) const STATUS_FAILED: u8 = 2;

/// Lowest priority that a process can give itself.
const IDLE_NICENESS: i32 = 19;

/// Runs the child: limits itself, reads one module from stdin, writes native code to stdout.
///
/// Wired by the server as `raft3d compile-worker`; prints nothing else on stdout. `build` is the
/// commit that the program was built from.
#[must_use]
pub fn worker_main(build: &str) -> ExitCode {
    match serve(&mut io::stdin().lock(), &mut io::stdout().lock(), build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent reads this, and it may be gone already.
            let _ = writeln!(io::stderr(), "compile-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As [`worker_main`], over other pipes: reads one module from `input`, limits this process, and
/// answers on `output`.
///
/// # Errors
/// The request does not arrive whole, or this process cannot limit itself.
pub fn serve(input: &mut impl Read, output: &mut impl Write, build: &str) -> io::Result<()> {
    // Without its parent the child has nobody to answer to.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    introduce(output, build)?;
    let mut header = [0; 20];
    input.read_exact(&mut header)?;
    let (limits, len) = parse_header(&header)?;
    let mut module = vec![0; len];
    input.read_exact(&mut module)?;
    restrict(limits)?;
    let answer = InProcessCompiler::default().compile(&module, limits);
    let (status, bytes) = match answer {
        Ok(code) => (STATUS_CODE, code),
        Err(CompileError::Refused(problem)) => (
            STATUS_REFUSED,
            format!("{}\n{}", problem.code, problem.message).into_bytes(),
        ),
        Err(other) => (STATUS_FAILED, other.to_string().into_bytes()),
    };
    output.write_all(&[status])?;
    output.write_all(&bytes)?;
    output.flush()
}

/// Says which program this is, so that the parent knows whose code it gets.
///
/// # Errors
/// The compiler does not start, or the parent is gone.
pub fn introduce(output: &mut impl Write, build: &str) -> io::Result<()> {
    let line = introduction(build).map_err(io::Error::other)?;
    output.write_all(line.as_bytes())?;
    output.flush()
}

/// Writes what [`parse_header`] reads.
pub(super) fn header(limits: CompileLimits, module_len: usize) -> io::Result<[u8; 20]> {
    let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "the module is too large");
    let len = u32::try_from(module_len).map_err(too_large)?;
    let mut header = [0; 20];
    let fields = limits
        .address_space_bytes
        .to_be_bytes()
        .into_iter()
        .chain(limits.cpu_seconds.to_be_bytes())
        .chain(len.to_be_bytes());
    header
        .iter_mut()
        .zip(fields)
        .for_each(|(to, from)| *to = from);
    Ok(header)
}

fn parse_header(header: &[u8; 20]) -> io::Result<(CompileLimits, usize)> {
    let (fields, len) = header.split_at(16);
    let (space, cpu) = fields.split_at(8);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let len = number(len);
    if len > MODULE_BYTES.max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the module is too large",
        ));
    }
    let limits = CompileLimits {
        address_space_bytes: number(space),
        cpu_seconds: number(cpu),
        // The parent compares it, and reads no more than that.
        native_bytes: u64::MAX,
        ..CompileLimits::UPLOAD
    };
    // At most `MODULE_BYTES`, so it fits.
    Ok((limits, len as usize))
}

/// Takes from this process what it does not need, before it sees a stranger's bytes.
fn restrict(limits: CompileLimits) -> io::Result<()> {
    let limit = |resource, value: u64| {
        let both = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        rustix::process::setrlimit(resource, both)
    };
    limit(Resource::Core, 0)?;
    limit(Resource::As, limits.address_space_bytes)?;
    limit(Resource::Cpu, limits.cpu_seconds)?;
    limit(Resource::Fsize, 0)?;
    rustix::process::nice(IDLE_NICENESS)?;
    Ok(())
}
