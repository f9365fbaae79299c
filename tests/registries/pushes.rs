//! What `skep push` and `skep manifest` say and do: words, digests, layers that travel once, signatures, lists.

use crate::archive::{Archive, Layer};
use crate::harness::orchard::noise;
use crate::harness::registry::Registry;
use crate::harness::scene::Scene;
use serde_json::{Value, json};
use store::Digest;

/// A scene with an open registry, its host, and an image of two layers in the store `one`.
fn scene(test: &str) -> Option<(Scene, Registry, String)> {
    let scene = Scene::new(test, &[])?;
    let registry = Registry::open(&scene, "registry");
    let host = registry.host();
    scene.allow_plain(&[&host]);
    let image = Archive::new(&format!("{host}/team/app:1"));
    let image = image.layer(&layer(1)).layer(&layer(2));
    let path = scene.archive(&image);
    scene.ok("one", &["load", "-i", &path]);
    Some((scene, registry, host))
}

/// Some of it compresses, some does not.
fn layer(number: u64) -> Layer {
    let text = format!("layer {number} says the same thing again. ").repeat(50_000);
    Layer::new().file(&format!("noise-{number}"), noise(number, 300_000)).file(&format!("text-{number}"), text)
}

fn last_words(output: &str) -> Vec<String> {
    let words = |line: &str| line.split_once(": ").map_or(line, |(_, words)| words).to_owned();
    output.lines().skip(1).map(words).collect()
}

/// `latest: digest: sha256:... size: 405`
fn digest(output: &str) -> String {
    let line = output.lines().last().unwrap();
    line.split(' ').find(|word| word.starts_with("sha256:")).unwrap_or_else(|| panic!("{output}")).to_owned()
}

fn count(registry: &Registry, method: &str, part: &str) -> usize {
    registry.accesses().iter().filter(|access| access.method == method && access.target.contains(part)).count()
}

#[test]
fn layers_travel_once_and_the_words_are_dockers() {
    let Some((scene, registry, host)) = scene("push-words") else { return };
    let name = format!("{host}/team/app:1");
    let first = scene.ok("one", &["push", &name]);
    assert_eq!(first.lines().next().unwrap(), format!("The push refers to repository [{host}/team/app]"));
    assert_eq!(last_words(&first)[..2], ["Pushed", "Pushed"]);
    let raw = scene.manifest(&name);
    assert!(first.lines().last().unwrap().starts_with(&format!("1: digest: {} size: ", digest(&first))), "{first}");
    for layer in raw["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    }
    let puts = count(&registry, "PUT", "/blobs/uploads/");
    let again = scene.ok("one", &["push", &name]);
    assert_eq!(last_words(&again)[..2], ["Layer already exists", "Layer already exists"]);
    assert_eq!((digest(&again), count(&registry, "PUT", "/blobs/uploads/")), (digest(&first), puts));
    // Another repository takes them from the first.
    scene.ok("one", &["tag", &name, &format!("{host}/other/app:2")]);
    let mounted = scene.ok("one", &["push", &format!("{host}/other/app:2")]);
    assert_eq!(last_words(&mounted)[..2], ["Mounted from team/app", "Mounted from team/app"]);
    assert_eq!((digest(&mounted), count(&registry, "PUT", "/blobs/uploads/")), (digest(&first), puts));
    // The digest is the image's there: it is shown, and finds it.
    let shown = scene.ok("one", &["images", "--digests", "--format", "{{.Repository}} {{.Digest}}"]);
    assert!(shown.lines().all(|line| line.ends_with(&digest(&first))), "{shown}");
    scene.ok("one", &["inspect", &format!("{host}/team/app@{}", digest(&first))]);
    assert_eq!(scene.ok("one", &["push", "-q", &name]), name);
}

#[test]
fn all_tags_go_with_one_word() {
    let Some((scene, _registry, host)) = scene("push-tags") else { return };
    let repository = format!("{host}/team/app");
    scene.ok("one", &["tag", &format!("{repository}:1"), &format!("{repository}:2")]);
    let output = scene.ok("one", &["push", "--all-tags", &repository]);
    let tags: Vec<&str> = output.lines().filter_map(|line| line.split_once(": digest: ")).map(|(tag, _)| tag).collect();
    assert_eq!(tags, ["1", "2"]);
    assert_eq!(output.matches("The push refers").count(), 1);
    assert_eq!(scene.manifest(&format!("{repository}:1")), scene.manifest(&format!("{repository}:2")));
    scene.fails("one", &["push", "-a", &format!("{repository}:1")], &["tag can't be used with --all-tags"]);
    scene.fails("one", &["push", &format!("{repository}:3")], &["does not exist locally", "skep tag"]);
    scene.fails("one", &["push", &format!("{repository}@sha256:{}", "0".repeat(64))], &["digest"]);
}

#[test]
fn each_compression_is_what_it_says_and_gives_the_same_image() {
    let Some((scene, _registry, host)) = scene("push-forms") else { return };
    let name = format!("{host}/team/app:1");
    let id = |store: &str| scene.ok(store, &["images", "-q", "--no-trunc"]);
    for (form, suffix) in [("zstd", "tar+zstd"), ("none", "layer.v1.tar"), ("gzip", "tar+gzip")] {
        scene.ok("one", &["push", "--compression", form, &name]);
        for layer in scene.manifest(&name)["layers"].as_array().unwrap() {
            assert!(layer["mediaType"].as_str().unwrap().ends_with(suffix), "{layer}");
        }
        scene.ok(form, &["pull", &name]);
        assert_eq!(id(form), id("one"));
        // What came from a registry goes to another repository as it is.
        let copy = format!("{host}/copy/{form}:1");
        scene.ok(form, &["tag", &name, &copy]);
        scene.ok(form, &["push", &copy]);
        let expected = if form == "none" { scene.manifest(&copy) } else { scene.manifest(&name) };
        assert_eq!(scene.manifest(&copy), expected);
    }
    scene.fails("one", &["push", "--compression", "xz", &name], &["xz", "gzip, zstd or none"]);
}

/// Puts a document (and blobs) into a repository by hand.
fn put(scene: &Scene, host: &str, repository: &str, tag: &str, manifest: &Value, blobs: &[&[u8]]) -> String {
    let base = format!("http://{host}/v2/{repository}");
    for blob in blobs {
        let path = scene.path("blob");
        std::fs::write(&path, blob).unwrap();
        let script = "import sys, urllib.request as u\n\
                      base, digest, path = sys.argv[1:]\n\
                      place = u.urlopen(u.Request(base + '/blobs/uploads/', method='POST', data=b'')).headers['Location']\n\
                      mark = '&' if '?' in place else '?'\n\
                      u.urlopen(u.Request(place + mark + 'digest=' + digest, method='PUT', data=open(path, 'rb').read(), headers={'Content-Type': 'application/octet-stream'}))";
        scene.tool(&["python3", "-c", script, &base, &Digest::of(blob).to_string(), &path]);
    }
    let bytes = manifest.to_string();
    let path = scene.path("manifest");
    std::fs::write(&path, &bytes).unwrap();
    let script = "import sys, urllib.request as u\n\
                  url, kind, path = sys.argv[1:]\n\
                  u.urlopen(u.Request(url, method='PUT', data=open(path, 'rb').read(), headers={'Content-Type': kind}))";
    let kind = manifest["mediaType"].as_str().unwrap();
    scene.tool(&["python3", "-c", script, &format!("{base}/manifests/{tag}"), kind, &path]);
    Digest::of(bytes.as_bytes()).to_string()
}

#[test]
fn artifacts_and_signatures_go_along_untouched() {
    let Some((scene, _registry, host)) = scene("push-signed") else { return };
    let name = format!("{host}/team/app:1");
    let signed = digest(&scene.ok("one", &["push", &name]));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let part = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let (empty, note): (&[u8], &[u8]) = (b"{}", b"signed by the keeper");
    let signature = json!({"schemaVersion": 2, "mediaType": kind,
        "config": part("application/vnd.oci.image.config.v1+json", empty),
        "layers": [part("application/vnd.dev.cosign.simplesigning.v1+json", note)]});
    let tag = format!("{}.sig", signed.replace(':', "-"));
    let expected = put(&scene, &host, "team/app", &tag, &signature, &[empty, note]);
    scene.ok("two", &["pull", &name]);
    scene.ok("two", &["pull", &format!("{host}/team/app:{tag}")]);
    // To another repository: the image keeps its digest, and the signature its own.
    scene.ok("two", &["tag", &name, &format!("{host}/copy:1")]);
    let copied = scene.ok("two", &["push", &format!("{host}/copy:1")]);
    assert_eq!(digest(&copied), signed);
    let there = scene.manifest(&format!("{host}/copy:{tag}"));
    assert_eq!(Digest::of(there.to_string().as_bytes()).to_string(), expected);
    assert_eq!(there, signature);
}

#[test]
fn lists_are_made_annotated_pushed_and_forgotten() {
    let Some((scene, _registry, host)) = scene("push-lists") else { return };
    let (one, two, list) =
        (format!("{host}/team/app:1"), format!("{host}/elsewhere/app:2"), format!("{host}/team/all:1"));
    // One image is here and was never pushed; the other is in another repository only.
    let other = scene.archive(&Archive::new(&two).layer(&layer(3)));
    scene.ok("two", &["load", "-i", &other]);
    let there = digest(&scene.ok("two", &["push", &two]));
    let made = scene.ok("one", &["manifest", "create", &list, &one, &two]);
    assert_eq!(made, format!("Created manifest list {list}"));
    scene.fails("one", &["manifest", "create", &list, &one], &["--amend"]);
    scene.ok("one", &["manifest", "create", "--amend", &list, &one]);
    scene.ok("one", &["manifest", "annotate", "--arch", "arm", "--variant", "v7", "--os-features", "a,b", &list, &two]);
    scene.fails("one", &["manifest", "annotate", "--os", "linux", &list, "nobody"], &["does not exist in"]);
    let shown: Value = serde_json::from_str(&scene.ok("one", &["manifest", "inspect", &list])).unwrap();
    let images = shown["manifests"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(images[0]["platform"], json!({"architecture": "amd64", "os": "linux"}));
    assert_eq!(images[1]["digest"], there.as_str());
    assert_eq!(images[1]["platform"]["variant"], "v7");
    assert_eq!(images[1]["platform"]["os.features"], json!(["a", "b"]));
    let pushed = scene.ok("one", &["manifest", "push", "--purge", &list]);
    let lines: Vec<&str> = pushed.lines().collect();
    let ref_line = format!("Pushed ref {host}/team/all@{there} with digest: {there}");
    assert!(lines.len() == 3 && lines.contains(&ref_line.as_str()), "{pushed}");
    assert_eq!(scene.manifest(&list), shown);
    scene.fails("one", &["manifest", "push", &list], &["no such manifest"]);
    scene.fails("one", &["manifest", "rm", &list], &["no such manifest"]);
    // What is in the registry can be looked at, and copied whole.
    let verbose: Value = serde_json::from_str(&scene.ok("two", &["manifest", "inspect", "-v", &list])).unwrap();
    assert_eq!(verbose[1]["Descriptor"]["platform"]["architecture"], "arm");
    scene.tool(&[
        "skopeo",
        "copy",
        "--quiet",
        "--all",
        "--src-tls-verify=false",
        &format!("docker://{list}"),
        &format!("oci:{}", scene.path("layout")),
    ]);
    scene.ok("three", &["pull", "--all-platforms", &list]);
    scene.ok("three", &["tag", &list, &format!("{host}/whole:1")]);
    assert_eq!(digest(&scene.ok("three", &["push", &format!("{host}/whole:1")])), lines[2]);
    scene.ok("four", &["pull", &list]);
    scene.ok("four", &["tag", &list, &format!("{host}/part:1")]);
    scene.fails("four", &["push", "--all-platforms", &format!("{host}/part:1")], &["--all-platforms"]);
    let part = scene.ok("four", &["push", &format!("{host}/part:1")]);
    assert_eq!(digest(&part), images[0]["digest"].as_str().unwrap());
    // An image's name is not taken for a list.
    scene.fails("one", &["manifest", "create", &one, &two], &["no list of manifests"]);
}
