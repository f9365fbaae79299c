//! Mount options: words to attributes. Three tables; what is in none of them is the file system's own.
//!
//! | table | what it says | how the kernel is told |
//! |---|---|---|
//! | [`ATTRIBUTES`] | what one mount allows; with an `r` in front the mounts below too | fsmount, mount_setattr |
//! | [`PROPAGATION`] | who else sees what is mounted below | mount_setattr |
//! | [`WHOLE`] | how the file system works, for all its mounts | fsconfig |

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

/// How a mount passes on what is mounted or unmounted below it. The numbers are the kernel's.
const PROPAGATION: [(&str, u64, bool); 8] = [
    ("private", PRIVATE, false),
    ("rprivate", PRIVATE, true),
    ("slave", SLAVE, false),
    ("rslave", SLAVE, true),
    ("shared", SHARED, false),
    ("rshared", SHARED, true),
    ("unbindable", UNBINDABLE, false),
    ("runbindable", UNBINDABLE, true),
];
/// `MS_UNBINDABLE`.
pub(crate) const UNBINDABLE: u64 = 1 << 17;
/// `MS_PRIVATE`.
pub(crate) const PRIVATE: u64 = 1 << 18;
/// `MS_SLAVE`.
pub(crate) const SLAVE: u64 = 1 << 19;
/// `MS_SHARED`.
pub(crate) const SHARED: u64 = 1 << 20;

/// Words for the file system as a whole, and what the kernel calls them. Those without a name have no effect on a kernel
/// of today: each file system knows by itself whether it counts versions or
/// has access lists, and how much it says in the kernel's log.
const WHOLE: [(&str, Option<&str>); 13] = [
    ("sync", Some("sync")),
    ("async", Some("async")),
    ("dirsync", Some("dirsync")),
    ("lazytime", Some("lazytime")),
    ("nolazytime", Some("nolazytime")),
    ("mand", Some("mand")),
    ("nomand", Some("nomand")),
    ("iversion", None),
    ("noiversion", None),
    ("silent", None),
    ("loud", None),
    ("acl", None),
    ("noacl", None),
];

/// What a mount's options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// For the mount itself.
    pub(crate) attributes: Attributes,
    /// For it and those below.
    pub(crate) recursive: Attributes,
    /// `bind` or `rbind`, and whether it was the latter.
    pub(crate) bind: Option<bool>,
    /// Propagation in the order of the words, each with whether it is for those below too.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// `idmap` or `ridmap`.
    pub(crate) idmap: Option<Idmap>,
    /// `remount`: what is mounted there already gets other options.
    pub(crate) remount: bool,
    /// `tmpcopyup`: a new tmpfs holds what it covers.
    pub(crate) copy_up: bool,
    /// For the file system as a whole: as [`Options::own`]. A bind has no say in it.
    pub(crate) whole: Vec<u8>,
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

/// Every word that is not a file system's own, sorted.
pub(crate) fn all_names() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().flat_map(|(name, ..)| [(*name).to_owned(), format!("r{name}")]);
    let propagation = PROPAGATION.iter().map(|(name, ..)| (*name).to_owned());
    let whole = WHOLE.iter().map(|(name, _)| (*name).to_owned());
    let others = ["bind", "rbind", "defaults", "remount", "tmpcopyup", "idmap", "ridmap"].map(str::to_owned);
    let mut names: Vec<String> = attributes.chain(propagation).chain(whole).chain(others).collect();
    names.sort();
    names
}

/// Reads the options of one mount.
///
/// # Errors
/// A word that can be no option.
pub(crate) fn parse(words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for word in words {
        options.take(word)?;
    }
    Ok(options)
}

/// The propagation that a word stands for, and whether it is for the mounts below too.
pub(crate) fn propagation(word: &str) -> Option<(u64, bool)> {
    PROPAGATION.iter().find(|(name, ..)| *name == word).map(|(_, kind, recursive)| (*kind, *recursive))
}

/// The word for a kind of propagation.
pub(crate) fn propagation_name(kind: u64, recursive: bool) -> &'static str {
    let same = |(_, other, below): &&(&str, u64, bool)| *other == kind && *below == recursive;
    PROPAGATION.iter().find(same).map_or("private", |(name, ..)| name)
}

/// The names of attributes that are set.
pub(crate) fn names(set: u64) -> impl Iterator<Item = &'static str> {
    let shown = move |(name, bits, sets): &&(&str, u64, bool)| {
        *sets && *bits != 0 && set & bits == *bits && *name != "norelatime"
    };
    ATTRIBUTES.iter().filter(shown).map(|(name, ..)| *name)
}

/// Adds a pair to a run of strings; without a value it is a flag.
pub(crate) fn push(run: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, value] {
        run.extend_from_slice(part);
        run.push(0);
    }
}

impl Options {
    fn take(&mut self, word: &str) -> Result<()> {
        match word {
            "bind" => self.bind = Some(false),
            "rbind" => self.bind = Some(true),
            "idmap" => self.idmap = Some(Idmap::Mount),
            "ridmap" => self.idmap = Some(Idmap::Tree),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "defaults" | "" => {}
            _ => self.take_from_tables(word)?,
        }
        Ok(())
    }

    fn take_from_tables(&mut self, word: &str) -> Result<()> {
        if let Some(found) = propagation(word) {
            self.propagation.push(found);
        } else if let Some(row) = ATTRIBUTES.iter().find(|(name, ..)| *name == word) {
            apply(&mut self.attributes, row);
        } else if let Some((_, name)) = WHOLE.iter().find(|(name, _)| *name == word) {
            name.iter().for_each(|name| push(&mut self.whole, name.as_bytes(), b""));
        } else if let Some(row) =
            word.strip_prefix('r').and_then(|rest| ATTRIBUTES.iter().find(|(name, ..)| *name == rest))
        {
            apply(&mut self.recursive, row);
        } else {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if word.contains('\0') || name.is_empty() {
                return Err(Error::invalid(format!("invalid mount option `{}`", word.escape_debug())));
            }
            push(&mut self.own, name.as_bytes(), value.as_bytes());
        }
        Ok(())
    }

    /// Attributes for a new mount, where clearing means not setting.
    pub(crate) fn new_mount_attributes(&self) -> u32 {
        let set = (self.recursive.set & !self.attributes.clear) | self.attributes.set;
        u32::try_from(set).unwrap_or(0)
    }

    /// Propagation for a new mount, which has no peers yet and nothing below: 0 leaves it private.
    pub(crate) fn new_mount_propagation(&self) -> u64 {
        let mut kinds = self.propagation.iter().map(|(kind, _)| *kind);
        kinds.rfind(|kind| kind & (SHARED | UNBINDABLE) != 0).unwrap_or(0)
    }

    /// Whether the file system is given this option.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        init::step::pairs(&self.own).any(|(given, _)| given.to_bytes() == name)
    }

    /// The file system's own options as words, for a message.
    pub(crate) fn own_words(&self) -> String {
        let words = init::step::pairs(&self.own).map(|(name, value)| {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            if value.is_empty() { name.into_owned() } else { format!("{name}={value}") }
        });
        words.collect::<Vec<_>>().join(",")
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

    #[test]
    fn what_is_named_is_known() {
        for name in all_names() {
            let options = parse(std::slice::from_ref(&name)).unwrap();
            assert!(options.own.is_empty(), "{name} is taken for the file system's own");
        }
    }

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
        assert_eq!(options.propagation, [(SLAVE, true)]);
        assert_eq!(options.idmap, Some(Idmap::Tree));
    }

    #[test]
    fn every_word_of_the_specification_is_known() {
        let words = "async,atime,bind,defaults,dev,diratime,dirsync,exec,iversion,lazytime,loud,mand,noatime,nodev,\
            nodiratime,noexec,noiversion,nolazytime,nomand,norelatime,nostrictatime,nosuid,nosymfollow,private,ratime,\
            rbind,rdev,rdiratime,relatime,remount,rexec,rnoatime,rnodev,rnodiratime,rnoexec,rnorelatime,rnostrictatime,\
            rnosuid,rnosymfollow,ro,rprivate,rrelatime,rro,rrw,rshared,rslave,rstrictatime,rsuid,rsymfollow,runbindable,\
            rw,shared,silent,slave,strictatime,suid,symfollow,sync,tmpcopyup,unbindable,idmap,ridmap";
        assert_eq!(parsed(words).own, b"");
        assert_eq!(parsed("hidepid=2,subset=pid,usrquota").own_words(), "hidepid=2,subset=pid,usrquota");
    }

    #[test]
    fn words_for_the_whole_file_system_are_the_kernels() {
        let options = parsed("sync,iversion,silent,async");
        assert_eq!(options.whole, b"sync\0\0async\0\0");
        assert!(options.attributes.is_empty());
    }

    #[test]
    fn a_new_mount_can_be_shared_or_unbindable_only() {
        assert_eq!(parsed("rslave").new_mount_propagation(), 0);
        assert_eq!(parsed("slave,shared").new_mount_propagation(), SHARED);
        assert_eq!(parsed("unbindable").new_mount_propagation(), UNBINDABLE);
    }

    #[test]
    fn what_can_be_no_option_is_refused() {
        assert!(parse(&["=5".to_owned()]).is_err());
        assert!(parse(&["a\0b".to_owned()]).is_err());
    }
}
