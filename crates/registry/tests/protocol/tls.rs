//! Hosts with TLS, hosts that may do without, and the way through a proxy.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use failure::Result;
use registry::{Access, Document, Scheme, Tls, Which};

use crate::server::{Asked, Reply, Server, certificate};
use crate::settings::Settings;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCUMENT: &str = r#"{"schemaVersion":2,"config":{}}"#;
/// `me:secret`
const BASIC: &str = "Basic bWU6c2VjcmV0";

fn document(_: &Asked) -> Reply {
    Reply::document(DOCUMENT, MANIFEST)
}

/// Settings for one server over TLS.
fn settings(server: &Server, scheme: Scheme, tls: Tls) -> Settings {
    let mut settings = Settings::of(&[server]);
    (settings.endpoints[0].scheme, settings.endpoints[0].tls) = (scheme, tls);
    settings
}

fn trusted() -> Tls {
    Tls { authorities: vec![certificate("authority.crt")], ..Tls::default() }
}

fn fetch(settings: Settings) -> Result<Document> {
    settings.repository(Access::Pull).manifest(Which::Tag("1"))
}

#[test]
fn a_host_is_believed_if_its_authority_is_trusted() {
    let server = Server::start_tls(false, document);
    fetch(settings(&server, Scheme::Https, trusted())).unwrap();
    let error = fetch(settings(&server, Scheme::Https, Tls::default())).unwrap_err().to_string();
    assert!(error.starts_with(&format!("https://{}: its certificate is from an authority", server.host)), "{error}");
    fetch(settings(&server, Scheme::Https, Tls { unverified: true, ..Tls::default() })).unwrap();
    let mut other = settings(&server, Scheme::Https, trusted());
    other.endpoints[0].host = server.host.replace("127.0.0.1", "127.0.0.2");
    // Not bound there, or bound and of another name: either way nothing is asked.
    fetch(other).unwrap_err();
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn what_was_prepared_needs_no_file_any_more() {
    let server = Server::start_tls(false, document);
    let authority = std::env::temp_dir().join(format!("skep-registry-authority-{}.crt", std::process::id()));
    std::fs::copy(certificate("authority.crt"), &authority).unwrap();
    let tls = Tls { authorities: vec![authority.clone()], ..Tls::default() };
    let repository = settings(&server, Scheme::Https, tls.clone()).repository(Access::Pull);
    repository.prepare();
    std::fs::remove_file(authority).unwrap();
    repository.manifest(Which::Tag("1")).unwrap();
    assert!(fetch(settings(&server, Scheme::Https, tls)).is_err());
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let server = Server::start_tls(false, document);
    let mut other = settings(&server, Scheme::Https, trusted());
    other.endpoints[0].host = server.host.replace("127.0.0.1", "other.localhost");
    let error = fetch(other).unwrap_err().to_string();
    assert!(error.ends_with("its certificate is for another name"), "{error}");
}

#[test]
fn a_host_that_wants_to_know_us_gets_our_certificate() {
    let server = Server::start_tls(true, document);
    let identity = Some((certificate("client.crt"), certificate("client.key")));
    fetch(settings(&server, Scheme::Https, Tls { identity, ..trusted() })).unwrap();
    let error = fetch(settings(&server, Scheme::Https, trusted())).unwrap_err().to_string();
    assert!(error.starts_with(&format!("https://{}", server.host)), "{error}");
    let identity = Some((certificate("client.crt"), certificate("missing.key")));
    let error = fetch(settings(&server, Scheme::Https, Tls { identity, ..trusted() })).unwrap_err().to_string();
    assert!(error.contains("missing.key"), "{error}");
}

#[test]
fn a_host_without_tls_is_asked_without_by_configuration_only() {
    let server = Server::start(document);
    let error = fetch(settings(&server, Scheme::Https, trusted())).unwrap_err().to_string();
    assert!(error.ends_with("it does not speak TLS; if it is meant not to, configure it as insecure"), "{error}");
    let repository = settings(&server, Scheme::HttpsOrHttp, trusted()).repository(Access::Pull);
    repository.manifest(Which::Tag("1")).unwrap();
    let before = server.asked().len();
    repository.manifest(Which::Tag("1")).unwrap();
    assert_eq!(server.asked().len(), before + 1, "what was found out is remembered");
    let with = Server::start_tls(false, document);
    fetch(settings(&with, Scheme::HttpsOrHttp, Tls { unverified: true, ..Tls::default() })).unwrap();
    assert_eq!(with.lines(), ["GET /v2/team/app/manifests/1"]);
}

#[test]
fn tls_is_not_left_on_the_way() {
    let plain = Server::start(document);
    let to = format!("http://{}/x", plain.host);
    let server = Server::start_tls(false, move |_| Reply::new(307, "").with("location", to.clone()));
    let error = fetch(settings(&server, Scheme::Https, trusted())).unwrap_err().to_string();
    assert!(error.ends_with("which has no TLS; refused"), "{error}");
    assert!(plain.asked().is_empty());
    let realm = format!("Bearer realm=\"http://{}/token\"", plain.host);
    let server = Server::start_tls(false, move |_| Reply::new(401, "").with("www-authenticate", realm.clone()));
    let error =
        fetch(settings(&server, Scheme::Https, trusted()).known_as(&server, "me", "secret")).unwrap_err().to_string();
    assert!(error.contains("without TLS; that is refused"), "{error}");
    assert!(plain.asked().is_empty());
}

#[test]
fn a_token_server_that_is_named_over_tls_gets_our_password() {
    let tokens = Server::start_tls(false, |asked| match asked.header("authorization") {
        Some(BASIC) => Reply::new(200, r#"{"token":"good"}"#),
        _ => Reply::new(401, ""),
    });
    let realm = format!("Bearer realm=\"https://{}/token\",service=x", tokens.host);
    let server = Server::start_tls(false, move |asked| match asked.header("authorization") {
        Some("Bearer good") => document(asked),
        _ => Reply::new(401, "").with("www-authenticate", realm.clone()),
    });
    fetch(settings(&server, Scheme::Https, trusted()).known_as(&server, "me", "secret")).unwrap();
    assert_eq!(tokens.lines(), ["GET /token?service=x&scope=repository%3Ateam%2Fapp%3Apull"]);
}

/// A proxy that lets whoever knows the password through to wherever they ask, and keeps what they asked.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, asked) = (listener.local_addr().unwrap().to_string(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, log) = (stream.unwrap(), Arc::clone(&log));
            let head: Vec<_> =
                BufReader::new(&stream).lines().map(io::Result::unwrap).take_while(|line| !line.is_empty()).collect();
            log.lock().unwrap().push(head[0].clone());
            if !head.contains(&format!("Proxy-Authorization: {BASIC}")) {
                stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
                continue;
            }
            let to = TcpStream::connect(head[0].split(' ').nth(1).unwrap()).unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n").unwrap();
            for (mut from, mut to) in [(stream.try_clone().unwrap(), to.try_clone().unwrap()), (to, stream)] {
                thread::spawn(move || io::copy(&mut from, &mut to));
            }
        }
    });
    (host, asked)
}

#[test]
fn a_proxy_is_asked_for_the_way() {
    let (proxy, asked) = proxy();
    let server = Server::start_tls(false, document);
    let mut settings = settings(&server, Scheme::Https, trusted());
    settings.proxy = Some(format!("http://me:secret@{proxy}"));
    fetch(settings.clone()).unwrap();
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT {} HTTP/1.1", server.host)]);
    settings.proxy = Some(format!("http://{proxy}"));
    let error = fetch(settings.clone()).unwrap_err().to_string();
    assert_eq!(error, format!("https://{0}: the proxy {proxy} refuses the way to {0} with 407", server.host));
    settings.proxy = Some("socks5://x".to_owned());
    assert!(fetch(settings).unwrap_err().to_string().contains("`socks5://` is not supported"));
}

#[test]
fn a_proxy_is_told_the_whole_address_of_a_host_without_tls() {
    // Answers in the host's stead, as proxies do.
    let proxy = Server::start(|asked| match asked.header("proxy-authorization") {
        Some(BASIC) if asked.path.starts_with("http://registry.example:5000/v2/") => document(asked),
        Some(_) => Reply::new(404, ""),
        None => Reply::new(407, ""),
    });
    let mut settings = settings(&proxy, Scheme::Http, Tls::default());
    settings.endpoints[0].host = "registry.example:5000".to_owned();
    settings.proxy = Some(format!("http://me:secret@{}", proxy.host));
    let repository = settings.clone().repository(Access::Pull);
    repository.manifest(Which::Tag("1")).unwrap();
    repository.manifest(Which::Tag("1")).unwrap();
    assert_eq!(proxy.lines(), ["GET http://registry.example:5000/v2/team/app/manifests/1"; 2]);
    assert_eq!(proxy.asked()[0].header("host"), Some("registry.example:5000"));
    settings.proxy = Some(format!("http://{}", proxy.host));
    assert!(fetch(settings).unwrap_err().to_string().contains("answers 407 proxy authentication required"));
}
