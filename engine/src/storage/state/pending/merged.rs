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
    /// Sorted by the key at which they stand, of equal ones the newest first; those that have come
    /// to their end are left out. Mostly the first one stays so for many rows.
    sources: Vec<Source>,
}

struct Source {
    /// The newest has 0.
    age: usize,
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
    /// Boxed, because it is large and places are swapped.
    Tables(Box<Tables>),
}

struct Tables {
    rows: fjall::Iter,
    row: (Slice, Slice),
}

impl Merged {
    /// The rows of `layers`, which come newest first, between `start` and `end`, and of `tables`
    /// below them, which hold nothing else.
    pub(in super::super) fn new(
        layers: &[Arc<Layer>],
        range: (Bound<&[u8]>, Bound<&[u8]>),
        mut tables: fjall::Iter,
    ) -> Result<Self, LocalFault> {
        let mut merged = Self::of_layers(layers.iter(), range);
        if let Some(first) = tables.next() {
            let row = first.into_inner().map_err(fault)?;
            let tables = Box::new(Tables { rows: tables, row });
            let tables = Source::new(layers.len(), Rows::Tables(tables));
            let before = |source: &Source| source.compare(&tables).is_lt();
            let place = merged.sources.partition_point(before);
            merged.sources.insert(place, tables);
        }
        Ok(merged)
    }

    /// The changes of `layers`, which come newest first, between `start` and `end`.
    pub(in super::super) fn of_layers<'l>(
        layers: impl Iterator<Item = &'l Arc<Layer>>,
        (start, end): (Bound<&[u8]>, Bound<&[u8]>),
    ) -> Self {
        let mut sources = Vec::new();
        for (age, layer) in layers.enumerate() {
            let at = layer.first(start);
            let end = match end {
                Bound::Unbounded => layer.len(),
                Bound::Excluded(end) => layer.first(Bound::Included(end)),
                Bound::Included(end) => layer.first(Bound::Excluded(end)),
            };
            if at < end {
                let layer = Arc::clone(layer);
                sources.push(Source::new(age, Rows::Layer { layer, at, end }));
            }
        }
        sources.sort_unstable_by(Source::compare);
        Self { sources }
    }

    /// Shows `see` the next row that is not deleted, and hands back what it says; none at the end.
    pub(in super::super) fn next_row<T>(
        &mut self,
        mut see: impl FnMut(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>, LocalFault> {
        while let Some(seen) = self.next_change(|key, value| value.map(|value| see(key, value)))? {
            if seen.is_some() {
                return Ok(seen);
            }
        }
        Ok(None)
    }

    /// Shows `see` the next change, and hands back what it says; none at the end. A row that is
    /// deleted has no value.
    pub(in super::super) fn next_change<T>(
        &mut self,
        see: impl FnOnce(&[u8], Option<&[u8]>) -> T,
    ) -> Result<Option<T>, LocalFault> {
        let Some(least) = self.sources.first() else {
            return Ok(None);
        };
        let (key, value) = least.rows.row();
        let seen = see(key, value);
        self.pass_least()?;
        Ok(Some(seen))
    }

    /// Goes on behind the least key, wherever it is.
    fn pass_least(&mut self) -> Result<(), LocalFault> {
        let equal = match self.sources.split_first() {
            Some((first, rest)) => rest.iter().take_while(|s| s.stands_with(first)).count(),
            None => return Ok(()),
        };
        // From behind, so that the places before stay what they are.
        for n in (0..=equal).rev() {
            if let Some(source) = self.sources.get_mut(n)
                && source.advance()?
            {
                self.sort_in(n);
            } else {
                self.sources.remove(n);
            }
        }
        Ok(())
    }

    /// Moves the source at `n`, which went on, to its place among those behind it.
    fn sort_in(&mut self, mut n: usize) {
        while let Some([this, next, ..]) = self.sources.get(n..)
            && this.compare(next).is_gt()
        {
            self.sources.swap(n, n + 1);
            n += 1;
        }
    }
}

impl Source {
    fn new(age: usize, rows: Rows) -> Self {
        let head = head(rows.row().0);
        Self { age, head, rows }
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
            Rows::Tables(tables) => match tables.rows.next() {
                Some(next) => tables.row = next.into_inner().map_err(fault)?,
                None => return Ok(false),
            },
        }
        self.head = head(self.rows.row().0);
        Ok(true)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let heads = self.head.cmp(&other.head);
        let keys = heads.then_with(|| self.rows.row().0.cmp(other.rows.row().0));
        keys.then_with(|| self.age.cmp(&other.age))
    }

    fn stands_with(&self, other: &Self) -> bool {
        self.head == other.head && self.rows.row().0 == other.rows.row().0
    }
}

impl Rows {
    /// The row at which it stands.
    fn row(&self) -> Change<'_> {
        match self {
            Self::Layer { layer, at, .. } => layer.row(*at).unwrap_or_default(),
            Self::Tables(tables) => (&tables.row.0, Some(&tables.row.1)),
        }
    }
}
