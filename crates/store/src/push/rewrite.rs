//! A manifest with other blobs for its layers: nothing else in it changes, not even the order of its fields.

use failure::{Error, Result};
use serde_json::{Map, Value};

use super::{Blob, Document, Form};
use crate::Digest;
use crate::documents::{DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, parse};

const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// The same document, in which `exchanged` says what a layer was compressed to.
pub(super) fn exchange(
    document: Document,
    form: Form,
    exchanged: impl Fn(&Digest) -> Option<Blob>,
) -> Result<Document> {
    let mut fields: Map<String, Value> = parse(&document.bytes, &document.digest.to_string())?;
    let damaged = || Error::invalid(format!("manifest `{}` is damaged", document.digest));
    let mut changed = false;
    for layer in fields.get_mut("layers").and_then(Value::as_array_mut).ok_or_else(damaged)? {
        let digest = Digest::parse(layer["digest"].as_str().unwrap_or_default())?;
        let Some(blob) = exchanged(&digest) else { continue };
        layer["mediaType"] = layer_type(layer["mediaType"].as_str().unwrap_or_default(), form).into();
        layer["digest"] = blob.digest.to_string().into();
        layer["size"] = blob.size.into();
        changed = true;
    }
    if !changed {
        return Ok(document);
    }
    let mut media_type = document.media_type;
    if media_type == DOCKER_MANIFEST && form == Form::Zstd {
        into_oci(&mut fields);
        OCI_MANIFEST.clone_into(&mut media_type);
    }
    let bytes = Value::Object(fields).to_string().into_bytes();
    Ok(Document { digest: Digest::of(&bytes), media_type, bytes })
}

fn layer_type(plain: &str, form: Form) -> String {
    match (plain, form) {
        (DOCKER_LAYER, Form::Gzip) => format!("{DOCKER_LAYER}.gzip"),
        (_, Form::Gzip) => format!("{OCI_LAYER}+gzip"),
        (_, Form::Zstd) => format!("{OCI_LAYER}+zstd"),
    }
}

/// Docker's manifests know no zstd: such an image becomes an OCI one.
fn into_oci(fields: &mut Map<String, Value>) {
    fields.insert("mediaType".into(), OCI_MANIFEST.into());
    if let Some(config) = fields.get_mut("config") {
        config["mediaType"] = OCI_CONFIG.into();
    }
    for layer in fields.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(suffix) = layer["mediaType"].as_str().and_then(|kind| kind.strip_prefix(DOCKER_LAYER)) {
            layer["mediaType"] = format!("{OCI_LAYER}{}", suffix.replace('.', "+")).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(bytes: &str, media_type: &str) -> Document {
        Document { digest: Digest::of(bytes.as_bytes()), media_type: media_type.into(), bytes: bytes.into() }
    }

    #[test]
    fn only_what_was_compressed_changes() {
        let (plain, other, new) = (Digest::of(b"plain"), Digest::of(b"other"), Digest::of(b"new"));
        let text = format!(
            r#"{{"schemaVersion":2,"x":1,"layers":[{{"mediaType":"{OCI_LAYER}","digest":"{plain}","size":9,"annotations":{{"k":"v"}}}},{{"mediaType":"{OCI_LAYER}+gzip","digest":"{other}","size":3}}],"annotations":{{"a":"b"}}}}"#
        );
        let exchanged = |digest: &Digest| (*digest == plain).then_some(Blob { digest: new, size: 5 });
        let after = exchange(document(&text, OCI_MANIFEST), Form::Gzip, exchanged).unwrap();
        let expected = text.replace(&plain.to_string(), &new.to_string()).replacen("tar\"", "tar+gzip\"", 1);
        assert_eq!(String::from_utf8(after.bytes.clone()).unwrap(), expected.replace("\"size\":9", "\"size\":5"));
        assert_eq!(after.digest, Digest::of(&after.bytes));
        let untouched = exchange(document(&text, OCI_MANIFEST), Form::Gzip, |_| None).unwrap();
        assert_eq!(untouched.bytes, text.as_bytes());
    }

    #[test]
    fn zstd_makes_an_oci_manifest_of_dockers() {
        let (plain, other) = (Digest::of(b"plain"), Digest::of(b"other"));
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json"}},"layers":[{{"mediaType":"{DOCKER_LAYER}","digest":"{plain}","size":9}},{{"mediaType":"{DOCKER_LAYER}.gzip","digest":"{other}","size":3}}]}}"#
        );
        let exchanged = |digest: &Digest| (*digest == plain).then_some(Blob { digest: other, size: 5 });
        let after = exchange(document(&text, DOCKER_MANIFEST), Form::Zstd, exchanged).unwrap();
        assert_eq!(after.media_type, OCI_MANIFEST);
        let text = String::from_utf8(after.bytes).unwrap();
        for part in [OCI_MANIFEST, OCI_CONFIG, &format!("{OCI_LAYER}+zstd"), &format!("{OCI_LAYER}+gzip")] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("docker"), "{text}");
    }
}
