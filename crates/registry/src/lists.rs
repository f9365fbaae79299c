//! What a repository has: its tags.

use failure::{Error, Result};
use serde::Deserialize;

use crate::document::LONGEST_MANIFEST;
use crate::exchange::Request;
use crate::failure_body;
use crate::http::Answer;
use crate::repository::Repository;
use crate::trouble::Trouble;

/// Pages of a list that are read before it is called endless.
pub(crate) const MOST_PAGES: usize = 1000;

#[derive(Deserialize)]
pub(crate) struct Tags {
    /// Registries write null for none.
    pub(crate) tags: Option<Vec<String>>,
}

impl Repository {
    /// All tags, in the registry's order.
    ///
    /// # Errors
    /// No endpoint answers, or there is no such repository.
    pub fn tags(&self) -> Result<Vec<String>> {
        self.first(
            |endpoint| endpoint.offers.tags,
            |endpoint| {
                let mut tags = Vec::new();
                let mut request = Request::new("GET", "tags/list?n=1000".to_owned());
                for _ in 0..MOST_PAGES {
                    let mut answer = self.ask(endpoint, request)?;
                    if answer.status != 200 {
                        return Err(failure_body::trouble(&mut answer, &self.name()));
                    }
                    let page: Tags = self.json(&mut answer)?;
                    tags.extend(page.tags.unwrap_or_default());
                    let Some(next) = answer.header("link").and_then(next) else { return Ok(tags) };
                    request = Request::at("GET", answer.from.join(next)?, crate::http::Content::Nothing);
                }
                Err(Error::invalid(format!("{}: its list of tags does not end", self.name())).into())
            },
        )
    }

    /// The value of a small JSON document.
    pub(crate) fn json<T: for<'a> Deserialize<'a>>(&self, answer: &mut Answer) -> Result<T, Trouble> {
        let bytes = answer.bytes(LONGEST_MANIFEST)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let message =
                format!("{}: {} sends what is not the JSON that belongs there", self.name(), answer.from.host);
            Error::invalid(message).with_source(error).into()
        })
    }
}

/// The address of the next page: `Link: </v2/a/tags/list?last=x>; rel="next"`.
pub(crate) fn next(link: &str) -> Option<&str> {
    link.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
        parameters.split(';').any(next).then_some(address)
    })
}
