//! A token server, as Docker's token authentication describes it: who may what, in a JWT that the registry can check.
//!
//! ```text
//! client -> registry     401  WWW-Authenticate: Bearer realm="http://…/token",service="hive",scope="repository:a:pull"
//! client -> here         GET /token?service=hive&scope=repository:a:pull   [Authorization: Basic …]
//!                        POST /token  grant_type=password|refresh_token …
//! client <- here         {"token": "<header>.<claims>.<signature>", "expires_in": 300}
//! ```
//! `bee` with the password `honey` may everything; everybody may pull what is below `public/`. A scope that somebody
//! may not have is left out of the token: it is the registry that says no. Keys are made by openssl, tokens signed by
//! ring (ES256, the certificate in `x5c`).

use super::http::{Request, Server, answer, parameters};
use crate::place::Place;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// The one user of all registries here.
pub(crate) const USER: &str = "bee";
/// Its password.
pub(crate) const PASSWORD: &str = "honey";
/// The name that registries and tokens give to the service.
pub(crate) const SERVICE: &str = "hive";
/// Who signs the tokens.
pub(crate) const ISSUER: &str = "the token server of the trials";
/// What a client may keep instead of the password.
const REFRESH: &str = "refresh-token-of-bee";

/// What a client asked for.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "shown when an assertion prints the log")]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) scopes: Vec<String>,
    /// As whom, if the password was right.
    pub(crate) user: Option<String>,
}

/// The server.
pub(crate) struct TokenServer {
    server: Server,
    host: String,
    /// The certificate that signs, in PEM, for the registry's configuration.
    pub(crate) certificate: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct Signer {
    key: EcdsaKeyPair,
    /// DER in base64, as in PEM without its frame.
    chain: String,
}

impl TokenServer {
    /// Makes a key below the place's directory and serves.
    pub(crate) fn start(place: &Place) -> Self {
        let (key, certificate, der) = (place.path("token.key"), place.path("token.crt"), place.path("token.key.der"));
        let request =
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let rest = ["-keyout", &key, "-out", &certificate, "-subj", "/CN=tokens", "-days", "3650"];
        place.run(&[&request[..], &rest].concat()).ok();
        let convert = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", &key, "-outform", "DER", "-out", &der];
        place.run(&convert).ok();
        let (bytes, random) = (std::fs::read(&der).unwrap(), SystemRandom::new());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes, &random).unwrap();
        let frame = std::fs::read_to_string(&certificate).unwrap();
        let chain = frame.lines().filter(|line| !line.starts_with("-----")).collect();
        let signer = Signer { key, chain };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let server = Server::start(move |request, socket| grant(request, socket, &signer, &log));
        Self { host: server.host(), server, certificate, asked }
    }

    /// From now on called so in [`TokenServer::realm`], as one that is elsewhere is.
    pub(crate) fn name(&mut self, host: &str) {
        self.host = format!("{host}:{}", self.server.address.port());
    }

    /// Where clients are sent.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.host)
    }

    /// What was asked since the start, or since the last call.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// The user and the password of a `Basic` header.
pub(crate) fn basic(request: &Request) -> Option<(String, String)> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn grant(request: &Request, socket: &mut TcpStream, signer: &Signer, log: &Mutex<Vec<Asked>>) {
    let posted = request.method == "POST";
    let given = if posted { parameters(&String::from_utf8_lossy(&request.body)) } else { request.query() };
    let value = |name: &str| given.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let credentials = match value("grant_type") {
        "password" => Some((value("username").to_owned(), value("password").to_owned())),
        "refresh_token" if value("refresh_token") == REFRESH => Some((USER.to_owned(), PASSWORD.to_owned())),
        "refresh_token" => Some(Default::default()),
        _ => basic(request),
    };
    let right = credentials.as_ref().is_none_or(|(user, password)| user == USER && password == PASSWORD);
    let user = credentials.map(|(user, _)| user).filter(|_| right);
    let scopes = given.iter().filter(|(name, _)| name == "scope").flat_map(|(_, text)| text.split(' '));
    let scopes: Vec<String> = scopes.filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    let method = request.method.clone();
    log.lock().unwrap().push(Asked { method, scopes: scopes.clone(), user: user.clone() });
    let json = [("Content-Type", "application/json")];
    if !right || value("service") != SERVICE {
        let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}).to_string();
        return answer(request, socket, "401 Unauthorized", &json, body.as_bytes());
    }
    let access: Vec<Value> = scopes.iter().filter_map(|scope| allowed(scope, user.as_deref())).collect();
    let token = signer.sign(user.as_deref().unwrap_or(""), &access);
    let mut body = json!({"access_token": token, "expires_in": 300});
    if !posted {
        body["token"] = body["access_token"].clone();
    }
    if user.is_some() && (posted || value("offline_token") == "true") {
        body["refresh_token"] = REFRESH.into();
    }
    answer(request, socket, "200 OK", &json, body.to_string().as_bytes());
}

/// What of a scope (`repository:<path>:<action>,…`) this user may have.
fn allowed(scope: &str, user: Option<&str>) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let may = |action: &&str| user.is_some() || (*action == "pull" && name.starts_with("public/"));
    let actions: Vec<&str> = actions.split(',').filter(may).collect();
    (!actions.is_empty()).then(|| json!({"type": kind, "name": name, "actions": actions}))
}

impl Signer {
    fn sign(&self, subject: &str, access: &[Value]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.chain]});
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "jti": now.to_string(), "access": access,
            "nbf": now - 60, "iat": now, "exp": now + 300,
        });
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
