use kvlogdb_engine_api::{LogName, MemoryEngine, WriteBatch};

use super::*;
use crate::transfer::compare;

fn unwatched(_: &Totals) {}

fn exported(engine: &dyn KvLogDb, identity: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(engine, identity, &mut bytes, &mut unwatched).unwrap();
    bytes
}

fn load(bytes: &[u8]) -> Result<Totals, StreamError> {
    StreamReader::new(bytes)?.load(&MemoryEngine::new(), &mut unwatched)
}

/// One metadata record and one entry, as bytes that no log wrote.
fn small() -> MemoryEngine {
    let engine = MemoryEngine::new();
    let mut batch = WriteBatch::new();
    batch.put_meta(MetaKey::store(0), &[b"meta"]).unwrap();
    batch.put_entry(LogName::default().at(5), &[b"entry"]).unwrap();
    engine.write(&[&batch], kvlogdb_engine_api::Durability::Synced).unwrap();
    engine
}

/// Frames, each in parts.
type Frames<'a> = &'a [&'a [&'a [u8]]];

/// A stream from parts that are each followed by their checksum, with a trailer that fits.
fn sealed(frames: Frames<'_>, (metadata, entries): (u64, u64)) -> Vec<u8> {
    let mut sink = Sink { output: Vec::new(), total: 0 };
    sink.put_checked(&[MAGIC, &VERSION.to_le_bytes(), &[0]]).unwrap();
    for frame in frames {
        sink.put_checked(frame).unwrap();
    }
    sink.put(&[TRAILER]).unwrap();
    sink.put(&metadata.to_le_bytes()).unwrap();
    sink.put(&entries.to_le_bytes()).unwrap();
    let total = sink.total;
    sink.put(&total.to_le_bytes()).unwrap();
    sink.output
}

#[test]
fn the_bytes_are_the_documented_ones() {
    let mut expected = b"kvlogexp\x01\0\0\0\x02n1".to_vec();
    expected.extend(crc32c::crc32c(&expected).to_le_bytes());
    let meta = b"\x01\x03\x01\0\0\x04\0\0\0meta";
    let mut entry = vec![2, 29, 3];
    entry.extend([0; 27]);
    entry.extend(b"\x05\x05\0\0\0entry");
    for frame in [&meta[..], &entry] {
        expected.extend(frame);
        expected.extend(crc32c::crc32c(frame).to_le_bytes());
    }
    expected.extend(b"\x03\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
    expected.extend(crc32c::crc32c(&expected).to_le_bytes());
    assert_eq!(exported(&small(), b"n1"), expected);
    // Worked out apart from this crate, over the bytes up to them.
    assert_eq!(expected[15..19], HEADER_CHECKSUM);
    assert_eq!(expected[expected.len() - 4..], TOTAL_CHECKSUM);
}

const HEADER_CHECKSUM: [u8; 4] = [0x0b, 0xbc, 0x4c, 0xc8];
const TOTAL_CHECKSUM: [u8; 4] = [0xbd, 0x9d, 0x12, 0x94];

#[test]
fn a_store_comes_back_record_by_record_with_its_identity() {
    let source = crate::transfer::tests::sample();
    let bytes = exported(&source, b"node 7");
    let reader = StreamReader::new(&bytes[..]).unwrap();
    assert_eq!(reader.identity(), b"node 7");
    let target = MemoryEngine::new();
    let loaded = reader.load(&target, &mut unwatched).unwrap();
    assert_eq!(compare(&source, &target, &mut unwatched).unwrap(), (loaded, None));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let bytes = exported(&small(), b"n1");
    assert_eq!(load(&bytes).unwrap().entries, 1);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(load(&flipped).is_err(), "bit {bit} of byte {at}");
        }
        let cut = load(&bytes[..at]);
        assert!(matches!(cut, Err(StreamError::Cut { at: end }) if end == at as u64), "{cut:?}");
    }
    let (mut inside, end_of_frame) = (bytes.clone(), 19 + 13 + 4);
    inside[29] ^= 1;
    let answer = load(&inside);
    assert!(matches!(answer, Err(StreamError::Damaged { at, .. }) if at == end_of_frame));
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(load(&longer), Err(StreamError::Damaged { .. })));
}

#[test]
fn foreign_bytes_and_later_versions_are_told_from_damage() {
    assert!(matches!(load(b"{\"entry\": 1}"), Err(StreamError::Foreign)));
    let later = b"kvlogexp\x02\0\0\0anything";
    assert!(matches!(load(later), Err(StreamError::Version { found: 2 })));
}

#[test]
fn what_is_well_formed_and_no_store_is_refused() {
    let key = |index| LogName::default().at(index).encode();
    let frame = |index| [&[2, 29][..], &key(index), &[0; 4]].concat();
    let (first, second) = (frame(1), frame(2));
    assert_eq!(load(&sealed(&[&[&first], &[&second]], (0, 2))).unwrap().entries, 2);

    let piece = LogName::default().at(1).encode_chunk(1);
    let piece = [&[2, 33][..], &piece, &[0; 4]].concat();
    let huge = [&[2, 29][..], &key(1), &u32::MAX.to_le_bytes()].concat();
    let as_meta = [&[1, 29][..], &key(1), &[0; 4]].concat();
    let unknown = [&[9, 29][..], &key(1), &[0; 4]].concat();
    let bad: [(Frames<'_>, (u64, u64)); 7] = [
        (&[&[&second], &[&first]], (0, 2)),
        (&[&[&first], &[&first]], (0, 2)),
        (&[&[&first]], (0, 2)),
        (&[&[&piece]], (0, 1)),
        (&[&[&huge]], (0, 1)),
        (&[&[&as_meta]], (1, 0)),
        (&[&[&unknown]], (0, 1)),
    ];
    for (frames, counts) in bad {
        let answer = load(&sealed(frames, counts));
        assert!(matches!(answer, Err(StreamError::Damaged { .. })), "{answer:?}");
    }
}

#[test]
fn an_output_that_fails_is_not_a_finished_export() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let len = exported(&small(), b"").len();
    for room in 0..len {
        let answer = export(&small(), b"", Full(room), &mut unwatched);
        assert!(matches!(answer, Err(StreamError::Io { .. })), "{room}: {answer:?}");
    }
    export(&small(), b"", Full(len), &mut unwatched).unwrap();
}
