//! Signatures that a registry has among its referrers, and what becomes of those that are damaged.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use failure::{Kind, Result};
use reference::{Digest, Reference};
use registry::{Access, Policy};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use crate::server::{Reply, Server};
use crate::settings::Settings;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// What a registry says of signatures for `subject`, by path; and the policy that asks for them.
struct Signed {
    subject: Digest,
    answers: HashMap<String, (Vec<u8>, &'static str)>,
    policy: Policy,
}

impl Signed {
    /// Signed rightly; `length` and `payload` are what the registry says and sends of the payload, if not what is right.
    fn new(length: Option<u64>, sent: Option<&str>) -> Self {
        let subject = Digest::of(b"subject");
        let payload = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"registry.example/team/app:1"}},"image":{{"docker-manifest-digest":"{subject}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
        let signature = BASE64_STANDARD.encode(key.sign(&random, payload.as_bytes()).unwrap());
        let (digest, size) = (Digest::of(payload.as_bytes()), length.unwrap_or(payload.len() as u64));
        let manifest = format!(
            r#"{{"layers":[{{"mediaType":"{PAYLOAD}","digest":"{digest}","size":{size},"annotations":{{"dev.cosignproject.cosign/signature":"{signature}"}}}}]}}"#
        );
        let manifest_digest = Digest::of(manifest.as_bytes());
        let index = format!(
            r#"{{"manifests":[{{"digest":"{}","artifactType":"application/sbom"}},{{"digest":"{manifest_digest}","artifactType":"{SIGNATURE}"}}]}}"#,
            Digest::of(b"not a signature")
        );
        let payload = sent.map_or(payload, str::to_owned);
        let answers = HashMap::from([
            (format!("/v2/team/app/referrers/{subject}"), (index.into_bytes(), INDEX)),
            (format!("/v2/team/app/manifests/{manifest_digest}"), (manifest.into_bytes(), MANIFEST)),
            (format!("/v2/team/app/blobs/{digest}"), (payload.into_bytes(), "application/octet-stream")),
        ]);
        Self { subject, answers, policy: policy(key.public_key().as_ref()) }
    }

    fn verify(&self) -> Result<()> {
        let answers = self.answers.clone();
        let server = Server::start(move |asked| match answers.get(&asked.path) {
            Some((body, _)) if asked.path.contains("/blobs/") => Reply::blob(asked, body),
            Some((body, media_type)) => Reply::document(body.clone(), media_type),
            None => {
                Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#).with("content-type", "application/json")
            }
        });
        let repository = Settings::of(&[&server]).repository(Access::Pull);
        let name = Reference::parse("registry.example/team/app:1").unwrap();
        self.policy.verify(&repository, &name, &self.subject)
    }
}

/// A policy that asks for a signature by this point of P-256.
fn policy(point: &[u8]) -> Policy {
    let frame = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let frame = (0..frame.len()).step_by(2).map(|at| u8::from_str_radix(&frame[at..at + 2], 16).unwrap());
    let der: Vec<u8> = frame.chain(point.iter().copied()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der));
    let text = format!(r#"{{"default":[{{"type":"sigstoreSigned","keyData":"{}"}}]}}"#, BASE64_STANDARD.encode(pem));
    Policy::parse(Path::new("/policy.json"), &text).unwrap()
}

#[test]
fn a_signature_is_found_among_the_referrers() {
    Signed::new(None, None).verify().unwrap();
    let mut without = Signed::new(None, None);
    without.answers.clear();
    let error = without.verify().unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let start = "`registry.example/team/app:1` may not be pulled: rule `default` in `/policy.json`: ";
    assert_eq!(
        error.to_string().strip_prefix(start),
        Some("it asks for a signature, and the registry has none for this image")
    );
}

#[test]
fn a_payload_that_is_damaged_refuses_the_image() {
    for damaged in [
        Signed::new(None, Some("something else")),
        Signed::new(Some(7), None),
        Signed::new(Some(1 << 40), None),
        Signed::new(Some(0), None),
    ] {
        assert!(damaged.verify().is_err());
    }
    let mut other = Signed::new(None, None);
    other.subject = Digest::of(b"another");
    assert_eq!(other.verify().unwrap_err().kind(), Kind::Denied);
}
