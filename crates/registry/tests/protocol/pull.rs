//! What is read from a registry, and from one that lies.

use std::sync::atomic::{AtomicUsize, Ordering};

use failure::Kind;
use reference::Digest;
use registry::{Access, Repository, Which};

use crate::server::{Asked, Reply, Server};
use crate::settings::Settings;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCUMENT: &str = r#"{"schemaVersion":2,"config":{}}"#;

fn repository(server: &Server) -> Repository {
    Settings::of(&[server]).repository(Access::Pull)
}

fn fetch(repository: &Repository, digest: &Digest, size: u64, offset: u64) -> failure::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    repository.blob(digest, size, offset, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_tag_is_resolved_in_one_request_and_a_manifest_proved() {
    let server = Server::start(|_| Reply::document(DOCUMENT, MANIFEST));
    let repository = repository(&server);
    let found = repository.head_manifest(Which::Tag("1")).unwrap().unwrap();
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1"]);
    assert_eq!(found.size, Some(DOCUMENT.len() as u64));
    let asked = &server.asked()[0];
    assert_eq!(asked.header("accept-encoding"), None, "a digest covers the bytes as they are");
    assert!(
        asked.header("accept").unwrap().contains(MANIFEST) && asked.header("user-agent").unwrap().starts_with("skep/")
    );
    let document = repository.manifest(Which::Digest(&found.digest)).unwrap();
    assert_eq!((document.digest, document.media_type.as_str()), (found.digest, MANIFEST));
    assert_eq!(document.bytes, DOCUMENT.as_bytes());
}

#[test]
fn a_manifest_that_is_not_there_is_none_or_a_failure_with_the_registrys_words() {
    let server = Server::start(|_| {
        Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}"#)
    });
    let repository = repository(&server);
    assert_eq!(repository.head_manifest(Which::Tag("1")).unwrap(), None);
    let error = repository.manifest(Which::Tag("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let expected =
        format!("registry.example/team/app:1: http://{} answers 404 MANIFEST_UNKNOWN: manifest unknown", server.host);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_blob_is_read_from_an_offset_on() {
    let (served, content) = (content(), content());
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let server = Server::start(move |asked| Reply::blob(asked, &served));
    let repository = repository(&server);
    assert!(fetch(&repository, &digest, size, 0).unwrap() == content);
    assert!(fetch(&repository, &digest, size, 1234).unwrap() == content[1234..]);
    assert!(fetch(&repository, &digest, size, size).unwrap().is_empty());
}

#[test]
fn a_blob_goes_on_where_a_connection_was_cut() {
    let (served, content) = (content(), content());
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    // Each connection gives twenty thousand bytes more: twenty of them, and no byte sent twice.
    let server = Server::start(move |asked| Reply { cut: Some(20_000), ..Reply::blob(asked, &served) });
    assert!(fetch(&repository(&server), &digest, size, 0).unwrap() == content);
    let asked: Vec<_> = server.asked().iter().map(|asked| asked.offset().unwrap_or(0)).collect();
    assert_eq!(asked, (0..20).map(|part| part * 20_000).collect::<Vec<_>>());
}

#[test]
fn a_host_without_ranges_begins_again_and_the_sink_does_not() {
    let (served, content) = (content(), content());
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let times = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let cut = (times.fetch_add(1, Ordering::Relaxed) == 0).then_some(5000);
        Reply { cut, ..Reply::new(200, served.clone()) }
    });
    assert!(fetch(&repository(&server), &digest, size, 0).unwrap() == content);
}

#[test]
fn a_failing_sink_ends_it_at_once() {
    let server = Server::start(|asked| Reply::blob(asked, b"content"));
    let full = |_: &[u8]| Err(failure::Error::new(Kind::Unavailable, "no space"));
    let error = repository(&server).blob(&Digest::of(b"content"), 7, 0, &mut { full }).unwrap_err();
    assert_eq!(error.to_string(), "no space");
    assert_eq!(server.asked().len(), 1);
}

/// What is said about a blob of seven bytes that is served so.
fn blob_failure(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Server, failure::Error) {
    let server = Server::start(reply);
    let error = fetch(&repository(&server), &Digest::of(b"content"), 7, 0).unwrap_err();
    (server, error)
}

#[test]
fn a_blob_of_another_length_is_refused() {
    let (server, error) = blob_failure(|_| Reply::new(200, "conten"));
    assert!(error.to_string().ends_with(&format!("{} has 6 bytes where 7 belong", server.host)), "{error}");
    let (_, error) = blob_failure(|_| Reply::new(200, "content and more"));
    assert!(error.to_string().ends_with("has 16 bytes where 7 belong"), "{error}");
    let (_, error) = blob_failure(|_| Reply { endless: true, ..Reply::new(200, "con") });
    assert!(error.to_string().ends_with("sends more than its 7 bytes"), "{error}");
    let (server, error) = blob_failure(|_| Reply { length: Some(7), ..Reply::new(200, "con") });
    assert!(error.to_string().contains("the connection was cut (after 3 of 7 bytes)"), "{error}");
    assert!(server.asked().iter().skip(1).all(|asked| asked.offset() == Some(3)), "only the rest is asked for");
    let (_, error) = blob_failure(|_| Reply::new(200, "<html>").with("content-type", "text/html; charset=utf-8"));
    assert!(error.to_string().ends_with("sends a web page instead"), "{error}");
}

#[test]
fn a_host_that_falls_silent_is_given_up() {
    let server = Server::start(|_| Reply { stalls: true, length: Some(7), ..Reply::new(200, "con") });
    let settings = Settings { stall: Some(std::time::Duration::from_millis(300)), ..Settings::of(&[&server]) };
    let error = fetch(&settings.repository(Access::Pull), &Digest::of(b"content"), 7, 0).unwrap_err();
    assert!(error.to_string().contains("nothing more arrives"), "{error}");
}

#[test]
fn another_part_than_asked_for_is_refused() {
    let server = Server::start(|_| Reply::new(206, "tent").with("content-range", "bytes 3-6/7"));
    let error = fetch(&repository(&server), &Digest::of(b"content"), 7, 2).unwrap_err();
    assert!(error.to_string().ends_with("sends another part than asked for"), "{error}");
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (status, times) in [(429, 3), (500, 3), (502, 3), (503, 3), (404, 1), (403, 1), (400, 1), (501, 1)] {
        let (server, error) = blob_failure(move |_| Reply::new(status, ""));
        assert_eq!(server.asked().len(), times, "{status}");
        assert!(error.to_string().contains(&format!("answers {status} ")), "{error}");
    }
    let times = AtomicUsize::new(0);
    let server = Server::start(move |asked| match times.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(503, "").with("retry-after", "0"),
        1 => Reply::new(429, "slow down"),
        _ => Reply::blob(asked, b"content"),
    });
    assert_eq!(fetch(&repository(&server), &Digest::of(b"content"), 7, 0).unwrap(), b"content");
}

#[test]
fn nobody_waits_for_hours() {
    let (server, error) = blob_failure(|_| Reply::new(429, "").with("retry-after", "3600"));
    assert_eq!(server.asked().len(), 1);
    assert!(
        error.to_string().ends_with("answers 429 too many requests; it limits how much is asked for, try again later")
    );
}

#[test]
fn a_manifest_that_is_none_is_refused() {
    let failure = |reply: Reply| {
        let server = Server::start(move |_| reply.clone());
        let error = repository(&server).manifest(Which::Tag("1")).unwrap_err().to_string();
        assert_eq!(server.asked().len(), 1, "{error}");
        error
    };
    let error = failure(Reply::new(200, "<html>hello").with("content-type", "text/html"));
    assert!(error.ends_with("sends a web page instead of a manifest; is it a registry?"), "{error}");
    let error = failure(Reply::document("nonsense", MANIFEST));
    assert!(error.contains("sends what is not a manifest"), "{error}");
    let error = failure(Reply { body: b"{}".into(), ..Reply::document(DOCUMENT, MANIFEST) });
    let (said, sent) = (Digest::of(DOCUMENT.as_bytes()), Digest::of(b"{}"));
    assert!(error.ends_with(&format!("sends {sent} where {said} belongs")), "{error}");
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let error = failure(Reply::document(r#"{"schemaVersion":1}"#, old));
    assert!(error.contains("Docker's old format (schema 1)"), "{error}");
    let error = failure(Reply::document(vec![b' '; 5 << 20], MANIFEST));
    assert!(error.contains("sends more than 4194304 bytes"), "{error}");
    let error = failure(Reply { endless: true, ..Reply::document(DOCUMENT, MANIFEST) });
    assert!(error.contains("sends more than 4194304 bytes"), "{error}");
    let error = failure(Reply::new(418, "<!DOCTYPE html><p>no").with("content-type", "text/html"));
    assert!(error.contains("answers 418 i'm a teapot (with a web page; is this a registry?)"), "{error}");
}

#[test]
fn a_wrong_digest_is_refused_whatever_the_header_says() {
    let server = Server::start(|_| Reply::document(DOCUMENT, MANIFEST));
    let asked = Digest::of(b"something else");
    let error = repository(&server).manifest(Which::Digest(&asked)).unwrap_err().to_string();
    assert!(error.contains(&format!("where {asked} belongs")), "{error}");
}

#[test]
fn a_host_that_is_away_is_not_waited_for() {
    let server = Server::start(|_| Reply::new(200, ""));
    let mut settings = Settings::of(&[&server]);
    // Bound and closed again: nobody is there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.endpoints[0].host = format!("127.0.0.1:{port}");
    let error = settings.repository(Access::Pull).manifest(Which::Tag("1")).unwrap_err();
    assert_eq!(error.to_string(), format!("http://127.0.0.1:{port}: connection refused"));
}

#[test]
fn tags_are_read_page_by_page() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v2/team/app/tags/list?n=1000" => Reply::new(200, r#"{"name":"team/app","tags":["1","2"]}"#)
            .with("link", "</v2/team/app/tags/list?last=2>; rel=\"next\""),
        "/v2/team/app/tags/list?last=2" => Reply::new(200, r#"{"tags":["3"]}"#).with("link", "<x>; rel=prev"),
        _ => Reply::new(404, ""),
    });
    assert_eq!(repository(&server).tags().unwrap(), ["1", "2", "3"]);
    let endless = Server::start(|_| Reply::new(200, r#"{"tags":null}"#).with("link", "<?again>; rel=\"next\""));
    assert!(repository(&endless).tags().unwrap_err().to_string().contains("does not end"));
}
