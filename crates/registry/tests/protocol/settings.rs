//! What each test tells the client about its servers.

use std::rc::Rc;
use std::time::Duration;

use failure::Result;
use reference::Reference;
use registry::{Access, Credentials, Endpoint, Lookup, Patience, Registries, Repository, Scheme};

use crate::server::Server;

/// Endpoints in order, and who we are at them.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) credentials: Vec<(String, Credentials)>,
    pub(crate) proxy: Option<String>,
    /// The wait for the next byte, if a test needs it to be short.
    pub(crate) stall: Option<Duration>,
    /// Credentials are configured and cannot be had.
    pub(crate) broken: bool,
}

impl Settings {
    /// These servers without TLS, in this order.
    pub(crate) fn of(servers: &[&Server]) -> Self {
        let endpoints = servers.iter().map(|server| {
            let mut endpoint = Endpoint::of(&server.host, "team/app");
            endpoint.scheme = Scheme::Http;
            endpoint
        });
        Self { endpoints: endpoints.collect(), ..Self::default() }
    }

    pub(crate) fn known_as(mut self, server: &Server, user: &str, password: &str) -> Self {
        let credentials = Credentials::Password { user: user.to_owned(), password: password.to_owned() };
        self.credentials.push((server.host.clone(), credentials));
        self
    }

    pub(crate) fn repository(self, access: Access) -> Repository {
        let reference = Reference::parse("registry.example/team/app:1").unwrap();
        let registries: Rc<Registries> = Registries::new(self);
        registries.repository(&reference, access).unwrap()
    }
}

impl Lookup for Settings {
    fn endpoints(&self, _: &Reference, _: Access) -> Result<Vec<Endpoint>> {
        Ok(self.endpoints.clone())
    }

    fn credentials(&self, endpoint: &Endpoint, _: &Reference) -> Result<Option<Credentials>> {
        if self.broken {
            return Err(failure::Error::not_found("no such helper"));
        }
        let known = self.credentials.iter().find(|(host, _)| *host == endpoint.host);
        Ok(known.map(|(_, credentials)| credentials.clone()))
    }

    fn proxy(&self, _: &str, _: bool) -> Option<String> {
        self.proxy.clone()
    }

    fn patience(&self) -> Patience {
        let (usual, pause) = (Patience::default(), Duration::from_millis(1));
        let stall = self.stall.unwrap_or(usual.stall);
        Patience { attempts: 3, pause, longest_pause: Duration::from_secs(2), stall, ..usual }
    }
}
