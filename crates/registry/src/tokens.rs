//! Who we are, in the words of each host: remembered for the command, renewed when it runs out.
//!
//! ```text
//! request ------------------------------------> host
//! <- 401, Bearer realm=R service=S scope=C ----
//! GET R?service=S&scope=C, our password ------------------------> R, the token server that the host named
//! <- a token, for some minutes ----------------------------------
//! request, Authorization: Bearer <token> -----> host
//! ```
//!
//! A password goes to the host that it is for, and to the token server that this host named over TLS; to nobody else.
//! A host without TLS, which is so by configuration, can only name a token server on itself.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use failure::{Error, Kind, Result};
use reference::Reference;
use serde::Deserialize;

use crate::address::{Address, escaped};
use crate::challenge::Challenge;
use crate::endpoint::{Credentials, Endpoint};
use crate::exchange::Request;
use crate::failure_body;
use crate::http::{Answer, Content};
use crate::registries::Registries;
use crate::trouble::Trouble;

/// The longest answer of a token server.
const LONGEST_ANSWER: u64 = 1024 * 1024;
/// What a token lasts if nothing is said about it.
const SHORTEST_LIFE: u64 = 60;
/// ... and at most: who says more means for ever.
const LONGEST_LIFE: u64 = 24 * 60 * 60;
/// Who we say we are to token servers.
const CLIENT: &str = "skep";

/// What hosts accepted, or would.
#[derive(Default)]
pub(crate) struct Tokens {
    grants: RefCell<Vec<Grant>>,
    /// What the lookup said, by host and repository.
    credentials: RefCell<Vec<(String, String, Option<Credentials>)>>,
}

/// One way in.
#[derive(Clone)]
struct Grant {
    host: String,
    /// What it is good for; nothing means everything at this host.
    scopes: Vec<String>,
    /// The `Authorization` header.
    header: String,
    /// The challenge to renew it by, and when.
    renewal: Option<(Challenge, Instant)>,
}

/// What is asked for, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) who: Who<'a>,
    /// `repository:team/app:pull`
    pub(crate) scopes: &'a [String],
}

/// Whose credentials are told.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    /// Those that the settings have for this name.
    Of(&'a Reference),
    /// These, to find out whether they are good.
    Given(&'a Credentials),
}

#[derive(Deserialize)]
pub(crate) struct Issued {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Registries {
    /// Finds out whether a host takes these credentials, as `login` does before it keeps them. A host that asks nobody who
    /// they are takes any.
    ///
    /// # Errors
    /// It does not answer, does not take them, or is no registry.
    pub fn verify(&self, endpoint: &Endpoint, credentials: &Credentials) -> Result<()> {
        let visit = Visit { endpoint, who: Who::Given(credentials), scopes: &[] };
        let path = format!("{}/", endpoint.prefix.trim_end_matches('/'));
        let tried = || {
            let to = Address { path: path.clone(), ..self.base(endpoint) };
            let mut answer = self.ask(visit, Request::at("GET", to, Content::Nothing))?;
            match answer.status {
                200 if answer.media_type() == "text/html" => {
                    Err(Error::invalid(format!("{} answers with a web page; is it a registry?", endpoint.host)).into())
                }
                200 => Ok(()),
                _ => Err(failure_body::trouble(&mut answer, &format!("log in to {}", endpoint.host))),
            }
        };
        // The scheme of a host that may do without TLS is known after the first attempt.
        match tried() {
            Err(Trouble { unmet: true, .. }) if !self.base(endpoint).tls => tried(),
            result => result,
        }
        .map_err(|trouble| trouble.error)
    }

    /// The header that the endpoint is known to accept, if it wanted one before.
    pub(crate) fn known_authorization(&self, visit: Visit<'_>) -> Result<Option<String>, Trouble> {
        let covers = |grant: &&Grant| {
            let all = || visit.scopes.iter().all(|scope| grant.scopes.contains(scope));
            grant.host == visit.endpoint.host && (grant.scopes.is_empty() || all())
        };
        let found = self.tokens.grants.borrow().iter().find(covers).cloned();
        match found {
            Some(Grant { renewal: Some((challenge, end)), header, .. }) if end <= Instant::now() => {
                self.forget_authorization(visit, &header);
                self.bearer(visit, &challenge).map(Some)
            }
            Some(grant) => Ok(Some(grant.header)),
            None => Ok(None),
        }
    }

    /// A header was not accepted.
    pub(crate) fn forget_authorization(&self, visit: Visit<'_>, header: &str) {
        let mut grants = self.tokens.grants.borrow_mut();
        grants.retain(|grant| grant.host != visit.endpoint.host || grant.header != header);
    }

    /// Answers a host's challenges. None if we have nothing to answer with.
    pub(crate) fn authorize(&self, visit: Visit<'_>, answer: &Answer) -> Result<Option<String>, Trouble> {
        let challenges: Vec<_> = answer.all("www-authenticate").flat_map(Challenge::all).collect();
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(bearer) = of("bearer") {
            return self.bearer(visit, bearer).map(Some);
        }
        let credentials = self.credentials(visit)?;
        match (of("basic"), credentials) {
            (Some(_), Some(Credentials::Password { user, password })) => {
                let header = basic(&user, &password);
                self.grant(visit, &[], header.clone(), None);
                Ok(Some(header))
            }
            _ => Ok(None),
        }
    }

    fn bearer(&self, visit: Visit<'_>, challenge: &Challenge) -> Result<String, Trouble> {
        let credentials = self.credentials(visit)?;
        if let Some(Credentials::Bearer(token)) = &credentials {
            let header = format!("Bearer {token}");
            self.grant(visit, &[], header.clone(), None);
            return Ok(header);
        }
        let asked = Instant::now();
        let issued = self.token(visit, challenge, credentials.as_ref())?;
        let host = &visit.endpoint.host;
        let token = issued.token.or(issued.access_token).filter(|token| !token.is_empty());
        let token = token.filter(|token| token.bytes().all(|b| b.is_ascii_graphic()));
        let token = token.ok_or_else(|| Error::invalid(format!("the token server of {host} sends no token")))?;
        let header = format!("Bearer {token}");
        // A quarter earlier than it ends, since requests take time and clocks differ.
        let life = Duration::from_secs(issued.expires_in.unwrap_or(0).clamp(SHORTEST_LIFE, LONGEST_LIFE)) * 3 / 4;
        let end = asked.checked_add(life).unwrap_or(asked);
        self.grant(visit, visit.scopes, header.clone(), Some((challenge.clone(), end)));
        Ok(header)
    }

    fn grant(&self, visit: Visit<'_>, scopes: &[String], header: String, renewal: Option<(Challenge, Instant)>) {
        let grant = Grant { host: visit.endpoint.host.clone(), scopes: scopes.to_vec(), header, renewal };
        self.tokens.grants.borrow_mut().push(grant);
    }

    /// What the settings say about us, asked once: a helper may be slow, or ask a person.
    pub(crate) fn credentials(&self, visit: Visit<'_>) -> Result<Option<Credentials>, Trouble> {
        let reference = match visit.who {
            Who::Of(reference) => reference,
            Who::Given(credentials) => return Ok(Some(credentials.clone())),
        };
        let (host, repository) = (&visit.endpoint.host, reference.full());
        let known = |(at, of, _): &&(String, String, _)| at == host && *of == repository;
        if let Some((_, _, credentials)) = self.tokens.credentials.borrow().iter().find(known) {
            return Ok(credentials.clone());
        }
        let found = self.lookup.credentials(visit.endpoint, reference).map_err(Trouble::ours)?;
        self.tokens.credentials.borrow_mut().push((host.clone(), repository, found.clone()));
        Ok(found)
    }

    /// Asks a token server.
    fn token(
        &self,
        visit: Visit<'_>,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
    ) -> Result<Issued, Trouble> {
        let realm = self.realm(visit, challenge, credentials.is_some())?;
        let scopes = scopes(visit, challenge);
        let mut answer = match credentials {
            Some(Credentials::Identity(refresh)) => {
                self.exchange_identity(visit, challenge, realm, &scopes, refresh)?
            }
            _ => {
                let mut to = realm;
                if let Some(service) = challenge.parameter("service") {
                    to = to.with_parameter("service", service);
                }
                for scope in &scopes {
                    to = to.with_parameter("scope", scope);
                }
                let mut request = Request::at("GET", to, Content::Nothing).with("accept", "application/json");
                if let Some(Credentials::Password { user, password }) = credentials {
                    request.authorization = Some(basic(user, password));
                }
                self.follow(visit.endpoint, request)?
            }
        };
        let host = &visit.endpoint.host;
        if answer.status != 200 {
            let what = match credentials {
                None => format!("ask for {host} anonymously"),
                Some(_) => format!("log in to {host}"),
            };
            return Err(failure_body::trouble(&mut answer, &what));
        }
        let bytes = answer.bytes(LONGEST_ANSWER)?;
        serde_json::from_slice(&bytes).map_err(|_| {
            let message = format!("the token server {} of {host} does not answer in JSON", answer.from.host);
            Error::invalid(message).into()
        })
    }

    /// Exchanges a refresh token for one that is good for some minutes (OAuth 2, `grant_type=refresh_token`).
    fn exchange_identity(
        &self,
        visit: Visit<'_>,
        challenge: &Challenge,
        realm: Address,
        scopes: &[String],
        refresh: &str,
    ) -> Result<Answer, Trouble> {
        let service = challenge.parameter("service").unwrap_or_default();
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", CLIENT),
            ("scope", &scopes.join(" ")),
            ("refresh_token", refresh),
        ];
        let form = fields.map(|(name, value)| format!("{name}={}", escaped(value))).join("&");
        let request = Request::at("POST", realm, Content::Bytes(form.as_bytes()));
        let request = request.with("content-type", "application/x-www-form-urlencoded");
        self.follow(visit.endpoint, request.with("accept", "application/json"))
    }

    /// The token server, if the endpoint may send us there with a password.
    fn realm(&self, visit: Visit<'_>, challenge: &Challenge, password: bool) -> Result<Address> {
        let host = &visit.endpoint.host;
        let realm = challenge.parameter("realm").unwrap_or_default();
        let realm = Address::parse(realm)
            .map_err(|_| Error::invalid(format!("{host} names no token server that can be asked (`{realm}`)")))?;
        let own = self.base(visit.endpoint);
        if !password || realm.tls && own.tls || !own.tls && realm.host_name() == own.host_name() {
            return Ok(realm);
        }
        let why = if own.tls { "without TLS" } else { "and has no TLS itself" };
        let message = format!("{host} sends us to the token server {}://{} {why}", realm.scheme(), realm.host);
        Err(Error::new(Kind::Denied, format!("{message}; that is refused, since our password would go there")))
    }
}

/// What is needed, and what the host says is needed.
fn scopes(visit: Visit<'_>, challenge: &Challenge) -> Vec<String> {
    let mut scopes = visit.scopes.to_vec();
    let said = challenge.parameter("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
    for said in said {
        let (name, actions) = said.rsplit_once(':').unwrap_or((said, ""));
        let included = |own: &String| match own.rsplit_once(':') {
            Some((own_name, own)) => {
                own_name == name && actions.split(',').all(|action| own.split(',').any(|own| own == action))
            }
            None => false,
        };
        if !scopes.iter().any(included) {
            scopes.push(said.to_owned());
        }
    }
    scopes
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}
