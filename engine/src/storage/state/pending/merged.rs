//! Rows of several layers and of the table files below them as one.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use fjall::Slice;
use raft3d_core::LocalFault;

use super::super::fault;
use super::layer::{Change, Head, Layer, head};

/// Rows ascending by key. Of each key the newest change counts.
pub(in super::super) struct Merged {
    /// The newest first; those that have come to their end are left out.
    sources: Vec<Source>,
}

struct Source {
    /// Of the key at which it stands.
    head: Head,
    rows: Rows,
}

enum Rows {
    Layer {
        layer: Arc<Layer>,
        at: usize,
        end: usize,
    },
    Tables {
        rows: Box<fjall::Iter>,
        row: (Slice, Slice),
    },
}

impl Merged {
    /// The rows of `layers`, which come newest first, between `start` and `end`, and of `tables`
    /// below them, which hold nothing else.
    pub(in super::super) fn new(
        layers: &[Arc<Layer>],
        (start, end): (Bound<&[u8]>, Bound<&[u8]>),
        tables: fjall::Iter,
    ) -> Result<Self, LocalFault> {
        let mut sources = Vec::new();
        for layer in layers {
            let end = match end {
                Bound::Unbounded => layer.len(),
                Bound::Excluded(end) => layer.first(Bound::Included(end)),
                Bound::Included(end) => layer.first(Bound::Excluded(end)),
            };
            let rows = Rows::Layer {
                layer: Arc::clone(layer),
                at: layer.first(start),
                end,
            };
            sources.extend(rows.standing());
        }
        sources.extend(Rows::of_tables(Box::new(tables))?);
        Ok(Self { sources })
    }

    /// Shows `see` the next row that is not deleted; answers whether there was one.
    pub(in super::super) fn next_row<T>(
        &mut self,
        mut see: impl FnMut(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>, LocalFault> {
        while let Some(newest) = self.newest_of_least() {
            let seen = match self.sources.get(newest).map(|source| source.rows.row()) {
                Some((key, Some(value))) => Some(see(key, value)),
                _ => None,
            };
            self.pass(newest)?;
            if seen.is_some() {
                return Ok(seen);
            }
        }
        Ok(None)
    }

    /// The source with the least key; of several, the newest.
    fn newest_of_least(&self) -> Option<usize> {
        let numbered = self.sources.iter().enumerate();
        // The first of equal ones.
        numbered
            .min_by(|(_, a), (_, b)| a.compare(b))
            .map(|(n, _)| n)
    }

    /// Goes on behind the key of source `newest`, which no newer one has.
    fn pass(&mut self, newest: usize) -> Result<(), LocalFault> {
        let (_, from_newest) = self.sources.split_at(newest);
        let Some((first, older)) = from_newest.split_first() else {
            return Ok(());
        };
        // Behind it, so that places before them stay what they are.
        let equal = |(n, source): (usize, &Source)| {
            first.compare(source).is_eq().then_some(newest + 1 + n)
        };
        let passed: Vec<usize> = older.iter().enumerate().filter_map(equal).collect();
        for n in passed.into_iter().rev().chain([newest]) {
            let rows = self.sources.remove(n).rows;
            if let Some(source) = rows.next()? {
                self.sources.insert(n, source);
            }
        }
        Ok(())
    }
}

impl Source {
    fn compare(&self, other: &Self) -> Ordering {
        let heads = self.head.cmp(&other.head);
        heads.then_with(|| self.rows.row().0.cmp(other.rows.row().0))
    }
}

impl Rows {
    fn of_tables(mut rows: Box<fjall::Iter>) -> Result<Option<Source>, LocalFault> {
        let Some(guard) = rows.next() else {
            return Ok(None);
        };
        let row = guard.into_inner().map_err(fault)?;
        Ok(Self::Tables { rows, row }.standing())
    }

    /// The row at which it stands.
    fn row(&self) -> Change<'_> {
        match self {
            Self::Layer { layer, at, .. } => layer.row(*at).unwrap_or_default(),
            Self::Tables { row, .. } => (&row.0, Some(&row.1)),
        }
    }

    /// As a source; none at its end.
    fn standing(self) -> Option<Source> {
        match self {
            Self::Layer { at, end, .. } if at >= end => None,
            rows => Some(Source {
                head: head(rows.row().0),
                rows,
            }),
        }
    }

    /// One row on.
    fn next(self) -> Result<Option<Source>, LocalFault> {
        match self {
            Self::Layer { layer, at, end } => {
                let at = at + 1;
                Ok(Self::Layer { layer, at, end }.standing())
            }
            Self::Tables { rows, .. } => Self::of_tables(rows),
        }
    }
}
