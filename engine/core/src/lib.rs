//! The deterministic heart of Raft3D: commands, apply, rows, digest.
//!
//! Architecture Invariant: what `apply` computes depends on the rows and the entry alone. This
//! package has no async runtime, clock, randomness, file system, thread, float or hash map among
//! its dependencies or in its code; `clippy.toml` beside it says so to the compiler.

pub mod apply;
pub mod command;
pub mod epoch;
pub mod error;
pub mod event;
pub mod ids;
pub mod key_time;
pub mod limits;
pub mod outcome;
pub mod policy;
pub mod rejection;
pub mod review;
pub mod state;

pub use apply::{Judge, apply};
pub use command::{Command, Envelope};
pub use epoch::Epochs;
pub use error::LocalFault;
pub use ids::{
    BindingId, ClusterId, EventId, FilamentId, JobId, ModuleDigest, PrinterId, RequestId, Revision,
};
pub use outcome::{Accepted, Outcome, Response};
pub use policy::{Evaluation, Export, ModuleSource, PolicyCall, PolicyError, PolicyHost};
pub use rejection::{Rejection, RejectionKind};
pub use state::rows::{ReadRows, Rows};
