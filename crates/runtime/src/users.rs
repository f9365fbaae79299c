//! Who a process inside a container runs as.

use failure::Result;

/// A user as the kernel takes it, and its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id inside the container.
    pub uid: u32,
    /// The primary group id inside the container.
    pub gid: u32,
    /// The supplementary group ids, without duplicates.
    pub additional_gids: Vec<u32>,
    /// The home directory that passwd names, or `/`.
    pub home: String,
}

/// Finds who `user` means in the texts of a container's passwd and group files.
///
/// # Errors
/// A name is not in the files, or a number is out of range.
pub fn resolve(_user: &str, _passwd: &[u8], _group: &[u8], _extra_groups: &[String]) -> Result<User> {
    unimplemented!()
}
