//! An image in the shape of Docker's JSON: the configuration's own document under Docker's names.

use engine::Home;
use engine::images::{self, Image};
use failure::{Error, Result};
use serde_json::{Map, Value, json};

/// The image as `docker image inspect` shows it.
///
/// # Errors
/// No such image.
pub(super) fn inspect(home: &Home, name: &str) -> Result<Value> {
    let image = images::image(home, name)?;
    let store = home.store()?;
    Ok(view(&image, image.size(store)?, image.document(store)?.json()))
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
        "Comment": comment,
        "Created": text("created"),
        "Author": text("author"),
        "Config": config,
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": size,
        "RootFS": { "Type": "layers", "Layers": layers },
        "Descriptor": { "digest": image.target.to_string() },
    });
    let variant = text("variant");
    if let Some(object) = value.as_object_mut().filter(|_| !variant.is_empty()) {
        object.insert("Variant".into(), variant.into());
    }
    value
}

/// The value, if it is for the platform.
///
/// # Errors
/// It is for another one.
pub(super) fn for_platform(value: Value, platform: &str, name: &str) -> Result<Value> {
    let field = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = [field("Os"), field("Architecture"), field("Variant")];
    let fits = platform.split('/').zip(&own).all(|(wanted, own)| wanted == own) && platform.split('/').count() <= 3;
    if fits {
        return Ok(value);
    }
    let own = own.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("/");
    Err(Error::not_found(format!("image `{name}` is for {own}, not for {platform}")))
}
