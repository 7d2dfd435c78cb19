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
        rows: fjall::Iter,
        row: (Slice, Slice),
    },
}

impl Merged {
    /// The rows of `layers`, which come newest first, between `start` and `end`, and of `tables`
    /// below them, which hold nothing else.
    pub(in super::super) fn new(
        layers: &[Arc<Layer>],
        (start, end): (Bound<&[u8]>, Bound<&[u8]>),
        mut tables: fjall::Iter,
    ) -> Result<Self, LocalFault> {
        let mut sources = Vec::new();
        for layer in layers {
            let at = layer.first(start);
            let end = match end {
                Bound::Unbounded => layer.len(),
                Bound::Excluded(end) => layer.first(Bound::Included(end)),
                Bound::Included(end) => layer.first(Bound::Excluded(end)),
            };
            if at < end {
                let layer = Arc::clone(layer);
                sources.push(Source::new(Rows::Layer { layer, at, end }));
            }
        }
        if let Some(first) = tables.next() {
            let row = first.into_inner().map_err(fault)?;
            sources.push(Source::new(Rows::Tables { rows: tables, row }));
        }
        Ok(Self { sources })
    }

    /// Shows `see` the next row that is not deleted, and hands back what it says; none at the end.
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
        let least = numbered.min_by(|(_, a), (_, b)| a.compare(b))?;
        Some(least.0)
    }

    /// Goes on behind the key of source `newest`, which no newer one has.
    fn pass(&mut self, newest: usize) -> Result<(), LocalFault> {
        let mut passed = vec![newest];
        if let Some((first, older)) = self.sources.get(newest..).and_then(<[_]>::split_first) {
            let equal = older.iter().zip(newest + 1..);
            passed.extend(
                equal
                    .filter(|(source, _)| source.compare(first).is_eq())
                    .map(|(_, n)| n),
            );
        }
        // From behind, so that the places before stay what they are.
        for n in passed.into_iter().rev() {
            if let Some(source) = self.sources.get_mut(n)
                && !source.advance()?
            {
                self.sources.remove(n);
            }
        }
        Ok(())
    }
}

impl Source {
    fn new(rows: Rows) -> Self {
        let head = head(rows.row().0);
        Self { head, rows }
    }

    /// Goes one row on; answers whether there is one.
    fn advance(&mut self) -> Result<bool, LocalFault> {
        match &mut self.rows {
            Rows::Layer { at, end, .. } => {
                *at += 1;
                if at == end {
                    return Ok(false);
                }
            }
            Rows::Tables { rows, row } => match rows.next() {
                Some(next) => *row = next.into_inner().map_err(fault)?,
                None => return Ok(false),
            },
        }
        self.head = head(self.rows.row().0);
        Ok(true)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let heads = self.head.cmp(&other.head);
        heads.then_with(|| self.rows.row().0.cmp(other.rows.row().0))
    }
}

impl Rows {
    /// The row at which it stands.
    fn row(&self) -> Change<'_> {
        match self {
            Self::Layer { layer, at, .. } => layer.row(*at).unwrap_or_default(),
            Self::Tables { row, .. } => (&row.0, Some(&row.1)),
        }
    }
}
