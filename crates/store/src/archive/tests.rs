//! The reader against archives of the tar crate's writer, and against bytes that nobody wrote.

use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// An entry to write.
#[derive(Clone, Debug)]
struct Wanted {
    path: String,
    content: Vec<u8>,
    mode: u32,
    uid: u64,
    modified: u64,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let path = "[a-z]{1,30}(/[a-zé ]{1,60}){0,4}";
    (path, vec(any::<u8>(), 0..2000), 0_u32..0o10000, 0_u64..1 << 31, 0_u64..1 << 40)
        .prop_map(|(path, content, mode, uid, modified)| Wanted { path, content, mode, uid, modified })
}

fn write(entries: &[Wanted]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.content.len() as u64);
        header.set_mode(entry.mode);
        header.set_uid(entry.uid);
        header.set_mtime(entry.modified);
        builder.append_data(&mut header, &entry.path, entry.content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn read(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = Archive::new(io::BufReader::with_capacity(700, bytes));
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        while let length @ 1.. = archive.data()?.len() {
            content.write_all(&archive.data()?[..length])?;
            archive.consume(length);
        }
        entries.push((entry, content));
    }
    archive.drain()?;
    Ok(entries)
}

proptest! {
    #[test]
    fn what_another_writer_wrote_is_read(entries in vec(wanted(), 0..8)) {
        let read = read(&write(&entries)).unwrap();
        prop_assert_eq!(read.len(), entries.len());
        for ((entry, content), wanted) in read.iter().zip(&entries) {
            prop_assert_eq!(&entry.path, wanted.path.as_bytes());
            prop_assert_eq!(content, &wanted.content);
            prop_assert_eq!(u64::from(entry.uid), wanted.uid);
            prop_assert_eq!(entry.mode, wanted.mode);
            prop_assert_eq!(entry.modified, Time { seconds: wanted.modified as i64, nanoseconds: 0 });
        }
    }

    #[test]
    fn damage_is_an_error_or_another_archive_but_never_a_panic(
        entries in vec(wanted(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        fix_checksums: bool,
    ) {
        let mut bytes = write(&entries);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if fix_checksums {
            // Or else nearly all damage ends at the first checksum.
            bytes.chunks_exact_mut(BLOCK).for_each(sign);
        }
        bytes.truncate(cut.index(bytes.len() * 2));
        let _ = drain(&bytes);
    }

    #[test]
    fn extended_headers_of_any_bytes_are_bounded(records in vec(any::<u8>(), 0..1500), kind in prop::sample::select(b"xgLKS".to_vec())) {
        let mut bytes = vec![0; BLOCK];
        bytes[0] = b'a';
        bytes[124..135].copy_from_slice(format!("{:011o}", records.len()).as_bytes());
        bytes[156] = kind;
        bytes[257..265].copy_from_slice(b"ustar  \0");
        sign(&mut bytes);
        bytes.extend(&records);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes.extend(write(&[]));
        let _ = drain(&bytes);
    }
}

/// Makes a header's checksum right.
fn sign(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn a_map_of_many_segments_is_bounded() {
    let segments: Vec<(u64, u64)> = (0..3).map(|n| (n * 10, 5)).collect();
    assert!(check_map(&segments, 15, 25).is_ok());
    for (stored, real) in [(14, 25), (16, 25), (15, 24)] {
        assert!(check_map(&segments, stored, real).is_err());
    }
    assert!(check_map(&[(5, 1), (5, 1)], 2, 10).is_err());
    assert!(check_map(&[(u64::MAX, 1)], 1, u64::MAX).is_err());
}
