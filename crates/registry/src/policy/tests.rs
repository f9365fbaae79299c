use super::*;
use base64::Engine as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use std::process::{Command, Stdio};

/// A key that signs, and its public half in PEM.
struct Signer {
    key: EcdsaKeyPair,
    public: String,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
        // SubjectPublicKeyInfo of an uncompressed point of P-256.
        let mut der = vec![0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08];
        der.extend([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00]);
        der.extend(key.public_key().as_ref());
        Self { key, public: pem(&der) }
    }

    fn sign(&self, payload: &str) -> Found {
        let signature = self.key.sign(&SystemRandom::new(), payload.as_bytes()).unwrap();
        Found { payload: payload.as_bytes().to_vec(), signature: signature.as_ref().to_vec() }
    }
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

fn payload(name: &str, digest: &Digest) -> String {
    format!(
        "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"{name}\"}},\"image\":{{\"docker-manifest-digest\":\"{digest}\"}},\
         \"type\":\"cosign container image signature\"}},\"optional\":null}}"
    )
}

/// What the rule says of these signatures of an image.
fn verdict(keys: &[&Signer], identity: &str, found: &[Found], name: &str, digest: &Digest) -> Result<()> {
    let texts: Vec<String> = keys.iter().map(|signer| signer.public.clone()).collect();
    let reference = Reference::parse(name).unwrap();
    let identity = serde_json::from_str(identity).unwrap();
    let signed = Signed { keys: Keys { files: Vec::new(), texts }, identity };
    let rule = Rule { file: Path::new("/etc/skep/policy.json"), scope: "a.net", reference: &reference };
    signed_by_one(&rule, &signed, found, digest)
}

const REPOSITORY: &str = r#"{"type":"matchRepository"}"#;

#[test]
fn a_signature_counts_for_its_key_manifest_and_name() {
    let (ours, other) = (Signer::new(), Signer::new());
    let (digest, another) = (Digest::of(b"manifest"), Digest::of(b"another"));
    let good = ours.sign(&payload("a.net/app", &digest));
    let says = |keys: &[&Signer], found: &[Found], name: &str| {
        verdict(keys, REPOSITORY, found, name, &digest).map_err(|error| {
            assert_eq!(error.kind(), Kind::Denied);
            let start = format!("`{name}` may not be pulled: rule `a.net` in `/etc/skep/policy.json`: ");
            error.to_string().strip_prefix(&start).unwrap().to_owned()
        })
    };
    assert_eq!(says(&[&ours], std::slice::from_ref(&good), "a.net/app:1"), Ok(()));
    assert_eq!(says(&[&other, &ours], std::slice::from_ref(&good), "a.net/app:1"), Ok(()));
    assert_eq!(says(&[&ours], &[other.sign("x"), good.clone()], "a.net/app:1"), Ok(()));
    assert_eq!(
        says(&[&ours], &[], "a.net/app:1").unwrap_err(),
        "it asks for a signature, and the registry has none for this image"
    );
    assert_eq!(
        says(&[&other], std::slice::from_ref(&good), "a.net/app:1").unwrap_err(),
        "the image is signed, but not by a key that the rule trusts"
    );
    assert_eq!(
        says(&[&ours], &[ours.sign(&payload("a.net/app", &another))], "a.net/app:1").unwrap_err(),
        format!("the signature is for {another}, not for {digest}")
    );
    assert_eq!(
        says(&[&ours], std::slice::from_ref(&good), "a.net/other:1").unwrap_err(),
        "it is signed under the name `a.net/app`, which is another one"
    );
    assert!(
        says(&[&ours], &[ours.sign("hello")], "a.net/app:1").unwrap_err().contains("not a simple signing document")
    );
    let mut changed = good.clone();
    changed.payload.push(b' ');
    assert!(says(&[&ours], &[changed], "a.net/app:1").is_err(), "a byte more");
    let mut changed = good;
    changed.signature[10] ^= 1;
    assert!(says(&[&ours], &[changed], "a.net/app:1").is_err(), "a bit less");
}

#[test]
fn keys_that_openssl_makes() {
    let directory = std::env::temp_dir().join(format!("skep-policy-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let run = |script: &str| {
        let ended = Command::new("sh").args(["-euc", script]).current_dir(&directory).stderr(Stdio::null()).status();
        assert!(ended.unwrap().success(), "{script}");
    };
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
    run("printf 'what is signed' > text");
    for (kind, make, sign) in [
        ("P-256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", "dgst -sha256 -sign k -out s text"),
        ("P-384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", "dgst -sha256 -sign k -out s text"),
        ("Ed25519", "genpkey -algorithm ED25519", "pkeyutl -sign -rawin -inkey k -in text -out s"),
        ("RSA", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", "dgst -sha256 -sign k -out s text"),
    ] {
        run(&format!("openssl {make} -out k; openssl pkey -in k -pubout -out p; openssl {sign}"));
        let keys = PublicKey::all(&String::from_utf8(read("p")).unwrap()).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys[0].holds(&read("text"), &read("s")), "{kind}");
        assert!(!keys[0].holds(b"what is not", &read("s")), "{kind}");
        let private = PublicKey::all(&String::from_utf8(read("k")).unwrap()).unwrap_err();
        assert_eq!(private, "it is a private key; the rule needs the public one");
    }
    run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out k; openssl pkey -in k -pubout -out p");
    let odd = PublicKey::all(&String::from_utf8(read("p")).unwrap()).unwrap_err();
    assert_eq!(odd, "its curve is not supported; P-256, P-384 and Ed25519 are");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn damaged_keys_are_refused() {
    let good = Signer::new().public;
    assert_eq!(PublicKey::all(&format!("a comment\n{good}{good}")).unwrap().len(), 2);
    let random = SystemRandom::new();
    let seed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let der = base64::engine::general_purpose::STANDARD.decode(good.lines().nth(1).unwrap()).unwrap();
    for cut in 0..der.len() {
        assert!(PublicKey::all(&pem(&der[..cut])).is_err(), "{cut}");
    }
    for wrong in
        ["", "hello", "-----BEGIN PUBLIC KEY-----\n%\n-----END PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\nAAAA"]
    {
        assert!(PublicKey::all(wrong).is_err(), "{wrong}");
    }
    assert!(PublicKey::all(&pem(seed.as_ref())).is_err());
    assert!(PublicKey::all(&good.replace("PUBLIC KEY", "CERTIFICATE")).is_err());
}
