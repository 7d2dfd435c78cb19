//! Rows of several layers and of the table files below them as one.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use fjall::Slice;
use raft3d_core::LocalFault;

use super::super::error::fault;
use super::layer::{Change, Head, Layer, head};

/// Rows ascending by key. Of each key the newest change counts.
pub(in super::super) struct Merged {
    /// The newest first.
    sources: Vec<Rows>,
    /// Where each of them stands, sorted by key, of equal ones the newest first; those that have come
    /// to their end are left out. Mostly the first one stays so for many rows.
    places: Vec<Place>,
}

/// Where a source stands.
#[derive(Clone, Copy)]
struct Place {
    /// Of the key.
    head: Head,
    source: usize,
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
        range: (Bound<&[u8]>, Bound<&[u8]>),
        mut tables: fjall::Iter,
    ) -> Result<Self, LocalFault> {
        let mut sources = parts(layers.iter(), range);
        if let Some(first) = tables.next() {
            let row = first.into_inner().map_err(fault)?;
            let rows = Box::new(tables);
            sources.push(Rows::Tables { rows, row });
        }
        Ok(Self::of(sources))
    }

    /// The changes of `layers`, which come newest first, between `start` and `end`.
    pub(in super::super) fn of_layers<'l>(
        layers: impl Iterator<Item = &'l Arc<Layer>>,
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> Self {
        Self::of(parts(layers, range))
    }

    fn of(sources: Vec<Rows>) -> Self {
        let place = |(source, rows): (usize, &Rows)| Place {
            head: head(rows.row().0),
            source,
        };
        let mut places: Vec<Place> = sources.iter().enumerate().map(place).collect();
        places.sort_unstable_by(|a, b| compare(&sources, a, b));
        Self { sources, places }
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
        let Some(least) = self.places.first() else {
            return Ok(None);
        };
        let (key, value) = row(&self.sources, least);
        let seen = see(key, value);
        self.pass_least()?;
        Ok(Some(seen))
    }

    /// Goes on behind the least key, wherever it is.
    fn pass_least(&mut self) -> Result<(), LocalFault> {
        let equal = match self.places.split_first() {
            Some((first, rest)) => rest.iter().take_while(|at| self.is_same(first, at)).count(),
            None => return Ok(()),
        };
        // From behind, so that the places before stay what they are.
        for n in (0..=equal).rev() {
            let Some(place) = self.places.get_mut(n) else {
                continue;
            };
            if let Some(rows) = self.sources.get_mut(place.source)
                && rows.advance()?
            {
                place.head = head(rows.row().0);
                self.sort_in(n);
            } else {
                self.places.remove(n);
            }
        }
        Ok(())
    }

    fn is_same(&self, a: &Place, b: &Place) -> bool {
        a.head == b.head && row(&self.sources, a).0 == row(&self.sources, b).0
    }

    /// Moves the place at `n`, whose source went on, among those behind it.
    fn sort_in(&mut self, n: usize) {
        let Some((place, behind)) = self.places.get(n..).and_then(<[Place]>::split_first) else {
            return;
        };
        let is_before = |next: &&Place| compare(&self.sources, next, place).is_lt();
        let passed = behind.iter().take_while(is_before).count();
        if let Some(these) = self.places.get_mut(n..=n + passed) {
            these.rotate_left(1);
        }
    }
}

/// What each of `layers` has between `start` and `end`, where it has anything.
fn parts<'l>(
    layers: impl Iterator<Item = &'l Arc<Layer>>,
    (start, end): (Bound<&[u8]>, Bound<&[u8]>),
) -> Vec<Rows> {
    let part = |layer: &Arc<Layer>| {
        let at = layer.first(start);
        let end = match end {
            Bound::Unbounded => layer.len(),
            Bound::Excluded(end) => layer.first(Bound::Included(end)),
            Bound::Included(end) => layer.first(Bound::Excluded(end)),
        };
        let layer = Arc::clone(layer);
        (at < end).then_some(Rows::Layer { layer, at, end })
    };
    layers.filter_map(part).collect()
}

/// The row at a place.
fn row<'s>(sources: &'s [Rows], place: &Place) -> Change<'s> {
    sources.get(place.source).map(Rows::row).unwrap_or_default()
}

fn compare(sources: &[Rows], a: &Place, b: &Place) -> Ordering {
    let heads = a.head.cmp(&b.head);
    let keys = heads.then_with(|| row(sources, a).0.cmp(row(sources, b).0));
    keys.then_with(|| a.source.cmp(&b.source))
}

impl Rows {
    /// Goes one row on; answers whether there is one.
    fn advance(&mut self) -> Result<bool, LocalFault> {
        match self {
            Self::Layer { at, end, .. } => {
                *at += 1;
                Ok(at < end)
            }
            Self::Tables { rows, row } => match rows.next() {
                Some(next) => {
                    *row = next.into_inner().map_err(fault)?;
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }

    /// The row at which it stands.
    fn row(&self) -> Change<'_> {
        match self {
            Self::Layer { layer, at, .. } => layer.row(*at).unwrap_or_default(),
            Self::Tables {
                row: (key, value), ..
            } => (key, Some(value)),
        }
    }
}
