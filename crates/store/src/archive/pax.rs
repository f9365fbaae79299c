//! Extended headers: `<length> <key>=<value>\n`, the length in decimal and of the whole record.
//!
//! What is taken: `path linkpath size uid gid mtime`, `SCHILY.xattr.*` and `GNU.sparse.*`. All else is passed over.
//! Of a global header only `uid gid mtime` count: a name, size or map for *all* entries is never meant.

use super::{Fault, Time};

/// The most that one extended attribute may hold (Linux's own limit).
const LARGEST_ATTRIBUTE: usize = 64 << 10;
/// The most segments of a sparse file.
pub(super) const MOST_SEGMENTS: usize = 1 << 20;

/// What extended headers say about the next entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Time>,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// The three ways in which GNU tar writes sparse files in POSIX archives.
#[derive(Clone, Debug, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// 0.0: alternating offsets and lengths, a record each. 0.1: one record.
    pub(super) numbers: Vec<u64>,
    pub(super) count: Option<u64>,
}

impl Sparse {
    /// Whether anything was said at all.
    pub(super) fn is_present(&self) -> bool {
        self.major.is_some() || self.real_size.is_some() || self.count.is_some() || !self.numbers.is_empty()
    }
}

impl Extension {
    /// Takes the records of an extended header for one entry; later records win.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for_each_record(bytes, |key, value| self.take(key, value))
    }

    /// Takes the records of a global header.
    pub(super) fn read_global(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for_each_record(bytes, |key, value| match key {
            b"uid" | b"gid" | b"mtime" => self.take(key, value),
            _ => Ok(()),
        })
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match key {
            b"path" => self.path = Some(text(value)?),
            b"linkpath" => self.link = Some(text(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.modified = Some(time(value)?),
            b"GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(text(value)?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = Some(decimal(value)?),
            b"GNU.sparse.numblocks" => self.sparse.count = Some(decimal(value)?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.number(key == b"GNU.sparse.offset", value)?,
            b"GNU.sparse.map" => self.map(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attribute(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, is_offset: bool, value: &[u8]) -> Result<(), Fault> {
        let numbers = &mut self.sparse.numbers;
        if numbers.len().is_multiple_of(2) != is_offset || numbers.len() >= 2 * MOST_SEGMENTS {
            return Err(Fault::new("a sparse file's map is damaged"));
        }
        numbers.push(decimal(value)?);
        Ok(())
    }

    fn map(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.sparse.numbers.clear();
        if value.is_empty() {
            return Ok(());
        }
        for part in value.split(|byte| *byte == b',') {
            self.sparse.numbers.push(decimal(part)?);
        }
        Ok(())
    }

    fn attribute(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > LARGEST_ATTRIBUTE {
            return Err(Fault::new("an extended attribute's name or value is too long"));
        }
        self.attributes.retain(|(known, _)| known != name);
        self.attributes.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

fn for_each_record(mut bytes: &[u8], mut take: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    let damaged = || Fault::new("an extended header is damaged");
    while !bytes.is_empty() {
        let blank = bytes.iter().take(12).position(|byte| *byte == b' ').ok_or_else(damaged)?;
        let length = usize::try_from(decimal(&bytes[..blank])?).map_err(|_| damaged())?;
        let record = bytes.get(blank + 1..length).ok_or_else(damaged)?;
        let (last, record) = record.split_last().ok_or_else(damaged)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(damaged)?;
        if *last != b'\n' || equals == 0 {
            return Err(damaged());
        }
        take(&record[..equals], &record[equals + 1..])?;
        bytes = &bytes[length..];
    }
    Ok(())
}

/// A name: without zeros, which would end it early for the kernel.
fn text(value: &[u8]) -> Result<Vec<u8>, Fault> {
    if value.contains(&0) {
        return Err(Fault::new("an extended header has a name with a zero byte"));
    }
    Ok(value.to_vec())
}

pub(super) fn decimal(digits: &[u8]) -> Result<u64, Fault> {
    let wrong = || Fault::new("an extended header has a number that is not decimal");
    if digits.is_empty() || digits.len() > 20 {
        return Err(wrong());
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0')).ok_or_else(wrong)?;
        value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or_else(wrong)
    })
}

/// Seconds with any number of decimals, perhaps negative; cut to nanoseconds.
fn time(value: &[u8]) -> Result<Time, Fault> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next().unwrap_or_default())?;
    let fraction = parts.next().unwrap_or_default();
    let mut nanoseconds = 0_u32;
    for index in 0..9 {
        let digit = fraction.get(index).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return Err(Fault::new("an extended header has a time that is not decimal"));
        }
        nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
    }
    let whole = i64::try_from(whole).map_err(|_| Fault::new("an extended header has a time out of range"))?;
    Ok(match (negative, nanoseconds) {
        (false, _) => Time { seconds: whole, nanoseconds },
        (true, 0) => Time { seconds: -whole, nanoseconds },
        (true, _) => Time { seconds: -whole - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Extension, Fault> {
        let mut extension = Extension::default();
        extension.read(bytes).map(|()| extension)
    }

    #[test]
    fn records_are_read() {
        let extension = read(b"12 path=abc\n16 mtime=-1.250\n23 SCHILY.xattr.user.a=b\n").err();
        assert!(extension.is_some(), "a wrong length is refused");
        let extension = read(b"12 path=abc\n16 mtime=-1.250\n26 SCHILY.xattr.user.a=b=\n").unwrap();
        assert_eq!(extension.path.as_deref(), Some(&b"abc"[..]));
        assert_eq!(extension.modified, Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(extension.attributes, [(b"user.a".to_vec(), b"b=".to_vec())]);
    }

    #[test]
    fn damaged_records_are_refused() {
        for bytes in
            [&b"5 a=b\n"[..], b"99 a=b\n", b"0 \n", b"6 ab=\n7 a=b\n", b"11 path=a\0b\n", b"-1 a=b\n", b"6 a=b\n6"]
        {
            assert!(read(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
