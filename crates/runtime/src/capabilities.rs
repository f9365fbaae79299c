//! Capabilities: their names, their numbers, and sets of them.
//!
//! A [`Set`] is one machine word, bit n for capability number n, which is how the kernel takes it. The table is the
//! kernel's (41 names, 0 to 40). What a container gets is decided in three steps, all here:
//! Docker's default fourteen (or all of them for `--privileged`), changed by `--cap-add` and `--cap-drop`, cut to
//! what this process may hand on: its own bounding set, for nobody can grant what it lacks.

use std::fmt;
use std::str::FromStr;

use failure::{Context, Error, Result};
use oci_spec::runtime::{Capabilities, Capability};
use rustix::thread::CapabilitySet;

/// The kernel's names without `CAP_`, at the index that is their number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker gives a container that asks for nothing.
const DOCKER_DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities: bit n is capability number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Set(u64);

impl Set {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability that the table knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// A set from the kernel's bits; bits without a name are dropped.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The kernel's bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether every capability of `other` is here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers in the set, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |number| self.0 & (1 << number) != 0)
    }

    /// The names in the set with `CAP_`, in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = String> {
        self.numbers().filter_map(name)
    }

    /// The set as the OCI types hold it.
    #[must_use]
    pub fn to_oci(self) -> Capabilities {
        self.numbers().filter_map(|number| Capability::from_str(NAMES.get(number as usize)?).ok()).collect()
    }

    /// The set that the OCI types hold.
    #[must_use]
    pub fn from_oci(capabilities: &Capabilities) -> Self {
        capabilities.iter().filter_map(|capability| one(&capability.to_string())).fold(Self::EMPTY, Self::union)
    }
}

impl fmt::Display for Set {
    /// The names, separated by commas.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            write!(formatter, "{}{name}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// The name of a number, with `CAP_`.
#[must_use]
pub fn name(number: u32) -> Option<String> {
    NAMES.get(number as usize).map(|name| format!("CAP_{name}"))
}

/// What Docker gives a container that asks for nothing.
#[must_use]
pub fn docker_default() -> Set {
    DOCKER_DEFAULT.iter().filter_map(|name| one(name)).fold(Set::EMPTY, Set::union)
}

/// The set that a word names: one capability, in any case, with or without `CAP_`, or `ALL`.
///
/// # Errors
/// The word names no capability.
pub fn parse(text: &str) -> Result<Set> {
    let word = text.trim().to_ascii_uppercase();
    if word == "ALL" {
        return Ok(Set::ALL);
    }
    one(word.strip_prefix("CAP_").unwrap_or(&word)).ok_or_else(|| {
        Error::invalid(format!("unknown capability `{text}`; capabilities are named as in `NET_ADMIN` or `ALL`"))
    })
}

/// The set that `base` becomes under `--cap-add` and `--cap-drop`, in Docker's meaning: `--cap-add ALL` grants all but
/// those dropped by name; `--cap-drop ALL` keeps only those added by name; else dropped ones go, and added ones come.
///
/// # Errors
/// A word names no capability.
pub fn adjust(base: Set, add: &[String], drop: &[String]) -> Result<Set> {
    let add_all = add.iter().any(|word| is_all(word));
    let drop_all = drop.iter().any(|word| is_all(word));
    let added = union_of(add.iter().filter(|word| !is_all(word)))?;
    let dropped = union_of(drop.iter().filter(|word| !is_all(word)))?;
    Ok(match (add_all, drop_all) {
        (true, _) => Set::ALL.difference(dropped),
        (false, true) => added,
        (false, false) => base.difference(dropped).union(added),
    })
}

/// What this process can hand on: its own bounding set.
///
/// # Errors
/// The kernel does not say.
pub fn bounding() -> Result<Set> {
    bounding_among(Set::ALL)
}

/// As [`bounding`], but only what is asked for: the kernel is asked of each.
///
/// # Errors
/// The kernel does not say.
pub fn bounding_among(asked: Set) -> Result<Set> {
    let mut bits = 0;
    for number in asked.numbers() {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // A number that this kernel does not know yet is not in the set.
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => bits |= 1 << number,
            Ok(false) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(errno).context("read the capability bounding set"),
        }
    }
    Ok(Set(bits))
}

/// A name without `CAP_`, in capitals, as a set of one.
fn one(name: &str) -> Option<Set> {
    NAMES.iter().position(|known| *known == name).map(|number| Set(1 << number))
}

fn is_all(word: &str) -> bool {
    word.trim().eq_ignore_ascii_case("ALL")
}

fn union_of<'a>(mut words: impl Iterator<Item = &'a String>) -> Result<Set> {
    words.try_fold(Set::EMPTY, |set, word| Ok(set.union(parse(word)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(parse("CAP_CHOWN").unwrap().bits(), 1);
        assert_eq!(parse("sys_admin").unwrap().bits(), 1 << 21);
        assert_eq!(parse("cap_checkpoint_restore").unwrap().bits(), 1 << 40);
        assert_eq!(parse("all").unwrap().bits(), 0x1ff_ffff_ffff);
        assert_eq!(name(29).as_deref(), Some("CAP_AUDIT_WRITE"));
        assert_eq!(name(41), None);
    }

    #[test]
    fn dockers_fourteen() {
        // The value in `/proc/self/status` of a container that Docker starts.
        assert_eq!(docker_default().bits(), 0xa804_25fb);
        assert_eq!(docker_default().numbers().count(), 14);
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        let message = parse("CAP_FLY").unwrap_err().to_string();
        assert!(message.contains("`CAP_FLY`"), "{message}");
        assert!(parse("").is_err());
        assert!(parse("CAP_").is_err());
        assert!(parse("CAP_ALL").is_err());
    }

    #[test]
    fn adding_and_dropping_as_docker_does() {
        let base = docker_default();
        let adjusted = |add: &str, drop: &str| adjust(base, &words(add), &words(drop)).unwrap();
        assert_eq!(adjusted("", ""), base);
        assert_eq!(adjusted("NET_ADMIN", "CAP_MKNOD").bits(), (base.bits() | 1 << 12) & !(1 << 27));
        assert_eq!(adjusted("ALL", "SYS_ADMIN").bits(), Set::ALL.bits() & !(1 << 21));
        assert_eq!(adjusted("KILL", "ALL").bits(), 1 << 5);
        assert_eq!(adjusted("", "ALL"), Set::EMPTY);
        assert_eq!(adjusted("ALL", "ALL"), Set::ALL);
        assert!(adjust(base, &words("NO_SUCH"), &[]).is_err());
    }

    #[test]
    fn sets_pass_through_the_oci_types() {
        for set in [Set::EMPTY, Set::ALL, docker_default()] {
            assert_eq!(Set::from_oci(&set.to_oci()), set);
        }
        assert_eq!(docker_default().to_string().split(',').next(), Some("CAP_CHOWN"));
    }

    #[test]
    fn the_bounding_set_is_that_of_proc() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
        assert_eq!(bounding().unwrap(), Set::from_bits(u64::from_str_radix(line.trim(), 16).unwrap()));
    }
}
