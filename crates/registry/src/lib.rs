//! Registries: the OCI distribution protocol, as a client.
//!
//! Manifests and blobs come from a repository and go to one, whoever serves it: mirrors, credentials, certificates,
//! retries and redirects are settled here. Nothing here knows the store: bytes are handed to whoever asked for them, and
//! what they are is checked against their digest.
//!
//! ```text
//! Registries -- what is known and remembered for one command: settings, tokens, connections
//!   repository(name, access) -> Repository -- verbs: manifest, blob, tags, push_blob ...
//!     a verb asks each endpoint in order (mirrors, then the host), and all of them again after a pause   rounds
//!       one request at one endpoint: authorization, redirects                                            exchange
//!         one HTTP message and its answer: a connection, a name looked up, TLS                           http
//! ```
//! What files say about registries is read in `settings` and `accounts`, and handed to the client as [`Lookup`].

mod accounts;
mod address;
mod blob;
mod challenge;
mod connection;
mod dns;
mod document;
mod endpoint;
mod exchange;
mod failure_body;
mod http;
mod http_date;
mod lists;
mod names;
mod policy;
mod proxy;
mod reach;
mod referrers;
mod registries;
mod repository;
mod rounds;
mod secret;
mod settings;
mod tls;
mod tokens;
mod trouble;
mod upload;

pub mod untrusted;

pub use accounts::{Accounts, Document as AccountFile, Kept};
pub use document::{Document, Found};
pub use endpoint::{Access, Credentials, Endpoint, Lookup, Offers, Patience, Plain, Scheme, Tls};
pub use policy::{Policy, PublicKey};
pub use registries::Registries;
pub use repository::{Repository, Which};
pub use secret::Secret;
pub use settings::{Places, Proxies, Rules, Settings, check_hosts_toml};
pub use upload::Source;
