//! What may go wrong on one replica alone.

use thiserror::Error;

use crate::epoch::Epochs;

/// A fault of this replica: its memory, its disk, its compiler.
///
/// Architecture Invariant: a local fault is never an outcome. Whoever gets one drops the batch and
/// stops the replica; another replica may have succeeded with the same entry.
#[derive(Debug, Error)]
pub enum LocalFault {
    /// Reading or writing rows failed.
    #[error("the state store failed: {0}")]
    Storage(String),
    /// A stored row does not decode: the state is damaged or of another version.
    #[error("a stored row is damaged ({table}): {detail}")]
    CorruptRow {
        /// Which table.
        table: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// A module could not be compiled here, although it passed every static check.
    #[error("module {module} could not be compiled on this node: {detail}")]
    Compile {
        /// SHA-256 of the module, in hex.
        module: String,
        /// What the compiler said.
        detail: String,
    },
    /// The compiling process of this node does not run, or is another program than the node. The
    /// module has nothing to do with it.
    #[error("module {module} could not be compiled on this node: {detail}")]
    Compiler {
        /// SHA-256 of the module, in hex.
        module: String,
        /// What is the matter with the compiling process.
        detail: String,
    },
    /// The policy runtime failed for want of a local resource.
    #[error("the policy runtime failed: {0}")]
    Runtime(String),
    /// The entry that was recorded as denied is not the one in this log.
    #[error(
        "the log entry at index {index} is not the one that was recorded there as denied: this \
         node's log and the file `denied` in its data folder are not of one cluster"
    )]
    OtherEntryDenied {
        /// Log index.
        index: u64,
    },
    /// A committed entry does not decode.
    #[error("the log entry at index {index} does not decode: {detail}")]
    CorruptEntry {
        /// Log index.
        index: u64,
        /// What the decoder said.
        detail: String,
    },
    /// The cluster computes under an epoch that this program does not support.
    #[error(
        "the cluster is at engine epoch {epoch}, and this program supports {supported}: run {} \
         version of it on this node",
        if *.epoch > .supported.newest { "a newer" } else { "an older" }
    )]
    Epoch {
        /// In force, or about to be.
        epoch: u32,
        /// What the program supports.
        supported: Epochs,
    },
}

impl LocalFault {
    /// Whether the entry that was applied may be what brings it about, on every replica alike. If not,
    /// it is this replica's own, and to deny the entry would be wrong.
    #[must_use]
    pub const fn may_be_the_entrys(&self) -> bool {
        match self {
            Self::CorruptRow { .. }
            | Self::Compile { .. }
            | Self::Runtime(_)
            | Self::CorruptEntry { .. } => true,
            Self::Storage(_)
            | Self::Compiler { .. }
            | Self::OtherEntryDenied { .. }
            | Self::Epoch { .. } => false,
        }
    }
}
