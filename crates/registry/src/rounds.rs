//! Endpoints in order, and again after a pause.

use failure::{Error, Kind, Result};

use crate::endpoint::Endpoint;
use crate::repository::Repository;

impl Repository {
    /// Asks endpoints in order until one gives the answer. A failure at one is no failure as long as another can answer.
    pub(crate) fn first<T>(
        &self,
        offers: impl Fn(&Endpoint) -> bool,
        mut ask: impl FnMut(&Endpoint) -> Result<T>,
    ) -> Result<T> {
        let mut last = Error::new(Kind::Unavailable, format!("{}: no endpoint offers this", self.name()));
        for endpoint in self.endpoints.iter().filter(|endpoint| offers(endpoint)) {
            match ask(endpoint) {
                Ok(value) => return Ok(value),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
