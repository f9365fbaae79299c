//! One request at one endpoint.

use failure::Result;

use crate::address::Address;
use crate::endpoint::{Endpoint, Scheme};
use crate::http::{Answer, Content, Message};
use crate::repository::Repository;

/// Where a request goes.
pub(crate) enum Target {
    /// Below the repository at whichever endpoint is asked.
    Below(String),
    /// Where an answer said to go on.
    At(Address),
}

/// A request below a repository: `GET manifests/latest`.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) to: Target,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Content<'a>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'static str, path: String) -> Self {
        Self { method, to: Target::Below(path), headers: Vec::new(), content: Content::Nothing }
    }

    pub(crate) fn at(method: &'static str, to: Address, content: Content<'a>) -> Self {
        Self { method, to: Target::At(to), headers: Vec::new(), content }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl Repository {
    /// Asks one endpoint.
    pub(crate) fn ask(&self, endpoint: &Endpoint, request: Request<'_>) -> Result<Answer> {
        let to = match request.to {
            Target::Below(path) => address(endpoint, &path),
            Target::At(address) => address,
        };
        let mut headers = endpoint.headers.clone();
        headers.extend(request.headers);
        let message = Message { method: request.method, to, headers, content: request.content };
        self.registries.http.send(message, &endpoint.tls)
    }
}

fn address(endpoint: &Endpoint, path: &str) -> Address {
    let path = format!("{}/{}/{path}", endpoint.prefix, endpoint.repository);
    let address = Address { tls: endpoint.scheme != Scheme::Http, host: endpoint.host.clone(), path };
    match &endpoint.namespace {
        Some(namespace) => address.with_parameter("ns", namespace),
        None => address,
    }
}
