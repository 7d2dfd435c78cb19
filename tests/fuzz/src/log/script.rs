//! The script: what is written, record by record, and what is then damaged.

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use raft3d_engine::codec::{encode_entry, encode_log_id, encode_vote};
use raft3d_engine::raft::types::{Entry, EntryPayload, LeaderId, LogId, Proposal, Vote};

use super::Content;
use super::image::{Blow, Image, put_opt, put_record};
use crate::input::Input;

/// Steps of a script: the low four bits of a byte, and what follows it.
pub(crate) mod op {
    /// An entry: length, payload. Bit 4: of the next term. Bit 5: blank.
    pub(crate) const ENTRY: u8 = 0;
    /// A vote: its term. Bit 4: committed.
    pub(crate) const VOTE: u8 = 1;
    /// A truncation: how many entries go.
    pub(crate) const TRUNCATE: u8 = 2;
    /// A purge: how far from the first entry.
    pub(crate) const PURGE: u8 = 3;
    /// What is committed: how far before the last entry.
    pub(crate) const COMMITTED: u8 = 4;
    /// A seal.
    pub(crate) const SEAL: u8 = 5;
    /// A record of any kind: kind, length, body.
    pub(crate) const FOREIGN: u8 = 6;
    /// The frame ends. Bit 4: and with it the segment.
    pub(crate) const FRAME: u8 = 7;
    /// The script ends; what follows is damage: how many frames are synced, which slots of the
    /// watermark are damaged, then blows of place (2 bytes), length, and xor (0: zeros).
    pub(crate) const DAMAGE: u8 = 8;
}

/// Segments of one image: their bytes are addressed with 16 bits.
const SEGMENTS_MAX: usize = 4;
/// Records of one frame: with the longest of them it still fits a segment.
const RECORDS_MAX: u32 = 32;
/// Frames of one image: more of them only cost time.
const FRAMES_MAX: usize = 48;

/// A log as it was written.
pub(super) struct Written {
    pub(super) image: Image,
    /// What the log says after each number of frames.
    pub(super) states: Vec<Content>,
    /// Frames that the watermark names.
    pub(super) synced: usize,
    /// A record was written that this writer does not understand.
    pub(super) is_foreign: bool,
    pub(super) damage: Vec<Blow>,
}

/// The script, and how far it was followed.
pub(super) struct Script<'a> {
    input: Input<'a>,
    image: Image,
    states: Vec<Content>,
    now: Content,
    payload: Vec<u8>,
    records: u32,
    is_foreign: bool,
}

impl<'a> Script<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input: Input::new(input),
            image: Image::default(),
            states: vec![Content::default()],
            now: Content::default(),
            payload: Vec::new(),
            records: 0,
            is_foreign: false,
        }
    }

    pub(super) fn write(mut self) -> Written {
        while !self.input.is_empty() && self.states.len() <= FRAMES_MAX {
            let step = self.input.u8();
            if step & 0xf == op::DAMAGE {
                break;
            }
            if !self.step(step) {
                break;
            }
        }
        self.end_frame();
        let frames = self.states.len() - 1;
        let unsynced = usize::from(self.input.u8()) % (frames + 1);
        let synced = frames - unsynced;
        self.image.set_watermark(synced, &self.states);
        Written {
            damage: self.damage(),
            image: self.image,
            states: self.states,
            synced,
            is_foreign: self.is_foreign,
        }
    }

    fn damage(&mut self) -> Vec<Blow> {
        let slots = self.input.u8();
        let mut damage: Vec<_> = (0..2)
            .filter(|slot| slots >> slot & 1 == 1)
            .map(|slot| Blow::Watermark { slot })
            .collect();
        while !self.input.is_empty() {
            let at = usize::from(self.input.u16());
            let length = usize::from(self.input.u8()) + 1;
            let xor = Some(self.input.u8()).filter(|xor| *xor != 0);
            damage.push(Blow::Segments { at, length, xor });
        }
        damage
    }

    /// Follows one step. False where there is no more room.
    fn step(&mut self, step: u8) -> bool {
        let (flag, other) = (step >> 4 & 1 == 1, step >> 5 & 1 == 1);
        match step & 0xf {
            op::ENTRY => self.entry(flag, other),
            op::VOTE => {
                let mut vote = Vote::new(u64::from(self.input.u8()), 1);
                vote.committed = flag;
                self.now.vote = Some(vote);
                self.put(3, |body| encode_vote(&vote, body));
            }
            op::TRUNCATE => self.truncate(),
            op::PURGE => self.purge(),
            op::COMMITTED => {
                let back = usize::from(self.input.u8());
                let entry = self.now.entries.iter().rev().nth(back);
                self.now.committed = entry.map(|entry| entry.log_id);
                let committed = self.now.committed;
                self.put(6, |body| put_opt(body, committed.as_ref(), encode_log_id));
            }
            op::SEAL => self.put(7, |_| ()),
            op::FOREIGN => {
                let (kind, length) = (self.input.u8(), self.input.u8());
                let body = self.input.take(usize::from(length));
                self.is_foreign = true;
                self.put(kind, |out| out.extend_from_slice(body));
            }
            op::FRAME => {
                self.end_frame();
                if flag {
                    self.image.roll();
                }
                return self.image.segments() < SEGMENTS_MAX;
            }
            _ => {}
        }
        if self.records == RECORDS_MAX {
            self.end_frame();
        }
        self.image.segments() < SEGMENTS_MAX
    }

    fn put(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let mut body = Vec::new();
        write(&mut body);
        put_record(&mut self.payload, kind, &body);
        self.records += 1;
    }

    fn entry(&mut self, new_term: bool, is_blank: bool) {
        let length = self.input.u8();
        let payload = self.input.take(usize::from(length));
        let term = self.now.last.map_or(1, |last| last.leader_id.term);
        let index = self.now.last.map_or(0, |last| last.index + 1);
        let entry = Entry {
            log_id: LogId::new(LeaderId::new(term + u64::from(new_term), 1), index),
            payload: if is_blank {
                EntryPayload::Blank
            } else {
                EntryPayload::Normal(Proposal(Bytes::copy_from_slice(payload)))
            },
        };
        self.put(2, |body| encode_entry(&entry, body));
        self.now.last = Some(entry.log_id);
        self.now.entries.push(entry);
    }

    fn truncate(&mut self) {
        let count = usize::from(self.input.u8()).min(self.now.entries.len());
        let stay = self.now.entries.len() - count;
        self.now.entries.truncate(stay);
        let last = self.now.entries.last().map(|entry| entry.log_id);
        let after = last.or(self.now.purged);
        self.put(4, |body| put_opt(body, after.as_ref(), encode_log_id));
        self.now.last = after;
        if index_of(self.now.committed) > index_of(after) {
            self.now.committed = after;
        }
    }

    fn purge(&mut self) {
        let count = u64::from(self.input.u8());
        let up_to = self.now.purged.map_or(0, |id| id.index + 1) + count;
        let known = self.now.entries.iter().find(|e| e.log_id.index == up_to);
        let term = self.now.last.map_or(1, |last| last.leader_id.term);
        let beyond = LogId::new(LeaderId::new(term, 1), up_to);
        let up_to = known.map_or(beyond, |entry| entry.log_id);
        self.put(5, |body| {
            body.extend(1_u64.to_le_bytes());
            put_opt(body, Some(&up_to), encode_log_id);
        });
        self.now.purged = Some(up_to);
        self.now.entries.retain(|e| e.log_id.index > up_to.index);
        if index_of(self.now.last) < Some(up_to.index) {
            self.now.last = Some(up_to);
        }
    }

    /// A segment begins with everything that older ones say beside entries.
    fn checkpoint(&self) -> Vec<u8> {
        let before = &self.states[self.states.len() - 1];
        let mut body = 1_u64.to_le_bytes().to_vec();
        put_opt(&mut body, before.vote.as_ref(), encode_vote);
        for log_id in [before.committed, before.purged, before.last] {
            put_opt(&mut body, log_id.as_ref(), encode_log_id);
        }
        let mut record = Vec::new();
        put_record(&mut record, 1, &body);
        record
    }

    fn end_frame(&mut self) {
        if self.records == 0 {
            return;
        }
        let checkpoint = self.checkpoint();
        // Where the frame fits only without one, it begins a segment too, and leaves a gap of zeros.
        if self.image.begins_segment(self.payload.len()) {
            self.payload.splice(0..0, checkpoint);
            self.records += 1;
            self.image.roll();
        }
        self.image.add_frame(&self.payload, self.records);
        self.payload.clear();
        self.records = 0;
        self.states.push(self.now.clone());
    }
}

fn index_of(log_id: Option<LogId>) -> Option<u64> {
    log_id.map(|id| id.index)
}
