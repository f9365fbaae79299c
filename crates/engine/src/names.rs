//! Container names: who may be called what, and a name for who has none.
//!
//! ```text
//! names/<name> -> <id>      symlink(2) fails if the name is taken: that is the whole claim, no lock
//! ```
//! A claim is *stale* when its container is neither there nor being made (see [`crate::recover`]). Only a stale claim is
//! taken from its owner, under a flock of the directory `names/`, so that two takers cannot both win.

use failure::{Context as _, Error, Result};
use runtime::ContainerId;
use rustix::fs::{self as rfs, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::{Home, recover};

/// The first half of a made-up name.
const ADJECTIVES: [&str; 64] = [
    "amber", "ample", "autumn", "basking", "blithe", "blooming", "brisk", "buzzing", "calm", "candid", "clever",
    "cosy", "crisp", "dancing", "dapper", "dewy", "eager", "early", "fabled", "faithful", "fleet", "fond", "gallant",
    "gentle", "glad", "gleaming", "golden", "hardy", "hazel", "honest", "humming", "jaunty", "jolly", "keen", "kindly",
    "lively", "loyal", "lucid", "mellow", "merry", "mild", "nimble", "noble", "placid", "plucky", "quick", "quiet",
    "ready", "rustic", "sage", "sleek", "spry", "steady", "sunny", "swift", "tidy", "tranquil", "upbeat", "vivid",
    "warm", "wistful", "witty", "woven", "zesty",
];

/// The second half: what grows, flies and is woven around a hive.
const NOUNS: [&str; 64] = [
    "acacia",
    "alder",
    "anemone",
    "apiary",
    "aster",
    "balm",
    "basket",
    "beech",
    "bellflower",
    "birch",
    "borage",
    "bramble",
    "brood",
    "bumble",
    "burdock",
    "buttercup",
    "cell",
    "cherry",
    "clover",
    "colony",
    "comb",
    "cornflower",
    "crocus",
    "daisy",
    "drone",
    "elder",
    "fennel",
    "forager",
    "foxglove",
    "garden",
    "gorse",
    "hawthorn",
    "heather",
    "hive",
    "honey",
    "hyssop",
    "ivy",
    "keeper",
    "lavender",
    "linden",
    "lupin",
    "mallow",
    "marjoram",
    "mason",
    "meadow",
    "mint",
    "nectar",
    "orchard",
    "petal",
    "pollen",
    "poppy",
    "primrose",
    "queen",
    "rosemary",
    "rowan",
    "sage",
    "skep",
    "straw",
    "swarm",
    "teasel",
    "thistle",
    "thyme",
    "willow",
    "worker",
];

/// Whether a container may be called so: Docker's rule.
///
/// # Errors
/// It may not.
pub fn validate(name: &str) -> Result<()> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
    let first = name.chars().next().is_some_and(|character| character.is_ascii_alphanumeric());
    if name.len() >= 2 && name.len() <= 255 && first && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the container name `{name}` is not allowed; use two or more of a-z A-Z 0-9 _ . - and begin with a letter or digit"
    )))
}

/// The name that the `attempt`-th try makes of an id: adjective, noun, and from the second try on a number.
pub fn made_up(id: &ContainerId, attempt: u32) -> String {
    let seed = id.as_ref().get(..8).and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0);
    let seed = seed.wrapping_add(attempt.wrapping_mul(0x9e37_79b1));
    let pick = |words: &[&'static str; 64], shift: u32| words[(seed >> shift) as usize % 64];
    let (adjective, noun) = (pick(&ADJECTIVES, 0), pick(&NOUNS, 6));
    match attempt {
        0 => format!("{adjective}_{noun}"),
        _ => format!("{adjective}_{noun}{}", (seed >> 12) % 1000),
    }
}

/// Claims the name for the container, or a made-up one; returns it.
pub(crate) fn claim(home: &Home, id: &ContainerId, wanted: Option<&str>) -> Result<String> {
    if let Some(name) = wanted {
        claim_exactly(home, id, name)?;
        return Ok(name.to_owned());
    }
    for attempt in 0..100 {
        let name = made_up(id, attempt);
        match rfs::symlink(id.as_ref(), home.name(&name)) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).with_context(|| format!("claim the name `{name}`")),
        }
    }
    Err(Error::internal("found no free name for the container; give it one with `--name`"))
}

/// Claims exactly this name, from a stale owner if need be.
pub(crate) fn claim_exactly(home: &Home, id: &ContainerId, name: &str) -> Result<()> {
    validate(name)?;
    match rfs::symlink(id.as_ref(), home.name(name)) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).with_context(|| format!("claim the name `{name}`")),
    }
    let _lock = lock(home)?;
    if let Some(owner) = owner(home, name)? {
        if !recover::is_stale(home, &owner)? {
            return Err(taken(name, &owner));
        }
        rfs::unlink(home.name(name)).with_context(|| format!("free the name `{name}`"))?;
    }
    match rfs::symlink(id.as_ref(), home.name(name)) {
        Err(Errno::EXIST) => Err(Error::conflict(format!("the name `{name}` is in use; choose another"))),
        other => other.with_context(|| format!("claim the name `{name}`")),
    }
}

/// Gives the name up, if it is still the container's.
pub(crate) fn release(home: &Home, id: &ContainerId, name: &str) -> Result<()> {
    if owner(home, name)?.as_deref() != Some(id.as_ref()) {
        return Ok(());
    }
    match rfs::unlink(home.name(name)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("free the name `{name}`")),
    }
}

/// The id that has claimed the name.
pub(crate) fn owner(home: &Home, name: &str) -> Result<Option<String>> {
    match rfs::readlink(home.name(name), Vec::new()) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("read the claim of the name `{name}`")),
    }
}

/// Keeps other takers of stale names out until it is dropped.
pub(crate) fn lock(home: &Home) -> Result<std::os::fd::OwnedFd> {
    let directory = rfs::open(home.name("."), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context("open the directory of names")?;
    rfs::flock(&directory, FlockOperation::LockExclusive).context("lock the directory of names")?;
    Ok(directory)
}

fn taken(name: &str, owner: &str) -> Error {
    let short = owner.get(..12).unwrap_or(owner);
    Error::conflict(format!(
        "the name `{name}` is in use by container `{short}`; remove it with `skep rm {name}` or choose another name"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "a1", "my_app.v2-x", "0x"] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-web", ".web", "a/b", "a b", "ä1", "..", "a\n"] {
            assert!(validate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn made_up_names_are_allowed_and_differ_by_attempt() {
        let id = ContainerId::random();
        let names: Vec<_> = (0..20).map(|attempt| made_up(&id, attempt)).collect();
        assert!(names.iter().all(|name| validate(name).is_ok()));
        assert!(names.iter().collect::<std::collections::HashSet<_>>().len() > 10);
    }

    #[test]
    fn the_words_are_distinct() {
        for words in [ADJECTIVES, NOUNS] {
            assert_eq!(words.iter().collect::<std::collections::HashSet<_>>().len(), 64);
        }
    }
}
