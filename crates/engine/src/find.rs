//! From what a person types to a container: a name, an id, or the unique beginning of an id.

use std::str::FromStr as _;

use failure::{Error, Result};
use runtime::ContainerId;

use crate::config::ContainerConfig;
use crate::{Home, list, names};

/// Finds the container that is called so: a full id first, then a name, then the unique prefix of an id.
///
/// # Errors
/// Nothing or more than one is called so.
pub fn find(home: &Home, text: &str) -> Result<ContainerId> {
    if let Ok(id) = ContainerId::from_str(text)
        && home.container(&id).exists()
    {
        return Ok(id);
    }
    let name = text.strip_prefix('/').unwrap_or(text);
    if names::validate(name).is_ok()
        && let Some(owner) = names::owner(home, name)?
        && let Ok(id) = ContainerId::from_str(&owner)
        && home.container(&id).exists()
    {
        return Ok(id);
    }
    by_prefix(home, text)
}

/// The name of a container.
///
/// # Errors
/// A container that is gone.
pub fn name_of(home: &Home, id: &ContainerId) -> Result<String> {
    Ok(ContainerConfig::read(home, id)?.name)
}

fn by_prefix(home: &Home, text: &str) -> Result<ContainerId> {
    let hexadecimal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut matching: Vec<ContainerId> = match hexadecimal {
        true => list::ids(home)?.into_iter().filter(|id| id.as_ref().starts_with(text)).collect(),
        false => Vec::new(),
    };
    match (matching.pop(), matching.len()) {
        (Some(id), 0) => Ok(id),
        (Some(_), others) => {
            Err(Error::invalid(format!("the id prefix `{text}` means {} containers; give more of the id", others + 1)))
        }
        (None, _) => Err(Error::not_found(format!("no such container `{text}`; `skep ps -a` lists them"))),
    }
}

/// The failure of a container that was there a moment ago, or never.
pub(crate) fn gone(id: &ContainerId) -> Error {
    Error::not_found(format!("no such container `{}`; `skep ps -a` lists them", id.short()))
}
