//! What the client must be told before it speaks: where a repository's content is, how to get there, and who we are.
//!
//! Values only. [`Lookup`] is asked for them; who reads configuration files implements it. [`Plain`] is the lookup
//! without any file: each host by itself, over TLS, anonymously.

use std::path::PathBuf;
use std::time::Duration;

use failure::Result;
use reference::Reference;

use crate::Secret;

/// What a repository is opened for. It decides which endpoints are asked, and the scope of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS only.
    Https,
    /// Without TLS, by configuration.
    Http,
    /// TLS if the host speaks it, else without, by configuration (Docker's `insecure-registries`).
    HttpsOrHttp,
}

/// How the other side of a TLS connection is recognised, and how we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// PEM files with authorities that are trusted beside the system's.
    pub authorities: Vec<PathBuf>,
    /// PEM files with our certificate and its key: the first pair is used.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whoever answers is believed, by configuration.
    pub unverified: bool,
}

/// What an endpoint may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Tags are resolved here. Without it, only what is named by digest is asked for.
    pub tags: bool,
    /// Manifests and blobs are read here.
    pub content: bool,
    /// Pushes go here.
    pub push: bool,
}

impl Offers {
    /// What the host itself offers.
    pub const ALL: Self = Self { tags: true, content: true, push: true };
    /// What a mirror offers.
    pub const READ: Self = Self { tags: true, content: true, push: false };
    /// What a mirror offers that is only believed where a digest proves it right.
    pub const BY_DIGEST: Self = Self { tags: false, content: true, push: false };
}

/// One place where a repository is: the host itself, or a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// TLS or not.
    pub scheme: Scheme,
    /// Who answers, with a port if it is not the scheme's own: `registry-1.docker.io`, `localhost:5000`, `[::1]:5000`.
    pub host: String,
    /// What comes before the repository in paths: `/v2`, or what a mirror's configuration says.
    pub prefix: String,
    /// The repository's path at this endpoint: `library/busybox`.
    pub repository: String,
    /// The host that is meant, for a mirror of several (`?ns=docker.io`).
    pub namespace: Option<String>,
    /// What it may be asked for.
    pub offers: Offers,
    /// Certificates.
    pub tls: Tls,
    /// Headers of every request to this endpoint, by configuration.
    pub headers: Vec<(String, Secret)>,
}

impl Endpoint {
    /// A host over TLS, as it is without any configuration.
    pub fn of(host: &str, repository: &str) -> Self {
        // Docker Hub's registry is not at the name that people use.
        let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
        Self {
            scheme: Scheme::Https,
            host: host.to_owned(),
            prefix: "/v2".to_owned(),
            repository: repository.to_owned(),
            namespace: None,
            offers: Offers::ALL,
            tls: Tls::default(),
            headers: Vec::new(),
        }
    }
}

/// Who we are at a host.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password (or a token that stands for one).
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token of the host's token server (Docker's `identitytoken`).
    Identity(String),
    /// A token that is sent as it is (Docker's `registrytoken`).
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    /// The kind only: secrets never reach a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Identity(_) => "Identity",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// How long is waited, and how often asked.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the first byte of an answer to a question.
    pub answer: Duration,
    /// For the first byte of an answer to what was sent: a registry may have to move all of it.
    pub taking: Duration,
    /// For the next byte, in either direction.
    pub stall: Duration,
    /// Times that one thing is asked for, without any progress, before it is given up.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles.
    pub pause: Duration,
    /// The longest pause; a host that asks for a longer one is given up.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            taking: Duration::from_secs(300),
            stall: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// Who knows endpoints, credentials and proxies.
pub trait Lookup {
    /// The endpoints of a repository in the order in which they are asked: mirrors first, the host itself last.
    ///
    /// # Errors
    /// The host is blocked, or its configuration cannot be read.
    fn endpoints(&self, reference: &Reference, access: Access) -> Result<Vec<Endpoint>>;

    /// Who we are for a repository at one of its endpoints. Asked only when the endpoint wants to know.
    ///
    /// # Errors
    /// The credentials are there and cannot be read, or a helper failed.
    fn credentials(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Option<Credentials>>;

    /// The proxy for a host with its port: `http://[user:password@]host:port`.
    fn proxy(&self, host: &str, tls: bool) -> Option<String>;

    /// How long is waited.
    fn patience(&self) -> Patience {
        Patience::default()
    }
}

/// The lookup without configuration: each host by itself, anonymously, over TLS except for the hosts in `insecure`.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    /// Hosts (with port) that are spoken to without TLS.
    pub insecure: Vec<String>,
}

impl Lookup for Plain {
    fn endpoints(&self, reference: &Reference, _access: Access) -> Result<Vec<Endpoint>> {
        let mut endpoint = Endpoint::of(reference.host(), reference.path());
        if self.insecure.iter().any(|host| host == reference.host()) {
            endpoint.scheme = Scheme::Http;
        }
        Ok(vec![endpoint])
    }

    fn credentials(&self, _endpoint: &Endpoint, _reference: &Reference) -> Result<Option<Credentials>> {
        Ok(None)
    }

    fn proxy(&self, _host: &str, _tls: bool) -> Option<String> {
        None
    }
}
