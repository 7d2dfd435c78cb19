//! Histories on disk: one JSON object per line.

use std::io::{self, BufRead, Write};

use thiserror::Error;

use super::Record;

/// Why a history cannot be read or written.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file.
    #[error("the history's file: {0}")]
    Io(#[from] io::Error),
    /// A line.
    #[error("line {line} of the history is no record: {error}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
}

/// Writes one line for each record.
///
/// # Errors
/// Where `out` fails.
pub fn write_lines<'a>(
    out: &mut dyn Write,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<(), HistoryError> {
    for (place, record) in records.into_iter().enumerate() {
        let line = serde_json::to_string(record).map_err(|error| HistoryError::Line {
            line: place + 1,
            error,
        })?;
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

/// Reads what [`write_lines`] wrote; empty lines are passed over.
///
/// # Errors
/// Where `input` fails or a line is no record.
pub fn read_lines(input: &mut dyn BufRead) -> Result<Vec<Record>, HistoryError> {
    let mut records = Vec::new();
    for (place, line) in input.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(&line).map_err(|error| HistoryError::Line {
            line: place + 1,
            error,
        })?;
        records.push(record);
    }
    Ok(records)
}
