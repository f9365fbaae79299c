//! Several endpoints: which one is asked, and what is said if none helps. Redirects.

use std::sync::atomic::{AtomicUsize, Ordering};

use reference::Digest;
use registry::{Access, Offers, Which};

use crate::server::{Reply, Server};
use crate::settings::Settings;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCUMENT: &str = r#"{"schemaVersion":2,"config":{}}"#;

#[test]
fn a_mirror_that_fails_is_passed_over_without_a_pause() {
    for status in [404, 401, 403, 429, 500] {
        let mirror = Server::start(move |_| Reply::new(status, ""));
        let host = Server::start(|_| Reply::document(DOCUMENT, MANIFEST));
        let repository = Settings::of(&[&mirror, &host]).repository(Access::Pull);
        assert_eq!(repository.manifest(Which::Tag("1")).unwrap().bytes, DOCUMENT.as_bytes());
        assert_eq!((mirror.asked().len(), host.asked().len()), (1, 1), "{status}");
        assert!(repository.head_manifest(Which::Tag("1")).unwrap().is_some());
    }
}

#[test]
fn a_mirror_that_lies_is_passed_over() {
    let mirror = Server::start(|_| Reply::document(r#"{"schemaVersion":2,"layers":[]}"#, MANIFEST));
    let host = Server::start(|_| Reply::document(DOCUMENT, MANIFEST));
    let repository = Settings::of(&[&mirror, &host]).repository(Access::Pull);
    let digest = Digest::of(DOCUMENT.as_bytes());
    assert_eq!(repository.manifest(Which::Digest(&digest)).unwrap().digest, digest);
}

#[test]
fn a_blob_that_a_mirror_began_is_ended_by_the_host() {
    let content = b"0123456789";
    let mirror = Server::start(move |asked| match asked.offset() {
        None => Reply { cut: Some(4), ..Reply::new(200, content) },
        Some(_) => Reply::new(500, ""),
    });
    let host = Server::start(move |asked| Reply::blob(asked, content));
    let mut bytes = Vec::new();
    let repository = Settings::of(&[&mirror, &host]).repository(Access::Pull);
    let sink = &mut |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    repository.blob(&Digest::of(content), 10, 0, sink).unwrap();
    assert_eq!(bytes, content);
    assert_eq!(host.asked()[0].header("range"), Some("bytes=4-9"));
}

#[test]
fn a_mirror_for_digests_is_not_asked_for_tags() {
    let mirror = Server::start(|_| Reply::document(DOCUMENT, MANIFEST));
    let host = Server::start(|_| Reply::document(DOCUMENT, MANIFEST));
    let mut settings = Settings::of(&[&mirror, &host]);
    settings.endpoints[0].offers = Offers::BY_DIGEST;
    settings.endpoints[0].namespace = Some("registry.example".to_owned());
    settings.endpoints[0].prefix = "/mirrors/v2".to_owned();
    settings.endpoints[0].headers = vec![("x-team".to_owned(), registry::Secret::new("a"))];
    let repository = settings.repository(Access::Pull);
    let digest = repository.head_manifest(Which::Tag("1")).unwrap().unwrap().digest;
    assert_eq!((mirror.asked().len(), host.asked().len()), (0, 1));
    repository.manifest(Which::Digest(&digest)).unwrap();
    assert_eq!(mirror.lines(), [format!("GET /mirrors/v2/team/app/manifests/{digest}?ns=registry.example")]);
    assert_eq!(mirror.asked()[0].header("x-team"), Some("a"));
    assert_eq!(host.asked()[0].header("x-team"), None);
}

#[test]
fn all_failures_are_told_the_hosts_first() {
    let mirror = Server::start(|_| Reply::new(500, ""));
    let host = Server::start(|_| Reply::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#));
    let repository = Settings::of(&[&mirror, &host]).repository(Access::Pull);
    let error = repository.manifest(Which::Tag("1")).unwrap_err();
    let of = |server: &Server| format!("registry.example/team/app:1: http://{} answers", server.host);
    let expected = format!("{} 404 NAME_UNKNOWN; before that: {} 500 internal server error", of(&host), of(&mirror));
    assert_eq!(error.to_string(), expected);
    assert_eq!((mirror.asked().len(), host.asked().len()), (3, 1), "the host has said its last word");
}

#[test]
fn a_redirect_is_followed_and_nobody_else_learns_who_we_are() {
    let store = Server::start(|asked| Reply::blob(asked, b"content"));
    let to = format!("http://{}/bucket/x?signature=y", store.host);
    let host = Server::start(move |asked| match asked.header("authorization") {
        None => Reply::new(401, "").with("www-authenticate", "Basic realm=x"),
        Some(_) => Reply::new(307, "").with("location", to.clone()),
    });
    let mut settings = Settings::of(&[&host]).known_as(&host, "me", "secret");
    settings.endpoints[0].headers = vec![("x-secret".to_owned(), registry::Secret::new("a"))];
    let repository = settings.repository(Access::Pull);
    repository.blob(&Digest::of(b"content"), 7, 3, &mut |_| Ok(())).unwrap();
    assert_eq!(store.lines(), ["GET /bucket/x?signature=y"]);
    let asked = &store.asked()[0];
    assert_eq!((asked.header("authorization"), asked.header("x-secret")), (None, None));
    assert_eq!(asked.header("range"), Some("bytes=3-6"));
}

/// A host that knows us, and sends the second request of whatever is asked to another one.
fn host_that_points_at(other: &Server) -> Server {
    let other = other.host.clone();
    Server::start(move |asked| match (asked.header("authorization"), asked.method.as_str()) {
        (None, _) => Reply::new(401, "").with("www-authenticate", "Basic realm=x"),
        (Some(_), "POST") => Reply::new(202, "").with("location", format!("http://{other}/upload")),
        (Some(_), _) => Reply::document(r#"{"name":"team/app","tags":["1"]}"#, "application/json")
            .with("link", format!("<http://{other}/v2/team/app/tags/list?last=1>; rel=\"next\"")),
    })
}

#[test]
fn an_upload_that_goes_to_another_host_does_not_say_who_we_are() {
    let other = Server::start(|_| Reply::new(201, ""));
    let host = host_that_points_at(&other);
    let repository = Settings::of(&[&host]).known_as(&host, "me", "secret").repository(Access::Push);
    let content = b"content";
    repository.push_blob(&Digest::of(content), 7, &mut std::io::Cursor::new(content)).unwrap();
    let asked = other.asked();
    assert_eq!((asked.len(), asked[0].header("authorization")), (1, None));
}

#[test]
fn a_list_that_goes_on_at_another_host_does_not_say_who_we_are() {
    let other = Server::start(|_| Reply::document(r#"{"name":"team/app","tags":["2"]}"#, "application/json"));
    let host = host_that_points_at(&other);
    let repository = Settings::of(&[&host]).known_as(&host, "me", "secret").repository(Access::Pull);
    assert_eq!(repository.tags().unwrap(), ["1", "2"]);
    assert!(other.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_redirect_at_the_same_host_keeps_who_we_are() {
    let host = Server::start(move |asked| match (asked.header("authorization"), asked.path.as_str()) {
        (None, _) => Reply::new(401, "").with("www-authenticate", "Basic realm=x"),
        (Some(_), "/elsewhere") => Reply::document(DOCUMENT, MANIFEST),
        _ => Reply::new(302, "").with("location", "/elsewhere"),
    });
    let repository = Settings::of(&[&host]).known_as(&host, "me", "secret").repository(Access::Pull);
    assert!(repository.manifest(Which::Tag("1")).is_ok());
}

#[test]
fn redirects_end_somewhere() {
    let times = AtomicUsize::new(0);
    let host = Server::start(move |_| {
        Reply::new(302, "").with("location", format!("/{}", times.fetch_add(1, Ordering::Relaxed)))
    });
    let error = Settings::of(&[&host]).repository(Access::Pull).manifest(Which::Tag("1")).unwrap_err();
    assert!(error.to_string().ends_with("redirects more than 10 times"), "{error}");
    let host = Server::start(|_| Reply::new(302, "").with("location", "file:///etc/passwd"));
    let error = Settings::of(&[&host]).repository(Access::Pull).manifest(Which::Tag("1")).unwrap_err();
    assert!(error.to_string().contains("is not an http or https address"), "{error}");
}
