//! Mount options: words to attributes. One table; what is not in it is the file system's own.

use failure::{Error, Result};
use sys::mount::{
    ACCESS_TIME, Attributes, NO_ACCESS_TIME, NO_DEVICES, NO_DIRECTORY_ACCESS_TIME, NO_EXECUTION, NO_SET_UID,
    NO_SYMLINK_FOLLOWING, READ_ONLY, STRICT_ACCESS_TIME,
};

const SET: bool = true;
const CLEAR: bool = false;

/// The word, the attribute, and whether it sets or clears it. With an `r` in front a word means the mounts below too.
const ATTRIBUTES: [(&str, u64, bool); 18] = [
    ("ro", READ_ONLY, SET),
    ("rw", READ_ONLY, CLEAR),
    ("nosuid", NO_SET_UID, SET),
    ("suid", NO_SET_UID, CLEAR),
    ("nodev", NO_DEVICES, SET),
    ("dev", NO_DEVICES, CLEAR),
    ("noexec", NO_EXECUTION, SET),
    ("exec", NO_EXECUTION, CLEAR),
    ("noatime", NO_ACCESS_TIME, SET),
    ("atime", NO_ACCESS_TIME, CLEAR),
    ("strictatime", STRICT_ACCESS_TIME, SET),
    ("nostrictatime", STRICT_ACCESS_TIME, CLEAR),
    ("relatime", 0, SET),
    ("norelatime", STRICT_ACCESS_TIME, SET),
    ("nodiratime", NO_DIRECTORY_ACCESS_TIME, SET),
    ("diratime", NO_DIRECTORY_ACCESS_TIME, CLEAR),
    ("nosymfollow", NO_SYMLINK_FOLLOWING, SET),
    ("symfollow", NO_SYMLINK_FOLLOWING, CLEAR),
];

/// How a bind passes on what is mounted or unmounted below it. The numbers are the kernel's.
const PROPAGATION: [(&str, u64, bool); 8] = [
    ("private", PRIVATE, false),
    ("rprivate", PRIVATE, true),
    ("slave", 1 << 19, false),
    ("rslave", 1 << 19, true),
    ("shared", 1 << 20, false),
    ("rshared", 1 << 20, true),
    ("unbindable", 1 << 17, false),
    ("runbindable", 1 << 17, true),
];
/// `MS_PRIVATE`.
pub(crate) const PRIVATE: u64 = 1 << 18;

/// What a mount's options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// For the mount itself.
    pub(crate) attributes: Attributes,
    /// For it and those below.
    pub(crate) recursive: Attributes,
    /// `bind` or `rbind`, and whether it was the latter.
    pub(crate) bind: Option<bool>,
    /// Propagation, and whether it is for those below too.
    pub(crate) propagation: Option<(u64, bool)>,
    /// `idmap` or `ridmap`.
    pub(crate) idmap: Option<Idmap>,
    /// The file system's own: pairs of strings with a zero behind each.
    pub(crate) own: Vec<u8>,
}

/// How far a mapping of ids reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idmap {
    /// The mount alone.
    Mount,
    /// It and those below that can be mapped.
    Tree,
}

/// Reads the options of one mount.
///
/// # Errors
/// An option that would be silently lost.
pub(crate) fn parse(words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for word in words {
        options.take(word)?;
    }
    Ok(options)
}

/// The names of attributes that are set.
pub(crate) fn names(set: u64) -> impl Iterator<Item = &'static str> {
    let shown = move |(name, bits, sets): &&(&str, u64, bool)| {
        *sets && *bits != 0 && set & bits == *bits && *name != "norelatime"
    };
    ATTRIBUTES.iter().filter(shown).map(|(name, ..)| *name)
}

impl Options {
    fn take(&mut self, word: &str) -> Result<()> {
        match word {
            "bind" => self.bind = Some(false),
            "rbind" => self.bind = Some(true),
            "idmap" => self.idmap = Some(Idmap::Mount),
            "ridmap" => self.idmap = Some(Idmap::Tree),
            "defaults" | "" => {}
            "remount" | "tmpcopyup" | "copy" | "move" => {
                return Err(Error::unsupported(format!("mount option `{word}` is not supported; leave it out")));
            }
            _ => self.take_from_tables(word)?,
        }
        Ok(())
    }

    fn take_from_tables(&mut self, word: &str) -> Result<()> {
        if let Some((_, kind, recursive)) = PROPAGATION.iter().find(|(name, ..)| *name == word) {
            self.propagation = Some((*kind, *recursive));
        } else if let Some(row) = ATTRIBUTES.iter().find(|(name, ..)| *name == word) {
            apply(&mut self.attributes, row);
        } else if let Some(row) =
            word.strip_prefix('r').and_then(|rest| ATTRIBUTES.iter().find(|(name, ..)| *name == rest))
        {
            apply(&mut self.recursive, row);
        } else {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if word.contains('\0') || name.is_empty() {
                return Err(Error::invalid(format!("invalid mount option `{}`", word.escape_debug())));
            }
            for part in [name, value] {
                self.own.extend_from_slice(part.as_bytes());
                self.own.push(0);
            }
        }
        Ok(())
    }

    /// Attributes for a new mount, where clearing means not setting.
    pub(crate) fn new_mount_attributes(&self) -> u32 {
        let set = (self.recursive.set & !self.attributes.clear) | self.attributes.set;
        u32::try_from(set).unwrap_or(0)
    }
}

/// The last word wins. Access time modes are one field of several bits, cleared as a whole.
fn apply(attributes: &mut Attributes, (_, bits, sets): &(&str, u64, bool)) {
    let field = if bits & ACCESS_TIME != 0 || *bits == 0 { ACCESS_TIME } else { *bits };
    attributes.set &= !field;
    attributes.clear |= field;
    if *sets {
        attributes.set |= bits;
        if field != ACCESS_TIME {
            attributes.clear &= !field;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unwrap_used, reason = "a test")]
    fn parsed(text: &str) -> Options {
        parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_become_attributes() {
        let options = parsed("nosuid,strictatime,mode=755,size=65536k");
        assert_eq!(options.attributes.set, NO_SET_UID | STRICT_ACCESS_TIME);
        assert_eq!(options.own, b"mode\x00755\0size\x0065536k\0");
        assert_eq!(u64::from(options.new_mount_attributes()), NO_SET_UID | STRICT_ACCESS_TIME);
    }

    #[test]
    fn the_last_word_wins() {
        assert_eq!(parsed("ro,rw").attributes, Attributes { set: 0, clear: READ_ONLY, propagation: 0 });
        assert_eq!(parsed("rw,ro").attributes, Attributes { set: READ_ONLY, clear: 0, propagation: 0 });
        assert_eq!(parsed("noatime,relatime").attributes, Attributes { set: 0, clear: ACCESS_TIME, propagation: 0 });
    }

    #[test]
    fn recursion_is_an_r() {
        let options = parsed("rbind,rro,nosuid,rslave,ridmap");
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.recursive.set, READ_ONLY);
        assert_eq!(options.attributes.set, NO_SET_UID);
        assert_eq!(options.propagation, Some((1 << 19, true)));
        assert_eq!(options.idmap, Some(Idmap::Tree));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert!(parse(&["tmpcopyup".to_owned()]).is_err());
        assert!(parse(&["=5".to_owned()]).is_err());
    }
}
