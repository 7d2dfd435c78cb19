//! The keyspaces of the database: one for each generation of the rows, of which the newest that is
//! complete is in force.

use std::path::Path;

use fjall::config::{PartitioningPolicy, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable};

use super::error::StateError;
use super::head::{HEAD_KEY, Record, STATE_FORMAT_VERSION};
use crate::storage::newer::NewerFormat;

const ROWS_KEYSPACE_PREFIX: &str = "rows-";

/// The newest generation that is complete; an empty one where there is none.
pub(super) fn newest_generation(
    database: &Database,
    dir: &Path,
) -> Result<(Keyspace, Record), StateError> {
    let mut generations: Vec<u64> = keyspace_names(database)
        .iter()
        .filter_map(|name| name.strip_prefix(ROWS_KEYSPACE_PREFIX)?.parse().ok())
        .collect();
    generations.sort_unstable();
    for generation in generations.into_iter().rev() {
        let rows = rows_keyspace(database, &rows_name(generation))?;
        if let Some(record) = database.snapshot().get(&rows, HEAD_KEY)? {
            if let Some(found) = Record::format(&record).filter(|f| *f > STATE_FORMAT_VERSION) {
                let (path, known) = (dir.to_owned(), STATE_FORMAT_VERSION);
                return Err(NewerFormat { path, found, known }.into());
            }
            let record = Record::decode(&record).map_err(StateError::Damaged)?;
            if record.head.generation != generation {
                let found = record.head.generation;
                return Err(StateError::Damaged(format!(
                    "generation {generation} says that it is {found}"
                )));
            }
            return Ok((rows, record));
        }
    }
    let record = Record::default();
    let rows = rows_keyspace(database, &rows_name(record.head.generation))?;
    Ok((rows, record))
}

pub(super) fn rows_name(generation: u64) -> String {
    format!("{ROWS_KEYSPACE_PREFIX}{generation}")
}

pub(super) fn rows_keyspace(database: &Database, name: &str) -> Result<Keyspace, fjall::Error> {
    database.keyspace(name, || {
        // Apply asks for rows that do not exist yet, and what says so are the filters and indexes
        // of all table files: in memory for good, some 15 bits a row. A database keeps what it was
        // made with.
        KeyspaceCreateOptions::default()
            .filter_block_pinning_policy(PinningPolicy::all(true))
            .index_block_pinning_policy(PinningPolicy::all(true))
            .filter_block_partitioning_policy(PartitioningPolicy::all(false))
            .index_block_partitioning_policy(PartitioningPolicy::all(false))
    })
}

pub(super) fn keyspace_names(database: &Database) -> Vec<String> {
    database
        .list_keyspace_names()
        .iter()
        .map(|name| name.to_string())
        .collect()
}
