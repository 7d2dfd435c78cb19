//! How long the answers to clients' keys are remembered: fair shares, so that one who uses up what
//! there is stops nobody else.
//!
//! **The rule.** The answer to a request with a client's key is remembered for 24 h, or until later
//! keyed requests of the same actor fill that actor's share, but never for less than 15 minutes: who
//! would break that is refused, and nobody else. Verified and unverified actors have a pool each, so
//! that invented names take nothing from those whom somebody authenticated.
//!
//! - A share is the pool divided by the actors that have records, and one more: a newcomer finds room.
//!   It is never less than a guaranteed part, for which the pool is not asked.
//! - A full share forgets its oldest answers. If a pool is full although shares are not (they shrink
//!   when actors come), the largest share gives way, down to the guaranteed part.
//! - The first [`KEYED_ACTORS_MAX`] actors of a pool have a share each; further names share the
//!   [`KEYED_CROWDS`] places of a crowd by their hash, until others' records are gone. So the records of
//!   a pool are bounded whatever names are invented: by the pool, and the guaranteed part of each place.
//!
//! **Time.** 24 h and 15 minutes are of *record time*, [`Totals::record_time_us`]: with each entry it
//! goes on as log time does, but by 15 minutes at most and by 50 us at least. So nothing here hangs on a
//! clock alone. A clock that jumps ahead by a year makes no answer older than 15 minutes; one that
//! stands still frees answers all the same, by the log's index, which cannot go faster than that.
//!
//! **A forgotten key leaves its time behind.** Of the keys that carry their time (`key_time.rs`) the
//! latest that was forgotten is kept ([`Forgotten`]). A key that is not later may have been answered
//! before, and is refused as too old: with such keys nothing is ever done twice. That compares keys with
//! keys, so no clock of this cluster has a part in it.

pub mod shown;

use minicbor::{Decode, Encode};

use super::meta::{Forgotten, KeyPool, Totals};
use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{RequestId, Revision};
use crate::key_time;
use crate::limits::{
    CLIENT_REQUEST_KEPT_MS, CLIENT_REQUEST_KEPT_MS_MIN, EXPIRED_ROWS_PER_APPLY_MAX,
    KEYED_ACTORS_MAX, KEYED_BYTES_GUARANTEED, KEYED_BYTES_MAX, KEYED_CROWDS,
    KEYED_RECORDS_GUARANTEED, KEYED_RECORDS_MAX,
};

/// Name of the table in errors.
const TABLE: &str = "shares of remembered keys";
const US_PER_MS: u64 = 1_000;
/// An answer is kept for so long.
const KEPT_US: u64 = CLIENT_REQUEST_KEPT_MS * US_PER_MS;
/// And never for less.
const KEPT_US_MIN: u64 = CLIENT_REQUEST_KEPT_MS_MIN * US_PER_MS;
/// Between two looks for expired answers, if the last one left none: otherwise every entry would
/// look for the one that expired since the entry before.
const EXPIRY_PAUSE_US: u64 = 1_000_000;
/// Shares in which one apply looks for expired answers, at most.
const SHARES_PER_APPLY_MAX: usize = 8;
/// Largest shares that one apply asks to give way, at most.
const LARGEST_ASKED_MAX: usize = 4;
/// Answers that a full share forgets beyond the one that is too many, at most.
const FORGOTTEN_AHEAD_MAX: u64 = 15;
/// What a store needs for a record beside keys and value, in bytes: counted so that small records are
/// not free.
const RECORD_EXTRA_BYTES: u64 = 64;

/// What is remembered of one actor, or of one place in the crowd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyShare {
    /// Answers.
    #[n(0)]
    pub records: u64,
    /// Their bytes: keys, values and an allowance for what the store adds.
    #[n(1)]
    pub bytes: u64,
    /// Of the entry whose answer is the oldest one.
    #[n(2)]
    oldest: Option<Oldest>,
    /// What was forgotten.
    #[n(3)]
    pub forgotten: Forgotten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Oldest {
    #[n(0)]
    revision: Revision,
    /// Record time.
    #[n(1)]
    at_us: u64,
}

/// What leads from a share to one of its answers.
#[derive(Encode, Decode)]
#[cbor(map)]
struct KeyedRow {
    /// Record time, microseconds.
    #[n(0)]
    at_us: u64,
    /// As in [`KeyShare::bytes`].
    #[n(1)]
    bytes: u64,
    /// The key of the answer's row.
    #[cbor(n(2), with = "minicbor::bytes")]
    request: Vec<u8>,
    /// What is to be remembered when it is forgotten.
    #[n(3)]
    forgotten: Forgotten,
}

/// Most answers and bytes that one share of a pool may have now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareMax {
    /// Answers.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ShareMax {
    /// The share of each actor, and of one who is still to come.
    #[must_use]
    pub fn of(pool: &KeyPool) -> Self {
        let shares = pool.actors.saturating_add(pool.crowds).saturating_add(1);
        let part = |whole: u64, least: u64| whole.checked_div(shares).unwrap_or(whole).max(least);
        Self {
            records: part(KEYED_RECORDS_MAX, KEYED_RECORDS_GUARANTEED),
            bytes: part(KEYED_BYTES_MAX, KEYED_BYTES_GUARANTEED),
        }
    }
}

impl KeyShare {
    fn is_full(&self, max: ShareMax) -> bool {
        self.records >= max.records || self.bytes >= max.bytes
    }

    /// Whether one more answer is within what every share is guaranteed.
    fn is_guaranteed(&self) -> bool {
        self.records < KEYED_RECORDS_GUARANTEED && self.bytes < KEYED_BYTES_GUARANTEED
    }

    /// How large it is, as a power of two; none if it gives nothing up to others.
    fn class(&self) -> Option<u8> {
        if self.is_guaranteed() {
            return None;
        }
        let weight = self
            .records
            .saturating_mul(KEYED_BYTES_MAX / KEYED_RECORDS_MAX)
            .max(self.bytes);
        u8::try_from(u64::BITS - weight.leading_zeros()).ok()
    }

    /// Record time until its oldest answer may be forgotten for want of room, in milliseconds.
    fn frees_in_ms(&self, totals: &Totals) -> u64 {
        let at_us = self.oldest.map_or(0, |oldest| oldest.at_us);
        let free_at_us = at_us.saturating_add(KEPT_US_MIN);
        free_at_us.saturating_sub(totals.record_time_us) / US_PER_MS + 1
    }
}

/// A share that was read, to be changed and put back.
pub(crate) struct Held {
    /// Its part of the keys.
    unit: Vec<u8>,
    verified: bool,
    /// Its place in the crowd; none for an actor's own.
    crowd: Option<u8>,
    before: Option<KeyShare>,
    now: KeyShare,
}

/// The place in the crowd of an actor without a share of its own.
pub(crate) fn place_in_crowd(actor: &Actor) -> u8 {
    let hash = blake3::hash(actor.name.as_bytes());
    hash.as_bytes().first().copied().unwrap_or_default() % KEYED_CROWDS
}

impl Held {
    /// The share that `actor` uses now.
    pub(crate) fn of(
        rows: &dyn ReadRows,
        totals: &Totals,
        actor: &Actor,
    ) -> Result<Self, LocalFault> {
        let own = Self::open(rows, totals, keys::actor_share(actor))?;
        let pool = totals.key_pool(actor.verified);
        if own.before.is_some() || pool.actors < KEYED_ACTORS_MAX {
            return Ok(own);
        }
        Self::open(
            rows,
            totals,
            keys::crowd_share(actor.verified, place_in_crowd(actor)),
        )
    }

    fn open(rows: &dyn ReadRows, totals: &Totals, unit: Vec<u8>) -> Result<Self, LocalFault> {
        let (verified, crowd) = keys::share_of(&unit);
        let before: Option<KeyShare> = codec::get(rows, TABLE, &keys::share(&unit))?;
        let now = before.clone().unwrap_or_else(|| KeyShare {
            forgotten: totals.key_pool(verified).forgotten,
            ..KeyShare::default()
        });
        Ok(Self {
            unit,
            verified,
            crowd,
            before,
            now,
        })
    }

    /// Its place in the crowd; none for an actor's own.
    pub(crate) fn crowd(&self) -> Option<u8> {
        self.crowd
    }

    /// Puts it back, with the rows by which it is found.
    pub(crate) fn close(self, rows: &mut dyn Rows, totals: &mut Totals) -> Result<(), LocalFault> {
        let Self {
            unit, before, now, ..
        } = self;
        let oldest = |share: &KeyShare| share.oldest.map(|oldest| oldest.revision);
        let was = before.as_ref().and_then(oldest);
        if was != oldest(&now) {
            if let Some(was) = was {
                rows.delete_known(&keys::oldest_share(was, &unit), &[]);
            }
            if let Some(oldest) = oldest(&now) {
                rows.put(keys::oldest_share(oldest, &unit), Vec::new());
            }
        }
        let was = before.as_ref().and_then(KeyShare::class);
        if was != now.class() {
            if let Some(was) = was {
                rows.delete_known(&keys::large_share(self.verified, was, &unit), &[]);
            }
            if let Some(class) = now.class() {
                rows.put(keys::large_share(self.verified, class, &unit), Vec::new());
            }
        }
        let pool = totals.key_pool_mut(self.verified);
        // A place in the crowd stays, with what it forgot: many names come back to it.
        if now.records == 0 && self.crowd.is_none() {
            if before.is_some() {
                pool.actors = pool.actors.saturating_sub(1);
                pool.forgotten.also(now.forgotten);
                rows.delete(&keys::share(&unit));
            }
            return Ok(());
        }
        if before.is_none() {
            match self.crowd {
                None => pool.actors += 1,
                Some(_) => pool.crowds += 1,
            }
        }
        if before.as_ref() != Some(&now) {
            rows.put(keys::share(&unit), codec::encode(&now)?);
        }
        Ok(())
    }

    /// Forgets the oldest answers that were made before `until_us`, at most `limit`, until `is_enough`.
    /// Says how many.
    fn forget_oldest(
        &mut self,
        rows: &mut dyn Rows,
        totals: &mut Totals,
        limit: usize,
        until_us: u64,
        is_enough: &dyn Fn(&KeyShare) -> bool,
    ) -> Result<usize, LocalFault> {
        let Some(oldest) = self.now.oldest else {
            return Ok(0);
        };
        if oldest.at_us >= until_us || is_enough(&self.now) {
            return Ok(0);
        }
        // Not from the beginning, where a log-structured store keeps what was deleted.
        let before = Revision(oldest.revision.0.saturating_sub(1));
        let after = keys::keyed(&self.unit, before);
        let prefix = keys::keyed_prefix(&self.unit);
        let mut gone = 0;
        self.now.oldest = None;
        for (key, value) in rows.scan(&prefix, Some(&after), limit.saturating_add(1))? {
            let row: KeyedRow = codec::decode(TABLE, &value)?;
            if gone == limit || row.at_us >= until_us || is_enough(&self.now) {
                self.now.oldest = Some(Oldest {
                    revision: revision_of(&key)?,
                    at_us: row.at_us,
                });
                break;
            }
            rows.delete_known(&key, &value);
            rows.delete(&row.request);
            self.leaves(totals, &row);
            gone += 1;
        }
        Ok(gone)
    }

    /// Takes an answer that is gone out of the sums.
    fn leaves(&mut self, totals: &mut Totals, row: &KeyedRow) {
        let pool = totals.key_pool_mut(self.verified);
        pool.records = pool.records.saturating_sub(1);
        pool.bytes = pool.bytes.saturating_sub(row.bytes);
        totals.requests = totals.requests.saturating_sub(1);
        self.now.records = self.now.records.saturating_sub(1);
        self.now.bytes = self.now.bytes.saturating_sub(row.bytes);
        self.now.forgotten.also(row.forgotten);
    }

    /// Makes room for one more answer, or says after how many milliseconds of record time there is
    /// some.
    pub(crate) fn make_room(
        &mut self,
        rows: &mut dyn Rows,
        totals: &mut Totals,
    ) -> Result<Result<(), u64>, LocalFault> {
        let max = ShareMax::of(totals.key_pool(self.verified));
        if self.now.is_full(max) {
            let ahead = FORGOTTEN_AHEAD_MAX.min(max.records / 8);
            let is_enough =
                |share: &KeyShare| share.records + ahead < max.records && share.bytes < max.bytes;
            if self.give_way(rows, totals, &is_enough)? == 0 {
                return Ok(Err(self.now.frees_in_ms(totals)));
            }
            return Ok(Ok(()));
        }
        let pool = totals.key_pool(self.verified);
        let is_full = pool.records >= KEYED_RECORDS_MAX || pool.bytes >= KEYED_BYTES_MAX;
        if is_full && !self.now.is_guaranteed() {
            return self.take_from_largest(rows, totals);
        }
        Ok(Ok(()))
    }

    /// Forgets answers for want of room: those that are old enough.
    fn give_way(
        &mut self,
        rows: &mut dyn Rows,
        totals: &mut Totals,
        is_enough: &dyn Fn(&KeyShare) -> bool,
    ) -> Result<usize, LocalFault> {
        let until_us = totals.record_time_us.saturating_sub(KEPT_US_MIN);
        let limit = EXPIRED_ROWS_PER_APPLY_MAX;
        self.forget_oldest(rows, totals, limit, until_us, is_enough)
    }

    /// Makes the largest shares of a pool that is full give way.
    fn take_from_largest(
        &mut self,
        rows: &mut dyn Rows,
        totals: &mut Totals,
    ) -> Result<Result<(), u64>, LocalFault> {
        let mut free_in_ms = self.now.frees_in_ms(totals);
        let prefix = keys::large_shares_prefix(self.verified);
        for (key, _) in rows.scan(&prefix, None, LARGEST_ASKED_MAX)? {
            let unit = keys::unit_of_large_share(&key).to_vec();
            if unit == self.unit {
                continue;
            }
            let mut largest = Self::open(rows, totals, unit)?;
            let gone = largest.give_way(rows, totals, &KeyShare::is_guaranteed)?;
            free_in_ms = free_in_ms.min(largest.now.frees_in_ms(totals));
            largest.close(rows, totals)?;
            if gone > 0 {
                return Ok(Ok(()));
            }
        }
        let gone = self.give_way(rows, totals, &KeyShare::is_guaranteed)?;
        Ok(if gone > 0 { Ok(()) } else { Err(free_in_ms) })
    }

    /// Adds the answer of the entry at `revision`: `value` under `request`.
    pub(crate) fn add(
        mut self,
        rows: &mut dyn Rows,
        totals: &mut Totals,
        id: &RequestId,
        revision: Revision,
        (request, value): (Vec<u8>, Vec<u8>),
    ) -> Result<(), LocalFault> {
        let at_us = totals.record_time_us;
        let lengths = request.len().saturating_mul(2).saturating_add(value.len());
        let bytes = u64::try_from(lengths)
            .unwrap_or(u64::MAX)
            .saturating_add(RECORD_EXTRA_BYTES);
        let row = KeyedRow {
            at_us,
            bytes,
            request: request.clone(),
            forgotten: forgotten_with(id, totals),
        };
        rows.put(keys::keyed(&self.unit, revision), codec::encode(&row)?);
        rows.put(request, value);
        let pool = totals.key_pool_mut(self.verified);
        pool.records += 1;
        pool.bytes = pool.bytes.saturating_add(bytes);
        totals.requests += 1;
        self.now.records += 1;
        self.now.bytes = self.now.bytes.saturating_add(bytes);
        self.now.oldest.get_or_insert(Oldest { revision, at_us });
        let expires_us = at_us.saturating_add(KEPT_US);
        totals.keys_expire_from_us = totals
            .keys_expire_from_us
            .min(look_again_us(totals, expires_us));
        self.close(rows, totals)
    }

    /// Notes that the answer under `id`, which is made now, is not kept in the share.
    pub(crate) fn will_forget(&mut self, totals: &Totals, id: &RequestId) {
        self.now.forgotten.also(forgotten_with(id, totals));
    }

    /// Whether the key `id` may have been answered before, and the answer be forgotten.
    pub(crate) fn may_have_forgotten(
        &self,
        rows: &dyn ReadRows,
        totals: &Totals,
        actor: &Actor,
        id: &RequestId,
    ) -> Result<bool, LocalFault> {
        let Some(made_ms) = key_time::of_key(id, totals.log_time_ms) else {
            return Ok(false);
        };
        let forgotten = self.with_the_crowd(rows, totals, actor)?;
        Ok(made_ms < forgotten.keys_from_ms)
    }

    /// What was forgotten of the actor: also while it was in the crowd.
    fn with_the_crowd(
        &self,
        rows: &dyn ReadRows,
        totals: &Totals,
        actor: &Actor,
    ) -> Result<Forgotten, LocalFault> {
        let mut forgotten = self.now.forgotten;
        if self.crowd.is_none() && totals.key_pool(self.verified).crowds > 0 {
            let place = keys::crowd_share(actor.verified, place_in_crowd(actor));
            forgotten.also(Self::open(rows, totals, place)?.now.forgotten);
        }
        Ok(forgotten)
    }

    /// Forgets the answer of the entry at `revision`, which has expired: its key is used again.
    pub(crate) fn forget(
        &mut self,
        rows: &mut dyn Rows,
        totals: &mut Totals,
        actor: &Actor,
        crowd: Option<u8>,
        revision: Revision,
    ) -> Result<(), LocalFault> {
        let unit = match crowd {
            None => keys::actor_share(actor),
            Some(place) => keys::crowd_share(actor.verified, place),
        };
        if unit != self.unit {
            let mut other = Self::open(rows, totals, unit)?;
            other.forget(rows, totals, actor, crowd, revision)?;
            return other.close(rows, totals);
        }
        let key = keys::keyed(&self.unit, revision);
        let row: Option<KeyedRow> = codec::get(rows, TABLE, &key)?;
        let row = row.ok_or_else(|| corrupt("an answer is in no share"))?;
        rows.delete(&key);
        rows.delete(&row.request);
        self.leaves(totals, &row);
        if self
            .now
            .oldest
            .is_some_and(|oldest| oldest.revision == revision)
        {
            let prefix = keys::keyed_prefix(&self.unit);
            let next = rows.scan(&prefix, Some(&key), 1)?.pop();
            let oldest = |(key, value): (Vec<u8>, Vec<u8>)| {
                let row: KeyedRow = codec::decode(TABLE, &value)?;
                Ok::<_, LocalFault>(Oldest {
                    revision: revision_of(&key)?,
                    at_us: row.at_us,
                })
            };
            self.now.oldest = next.map(oldest).transpose()?;
        }
        Ok(())
    }
}

/// What is to be remembered of a key that is used now, when its answer is forgotten.
fn forgotten_with(id: &RequestId, totals: &Totals) -> Forgotten {
    let made_ms = key_time::of_key(id, totals.log_time_ms);
    Forgotten {
        keys_from_ms: made_ms.map_or(0, |made_ms| made_ms.saturating_add(1)),
        certain_since_ms: totals.log_time_ms.saturating_add(1),
    }
}

fn corrupt(detail: &str) -> LocalFault {
    LocalFault::CorruptRow {
        table: TABLE,
        detail: detail.to_owned(),
    }
}

fn revision_of(key: &[u8]) -> Result<Revision, LocalFault> {
    keys::revision_at_end(key).ok_or_else(|| corrupt("a key is too short"))
}

/// Whether an answer that was made at that record time has expired.
pub(crate) fn has_expired(at_us: u64, totals: &Totals) -> bool {
    at_us.saturating_add(KEPT_US) < totals.record_time_us
}

/// When to look again, if the oldest answer that is left expires then.
fn look_again_us(totals: &Totals, expires_us: u64) -> u64 {
    expires_us.max(totals.record_time_us.saturating_add(EXPIRY_PAUSE_US))
}

/// Forgets the oldest expired answers, at most [`EXPIRED_ROWS_PER_APPLY_MAX`].
pub(crate) fn delete_expired(rows: &mut dyn Rows, totals: &mut Totals) -> Result<(), LocalFault> {
    if totals.keys_expire_from_us >= totals.record_time_us {
        return Ok(());
    }
    let until_us = totals.record_time_us.saturating_sub(KEPT_US);
    let mut left = EXPIRED_ROWS_PER_APPLY_MAX;
    for _ in 0..SHARES_PER_APPLY_MAX {
        // The oldest answer of all only grows younger: what lies before is gone.
        let before = Revision(totals.keys_oldest.0.saturating_sub(1));
        let after = keys::oldest_share(before, &[0xff]);
        let first = rows.scan(&[keys::OLDEST_SHARES], Some(&after), 1)?.pop();
        let Some((key, _)) = first else {
            totals.keys_expire_from_us = u64::MAX;
            return Ok(());
        };
        let (revision, unit) =
            keys::split_oldest_share(&key).ok_or_else(|| corrupt("a key is too short"))?;
        totals.keys_oldest = revision;
        let mut share = Held::open(rows, totals, unit.to_vec())?;
        let oldest = share.now.oldest;
        let oldest = oldest.ok_or_else(|| corrupt("an empty share is said to be old"))?;
        if !has_expired(oldest.at_us, totals) {
            let expires_us = oldest.at_us.saturating_add(KEPT_US);
            totals.keys_expire_from_us = look_again_us(totals, expires_us);
            return Ok(());
        }
        let gone = share.forget_oldest(rows, totals, left, until_us, &|_| false)?;
        share.close(rows, totals)?;
        left = left.saturating_sub(gone);
        if left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// Since when the keys of `actor` are certain, log time in milliseconds: an answer that was made then
/// or later is remembered. 0 if none was ever forgotten.
///
/// # Errors
/// A fault of this replica's store.
pub fn certain_since_ms(
    rows: &dyn ReadRows,
    totals: &Totals,
    actor: &Actor,
) -> Result<u64, LocalFault> {
    let share = Held::of(rows, totals, actor)?;
    Ok(share.with_the_crowd(rows, totals, actor)?.certain_since_ms)
}
