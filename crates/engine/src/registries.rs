//! Registries as one command sees them: which files say what, and the client that acts on it.
//!
//! ```text
//! registries.conf  $CONTAINERS_REGISTRIES_CONF, else the first of /etc/skep, /etc/containers; with registries.conf.d/*.conf
//! hosts.toml       /etc/skep/certs.d/<host>/, /etc/containerd/certs.d/<host>/
//! certificates     the same, and /etc/containers/certs.d/<host>/, /etc/docker/certs.d/<host>/
//! accounts         $REGISTRY_AUTH_FILE, else $DOCKER_CONFIG/config.json or ~/.docker/config.json, then podman's auth.json
//! policy           the first of /etc/skep/policy.json, /etc/containers/policy.json
//! proxies          HTTPS_PROXY, HTTP_PROXY, NO_PROXY
//! ```
//! With `SKEP_CONFIG` that directory is asked in place of all that are named `/etc/...` here.
//!
//! The engine reads no environment: a caller hands its own in, as [`Environment`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use failure::Result;
use reference::Digest;
pub use reference::Reference;
pub use registry::{Access, Registries, Repository, Secret, Which};
use registry::{Accounts, Places, Policy, Proxies, Settings};

/// The variables that matter to registries.
const VARIABLES: [&str; 13] = [
    "CONTAINERS_REGISTRIES_CONF",
    "DOCKER_CONFIG",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "PATH",
    "REGISTRY_AUTH_FILE",
    "SKEP_CONFIG",
    "XDG_RUNTIME_DIR",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

/// What a caller's environment says about registries.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<&'static str, OsString>);

impl Environment {
    /// Takes what matters from `variable`, which is usually `std::env::var_os`. Empty is as good as unset.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let value = |name: &'static str| Some((name, variable(name).filter(|value| !value.is_empty())?));
        Self(VARIABLES.into_iter().filter_map(value).collect())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).map(PathBuf::from)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.to_string_lossy().into_owned())
    }
}

/// The registries for one command.
pub struct Session {
    settings: Settings,
    registries: Rc<Registries>,
    policies: Vec<PathBuf>,
}

impl Session {
    /// Reads the settings. No connection is made yet.
    ///
    /// # Errors
    /// A file that cannot be read or is wrong; the error names it and the line.
    pub fn open(environment: &Environment) -> Result<Self> {
        let settings = settings(environment)?;
        Ok(Self { registries: Registries::new(settings.clone()), settings, policies: policies(environment) })
    }

    /// The image that a person means by a name to pull or push. A name in full means itself; for a short one files may
    /// have an alias or another registry than Docker Hub.
    ///
    /// # Errors
    /// No name, or a short one that the files leave open.
    pub fn named(&self, text: &str) -> Result<Reference> {
        self.settings.named(text)
    }

    /// The repository that a name is in. Nothing is asked yet.
    ///
    /// # Errors
    /// The settings forbid the registry, or cannot be read.
    pub fn repository(&self, reference: &Reference, access: Access) -> Result<Repository> {
        self.registries.repository(reference, access)
    }

    /// Whether the policy lets `digest`, which is what `reference` refers to in its repository, be pulled. Signatures are
    /// fetched only where the policy asks for them.
    ///
    /// # Errors
    /// It may not; the error names the rule and its file.
    pub fn verify(&self, repository: &Repository, reference: &Reference, digest: &Digest) -> Result<()> {
        Policy::read(&self.policies)?.verify(repository, reference, digest)
    }

    /// The client below, for who needs more than one repository.
    pub fn registries(&self) -> &Rc<Registries> {
        &self.registries
    }
}

/// All that files and the environment say.
pub(crate) fn settings(environment: &Environment) -> Result<Settings> {
    let proxies = Proxies::parse(|name| environment.text(name))?;
    Settings::read(places(environment), proxies, accounts(environment))
}

/// Where the settings are.
fn places(environment: &Environment) -> Places {
    let registries = match environment.path("CONTAINERS_REGISTRIES_CONF") {
        Some(path) => vec![path],
        None => in_each(environment, "registries.conf", &["skep", "containers"]),
    };
    let hosts = in_each(environment, "certs.d", &["skep", "containerd"]);
    let certificates = match environment.path("SKEP_CONFIG") {
        Some(_) => Vec::new(),
        None => in_each(environment, "certs.d", &["containers", "docker"]),
    };
    Places { registries, hosts, certificates }
}

/// Where the policy is; the first that is there counts.
fn policies(environment: &Environment) -> Vec<PathBuf> {
    in_each(environment, "policy.json", &["skep", "containers"])
}

/// The paths of a file in directories of /etc, or in the one that stands in for them.
fn in_each(environment: &Environment, name: &str, directories: &[&str]) -> Vec<PathBuf> {
    match environment.path("SKEP_CONFIG") {
        Some(own) => vec![own.join(name)],
        None => directories.iter().map(|directory| Path::new("/etc").join(directory).join(name)).collect(),
    }
}

/// Where accounts are.
pub(crate) fn accounts(environment: &Environment) -> Accounts {
    let path = |name: &str, rest: &str| environment.path(name).map(|path| path.join(rest));
    let files = match environment.path("REGISTRY_AUTH_FILE") {
        Some(path) => vec![path],
        None => {
            let docker = path("DOCKER_CONFIG", "config.json").or_else(|| path("HOME", ".docker/config.json"));
            let podman = path("XDG_RUNTIME_DIR", "containers/auth.json");
            let podman = podman.unwrap_or_else(|| "/run/containers/0/auth.json".into());
            docker.into_iter().chain([podman]).chain(path("HOME", ".config/containers/auth.json")).collect()
        }
    };
    Accounts { files, path: environment.0.get("PATH").cloned().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(values: &[(&str, &str)]) -> Environment {
        Environment::of(|name| values.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn one_directory_stands_in_for_all() {
        let places = places(&environment(&[("SKEP_CONFIG", "/c"), ("CONTAINERS_REGISTRIES_CONF", "")]));
        assert_eq!(places.registries, [PathBuf::from("/c/registries.conf")]);
        assert_eq!(places.hosts, [PathBuf::from("/c/certs.d")]);
        assert!(places.certificates.is_empty());
    }

    #[test]
    fn without_it_everyones_files_are_read() {
        let places = places(&environment(&[("CONTAINERS_REGISTRIES_CONF", "/r.conf")]));
        assert_eq!(places.registries, [PathBuf::from("/r.conf")]);
        assert_eq!(places.hosts, ["/etc/skep/certs.d", "/etc/containerd/certs.d"].map(PathBuf::from));
        assert_eq!(places.certificates, ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from));
    }
}
