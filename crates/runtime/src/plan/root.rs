//! How the root is shared: `linux.rootfsPropagation`.
//!
//! | word | the copy of the host's tree | when all is mounted |
//! |---|---|---|
//! | none, `private` | private | stays so |
//! | `slave` | follows what the host mounts below | stays so |
//! | `shared` | private | a group of its own, for containers inside |
//! | `unbindable` | private | cannot be bound again |
//!
//! With an `r` in front the word is for all that is mounted in the container, too. The last two come at the end: the kernel pivots to
//! nothing that is shared, and what is to be masked must be bound.

use failure::{Error, Result};
use oci_spec::runtime::Linux;

use super::action::Action;
use super::options::{self, PRIVATE, SLAVE};

/// The propagation of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Propagation {
    word: Option<(u64, bool)>,
}

impl Propagation {
    /// Reads the specification.
    ///
    /// # Errors
    /// It has a word that is none.
    pub(crate) fn read(linux: &Linux) -> Result<Self> {
        let Some(word) = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty()) else {
            return Ok(Self { word: None });
        };
        match options::propagation(word) {
            Some(found) => Ok(Self { word: Some(found) }),
            None => Err(Error::invalid(format!(
                "`linux.rootfsPropagation` is `{word}`; it can be `shared`, `slave`, `private` or `unbindable`"
            ))),
        }
    }

    /// For the copy that becomes the root.
    pub(crate) fn for_copy(self) -> u64 {
        if matches!(self.word, Some((SLAVE, _))) { SLAVE } else { PRIVATE }
    }

    /// The step at the end, if one is needed.
    pub(crate) fn at_last(self) -> Option<Action> {
        match self.word {
            None | Some((PRIVATE | SLAVE, false)) => None,
            Some((kind, recursive)) => Some(Action::SetRootPropagation { kind, recursive }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> Result<Propagation> {
        let mut linux = Linux::default();
        linux.set_rootfs_propagation(Some(word.to_owned()));
        Propagation::read(&linux)
    }

    #[test]
    fn words_become_a_kind_and_a_step() {
        assert_eq!(read("slave").unwrap().for_copy(), SLAVE);
        assert!(read("slave").unwrap().at_last().is_none());
        assert_eq!(read("shared").unwrap().for_copy(), PRIVATE);
        assert!(matches!(
            read("rshared").unwrap().at_last(),
            Some(Action::SetRootPropagation { kind: options::SHARED, recursive: true })
        ));
        assert!(read("").unwrap().at_last().is_none());
        assert!(read("sharing").is_err());
    }
}
