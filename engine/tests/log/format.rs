//! The bytes on the disk: they must not change without a new format version.

use std::fs;
use std::sync::Arc;

use crate::support::{
    Content, Image, TestDisk, append, append_only, entries, entry, open, open_on, vote,
};
use openraft::storage::RaftLogStorage;
use raft3d_engine::storage::log::LogError;

/// CRC32C, bit by bit, from its definition (RFC 3720, B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0x82F6_3B78;
            }
        }
    }
    !crc
}

#[tokio::test]
async fn a_frame_is_what_the_documentation_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, vec![entry(5, 0, b"hello".to_vec())]).await;
    store.save_vote(&vote(6)).await.unwrap();
    let file = fs::read(dir.path().join("0000000000000001.seg")).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());

    assert_eq!(&file[..8], b"R3DLOGSG");
    assert_eq!((u32_at(8), u64_at(16), u64_at(24)), (1, 1, 64 << 10));
    let (salt, marker) = (&file[32..48], u64_at(48));
    assert_eq!(u32_at(56), crc32c(&file[..56]));

    let mut at = 4_096;
    let mut kinds = Vec::new();
    for sequence in 1..=2 {
        let payload_bytes = u32_at(at + 24) as usize;
        let payload = &file[at + 32..at + 32 + payload_bytes];
        let header = [salt, &(at as u64).to_le_bytes(), &file[at + 4..at + 32]].concat();
        assert_eq!(u32_at(at), crc32c(&header));
        assert_eq!(u32_at(at + 4), crc32c(&[salt, payload].concat()));
        assert_eq!((u64_at(at + 8), u64_at(at + 16)), (marker, sequence));
        let mut record = at + 32;
        for _ in 0..u32_at(at + 28) {
            let body_bytes = u32_at(record + 4) as usize;
            let body = &file[record + 12..record + 12 + body_bytes];
            assert_eq!(file[record + 1..record + 4], [0; 3]);
            let checked = [&file[record..record + 8], body].concat();
            assert_eq!(u32_at(record + 8), crc32c(&checked));
            kinds.push((file[record], body.to_vec()));
            record += 12 + body_bytes;
        }
        assert_eq!(record, at + 32 + payload_bytes);
        at = record.next_multiple_of(8);
    }
    assert!(file[at..].iter().all(|byte| *byte == 0));
    // A checkpoint of an empty log, the entry, the vote.
    assert_eq!(kinds.len(), 3);
    assert_eq!(kinds[0], (1, vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(kinds[1].0, 2);
    assert!(kinds[1].1.ends_with(b"hello"));
    assert_eq!(kinds[2].0, 3);
}

/// A client writes bytes that are a frame of the very same segment: as the payload of a batch that
/// is torn, where recovery looks for frames, they must not pass for one.
#[tokio::test]
async fn a_copied_frame_in_a_payload_is_no_frame() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    append(&mut store, vec![entry(1, 0, vec![1; 100])]).await;
    // The newest frames that an attacker could have read off the disk: the next ones as well.
    let twin = Image::of(dir.path()).write();
    let mut ahead = open(twin.path()).unwrap();
    for index in 1..20 {
        append(&mut ahead, vec![entry(1, index, vec![1; 100])]).await;
    }
    let stolen = fs::read(twin.path().join("0000000000000001.seg")).unwrap()[4_096..8_192].to_vec();

    // Shifted by each number of bytes, so that some copy is aligned as frames are.
    let mut payload = Vec::new();
    for shift in 0..8 {
        payload.extend_from_slice(&stolen[..400]);
        payload.extend(vec![0; shift + 1]);
    }
    payload.extend_from_slice(&stolen);
    disk.hold();
    let answer = append_only(&mut store, vec![entry(1, 1, payload.clone())]).await;
    disk.wait_for_sync();
    let write = disk.writes().last().unwrap().clone();
    let image = Image::of(dir.path());
    for torn in [0, 5, 20, 33, 60] {
        let mut image = image.clone();
        image.bytes(&write)[torn] ^= 0xFF;
        let copy = image.write();
        let found = entries(&open(copy.path()).unwrap()).await;
        assert_eq!(found, vec![entry(1, 0, vec![1; 100])], "torn at {torn}");
    }
    disk.release();
    answer.await.unwrap();
    let found = entries(&store).await;
    drop(store);
    assert_eq!(Content::of(&open(dir.path()).unwrap()).await.entries, found);
}

#[tokio::test]
async fn another_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    drop(store);
    let segment = dir.path().join("0000000000000001.seg");
    let sound = fs::read(&segment).unwrap();
    let as_of = |format: u8| {
        let mut file = sound.clone();
        file[8] = format;
        let checksum = crc32c(&file[..56]).to_le_bytes();
        file[56..60].copy_from_slice(&checksum);
        fs::write(&segment, file).unwrap();
        open(dir.path()).unwrap_err()
    };
    let (newer, older) = (as_of(2), as_of(0));
    let text = "was written by a newer version of raft3d (format 2; this program reads up to 1)";
    assert!(newer.to_string().contains(text), "{newer}");
    assert!(
        matches!(older, LogError::Format { found: 0, .. }),
        "{older}"
    );
    let text = "start it with the program that wrote it";
    assert!(older.to_string().contains(text), "{older}");
    assert!(newer.is_of_other_version() && older.is_of_other_version());

    // The watermark is read first, and its older slot may still be ours.
    fs::write(&segment, sound).unwrap();
    let watermark = dir.path().join("watermark");
    let mut slots = fs::read(&watermark).unwrap();
    let length = u32::from_le_bytes(slots[12..16].try_into().unwrap()) as usize;
    slots[8] = 2;
    let checksum = crc32c(&slots[..16 + length]).to_le_bytes();
    slots[16 + length..20 + length].copy_from_slice(&checksum);
    fs::write(&watermark, &slots).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(error.is_of_other_version(), "{error}");
    assert!(error.to_string().contains("watermark"), "{error}");
    assert_eq!(fs::read(&watermark).unwrap(), slots, "it is left alone");
}
