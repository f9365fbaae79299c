//! What is written to a registry.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use failure::Kind;
use reference::Digest;
use registry::{Access, Repository};

use crate::server::{Asked, Reply, Server};
use crate::settings::Settings;

fn repository(server: &Server) -> Repository {
    Settings::of(&[server]).repository(Access::Push)
}

/// The longest content that the server takes in one request.
const LONGEST: usize = 40 << 20;

/// An upload as registries keep it.
#[derive(Default)]
struct Uploaded {
    bytes: Vec<u8>,
    done: bool,
}

/// A registry with one upload. `limit` bytes at most are taken from each request with content before it is cut.
fn server(limit: impl Fn(&Asked) -> Option<usize> + Send + Sync + 'static) -> (Server, Arc<Mutex<Uploaded>>) {
    let uploaded = Arc::new(Mutex::new(Uploaded::default()));
    let kept = Arc::clone(&uploaded);
    let server = Server::start(move |asked| {
        let mut upload = kept.lock().unwrap();
        let at = |upload: &Uploaded| {
            let range = format!("0-{}", upload.bytes.len().saturating_sub(1));
            Reply::new(202, "").with("location", format!("/upload?at={}", upload.bytes.len())).with("range", range)
        };
        if asked.path == "/v2/team/app/blobs/uploads/" {
            upload.bytes.clear();
            return at(&upload);
        }
        if asked.method == "GET" {
            return Reply { status: 204, ..at(&upload) };
        }
        if asked.body.len() > LONGEST {
            return Reply::new(413, "<html>too large").with("content-type", "text/html");
        }
        let current = format!("/upload?at={}", upload.bytes.len());
        assert!(asked.path == current || asked.path.starts_with(&format!("{current}&")), "{}", asked.line());
        let taken = limit(asked).unwrap_or(usize::MAX).min(asked.body.len());
        upload.bytes.extend_from_slice(&asked.body[..taken]);
        if taken < asked.body.len() {
            return Reply { silent: true, ..Reply::new(202, "") };
        }
        if asked.method == "PUT" {
            let digest = asked.path.split("digest=").nth(1).unwrap().replace("%3A", ":");
            if digest != Digest::of(&upload.bytes).to_string() {
                return Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"does not match"}]}"#);
            }
            upload.done = true;
            return Reply::new(201, "").with("location", "/v2/x");
        }
        at(&upload)
    });
    (server, uploaded)
}

fn content() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn push(server: &Server, content: &[u8]) -> failure::Result<()> {
    repository(server).push_blob(&Digest::of(content), content.len() as u64, &mut Cursor::new(content))
}

#[test]
fn a_blob_is_pushed_in_two_requests() {
    let (server, uploaded) = server(|_| None);
    push(&server, &content()).unwrap();
    let methods: Vec<_> = server.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(methods, ["POST", "PUT"]);
    assert!(uploaded.lock().unwrap().bytes == content() && uploaded.lock().unwrap().done);
    assert_eq!(server.asked()[0].header("content-length"), Some("0"));
    assert_eq!(server.asked()[1].header("content-length"), Some("200000"));
}

#[test]
fn an_upload_that_was_cut_goes_on_with_what_is_missing() {
    let (server, uploaded) = server(|_| Some(70_000));
    push(&server, &content()).unwrap();
    assert!(uploaded.lock().unwrap().bytes == content() && uploaded.lock().unwrap().done);
    let asked = server.asked();
    let ranges: Vec<_> = asked.iter().filter_map(|asked| asked.header("content-range")).collect();
    assert_eq!(ranges, ["70000-199999", "140000-199999"]);
    // More often than anything is tried, but a little more arrives each time.
    let (server, uploaded) = self::server(|_| Some(20_000));
    push(&server, &content()).unwrap();
    assert!(uploaded.lock().unwrap().bytes == content());
}

#[test]
fn an_upload_that_the_registry_forgot_begins_again_in_parts() {
    let times = Arc::new(Mutex::new(0));
    let server = Server::start(move |asked| match asked.method.as_str() {
        "POST" => Reply::new(202, "").with("location", "/upload"),
        "GET" => Reply::new(404, ""),
        "PATCH" => Reply::new(202, "").with("location", "/upload"),
        _ => {
            *times.lock().unwrap() += 1;
            Reply { silent: *times.lock().unwrap() == 1, ..Reply::new(201, "") }
        }
    });
    push(&server, &vec![7; 5 << 20]).unwrap();
    let asked: Vec<_> = server.asked().into_iter().map(|asked| (asked.method, (asked.body.len() * 4) >> 20)).collect();
    let expected = [("POST", 0), ("PUT", 20), ("GET", 0), ("POST", 0)];
    let parts = [("PATCH", 5), ("PATCH", 5), ("PATCH", 5), ("PATCH", 5), ("PUT", 0)];
    let expected: Vec<_> =
        expected.iter().chain(&parts).map(|(method, length)| ((*method).to_owned(), *length)).collect();
    assert_eq!(asked, expected);
}

#[test]
fn a_blob_that_is_too_long_for_one_request_is_pushed_in_parts() {
    let (server, uploaded) = server(|_| None);
    let content = vec![7; LONGEST + 1000];
    push(&server, &content).unwrap();
    assert!(uploaded.lock().unwrap().bytes == content);
    let parts: Vec<_> = server.asked().iter().map(|asked| (asked.method.clone(), asked.body.len())).collect();
    let expected = [
        ("POST", 0),
        ("PUT", LONGEST + 1000),
        ("POST", 0),
        ("PATCH", 32 << 20),
        ("PATCH", (8 << 20) + 1000),
        ("PUT", 0),
    ];
    assert_eq!(parts, expected.map(|(method, length)| (method.to_owned(), length)));
}

#[test]
fn a_refused_upload_says_why() {
    let (server, _) = server(|_| None);
    let (digest, content) = (Digest::of(b"other"), b"content");
    let error = repository(&server).push_blob(&digest, 7, &mut Cursor::new(content)).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().ends_with("answers 400 DIGEST_INVALID: does not match"), "{error}");
    let error = repository(&server).push_blob(&digest, 8, &mut Cursor::new(content)).unwrap_err();
    assert_eq!(error.to_string(), "the blob to push ends 1 bytes early");
}

#[test]
fn a_blob_is_taken_from_another_repository_or_pushed() {
    let content = b"content";
    let digest = Digest::of(content);
    let server = Server::start(|asked| match asked.path.contains("from=team%2Fbase") {
        true => Reply::new(201, ""),
        false => Reply::new(202, "").with("location", "/upload?x=1"),
    });
    let repository = repository(&server);
    assert!(repository.mount_blob(&digest, "team/base").unwrap());
    assert_eq!(server.lines(), [format!("POST /v2/team/app/blobs/uploads/?mount={digest}&from=team%2Fbase")]);
    assert!(!repository.mount_blob(&digest, "other").unwrap());
    let _ = repository.push_blob(&digest, 7, &mut Cursor::new(content));
    assert_eq!(server.lines()[2], format!("PUT /upload?x=1&digest=sha256%3A{}", digest.hex()), "the upload is used");
}

#[test]
fn what_is_there_is_known() {
    let server = Server::start(|asked| Reply::new(if asked.path.ends_with("00") { 200 } else { 404 }, ""));
    let repository = repository(&server);
    assert!(repository.has_blob(&Digest::from_bytes([0; 32])).unwrap());
    assert!(!repository.has_blob(&Digest::from_bytes([1; 32])).unwrap());
}
