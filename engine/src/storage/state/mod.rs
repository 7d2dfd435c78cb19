//! The state database: rows in fjall, one atomic batch per apply chunk.

mod view;

pub use view::StateView;
