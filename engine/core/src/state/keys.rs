//! The key layout, all of it: one tag byte per table, then the parts of the id.
//!
//! | tag | table | rest of the key | value |
//! |---|---|---|---|
//! | `01` | single rows | one byte: 0 totals, 1 cluster id, 2 active ruleset, 3 last adjustment of the clock | CBOR |
//! | `10` | printers | text id | CBOR `Printer` |
//! | `11` | load of a printer | text id | CBOR `PrinterLoad` |
//! | `12` | queue of a printer | text id, state, priority (descending), created revision | job id |
//! | `20` | filaments | text id | CBOR `Filament`, `reserved` zero |
//! | `21` | grams reserved of a filament | text id | CBOR `Grams` |
//! | `22` | ledger | text filament id, revision | CBOR `LedgerEntry` |
//! | `30` | jobs | text id | CBOR `Job` |
//! | `31` | open jobs per state | state | CBOR `StateCount` |
//! | `32` | load of an actor | actor | CBOR `ActorLoad` |
//! | `40` | ruleset revisions | revision | CBOR `RulesetRevision` |
//! | `50` | modules | 32 bytes SHA-256 | CBOR `ModuleInfo` |
//! | `51` | bytes of modules | 32 bytes SHA-256 | the original bytes |
//! | `60` | exactly-once records | actor, text request id | CBOR `RequestRow` |
//! | `61` | the answers in a share | share, revision | CBOR `KeyedRow` |
//! | `62` | shares of remembered keys | share | CBOR `KeyShare` |
//! | `63` | shares by their oldest answer | its revision, share | empty |
//! | `64` | large shares, the largest first | verified or not, complement of the class, share | empty |
//! | `70` | what entries came to | revision | CBOR `EntryRecord` |
//! | `71` | entries that asked policies about a job, but the one that created it | text job id, revision | empty |
//! | `72` | rows that were created in the rationed part of a table | that table's tag, share | CBOR number |
//! | `80` | entries that are recorded as denied | revision of the denied entry | CBOR `DeniedEntry` |
//!
//! Numbers are big-endian, so that they sort as numbers. A text may hold any byte: `00` becomes
//! `00 ff` and the end is `00 01`, so that keys sort as the texts do and no text's key is a prefix
//! of another's (the tuple layer of FoundationDB escapes so). A state is its name in ASCII lower
//! case, as text; an actor is one byte (verified or not) and its name as text. A share is an actor, or
//! one byte (2 and verified or not) and its place in the crowd.

use crate::command::Actor;
use crate::ids::{FilamentId, JobId, ModuleDigest, PrinterId, RequestId, Revision};
use crate::limits::GENERATED_ID_PREFIX;

pub(crate) const PRINTERS: u8 = 0x10;
pub(crate) const FILAMENTS: u8 = 0x20;
pub(crate) const JOBS: u8 = 0x30;
pub(crate) const OPEN_BY_STATE: u8 = 0x31;
pub(crate) const RULESETS: u8 = 0x40;
pub(crate) const MODULES: u8 = 0x50;
pub(crate) const OLDEST_SHARES: u8 = 0x63;
pub(crate) const ENTRIES: u8 = 0x70;
pub(crate) const DENIED: u8 = 0x80;

const SINGLE: u8 = 0x01;
const PRINTER_LOAD: u8 = 0x11;
const PRINTER_QUEUE: u8 = 0x12;
const FILAMENT_RESERVED: u8 = 0x21;
const LEDGER: u8 = 0x22;
const ACTOR_LOAD: u8 = 0x32;
const MODULE_BYTES: u8 = 0x51;
const REQUESTS: u8 = 0x60;
const KEYED: u8 = 0x61;
const SHARES: u8 = 0x62;
const LARGE_SHARES: u8 = 0x64;
/// First byte of a share that is a place in the crowd, or one more if its actors are verified.
const CROWD: u8 = 2;
const DECISIONS_OF_JOB: u8 = 0x71;
const RATIONS: u8 = 0x72;

pub(crate) const TOTALS: [u8; 2] = [SINGLE, 0];
pub(crate) const CLUSTER_ID: [u8; 2] = [SINGLE, 1];
pub(crate) const ACTIVE_RULESET: [u8; 2] = [SINGLE, 2];
pub(crate) const CLOCK_ADJUSTMENT: [u8; 2] = [SINGLE, 3];

/// Ends a text.
const TEXT_END: [u8; 2] = [0x00, 0x01];
/// Bytes that most keys fit: growing one byte by byte costs more than what it is looked up for.
const USUAL_BYTES: usize = 96;

/// A key under construction.
struct Key(Vec<u8>);

impl Key {
    fn table(tag: u8) -> Self {
        let mut key = Vec::with_capacity(USUAL_BYTES);
        key.push(tag);
        Self(key)
    }

    fn text(mut self, text: &str) -> Self {
        let mut parts = text.as_bytes().split(|byte| *byte == 0);
        self.0.extend_from_slice(parts.next().unwrap_or_default());
        for part in parts {
            self.0.extend_from_slice(&[0x00, 0xff]);
            self.0.extend_from_slice(part);
        }
        self.0.extend_from_slice(&TEXT_END);
        self
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn actor(self, actor: &Actor) -> Self {
        self.bytes(&[u8::from(actor.verified)]).text(&actor.name)
    }

    fn state(self, name: &str) -> Self {
        self.text(&name.to_ascii_lowercase())
    }
}

pub(crate) fn printer(id: &PrinterId) -> Vec<u8> {
    Key::table(PRINTERS).text(id.as_str()).0
}

pub(crate) fn printer_load(id: &PrinterId) -> Vec<u8> {
    Key::table(PRINTER_LOAD).text(id.as_str()).0
}

/// Prefix of the queue of `printer`'s jobs in `state`.
pub(crate) fn queue_prefix(printer: &PrinterId, state: &str) -> Vec<u8> {
    Key::table(PRINTER_QUEUE)
        .text(printer.as_str())
        .state(state)
        .0
}

/// Place in the queue: higher priority first, then the older job.
pub(crate) fn queue(printer: &PrinterId, state: &str, priority: i32, created: Revision) -> Vec<u8> {
    // Flipping the sign bit makes the order of i32 that of u32; complementing it, descending.
    let descending = !(priority.cast_unsigned() ^ 0x8000_0000);
    Key(queue_prefix(printer, state))
        .bytes(&descending.to_be_bytes())
        .number(created.0)
        .0
}

pub(crate) fn filament(id: &FilamentId) -> Vec<u8> {
    Key::table(FILAMENTS).text(id.as_str()).0
}

pub(crate) fn filament_reserved(id: &FilamentId) -> Vec<u8> {
    Key::table(FILAMENT_RESERVED).text(id.as_str()).0
}

/// Prefix of a filament's ledger.
pub(crate) fn ledger_prefix(filament: &FilamentId) -> Vec<u8> {
    Key::table(LEDGER).text(filament.as_str()).0
}

pub(crate) fn ledger(filament: &FilamentId, revision: Revision) -> Vec<u8> {
    Key(ledger_prefix(filament)).number(revision.0).0
}

pub(crate) fn job(id: &JobId) -> Vec<u8> {
    Key::table(JOBS).text(id.as_str()).0
}

pub(crate) fn open_by_state(state: &str) -> Vec<u8> {
    Key::table(OPEN_BY_STATE).state(state).0
}

pub(crate) fn actor_load(actor: &Actor) -> Vec<u8> {
    Key::table(ACTOR_LOAD).actor(actor).0
}

pub(crate) fn ruleset(revision: Revision) -> Vec<u8> {
    Key::table(RULESETS).number(revision.0).0
}

pub(crate) fn module(digest: ModuleDigest) -> Vec<u8> {
    Key::table(MODULES).bytes(&digest.0).0
}

pub(crate) fn module_bytes(digest: ModuleDigest) -> Vec<u8> {
    Key::table(MODULE_BYTES).bytes(&digest.0).0
}

pub(crate) fn request(actor: &Actor, id: &RequestId) -> Vec<u8> {
    Key::table(REQUESTS).actor(actor).text(id.as_str()).0
}

/// The share of an actor, as a part of keys.
pub(crate) fn actor_share(actor: &Actor) -> Vec<u8> {
    Key(Vec::with_capacity(USUAL_BYTES)).actor(actor).0
}

/// A place in the crowd, as a part of keys.
pub(crate) fn crowd_share(verified: bool, place: u8) -> Vec<u8> {
    vec![CROWD | u8::from(verified), place]
}

/// What was created in the rationed part of the table `tag` by those of a share.
pub(crate) fn ration(tag: u8, share: &[u8]) -> Vec<u8> {
    Key::table(RATIONS).bytes(&[tag]).bytes(share).0
}

/// Whether its actors are verified, and its place in the crowd if it is one.
pub(crate) fn share_of(share: &[u8]) -> (bool, Option<u8>) {
    let kind = share.first().copied().unwrap_or_default();
    let place = share.get(1).copied().filter(|_| kind & CROWD != 0);
    (kind & 1 != 0, place)
}

/// The actor whose share it is; none for a place in the crowd.
pub(crate) fn actor_of_share(share: &[u8]) -> Option<Actor> {
    let (verified, crowd) = share_of(share);
    let text = share.get(1..)?.strip_suffix(&TEXT_END)?;
    // `00 ff` stands for a zero byte, and no other one is in a name.
    let mut name = Vec::with_capacity(text.len());
    let mut after_zero = false;
    for byte in text {
        if !(after_zero && *byte == 0xff) {
            name.push(*byte);
        }
        after_zero = *byte == 0;
    }
    let name = String::from_utf8(name).ok().filter(|_| crowd.is_none())?;
    Some(Actor { name, verified })
}

pub(crate) fn share(share: &[u8]) -> Vec<u8> {
    Key::table(SHARES).bytes(share).0
}

/// Prefix of the answers in a share.
pub(crate) fn keyed_prefix(share: &[u8]) -> Vec<u8> {
    Key::table(KEYED).bytes(share).0
}

pub(crate) fn keyed(share: &[u8], revision: Revision) -> Vec<u8> {
    Key(keyed_prefix(share)).number(revision.0).0
}

pub(crate) fn oldest_share(revision: Revision, share: &[u8]) -> Vec<u8> {
    Key::table(OLDEST_SHARES).number(revision.0).bytes(share).0
}

/// The revision and the share in a key made by [`oldest_share`]; none if it is not one.
pub(crate) fn split_oldest_share(key: &[u8]) -> Option<(Revision, &[u8])> {
    let (revision, share) = key.strip_prefix(&[OLDEST_SHARES])?.split_first_chunk()?;
    Some((Revision(u64::from_be_bytes(*revision)), share))
}

/// Prefix of the large shares of verified actors, or of all others, the largest first.
pub(crate) fn large_shares_prefix(verified: bool) -> Vec<u8> {
    Key::table(LARGE_SHARES).bytes(&[u8::from(verified)]).0
}

pub(crate) fn large_share(verified: bool, class: u8, share: &[u8]) -> Vec<u8> {
    Key(large_shares_prefix(verified))
        .bytes(&[!class])
        .bytes(share)
        .0
}

/// The share in a key made by [`large_share`].
pub(crate) fn unit_of_large_share(key: &[u8]) -> &[u8] {
    key.get(3..).unwrap_or_default()
}

pub(crate) fn entry(revision: Revision) -> Vec<u8> {
    Key::table(ENTRIES).number(revision.0).0
}

/// Prefix of the records about `job`.
pub(crate) fn decisions_of_job_prefix(job: &JobId) -> Vec<u8> {
    Key::table(DECISIONS_OF_JOB).text(job.as_str()).0
}

pub(crate) fn decision_of_job(job: &JobId, revision: Revision) -> Vec<u8> {
    Key(decisions_of_job_prefix(job)).number(revision.0).0
}

pub(crate) fn denied(index: Revision) -> Vec<u8> {
    Key::table(DENIED).number(index.0).0
}

/// The revision with which a key ends; none where it is too short for one.
pub(crate) fn revision_at_end(key: &[u8]) -> Option<Revision> {
    key.last_chunk()
        .map(|bytes| Revision(u64::from_be_bytes(*bytes)))
}

/// Whether a row under `key` can only have been written by an entry after `revision`: the key
/// holds the log index of the entry that wrote it. A store that is at `revision` holds none.
#[must_use]
pub fn is_of_later_entry(key: &[u8], revision: Revision) -> bool {
    let written = match key.split_first() {
        Some((&(PRINTER_QUEUE | LEDGER | ENTRIES | DECISIONS_OF_JOB | KEYED), rest)) => {
            rest.last_chunk()
        }
        Some((&OLDEST_SHARES, rest)) => rest.first_chunk(),
        Some((&JOBS, rest)) => return generated_by(rest).is_some_and(|entry| entry > revision.0),
        _ => None,
    };
    written.is_some_and(|written| u64::from_be_bytes(*written) > revision.0)
}

/// Whether it is the key of a job whose id a client chose: it does not say which entry wrote the row.
#[must_use]
pub fn is_job_of_chosen_id(key: &[u8]) -> bool {
    key.strip_prefix(&[JOBS])
        .is_some_and(|id| generated_by(id).is_none())
}

/// The log index of the entry that generated the id in this text key; none where a client chose it.
fn generated_by(text: &[u8]) -> Option<u64> {
    let digits = text
        .strip_prefix(GENERATED_ID_PREFIX.as_bytes())?
        .strip_suffix(&TEXT_END)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The time in the minted id ([`RequestId::minted`]) of the request whose record is under `key`,
/// milliseconds since the Unix epoch; none where the id is another one, or the key another table's.
#[must_use]
pub fn request_minted_at_ms(key: &[u8]) -> Option<u64> {
    let actor_and_id = key.strip_prefix(&[REQUESTS])?.strip_suffix(&TEXT_END)?;
    let id_at = actor_and_id.len().checked_sub(RequestId::MINTED_DIGITS)?;
    let (actor, id) = actor_and_id.split_at_checked(id_at)?;
    RequestId::minted_at_ms(id).filter(|_| actor.ends_with(&TEXT_END))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_keys_sort_as_texts_and_are_no_prefixes(
            a in "[\0\u{1}a\u{ff}b]{0,5}|.{0,6}",
            b in "[\0\u{1}a\u{ff}b]{0,5}",
        ) {
            let (ka, kb) = (Key::table(1).text(&a).0, Key::table(1).text(&b).0);
            prop_assert_eq!(a.as_bytes().cmp(b.as_bytes()), ka.cmp(&kb));
            prop_assert!(a == b || !(ka.starts_with(&kb) || kb.starts_with(&ka)));
        }

        #[test]
        fn the_queue_sorts_by_priority_then_age(
            a in any::<(i32, u64)>(),
            b in any::<(i32, u64)>(),
        ) {
            let key = |(priority, age)| {
                queue(&PrinterId::new("p"), "Queued", priority, Revision(age))
            };
            let expected = b.0.cmp(&a.0).then(a.1.cmp(&b.1));
            prop_assert_eq!(key(a).cmp(&key(b)), expected);
        }
    }

    #[test]
    fn keys_with_a_log_index_tell_whether_a_store_can_hold_them() {
        let printer = PrinterId::new("p");
        let of = |index| {
            let filament = FilamentId::new("f");
            [
                entry(Revision(index)),
                queue(&printer, "Queued", -1, Revision(index)),
                ledger(&filament, Revision(index)),
                decision_of_job(&JobId::new("j"), Revision(index)),
            ]
        };
        for (older, later) in of(7).iter().zip(of(8)) {
            assert!(!is_of_later_entry(older, Revision(7)));
            assert!(is_of_later_entry(&later, Revision(7)));
        }
        for chosen in ["12345678", "r3d-", "r3d-x"] {
            assert!(!is_of_later_entry(&job(&JobId::new(chosen)), Revision(0)));
        }
        let generated = job(&JobId::new(format!("{GENERATED_ID_PREFIX}{}", Revision(8))));
        assert!(is_of_later_entry(&generated, Revision(7)));
        assert!(!is_of_later_entry(&generated, Revision(8)));
        assert!(!is_of_later_entry(&[], Revision(0)));
    }

    #[test]
    fn the_key_of_a_minted_request_tells_when() {
        let minted_at = |name: &str, id: RequestId| {
            let actor = Actor {
                name: name.to_owned(),
                verified: false,
            };
            request_minted_at_ms(&request(&actor, &id))
        };
        for at_ms in [0, 1, 1_700_000_000_000, (1 << 48) - 1] {
            for name in ["", "ann", "a\0b", "0123456789abcdef0123456789abcdef0"] {
                let id = RequestId::minted(at_ms, [0xa5; 10]);
                assert_eq!(minted_at(name, id), Some(at_ms));
            }
        }
        let minted = RequestId::minted(77, [9; 10]);
        let (text, upper) = (minted.as_str(), minted.as_str().to_uppercase());
        let others = [
            "key-1",
            &format!("x{text}"),
            &format!("{text}0"),
            &text[1..],
            &format!("{}g", &text[1..]),
            &upper,
        ];
        for other in others {
            assert_eq!(minted_at("ann", RequestId::new(other)), None, "{other}");
        }
        // Neither does a row of another table, nor a name that ends as an id does.
        assert_eq!(request_minted_at_ms(&job(&JobId::new(text))), None);
        assert_eq!(minted_at(text, RequestId::new("")), None);
        assert_eq!(request_minted_at_ms(&[REQUESTS]), None);
    }

    #[test]
    fn the_keys_of_shares_lead_back_to_them() {
        for name in ["a\0b", "\0", "ann", "\u{ff}\0\u{1}"] {
            for verified in [false, true] {
                let actor = Actor {
                    name: name.to_owned(),
                    verified,
                };
                let own = actor_share(&actor);
                assert_eq!(share_of(&own), (verified, None));
                assert_eq!(actor_of_share(&own), Some(actor));
                for unit in [own, crowd_share(verified, 63)] {
                    let oldest = oldest_share(Revision(7), &unit);
                    assert_eq!(split_oldest_share(&oldest), Some((Revision(7), &*unit)));
                    let large = large_share(verified, 9, &unit);
                    assert_eq!(unit_of_large_share(&large), unit);
                    assert!(
                        large_share(verified, 10, &unit) < large,
                        "the largest first"
                    );
                    let answer = keyed(&unit, Revision(8));
                    assert!(is_of_later_entry(&answer, Revision(7)));
                    assert!(!is_of_later_entry(&answer, Revision(8)));
                    assert!(is_of_later_entry(&oldest, Revision(6)));
                    assert!(!is_of_later_entry(&oldest, Revision(7)));
                }
                assert_eq!(share_of(&crowd_share(verified, 63)), (verified, Some(63)));
                assert_eq!(actor_of_share(&crowd_share(verified, 1)), None);
            }
        }
        assert_eq!(split_oldest_share(b"short"), None);
    }
}
