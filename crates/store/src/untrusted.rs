//! What reads an image's documents, as functions of bytes alone: for fuzzing.
//!
//! Each panics if something does not hold that the store relies on; what can be refused is refused in one line.

use oci_spec::image::ImageConfiguration;

use crate::config::ConfigDocument;
use crate::documents::{ManifestHead, Parts, Target, blobs_of, diff_ids, read_index};
use crate::{History, docker};

/// A manifest, an index or the `manifest.json` of `docker save`, whatever the bytes are: the lines of what was refused.
pub fn manifest(bytes: &[u8]) -> Vec<String> {
    let mut refused = Vec::new();
    let mut note = |error: failure::Error| refused.push(error.to_string());
    let index = read_index(bytes, "index").map_err(&mut note).ok();
    let manifest = ManifestHead::parse(bytes, "manifest").map_err(&mut note).ok();
    // One document is never both: two readers would see two images.
    assert!(index.is_none() || manifest.is_none());
    for entry in index.iter().flatten() {
        let _ = entry.digest().map_err(&mut note);
        let _ = entry.platform().map(|platform| platform.to_string());
        let _ = entry.annotation("org.opencontainers.image.ref.name");
    }
    let is_index = matches!(Target::parse(bytes, "target"), Ok(Target::Index(_)));
    assert_eq!(is_index, index.is_some());
    let parts = Parts::parse(bytes, "parts").map_err(&mut note);
    let blobs = blobs_of(bytes, "blobs").map_err(&mut note);
    if let (Some(head), Ok(parts), Ok(blobs)) = (manifest, parts, blobs) {
        assert!(parts.is_image && parts.blobs.len() == blobs.len());
        let _ = head.config().map_err(&mut note);
        let _ = head.with_configuration(bytes, "configuration").map_err(&mut note);
    }
    let _ = docker::check(bytes).map_err(&mut note);
    refused
}

/// An image's configuration: the lines of what was refused. What is not understood is kept.
pub fn configuration(bytes: &[u8]) -> Vec<String> {
    let mut refused = Vec::new();
    let mut note = |error: failure::Error| refused.push(error.to_string());
    if let Ok(configuration) = serde_json::from_slice::<ImageConfiguration>(bytes) {
        let _ = diff_ids(&configuration).map_err(&mut note);
    }
    match ConfigDocument::parse(bytes) {
        Ok(mut document) => {
            let again = ConfigDocument::parse(&document.to_bytes());
            // Numbers of more than 64 bits come back rounded.
            assert!(again.is_ok_and(|again| again.json().keys().eq(document.json().keys())));
            let _ = document.push_layer(&crate::Digest::of(b""), History::default()).map_err(&mut note);
            let _ = document.config_mut().len();
        }
        Err(error) => note(error),
    }
    refused
}
