//! Who we are at which registry: accounts in files that other tools write, and behind their helpers.
//!
//! ```text
//! $REGISTRY_AUTH_FILE                        if it is set, nothing else is read
//! $DOCKER_CONFIG/config.json                 else ~/.docker/config.json; `login` writes here
//! ${XDG_RUNTIME_DIR}/containers/auth.json    podman's, with keys for parts of a registry: host/team/app
//! ~/.config/containers/auth.json
//!
//! in each: credHelpers[host] or credsStore --> docker-credential-NAME get     (accounts::helper)
//!          then auths[host]                                                   (accounts::document)
//! ```
//! The first file that has an account for the host decides. Docker Hub has many names (`docker.io`, `index.docker.io`,
//! `https://index.docker.io/v1/`, `registry-1.docker.io`): they are one. Files are read when a registry asks who we are,
//! not before.

mod document;
mod helper;
mod write;

use std::ffi::OsString;
use std::path::PathBuf;

use failure::{Error, Result};

use crate::Credentials;
use crate::settings::{Source, file};
pub use document::Document;
use helper::Helper;

/// The longest file of accounts.
const LONGEST: u64 = 1 << 20;

/// Docker Hub, as helpers and `auths` know it.
const HUB: &str = "https://index.docker.io/v1/";

/// Where accounts are kept.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// The files, the first counts most; `login` writes into it.
    pub files: Vec<PathBuf>,
    /// The caller's PATH: helpers are found there and nowhere else.
    pub path: OsString,
}

/// What `login` and `logout` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file, as it is.
    Plain(PathBuf),
    /// By this helper.
    Helper(String),
}

impl Accounts {
    /// The account for a repository at a host; none: we are nobody there.
    ///
    /// # Errors
    /// A file that is wrong, a helper that fails.
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Credentials>> {
        for path in &self.files {
            let Some(document) = self.read(path)? else { continue };
            if let Some(name) = document.helper(host, repository) {
                let found = self.helper(name, path)?.get(&servers(host))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            if let Some(found) = document.account(host, repository) {
                let damaged = |reason: &str| {
                    let file = path.display();
                    Error::invalid(format!("`{file}`: the account for `{host}` {reason}; repeat `skep login {host}`"))
                };
                return found.map(Some).map_err(damaged);
            }
        }
        Ok(None)
    }

    /// Keeps an account for a whole registry, by the helper that the first file names, else in that file itself.
    ///
    /// # Errors
    /// There is no place for the file, it is damaged, or the helper fails.
    pub fn store(&self, host: &str, credentials: &Credentials) -> Result<Kept> {
        let path = self.first()?;
        let document = self.read(path)?.unwrap_or_default();
        let server = servers(host).remove(0);
        match document.helper(host, "") {
            Some(name) => {
                self.helper(name, path)?.store(&server, credentials)?;
                write::put(path, &server, None)?;
                Ok(Kept::Helper(name.to_owned()))
            }
            None => {
                write::put(path, &server, Some(credentials))?;
                Ok(Kept::Plain(path.clone()))
            }
        }
    }

    /// Forgets the account for a registry. False: the first file and its helper know of none.
    ///
    /// # Errors
    /// The file is damaged, or the helper fails.
    pub fn erase(&self, host: &str) -> Result<bool> {
        let path = self.first()?;
        let Some(document) = self.read(path)? else { return Ok(false) };
        let mut known = document.account(host, "").is_some() || document.mentions(host);
        if let Some(name) = document.helper(host, "") {
            let helper = self.helper(name, path)?;
            if helper.get(&servers(host))?.is_some() {
                known = true;
            }
            for server in servers(host) {
                helper.erase(&server)?;
            }
        }
        write::remove(path, |key| document::is_whole_registry(key, host))?;
        Ok(known)
    }

    fn first(&self) -> Result<&PathBuf> {
        let way_out = "there is no place for accounts: set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE";
        self.files.first().ok_or_else(|| Error::invalid(way_out))
    }

    fn read(&self, path: &std::path::Path) -> Result<Option<Document>> {
        let Some(text) = file::read(path, LONGEST)? else { return Ok(None) };
        Document::parse(Source { path, text: &text }).map(Some)
    }

    fn helper(&self, name: &str, file: &std::path::Path) -> Result<Helper> {
        Helper::find(name, &self.path, file)
    }
}

/// The names that a registry has for helpers, the one to store by first.
fn servers(host: &str) -> Vec<String> {
    match document::canonical(host) {
        "docker.io" => vec![HUB.to_owned(), "docker.io".to_owned()],
        _ => vec![host.to_owned()],
    }
}

#[cfg(test)]
mod tests;
