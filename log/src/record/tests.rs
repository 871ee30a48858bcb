use std::fmt::Write as _;

use kvlogdb_engine_api::{LogKey, LogName, MetaKey, ReplicaId};

use super::*;
use crate::census::Census;
use crate::runs::TermRuns;
use crate::trash::Trash;
use crate::types::{Boundary, EntryKind, Leader, LogId};

const REPLICA: ReplicaId = ReplicaId { group: 7, node: 2 };
const KEY: LogKey = LogKey { log: LogName { replica: REPLICA, incarnation: 3 }, index: 9 };
const HEADER: Header = Header {
    term: 0x0102,
    kind: EntryKind::CONFIG,
    appended_at_ms: 1_700_000_000_123,
    log_bytes: 4096,
};

fn record(payload: &[u8]) -> Vec<u8> {
    [&HEADER.encode(KEY, payload), payload].concat()
}

fn meta(key: MetaKey, content: &[u8]) -> Vec<u8> {
    [&header(key, [content, &[]])[..], content].concat()
}

fn state() -> Vec<u8> {
    let mut runs = TermRuns::default();
    assert!(runs.append(10, 4, &Leader::default()));
    assert!(runs.append(300, 5, &Leader::new("n1").unwrap()));
    let purged = Boundary { id: LogId::new(4, 9), leader: Leader::new("n3").unwrap() };
    to_body(&StateRecord::new(6, Some(&purged), &runs, 4))
}

/// Every record of the format, by name.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut trash = Trash::default();
    trash.add(2, 5, 1000);
    let slot = |number| MetaKey::replica(REPLICA, number);
    let census = to_body(&Census::of([REPLICA, ReplicaId::from(1)]));
    vec![
        ("entry", record(b"payload")),
        ("entry without payload", record(b"")),
        ("store", meta(MetaKey::store(slot::STORE), &to_body(&StoreRecord { mark: 300 }))),
        ("census", meta(MetaKey::store(slot::CENSUS), &census)),
        ("state", meta(slot(slot::STATE), &state())),
        ("hard state", meta(slot(slot::HARD_STATE), &to_body(&(5u64, Some(1u64), Some(299u64))))),
        ("snapshot", meta(slot(slot::SNAPSHOT), b"\x04\x09file")),
        ("applied", meta(slot(slot::APPLIED), &to_body(&(5u64, 298u64)))),
        ("membership", meta(slot(slot::MEMBERSHIP), b"members")),
        ("trash", meta(slot(slot::TRASH), &trash.to_body())),
        ("marked", meta(slot(slot::MARKED), &to_body(&300u64))),
        ("user slot", meta(slot(256), b"")),
    ]
}

#[test]
fn the_entry_record_has_the_documented_layout() {
    let bytes = record(b"payload");
    let mut covered = KEY.encode().to_vec();
    covered.extend_from_slice(&bytes[4..]);
    assert_eq!(bytes[..4], crc32c::crc32c(&covered).to_le_bytes());
    assert_eq!(bytes[4..8], [1, 1, 0, 0]);
    assert_eq!(bytes[8..16], [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[16..24], 1_700_000_000_123u64.to_le_bytes());
    assert_eq!(bytes[24..32], [0, 16, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&bytes[32..], b"payload");
    assert_eq!(Header::decode(KEY, &bytes), Ok((HEADER, &b"payload"[..])));
}

/// The file is part of the format: a change of it is a change of what is on people's disks.
#[test]
fn records_are_the_golden_ones() {
    let golden = include_str!("../../tests/golden/records-v1.txt");
    let mut text = String::new();
    for (name, bytes) in all() {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(text, "{name}: {hex}");
    }
    assert_eq!(text, golden);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let entry = record(b"payload");
    let key = MetaKey::replica(REPLICA, slot::STATE);
    let state = meta(key, &state());
    for at in 0..entry.len() * 8 {
        let mut damaged = entry.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(Header::decode(KEY, &damaged).is_err(), "bit {at}");
    }
    for at in 0..state.len() * 8 {
        let mut damaged = state.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(body(key, &damaged).is_err(), "bit {at}");
    }
    for len in 0..entry.len() {
        assert!(Header::decode(KEY, &entry[..len]).is_err(), "cut at {len}");
    }
    for len in 0..state.len() {
        assert!(body(key, &state[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn a_record_under_another_key_is_noticed() {
    let entry = record(b"payload");
    let log = KEY.log;
    let other_replica = LogName { replica: ReplicaId { node: 3, ..REPLICA }, ..log };
    let other_life = LogName { incarnation: 4, ..log };
    for key in [log.at(8), other_replica.at(9), other_life.at(9)] {
        assert_eq!(Header::decode(key, &entry), Err(Unreadable::Checksum));
    }
    let state = meta(MetaKey::replica(REPLICA, slot::STATE), &state());
    for key in [MetaKey::replica(REPLICA, 1), MetaKey::store(0)] {
        assert_eq!(body(key, &state), Err(Unreadable::Checksum));
    }
}

#[test]
fn a_version_or_flag_of_later_is_refused_by_name() {
    for (at, value) in [(4, 2), (6, 1), (7, 1)] {
        let mut bytes = record(b"payload");
        bytes[at] = value;
        let crc = checksum(&KEY.encode(), &[&bytes[4..]]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(KEY, &bytes), Err(Unreadable::Version));
    }
}

#[test]
fn a_state_record_reads_back_and_a_contradictory_one_does_not() {
    let stored: StateRecord = from_body(&state()).unwrap();
    let (incarnation, purged, runs) = stored.clone().into_parts().unwrap();
    assert_eq!(StateRecord::new(incarnation, purged.as_ref(), &runs, stored.others()), stored);
    let mut gap = TermRuns::default();
    assert!(gap.append(11, 4, &Leader::default()));
    assert!(StateRecord::new(0, purged.as_ref(), &gap, 0).into_parts().is_err());
    let (leaderless, trailing) = (b"\x00\x00\x00\x02\x05\x01\x00\x05\x02\x00\x00", b"\x01\x02\x03");
    let unordered: StateRecord = from_body(leaderless).unwrap();
    assert!(unordered.into_parts().is_err());
    assert_eq!(from_body::<(u64, u64)>(trailing), Err(Unreadable::Body));
    let other_shape: StateRecord = from_body(b"\x01\x00\x00\x00\x00").unwrap();
    assert!(other_shape.into_parts().is_err());
}
