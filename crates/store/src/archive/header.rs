//! One header block of 512 bytes: where its fields are, and what its numbers mean.
//!
//! ```text
//!   0 name[100]      100 mode[8]   108 uid[8]   116 gid[8]   124 size[12]  136 mtime[12]  148 checksum[8]
//! 156 type           157 link[100] 257 magic[6] 263 version[2]             329 major[8]   337 minor[8]
//! 345 prefix[155]    (POSIX: the front of the name)
//! 386 4 x {offset[12], length[12]}, 482 more, 483 real size[12]   (GNU, sparse files of type `S`)
//! ```

use super::{Fault, Segment, Time};

pub(super) const BLOCK: usize = 512;

/// A header block that passed its checksum.
pub(super) struct Header<'a>(pub(super) &'a [u8; BLOCK]);

/// What a header describes, by its type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    File,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
    GnuSparse,
    GnuLongName,
    GnuLongLink,
    PaxNext,
    PaxGlobal,
    VolumeLabel,
}

impl<'a> Header<'a> {
    /// A header, or none for a block of zeros.
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Option<Self>, Fault> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Self(block);
        let stored = octal(header.field(148, 8))?;
        let (mut unsigned, mut signed) = (0_u64, 0_i64);
        for (index, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { *byte };
            unsigned += u64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        // Some old archivers summed signed bytes.
        if stored != unsigned && i64::try_from(stored) != Ok(signed) {
            return Err(Fault::new("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn field(&self, start: usize, length: usize) -> &'a [u8] {
        &self.0[start..start + length]
    }

    pub(super) fn kind(&self) -> Result<Type, Fault> {
        Ok(match self.0[156] {
            0 | b'0' | b'7' => Type::File,
            b'1' => Type::HardLink,
            b'2' => Type::Symlink,
            b'3' => Type::CharacterDevice,
            b'4' => Type::BlockDevice,
            b'5' => Type::Directory,
            b'6' => Type::Fifo,
            b'S' if self.is_gnu() => Type::GnuSparse,
            b'L' => Type::GnuLongName,
            b'K' => Type::GnuLongLink,
            b'x' | b'X' => Type::PaxNext,
            b'g' => Type::PaxGlobal,
            b'V' => Type::VolumeLabel,
            other => return Err(Fault::new(format!("entry type `{}` is not supported", other.escape_ascii()))),
        })
    }

    fn is_gnu(&self) -> bool {
        self.field(257, 8) == b"ustar  \0"
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_zero(self.field(0, 100));
        let prefix = match (self.field(257, 6) == b"ustar\0", self.field(508, 4) == b"tar\0") {
            (true, false) => until_zero(self.field(345, 155)),
            // star keeps times at the end of the prefix.
            (true, true) => until_zero(self.field(345, 131)),
            (false, _) => b"",
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_zero(self.field(157, 100)).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, Fault> {
        Ok((number(self.field(100, 8))? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Result<u64, Fault> {
        unsigned(self.field(108, 8))
    }

    pub(super) fn gid(&self) -> Result<u64, Fault> {
        unsigned(self.field(116, 8))
    }

    pub(super) fn size(&self) -> Result<u64, Fault> {
        unsigned(self.field(124, 12))
    }

    pub(super) fn modified(&self) -> Result<Time, Fault> {
        let seconds = number(self.field(136, 12))?;
        Ok(Time { seconds: i64::try_from(seconds).map_err(|_| out_of_range())?, nanoseconds: 0 })
    }

    pub(super) fn device(&self) -> Result<(u32, u32), Fault> {
        let part = |start| -> Result<u32, Fault> {
            u32::try_from(unsigned(self.field(start, 8))?).map_err(|_| out_of_range())
        };
        Ok((part(329)?, part(337)?))
    }

    /// Sparse map in the header itself: four (offset, length), whether more blocks of them follow, the real size.
    pub(super) fn gnu_sparse(&self) -> Result<(Vec<Segment>, bool, u64), Fault> {
        let segments = sparse_pairs(self.field(386, 96))?;
        Ok((segments, self.0[482] != 0, unsigned(self.field(483, 12))?))
    }
}

/// A block that continues a GNU sparse map: 21 (offset, length), and whether another block follows.
pub(super) fn sparse_continuation(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, bool), Fault> {
    Ok((sparse_pairs(&block[..504])?, block[504] != 0))
}

fn sparse_pairs(fields: &[u8]) -> Result<Vec<Segment>, Fault> {
    let mut pairs = Vec::new();
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 || pair[12] == 0 {
            break;
        }
        pairs.push((unsigned(&pair[..12])?, unsigned(&pair[12..])?));
    }
    Ok(pairs)
}

fn until_zero(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn unsigned(field: &[u8]) -> Result<u64, Fault> {
    u64::try_from(number(field)?).map_err(|_| out_of_range())
}

/// Octal digits, or (when the first bit is set) the field's bits as a big-endian two's complement number.
fn number(field: &[u8]) -> Result<i128, Fault> {
    let first = field.first().copied().unwrap_or(0);
    if first & 0x80 == 0 {
        return Ok(i128::from(octal(field)?));
    }
    let negative = first & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = value << 8 | i128::from(byte);
    }
    i64::try_from(value).map(i128::from).map_err(|_| out_of_range())
}

/// Octal digits among leading blanks, ended by a blank, a zero, or the field's end. Empty is zero.
fn octal(field: &[u8]) -> Result<u64, Fault> {
    let mut value = 0_u64;
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| !matches!(byte, b' ' | 0));
    for digit in digits {
        if !matches!(digit, b'0'..=b'7') {
            return Err(Fault::new("a header has a number that is not octal"));
        }
        value = value.checked_mul(8).and_then(|v| v.checked_add(u64::from(digit - b'0'))).ok_or_else(out_of_range)?;
    }
    Ok(value)
}

fn out_of_range() -> Fault {
    Fault::new("a header has a number that is out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"   644 \0").unwrap(), 0o644);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]).unwrap(), 256);
        assert_eq!(number(&[0xff; 12]).unwrap(), -1);
        assert!(number(b"12x4").is_err());
        assert!(number(&[0xbf; 12]).is_err());
        assert_eq!(number(b"777777777777").unwrap(), 0o777_777_777_777);
    }
}
