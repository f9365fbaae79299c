//! Manifests, and those that refer to others, at registries that note this and at those that do not.

use std::collections::HashMap;
use std::sync::Mutex;

use reference::Digest;
use registry::{Access, Repository, Which};

use crate::server::{Reply, Server};
use crate::settings::Settings;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn repository(server: &Server) -> Repository {
    Settings::of(&[server]).repository(Access::Push)
}

/// A registry of manifests without referrers.
fn old_registry() -> Server {
    let kept = Mutex::new(HashMap::new());
    Server::start(move |asked| {
        let mut kept = kept.lock().unwrap();
        match asked.method.as_str() {
            "PUT" => {
                kept.insert(asked.path.clone(), (asked.body.clone(), asked.header("content-type").unwrap().to_owned()));
                Reply::new(201, "")
            }
            _ => match kept.get(&asked.path) {
                Some((body, media_type)) => Reply::document(body.clone(), media_type),
                None => Reply::new(404, ""),
            },
        }
    })
}

#[test]
fn a_manifest_is_pushed_with_its_type() {
    let server = Server::start(|_| Reply::new(201, ""));
    repository(&server).put_manifest(Which::Tag("1"), b"{}", "application/x").unwrap();
    let asked = &server.asked()[0];
    assert_eq!((asked.line().as_str(), asked.body.as_slice()), ("PUT /v2/team/app/manifests/1", &b"{}"[..]));
    assert_eq!(asked.header("content-type"), Some("application/x"));
    let server = Server::start(|_| Reply::new(201, "").with("docker-content-digest", Digest::of(b"x").to_string()));
    let error = repository(&server).put_manifest(Which::Tag("1"), b"{}", "application/x").unwrap_err().to_string();
    assert!(error.ends_with(&format!("took {} where {} was sent", Digest::of(b"x"), Digest::of(b"{}"))), "{error}");
}

#[test]
fn referrers_are_listed_by_the_registry() {
    let subject = Digest::of(b"subject");
    let first = format!("GET /v2/team/app/referrers/{subject}");
    let server = Server::start(move |asked| {
        if asked.line() == first {
            return Reply::document(r#"{"manifests":[{"digest":"a"}]}"#, INDEX).with("link", "<?page=2>; rel=\"next\"");
        }
        Reply::document(r#"{"manifests":[{"digest":"b"}]}"#, INDEX)
    });
    let list = repository(&server).referrers(&subject).unwrap().unwrap();
    let expected =
        format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"digest":"a"}},{{"digest":"b"}}]}}"#);
    assert_eq!(String::from_utf8(list).unwrap(), expected);
    let none = Server::start(|_| Reply::document(r#"{"manifests":[]}"#, INDEX));
    assert_eq!(repository(&none).referrers(&subject).unwrap(), None);
}

#[test]
fn a_registry_that_notes_a_subject_is_not_helped() {
    let subject = Digest::of(b"subject");
    let server = Server::start(move |_| Reply::new(201, "").with("oci-subject", subject.to_string()));
    let manifest = format!(r#"{{"subject":{{"digest":"{subject}"}}}}"#);
    repository(&server).put_manifest(Which::Tag("1"), manifest.as_bytes(), MANIFEST).unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn referrers_are_kept_under_a_tag_where_the_registry_has_none() {
    let (subject, server) = (Digest::of(b"subject"), old_registry());
    let repository = repository(&server);
    assert_eq!(repository.referrers(&subject).unwrap(), None);
    let mut digests = Vec::new();
    for kind in ["application/x", "application/y", "application/y"] {
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{kind}"}},"subject":{{"digest":"{subject}"}},"annotations":{{"a":"b"}}}}"#
        );
        let digest = Digest::of(manifest.as_bytes());
        repository.put_manifest(Which::Digest(&digest), manifest.as_bytes(), MANIFEST).unwrap();
        digests.push((digest.to_string(), manifest.len(), kind));
    }
    digests.dedup();
    let list: serde_json::Value = serde_json::from_slice(&repository.referrers(&subject).unwrap().unwrap()).unwrap();
    let found: Vec<_> = list["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert_eq!((&one["mediaType"], &one["annotations"]["a"]), (&MANIFEST.into(), &"b".into()));
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            (text("digest"), one["size"].as_u64().unwrap() as usize, text("artifactType"))
        })
        .collect();
    assert_eq!(
        found,
        digests.into_iter().map(|(digest, size, kind)| (digest, size, kind.to_owned())).collect::<Vec<_>>()
    );
}
