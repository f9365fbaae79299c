//! One request at one endpoint: its authorization, and the redirects of its answer.
//!
//! The first request goes without authorization unless the endpoint wanted one before. A redirect is followed by our own
//! rules: what we are is never told to another host, TLS is not left, and it ends somewhere.

use failure::{Error, Result};

use crate::address::Address;
use crate::endpoint::{Access, Endpoint, Scheme, Tls};
use crate::http::{Answer, Content, Message};
use crate::registries::Registries;
use crate::repository::Repository;
use crate::tokens::{Visit, Who};
use crate::trouble::Trouble;

/// Redirects in a row.
const MOST_REDIRECTS: usize = 10;

/// Where a request goes.
#[derive(Clone)]
pub(crate) enum Target {
    /// Below the repository at whichever endpoint is asked.
    Below(String),
    /// Where an answer said to go on.
    At(Address),
}

/// A request to an endpoint: `GET manifests/latest`.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) to: Target,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) authorization: Option<String>,
    pub(crate) content: Content<'a>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'static str, path: String) -> Self {
        Self::to(method, Target::Below(path), Content::Nothing)
    }

    pub(crate) fn at(method: &'static str, to: Address, content: Content<'a>) -> Self {
        Self::to(method, Target::At(to), content)
    }

    fn to(method: &'static str, to: Target, content: Content<'a>) -> Self {
        Self { method, to, headers: Vec::new(), authorization: None, content }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same request once more; None if its content is gone.
    fn again(&self) -> Option<Self> {
        let content = match self.content {
            Content::Nothing => Content::Nothing,
            Content::Bytes(bytes) => Content::Bytes(bytes),
            Content::Stream(..) => return None,
        };
        let (to, headers) = (self.to.clone(), self.headers.clone());
        Some(Self { method: self.method, to, headers, authorization: self.authorization.clone(), content })
    }
}

impl Repository {
    /// Asks one endpoint.
    pub(crate) fn ask(&self, endpoint: &Endpoint, request: Request<'_>) -> Result<Answer, Trouble> {
        self.ask_for(endpoint, request, &[])
    }

    /// Asks one endpoint for what needs more than this repository: `others` are paths at that endpoint.
    pub(crate) fn ask_for(
        &self,
        endpoint: &Endpoint,
        request: Request<'_>,
        others: &[&str],
    ) -> Result<Answer, Trouble> {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let mut scopes = vec![format!("repository:{}:{actions}", endpoint.repository)];
        scopes.extend(others.iter().map(|other| format!("repository:{other}:pull")));
        let visit = Visit { endpoint, who: Who::Of(&self.reference), scopes: &scopes };
        self.registries.ask(visit, request)
    }
}

impl Registries {
    /// Asks an endpoint, and answers its challenge if it has one.
    pub(crate) fn ask(&self, visit: Visit<'_>, mut request: Request<'_>) -> Result<Answer, Trouble> {
        // Where an answer sent us (an upload's place, a list's next page) may be anybody's.
        if let Target::At(to) = &request.to
            && !to.same_host(&self.base(visit.endpoint))
        {
            return self.follow(visit.endpoint, request);
        }
        let known = self.known_authorization(visit)?;
        request.authorization.clone_from(&known);
        let again = request.again();
        let answer = self.follow(visit.endpoint, request)?;
        if answer.status != 401 || !answer.from.same_host(&self.base(visit.endpoint)) {
            return Ok(answer);
        }
        if let Some(header) = &known {
            self.forget_authorization(visit, header);
        }
        let Some(header) = self.authorize(visit, &answer)? else { return Ok(answer) };
        match again {
            Some(mut again) => {
                answer.discard();
                again.authorization = Some(header);
                self.follow(visit.endpoint, again)
            }
            // What was streamed is gone; whoever streams it begins again, with the header that is known now.
            None => Err(Trouble::passing(format!("{} wants a new token", visit.endpoint.host))),
        }
    }

    /// Sends a request and follows redirects.
    pub(crate) fn follow(&self, endpoint: &Endpoint, request: Request<'_>) -> Result<Answer, Trouble> {
        let mut request = Some(request);
        let mut to = None;
        for _ in 0..=MOST_REDIRECTS {
            let Some(now) = request.take() else { break };
            let mut again = now.again();
            let method = now.method;
            let answer = match self.send(endpoint, now, to.take()) {
                Err(trouble) if trouble.unmet && self.leave_tls(endpoint) => {
                    request = again;
                    continue;
                }
                answer => answer?,
            };
            let Some(location) = redirect(&answer, method) else { return Ok(answer) };
            let next = further(&answer.from, location)?;
            // It may be a refresh token; what is fetched elsewhere needs nothing of ours.
            if matches!(&again, Some(Request { content: Content::Bytes(_), .. })) && !next.same_host(&answer.from) {
                let (from, other) = (&answer.from.host, &next.host);
                return Err(Error::invalid(format!("{from} wants what we send to go to {other}; refused")).into());
            }
            to = Some(next);
            let see_other = answer.status == 303 && method != "HEAD";
            answer.discard();
            if let Some(again) = &mut again
                && see_other
            {
                (again.method, again.content) = ("GET", Content::Nothing);
            }
            request = again;
        }
        let host = &endpoint.host;
        Err(Error::invalid(match request {
            None => format!("{host} redirects an upload that was sent already"),
            Some(_) => format!("{host} redirects more than {MOST_REDIRECTS} times"),
        })
        .into())
    }

    /// Sends one request: to `to` if a redirect says so. Who we are is told to the endpoint and, in a request that was made
    /// for it, to its token server.
    fn send(&self, endpoint: &Endpoint, request: Request<'_>, to: Option<Address>) -> Result<Answer, Trouble> {
        let Request { method, to: target, mut headers, authorization, content } = request;
        let base = self.base(endpoint);
        let meant = match target {
            Target::Below(path) => below(&base, endpoint, &path),
            Target::At(address) => address,
        };
        let at = to.unwrap_or_else(|| meant.clone());
        if at.same_host(&meant) {
            headers.extend(authorization.map(|header| ("authorization".to_owned(), header)));
        }
        let own = at.same_host(&base);
        if own {
            headers.extend(endpoint.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())));
        }
        let tls = if own { endpoint.tls.clone() } else { elsewhere(&endpoint.tls) };
        let answer = self.http.send(Message { method, to: at, headers, content }, &tls)?;
        Ok(answer)
    }

    /// Reads the files that a later visit may need.
    pub(crate) fn prepare(&self, visit: Visit<'_>) {
        let _ = self.credentials(visit);
        if self.base(visit.endpoint).tls {
            let tls = &visit.endpoint.tls;
            let _ = (self.http.prepare(tls), self.http.prepare(&elsewhere(tls)));
        }
    }

    /// Whether to go on without TLS at an endpoint that could not be reached with it: once, and by configuration only.
    fn leave_tls(&self, endpoint: &Endpoint) -> bool {
        endpoint.scheme == Scheme::HttpsOrHttp && self.without_tls.borrow_mut().insert(endpoint.host.clone())
    }

    /// The endpoint without a path.
    pub(crate) fn base(&self, endpoint: &Endpoint) -> Address {
        let tls = match endpoint.scheme {
            Scheme::Https => true,
            Scheme::Http => false,
            Scheme::HttpsOrHttp => !self.without_tls.borrow().contains(&endpoint.host),
        };
        Address { tls, host: endpoint.host.to_ascii_lowercase(), path: "/".to_owned() }
    }
}

/// How another host is recognised that an endpoint sends us to: our certificate is not for it, nor the trust without proof.
fn elsewhere(tls: &Tls) -> Tls {
    Tls { authorities: tls.authorities.clone(), ..Tls::default() }
}

fn below(base: &Address, endpoint: &Endpoint, path: &str) -> Address {
    let path = format!("{}/{}/{path}", endpoint.prefix.trim_end_matches('/'), endpoint.repository);
    let address = Address { path, ..base.clone() };
    match &endpoint.namespace {
        Some(namespace) => address.with_parameter("ns", namespace),
        None => address,
    }
}

/// Where an answer sends us, if it does. Answers to uploads have a `Location` that is none.
fn redirect<'a>(answer: &'a Answer, method: &str) -> Option<&'a str> {
    let reads = matches!(method, "GET" | "HEAD");
    match answer.status {
        301..=303 if reads => answer.header("location"),
        307 | 308 => answer.header("location"),
        _ => None,
    }
}

fn further(from: &Address, location: &str) -> Result<Address> {
    let to = from.join(location)?;
    if from.tls && !to.tls {
        let message = format!("{} redirects to {}://{}, which has no TLS; refused", from.host, to.scheme(), to.host);
        return Err(Error::invalid(message));
    }
    Ok(to)
}
