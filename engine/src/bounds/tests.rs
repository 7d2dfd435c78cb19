use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::raft::message::{AdminAsk, Ask, Request, SnapshotBegin, TransferAsk, VoteAsk};
use crate::raft::types::{Incarnation, LeaderId, NodeId, Proposal, StoredMembership};

/// Lengths and numbers at their bounds and beyond them, more often than in between.
fn around(max: u64) -> impl Strategy<Value = u64> {
    prop_oneof![0..=max, Just(max), Just(max + 1), Just(u64::MAX)]
}

fn some_address() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-z0-9.:-]{0,20}",
        (ADDRESS_BYTES_MAX - 8..ADDRESS_BYTES_MAX + 2).prop_map(|len| "h".repeat(len)),
        "\\PC{0,4}",
    ];
    let port = prop_oneof![Just(":9000".to_owned()), Just(String::new()), ":[0-9]{1,6}"];
    (host, port).prop_map(|(host, port)| host + &port)
}

fn some_member() -> impl Strategy<Value = Member> {
    let sound = Just("node-1.shop.lan:9000".to_owned());
    let address = prop_oneof![9 => sound, 1 => some_address()];
    (address.clone(), address, any::<[u8; 16]>()).prop_map(|(peer_addr, http_addr, folder)| {
        Member {
            peer_addr,
            http_addr,
            incarnation: Incarnation(folder),
        }
    })
}

fn some_membership() -> impl Strategy<Value = Membership> {
    let voters = prop_oneof![1..5_usize, Just(VOTERS_MAX), Just(VOTERS_MAX + 1)];
    let learners = prop_oneof![0..5_usize, Just(LEARNERS_MAX), Just(LEARNERS_MAX + 1)];
    let shape = (
        voters.clone(),
        prop::option::of(voters),
        learners,
        0..20_u64,
    );
    (shape, some_member()).prop_map(|((old, new, learners, apart), member)| {
        let range = |from: u64, count: usize| (from..from + count as u64).collect::<BTreeSet<_>>();
        let configs: Vec<BTreeSet<NodeId>> = std::iter::once(range(1, old))
            .chain(new.map(|new| range(1 + apart, new)))
            .collect();
        let ids = configs.iter().flatten().copied();
        let ids = ids.chain(range(1_000, learners));
        let nodes: BTreeMap<NodeId, Member> = ids.map(|id| (id, member.clone())).collect();
        Membership::new(configs, nodes).unwrap()
    })
}

prop_compose! {
    fn some_log_id()(
        term in around(TERM_MAX), node in any::<u64>(), index in around(LOG_INDEX_MAX),
    ) -> LogId {
        LogId::new(LeaderId::new(term, node), index)
    }
}

prop_compose! {
    fn some_vote()(
        term in around(TERM_MAX), node in any::<u64>(), committed in any::<bool>(),
    ) -> Vote {
        Vote { leader_id: LeaderId::new(term, node), committed }
    }
}

fn some_payload() -> impl Strategy<Value = EntryPayload> {
    let sizes = [0, 1, 60_000, ENTRY_BYTES_MAX, ENTRY_BYTES_MAX + 1];
    prop_oneof![
        1 => Just(EntryPayload::Blank),
        2 => prop::sample::select(sizes.to_vec())
            .prop_map(|size| EntryPayload::Normal(Proposal(Bytes::from(vec![7; size])))),
        4 => some_membership().prop_map(EntryPayload::Membership),
    ]
}

/// Whether what was written is read as the same, if and only if its check lets it pass.
fn agrees<T: PartialEq>(written: &T, checked: bool, read: Option<T>) -> bool {
    match read {
        Some(read) => checked && read == *written,
        None => !checked,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_within_its_bounds_is_read_again(
        log_id in some_log_id(), vote in some_vote(), payload in some_payload(),
        membership in some_membership(), recorded in some_member(),
    ) {
        let mut bytes = Vec::new();
        codec::encode_log_id(&log_id, &mut bytes);
        let read = codec::decode_log_id(&bytes).ok();
        prop_assert!(agrees(&log_id, super::log_id(&log_id).is_ok(), read));

        bytes.clear();
        codec::encode_vote(&vote, &mut bytes);
        let read = codec::decode_vote(&bytes).ok();
        prop_assert!(agrees(&vote, super::vote(&vote).is_ok(), read));

        bytes.clear();
        let written = Entry { log_id, payload };
        codec::encode_entry(&written, &mut bytes);
        let checked = super::entry(&written).is_ok();
        let read = codec::decode_entry(&Bytes::from(bytes.clone())).ok();
        prop_assert!(agrees(&written, checked, read));

        bytes.clear();
        let checked = super::membership(&membership).is_ok();
        let stored = StoredMembership::new(None, membership);
        codec::encode_stored_membership(&stored, &mut bytes);
        let read = codec::decode_stored_membership(&bytes).ok();
        prop_assert!(agrees(&stored, checked, read));

        // A joiner's own word: taken where its record can be read again.
        let asks = [Ask::Join(recorded.clone()), Ask::Admin(AdminAsk::AddLearner(recorded.clone()))];
        for ask in asks {
            let read = match Request::decode(&Request::Ask(ask.clone()).encode()) {
                Ok(Request::Ask(read)) => Some(read),
                _ => None,
            };
            prop_assert!(agrees(&ask, super::member(&recorded).is_ok(), read));
        }
    }

    #[test]
    fn messages_are_read_if_what_they_carry_is_within_its_bounds(
        vote in some_vote(), last in prop::option::of(some_log_id()),
        membership in some_membership(), number in any::<u64>(),
    ) {
        let log_id_fits = last.as_ref().is_none_or(|id| super::log_id(id).is_ok());
        let fits = super::vote(&vote).is_ok() && log_id_fits;
        let membership_fits = super::membership(&membership).is_ok();
        let begin = SnapshotBegin {
            vote,
            last_log_id: last,
            membership: StoredMembership::new(None, membership),
            bytes: number,
            transfer: number,
        };
        let snapshot_fits = fits && membership_fits;
        let transfer = TransferAsk { from: vote, to: number, last_log_id: last };
        let asked = VoteAsk { vote, last_log_id: last, pre_vote: true, leadership_transfer: false };
        let asks = [
            (Ask::SnapshotBegin(begin), snapshot_fits),
            (Ask::TransferLeader(transfer), fits),
            (Ask::Vote(asked), fits),
        ];
        for (ask, fits) in asks {
            let read = match Request::decode(&Request::Ask(ask.clone()).encode()) {
                Ok(Request::Ask(read)) => Some(read),
                _ => None,
            };
            prop_assert!(agrees(&ask, fits, read));
        }
    }

    #[test]
    fn a_term_goes_on_step_by_step(ours in 0..TERM_MAX, ahead in around(2 * TERM_JUMP_MAX)) {
        let vote = |term| Vote { leader_id: LeaderId::new(term, 1), committed: false };
        let theirs = vote(ours.saturating_add(ahead));
        let taken = later_vote(&vote(ours), true, &theirs).is_ok();
        prop_assert_eq!(taken, ahead <= TERM_JUMP_MAX && theirs.leader_id.term <= TERM_MAX);
        // The next election is always within reach.
        prop_assert!(later_vote(&vote(ours), true, &vote(ours + 1)).is_ok());
    }
}

#[test]
fn addresses_have_a_host_and_a_port() {
    let longest = format!("{}:65535", "h".repeat(ADDRESS_BYTES_MAX - 6));
    for good in [
        "a:1",
        "127.0.0.1:9000",
        "[::1]:9000",
        "shop.lan:80",
        &longest,
    ] {
        assert_eq!(address(good), Ok(()), "{good}");
    }
    let longer = format!("h{longest}");
    for bad in [
        "", "a", ":9", "a:", "a:0", "a:65536", "a b:1", "a:1\n", &longer,
    ] {
        assert!(address(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_node_without_a_membership_takes_a_late_term_and_still_leaves_room() {
    let vote = |term| Vote {
        leader_id: LeaderId::new(term, 1),
        committed: true,
    };
    assert!(later_vote(&vote(0), false, &vote(FIRST_TERM_MAX)).is_ok());
    assert!(later_vote(&vote(0), false, &vote(FIRST_TERM_MAX + 1)).is_err());
    assert!(later_vote(&vote(0), true, &vote(FIRST_TERM_MAX)).is_err());
    assert!(later_vote(&vote(FIRST_TERM_MAX), true, &vote(FIRST_TERM_MAX + 1)).is_ok());
    assert!(later_vote(&vote(7), true, &vote(u64::MAX)).is_err());
}
