//! `policy.json`: what may be pulled, and by whose signature.

use crate::harness::registry::Registry;
use crate::harness::scene::Scene;
use serde_json::{Value, json};

/// Makes a key called `$0`.
const KEY: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out \"$0.key\"
openssl pkey -in \"$0.key\" -pubout -out \"$0.pub\"";

/// Signs as cosign does: `$0` is the key, `$1` the repository at the registry, `$2` the payload, `$3` the tag.
const SIGN: &str = r#"
cd "$(dirname "$0")"
blob() {
    local digest=sha256:$(sha256sum "$1" | cut -d' ' -f1) at
    at=$(curl -sfi -X POST "http://$repository/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    curl -sf -X PUT -H 'Content-Type: application/octet-stream' --data-binary @"$1" "$at&digest=$digest"
    echo "$digest"
}
repository=${1/\///v2/} payload=$2 tag=$3
printf %s "$payload" >payload; printf '{}' >config
signature=$(openssl dgst -sha256 -sign "$0.key" payload | base64 -w0)
cat >manifest <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$(blob config)","size":2},
"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"$(blob payload)",
"size":$(stat -c %s payload),"annotations":{"dev.cosignproject.cosign/signature":"$signature"}}]}
END
curl -sf -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary @manifest \
    "http://$repository/manifests/$tag"
"#;

/// A registry with images, and keys.
struct Hall {
    scene: Scene,
    registry: Registry,
}

impl Hall {
    fn new(test: &str) -> Option<Self> {
        let scene = Scene::new(test, &["curl", "bash"])?;
        let registry = Registry::open(&scene, "registry");
        scene.allow_plain(&[&registry.host()]);
        for key in ["ours", "theirs"] {
            scene.tool(&["bash", "-euc", KEY, &scene.path(key)]);
        }
        Some(Self { scene, registry })
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    /// Pushes an image; its digest.
    fn push(&self, name: &str, fruit: u64) -> String {
        let image = self.name(name);
        self.scene.push(name, &[fruit], &image);
        let image = format!("docker://{image}");
        self.scene
            .tool(&["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", &image])
            .trim()
            .to_owned()
    }

    /// Signs a digest of a repository with a key, under a name.
    fn sign(&self, key: &str, repository: &str, digest: &str, named: &str, signed: &str) {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": named},
                "image": {"docker-manifest-digest": signed},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let (key, repository) = (self.scene.path(key), self.name(repository));
        self.scene.tool(&["bash", "-euc", SIGN, &key, &repository, &payload.to_string(), &tag]);
    }

    fn policy(&self, scope: &str, requirements: Value) {
        let docker = json!({scope: requirements});
        let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": docker}});
        self.scene.write("/etc/containers/policy.json", &policy.to_string());
    }

    /// The verdict on an image must be this one; what was said of it.
    #[track_caller]
    fn pull(&self, name: &str, accepted: bool) -> String {
        let image = self.name(name);
        let ours = self.scene.skep("one", &["pull", &image]);
        assert_eq!(ours.code == 0, accepted, "{ours:#?}");
        if accepted {
            self.scene.ok("one", &["rmi", &image]);
        } else {
            ours.assert_one_line_error(&["may not be pulled: rule", "in `/etc/containers/policy.json`"]);
        }
        ours.stderr
    }

    /// The verdict of skep and of skopeo. Debian's skopeo checks no signatures of this kind, but all else of the file.
    #[track_caller]
    fn both_pull(&self, name: &str, accepted: bool) -> String {
        let image = format!("docker://{}", self.name(name));
        let directory = format!("dir:{}", self.scene.path("copy"));
        let theirs = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", &image, &directory];
        let theirs = self.scene.place.run(&theirs);
        assert_eq!(theirs.code == 0, accepted, "{theirs:#?}");
        self.pull(name, accepted)
    }
}

#[test]
fn an_image_is_pulled_when_a_key_of_the_rule_signed_it() {
    let Some(hall) = Hall::new("signed") else { return };
    let host = hall.registry.host();
    let (apple, pear) = (hall.push("apple:1", 1), hall.push("pear:1", 2));
    let by = |key: &str, identity: &str| {
        let path = hall.scene.path(&format!("{key}.pub"));
        json!([{"type": "sigstoreSigned", "keyPath": path, "signedIdentity": {"type": identity}}])
    };
    hall.policy(&host, by("ours", "matchRepository"));
    assert!(hall.pull("apple:1", false).contains("the registry has none for this image"));
    let empty = hall.scene.content("one");
    hall.sign("ours", "apple", &apple, &hall.name("apple"), &apple);
    hall.pull("apple:1", true);
    // cosign leaves the tag out of the name, so that an exact rule does not fit.
    hall.policy(&host, by("ours", "matchExact"));
    assert!(hall.pull("apple:1", false).contains("without this tag or digest; `signedIdentity` of the type"));
    hall.policy(&host, by("theirs", "matchRepository"));
    assert!(hall.pull("apple:1", false).contains("not by a key that the rule trusts"));
    hall.policy(&host, by("ours", "matchRepository"));
    hall.sign("ours", "pear", &pear, &hall.name("pear"), &apple);
    assert!(hall.pull("pear:1", false).contains(&format!("the signature is for {apple}")));
    hall.sign("ours", "pear", &pear, &hall.name("apple"), &pear);
    assert!(hall.pull("pear:1", false).contains("which is another one"));
    let unchanged = hall.scene.content("one").iter().filter(|line| line.contains("blobs/")).count();
    assert_eq!(
        unchanged,
        empty.iter().filter(|line| line.contains("blobs/")).count(),
        "what is refused leaves nothing"
    );
}

#[test]
fn scopes_decide_and_what_cannot_be_checked_is_refused() {
    let Some(hall) = Hall::new("scopes") else { return };
    hall.push("team/apple:1", 1);
    let host = hall.registry.host();
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    hall.policy(&format!("{host}/team"), accept.clone());
    hall.both_pull("team/apple:1", true);
    hall.policy(&format!("{host}/other"), accept);
    assert!(hall.both_pull("team/apple:1", false).contains("rule `default`"));
    hall.policy(&host, json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/key.gpg"}]));
    assert!(hall.both_pull("team/apple:1", false).contains("`signedBy`, which is not supported"));
    let image = hall.name("team/apple:1");
    hall.policy(&host, json!([{"type": "sigstoreSigned", "keyPath": "/nowhere/key.pub"}]));
    hall.scene.fails("one", &["pull", &image], &["rule `", "key `/nowhere/key.pub`: no such file"]);
    hall.scene.write("/etc/containers/policy.json", "{\"default\": []}");
    hall.scene.fails(
        "one",
        &["pull", &image],
        &["`/etc/containers/policy.json`: rule `default`: it has no requirements"],
    );
    // Our own directory comes first.
    hall.scene.write("/etc/skep/policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}");
    hall.scene.ok("one", &["pull", &image]);
}
