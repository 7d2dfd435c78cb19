//! The Raft log: a segment log.
//!
//! Follow an append: [`store`] encodes the entries, puts them where readers see them and queues
//! them; [`writer`] drains the queue into one frame ([`frame`]), writes it into the active segment
//! ([`segment`]), syncs once, notes in the [`watermark`] how far the log is synced, and completes
//! the callbacks in order. Readers ([`reader`]) find the latest entries in memory and the others
//! by [`index`]. [`recovery`] opens a log: it tells a torn end from damage, and [`settle`] cuts the
//! torn end off.
//!
//! In the folder lie the segments, `0000000000000001.seg` and so on, and `watermark`. Everything
//! that openraft wants kept goes through the same sequence of frames: entries, votes, truncations,
//! purges and the committed log id.

mod disk;
mod early;
mod error;
mod frame;
mod index;
pub mod options;
mod preparer;
mod reader;
mod recovery;
mod segment;
mod settle;
mod shared;
mod store;
mod tip;
mod watermark;
mod window;
mod writer;

pub use disk::{Disk, RealDisk};
pub use error::LogError;
pub use options::LogOptions;
pub use reader::LogReader;
pub use shared::{LogHealth, LogStats};
pub use store::LogStore;
