//! What is read from a registry, and from one that lies.

use std::rc::Rc;

use crate::server::{Reply, Server};
use reference::{Digest, Reference};
use registry::{Access, Plain, Registries, Repository, Which};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn repository(server: &Server) -> Repository {
    let registries: Rc<Registries> = Registries::new(Plain { insecure: vec![server.host.clone()] });
    let reference = Reference::parse(&format!("{}/team/app:1", server.host)).unwrap();
    registries.repository(&reference, Access::Pull).unwrap()
}

fn fetch(repository: &Repository, digest: &Digest, size: u64, offset: u64) -> failure::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    repository.blob(digest, size, offset, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

#[test]
fn a_tag_is_resolved_in_one_request_and_a_manifest_proved() {
    let server = Server::start(|_| Reply::document(r#"{"schemaVersion":2}"#, MANIFEST));
    let repository = repository(&server);
    let found = repository.head_manifest(Which::Tag("1")).unwrap().unwrap();
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1"]);
    let document = repository.manifest(Which::Digest(&found.digest)).unwrap();
    assert_eq!((document.digest, document.media_type.as_str()), (found.digest, MANIFEST));
    assert_eq!(document.bytes, br#"{"schemaVersion":2}"#);
}

#[test]
fn a_blob_is_read_from_an_offset_on() {
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let served = content.clone();
    let server = Server::start(move |asked| Reply::blob(asked, &served));
    let repository = repository(&server);
    assert!(fetch(&repository, &digest, size, 0).unwrap() == content);
    assert!(fetch(&repository, &digest, size, 1234).unwrap() == content[1234..]);
    assert!(fetch(&repository, &digest, size, size).unwrap().is_empty());
}
