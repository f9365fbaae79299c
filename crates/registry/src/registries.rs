//! What one command knows of all registries: the lookup, connections, and what was learned on the way.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use failure::{Error, Result};
use reference::Reference;

use crate::endpoint::{Access, Lookup};
use crate::http::Http;
use crate::repository::Repository;
use crate::tokens::Tokens;

/// The registries as one command sees them. Made once; connections and tokens are shared by all its repositories.
pub struct Registries {
    pub(crate) lookup: Rc<dyn Lookup>,
    pub(crate) http: Http,
    pub(crate) tokens: Tokens,
    /// Hosts that may do without TLS, and do.
    pub(crate) without_tls: RefCell<HashSet<String>>,
}

impl Registries {
    /// Registries with these settings.
    pub fn new(lookup: impl Lookup + 'static) -> Rc<Self> {
        let lookup: Rc<dyn Lookup> = Rc::new(lookup);
        let http = Http::new(Rc::clone(&lookup));
        Rc::new(Self { lookup, http, tokens: Tokens::default(), without_tls: RefCell::default() })
    }

    /// The repository that a name is in. Nothing is asked yet.
    ///
    /// # Errors
    /// The settings forbid the host, or cannot be read.
    pub fn repository(self: &Rc<Self>, reference: &Reference, access: Access) -> Result<Repository> {
        let endpoints = self.lookup.endpoints(reference, access)?;
        if endpoints.is_empty() {
            return Err(Error::invalid(format!("no endpoint is configured for `{}`", reference.host())));
        }
        Ok(Repository::new(Rc::clone(self), reference.clone(), access, endpoints))
    }
}
