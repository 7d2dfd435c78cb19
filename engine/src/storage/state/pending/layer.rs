//! Changed rows, sorted and immutable.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::buffers::{Buffer, Buffers};
use super::sought::{MintedTo, Sought};

/// What is kept of a row beside its bytes and its share of the filter, in bytes.
pub(super) const ROW_OVERHEAD_BYTES: usize = size_of::<Place>() + 2;
/// Bits of filter for each row; one look in some thirty is in vain.
const FILTER_BITS_PER_ROW: usize = 16;
/// Bits that each key sets, all in one word: a look costs one access to memory (blocked Bloom
/// filter, Putze, Sanders and Singler 2007).
const FILTER_PROBES: u32 = 4;
/// Rows of merged layers are brought together in one buffer where they have no more bytes: the
/// chunks of one client at a time are a row or ten, and each of their buffers costs more than that.
const GATHERED_BYTES_MAX: usize = 128 * 1024;

/// A row's new value, or none where it is deleted.
pub(in super::super) type Value<'a> = Option<&'a [u8]>;
/// A row's key and what becomes of it.
pub(crate) type Change<'a> = (&'a [u8], Value<'a>);

/// What one chunk changed, or several that were merged, to be searched.
pub(in super::super) struct Layer {
    rows: SortedRows,
    filter: Filter,
    minted_to: MintedTo,
}

/// Changed rows, sorted by key.
///
/// Keys and values lie one after the other in the buffers of the chunks that brought them. Merging
/// sorts the places; it moves no row, or few.
struct SortedRows {
    buffers: Vec<Arc<Buffer>>,
    places: Vec<Place>,
}

/// Where a row lies.
#[derive(Clone, Copy)]
struct Place {
    /// The first bytes of the key: most comparisons end here.
    head: Head,
    /// Of the key, for filters.
    hash: u32,
    buffer: u32,
    at: u32,
    value_len: u32,
    key_len: u16,
    is_deleted: bool,
}

impl SortedRows {
    /// The changes of one chunk: in any order, of each key one.
    fn of_chunk(changes: &[Change<'_>], home: &Buffers) -> Self {
        let mut sorted: Vec<(Head, &Change<'_>)> =
            changes.iter().map(|row| (head(row.0), row)).collect();
        sorted
            .sort_unstable_by(|(a, a_row), (b, b_row)| a.cmp(b).then_with(|| a_row.0.cmp(b_row.0)));
        let mut buffer = home.take(changes.iter().map(bytes_of).sum());
        // They lie in the order of their keys, because they are read in that when they are written to
        // table files, long after they have left the processor's caches.
        let place = |(head, (key, value)): (Head, &Change<'_>)| {
            let at = buffer.push(key);
            let value_bytes = value.unwrap_or_default();
            buffer.push(value_bytes);
            Place {
                head,
                hash: crc32c::crc32c(key),
                buffer: 0,
                at: at as u32,
                value_len: value_bytes.len() as u32,
                key_len: key.len() as u16,
                is_deleted: value.is_none(),
            }
        };
        let places = sorted.into_iter().map(place).collect();
        let buffers = vec![Arc::new(buffer)];
        Self { buffers, places }
    }

    /// The rows of these layers, which come oldest first, as one.
    fn merged(layers: &[Arc<Layer>]) -> Self {
        let layers = || layers.iter().rev().map(|layer| &layer.rows);
        let mut buffers = Vec::with_capacity(layers().map(|rows| rows.buffers.len()).sum());
        let mut places = Vec::with_capacity(layers().map(|rows| rows.places.len()).sum());
        for rows in layers() {
            let first = buffers.len() as u32;
            buffers.extend_from_slice(&rows.buffers);
            places.extend(rows.places.iter().map(|place| Place {
                buffer: first + place.buffer,
                ..*place
            }));
        }
        // Stable: of equal keys the newest stays first, and only it is kept.
        places.sort_by(|a, b| compare(&buffers, a, b));
        places.dedup_by(|later, first| {
            later.hash == first.hash && compare(&buffers, later, first).is_eq()
        });
        Self { buffers, places }
    }

    /// The same rows in one buffer, unless they have many bytes.
    fn gathered(self, home: &Buffers) -> Self {
        let bytes = self.iter().map(|row| bytes_of(&row)).sum();
        if bytes > GATHERED_BYTES_MAX {
            return self;
        }
        let mut buffer = home.take(bytes);
        let place = |place: &Place| {
            let at = buffer.push(place.key(&self.buffers)) as u32;
            buffer.push(place.value(&self.buffers).unwrap_or_default());
            let (buffer, place) = (0, *place);
            Place {
                buffer,
                at,
                ..place
            }
        };
        let places = self.places.iter().map(place).collect();
        Self {
            buffers: vec![Arc::new(buffer)],
            places,
        }
    }

    /// All of them, ascending.
    fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        (0..self.places.len()).filter_map(|at| self.row(at))
    }

    fn row(&self, at: usize) -> Option<Change<'_>> {
        let place = self.places.get(at)?;
        let key = place.key(&self.buffers);
        Some((key, place.value(&self.buffers)))
    }
}

impl Layer {
    /// The changes of one chunk: in any order, of each key one.
    pub(super) fn of_chunk(changes: &[Change<'_>], home: &Buffers) -> Self {
        let mut minted_to = MintedTo::default();
        changes.iter().for_each(|(key, _)| minted_to.see(key));
        Self::new(SortedRows::of_chunk(changes, home), minted_to)
    }

    /// One layer that reads as those do, which come oldest first.
    pub(super) fn merged(layers: &[Arc<Self>], home: &Buffers) -> Self {
        let minted_to = layers.iter().map(|layer| layer.minted_to).max();
        let rows = SortedRows::merged(layers).gathered(home);
        Self::new(rows, minted_to.unwrap_or_default())
    }

    fn new(rows: SortedRows, minted_to: MintedTo) -> Self {
        let mut filter = Filter::new(rows.places.len());
        for place in &rows.places {
            filter.add(spread(place.hash));
        }
        Self {
            rows,
            filter,
            minted_to,
        }
    }

    /// How many rows it changes.
    pub(super) fn len(&self) -> usize {
        self.rows.places.len()
    }

    /// Bytes of memory that it holds on to.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        let buffers = self.rows.buffers.iter().map(|buffer| buffer.capacity());
        let places = self.rows.places.capacity() * size_of::<Place>();
        buffers.sum::<usize>() + places + self.filter.words.len() * 8
    }

    /// Of all requests in it.
    pub(in super::super) fn minted_to(&self) -> MintedTo {
        self.minted_to
    }

    /// What it says of that row; none where it says nothing.
    pub(in super::super) fn get(&self, sought: &Sought<'_>) -> Option<Value<'_>> {
        if !self.minted_to.may_hold(sought) || !self.filter.may_hold(sought.hash()) {
            return None;
        }
        let key = sought.key();
        let at = self.first(Bound::Included(key));
        self.row(at)
            .filter(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }

    /// The place of its first row from `start` on.
    pub(super) fn first(&self, start: Bound<&[u8]>) -> usize {
        let (start, or_equal) = match start {
            Bound::Included(start) => (start, false),
            Bound::Excluded(start) => (start, true),
            Bound::Unbounded => return 0,
        };
        let start_head = head(start);
        let SortedRows { buffers, places } = &self.rows;
        places.partition_point(|place| {
            let order = place.head.cmp(&start_head);
            let order = order.then_with(|| place.key(buffers).cmp(start));
            order.is_lt() || (or_equal && order.is_eq())
        })
    }

    /// The row at that place, in the order of the keys.
    pub(super) fn row(&self, at: usize) -> Option<Change<'_>> {
        self.rows.row(at)
    }
}

impl Place {
    fn key<'b>(&self, buffers: &'b [Arc<Buffer>]) -> &'b [u8] {
        buffers
            .get(self.buffer as usize)
            .map_or(&[], |b| b.get(self.at as usize, self.key_len.into()))
    }

    fn value<'b>(&self, buffers: &'b [Arc<Buffer>]) -> Value<'b> {
        let at = self.at as usize + usize::from(self.key_len);
        let buffer = buffers.get(self.buffer as usize)?;
        (!self.is_deleted).then(|| buffer.get(at, self.value_len as usize))
    }
}

fn compare(buffers: &[Arc<Buffer>], a: &Place, b: &Place) -> Ordering {
    let heads = a.head.cmp(&b.head);
    heads.then_with(|| a.key(buffers).cmp(b.key(buffers)))
}

/// The first bytes of a key as numbers, so that they sort as the keys do; equal ones say nothing.
pub(super) type Head = [u64; 2];

pub(super) fn head(key: &[u8]) -> Head {
    let mut bytes = [0; size_of::<Head>()];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    let number = u128::from_be_bytes(bytes);
    [(number >> 64) as u64, number as u64]
}

/// Bytes of a row in a buffer.
pub(super) fn bytes_of((key, value): &Change<'_>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len)
}

/// Hash of a key for the filters: neither stored nor sent anywhere.
pub(super) fn hash(key: &[u8]) -> u64 {
    spread(crc32c::crc32c(key))
}

/// SplitMix64's last step spreads the checksum's 32 bits over 64.
fn spread(checksum: u32) -> u64 {
    let mut z = u64::from(checksum).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn new(rows: usize) -> Self {
        let words = (rows * FILTER_BITS_PER_ROW / 64 + 1).next_power_of_two();
        Self {
            words: vec![0; words],
        }
    }

    fn add(&mut self, hash: u64) {
        let (word, bits) = self.place(hash);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bits;
        }
    }

    fn may_hold(&self, hash: u64) -> bool {
        let (word, bits) = self.place(hash);
        self.words.get(word).is_some_and(|word| word & bits == bits)
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        filter_place(hash, self.words.len())
    }
}

/// The word of a key in a filter of so many of them, a power of two, and its bits in that word: six
/// bits of the hash for each, the rest for the word.
pub(in super::super) fn filter_place(hash: u64, words: usize) -> (usize, u64) {
    let bit = |probe: u32| 1_u64 << ((hash >> (6 * probe)) & 63);
    let bits = (0..FILTER_PROBES).fold(0, |bits, probe| bits | bit(probe));
    let word = (hash >> (6 * FILTER_PROBES)) as usize & (words - 1);
    (word, bits)
}
