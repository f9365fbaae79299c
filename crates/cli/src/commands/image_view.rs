//! An image in the shape of Docker's JSON: the configuration's own document under Docker's names.

use engine::Home;
use engine::images::{self, ChainId, Image, Platform};
use failure::Result;
use serde_json::{Map, Value, json};

/// The image as `docker image inspect` shows it.
///
/// # Errors
/// No such image.
pub(super) fn inspect(home: &Home, name: &str, platform: Option<&Platform>) -> Result<Value> {
    let image = images::image_for(home, name, platform)?;
    let store = home.store()?;
    let mut value = view(&image, image.size(store)?, image.document(store)?.json());
    value["GraphDriver"] = driver(&image, |layer| store.layer_tree(layer).display().to_string());
    value["Descriptor"] = descriptor(&image, &store.read_blob(&image.target)?);
    Ok(value)
}

/// Where the unpacked layers are, in overlay2's words.
fn driver(image: &Image, place: impl Fn(&ChainId) -> String) -> Value {
    let mut data = Map::new();
    let mut places = image.layers.iter().rev().map(place);
    if let Some(top) = places.next() {
        data.insert("UpperDir".into(), top.into());
    }
    let lower: Vec<String> = places.collect();
    if !lower.is_empty() {
        data.insert("LowerDir".into(), lower.join(":").into());
    }
    json!({ "Name": "overlay2", "Data": data })
}

/// What the image's names refer to.
fn descriptor(image: &Image, document: &[u8]) -> Value {
    let said: Value = serde_json::from_slice(document).unwrap_or_default();
    let kind = said["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
    json!({ "mediaType": kind, "digest": image.target.to_string(), "size": document.len() })
}

fn view(image: &Image, size: u64, document: &Map<String, Value>) -> Value {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let tags: Vec<String> =
        image.names.iter().filter(|name| name.tag().is_some()).map(|name| name.without_digest().to_string()).collect();
    let mut digests: Vec<String> =
        image.names.iter().map(|name| name.pinned(image.digest_of(name)).to_string()).collect();
    digests.dedup();
    let comment = document.get("history").and_then(Value::as_array).and_then(|lines| lines.last());
    let comment = comment.and_then(|line| line.get("comment")).and_then(Value::as_str).unwrap_or_default();
    let layers = document.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")).cloned().unwrap_or_else(|| json!([]));
    let config = document.get("config").cloned().unwrap_or_else(|| json!({}));
    let mut value = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": comment,
        "Created": text("created"),
        "DockerVersion": text("docker_version"),
        "Author": text("author"),
        "Config": config,
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": size,
        "RootFS": { "Type": "layers", "Layers": layers },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
    });
    let variant = text("variant");
    if let Some(object) = value.as_object_mut().filter(|_| !variant.is_empty()) {
        object.insert("Variant".into(), variant.into());
    }
    value
}
