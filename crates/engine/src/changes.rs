//! `diff`, `commit` and `export`: what a container wrote, as a list, as an image, as an archive.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd as _;

use failure::Result;
use runtime::ContainerId;
use serde_json::{Value, json};
pub use store::changes::{Change, ChangeKind};
use store::commit::Commit;
use store::{ConfigChange, ConfigDocument, Digest, Reference};

use crate::config::ContainerConfig;
use crate::frozen::Frozen;
use crate::request::MountSource;
use crate::{Home, create, state};

/// What to commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitRequest {
    /// The name of the new image.
    pub reference: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// A note for its history.
    pub message: Option<String>,
    /// Dockerfile instructions (`CMD`, `ENV`, ..) on its configuration.
    pub changes: Vec<String>,
    /// Do not freeze the container meanwhile.
    pub no_pause: bool,
    /// When the image was made, in seconds (`SOURCE_DATE_EPOCH`); the newest change in its layer otherwise.
    pub epoch: Option<i64>,
}

/// The paths that the container changed, sorted.
///
/// # Errors
/// A layer that cannot be read.
pub fn diff(home: &Home, id: &ContainerId) -> Result<Vec<Change>> {
    let config = ContainerConfig::read(home, id)?;
    let writable = home.container(id).join("layer");
    store::changes::changes(home.store()?, &create::base(&config)?, &writable)
}

/// Makes an image of the container; returns the image's id.
///
/// # Errors
/// A bad instruction or name, or a full disk.
pub fn commit(home: &Home, id: &ContainerId, request: &CommitRequest) -> Result<String> {
    let config = ContainerConfig::read(home, id)?;
    let reference = request.reference.as_deref().map(Reference::parse).transpose()?;
    let changes = request.changes.iter().map(|text| ConfigChange::parse(text)).collect::<Result<Vec<_>>>()?;
    let store = home.store()?;
    let base = match &config.image.manifest {
        Some(manifest) => Some(store.image(&Digest::parse(manifest)?)?),
        None => None,
    };
    let mut document = match &base {
        Some(image) => image.document(store)?,
        None => ConfigDocument::empty(),
    };
    describe(&config, &mut document);
    let pause = !request.no_pause && state::running(home, id).is_ok_and(|state| !is_paused(&state));
    let frozen = if pause { Some(Frozen::new(home, id)?) } else { None };
    let committed = store::commit::commit(
        store,
        Commit {
            base: base.as_ref(),
            writable: &home.container(id).join("layer"),
            config: document,
            changes: &changes,
            author: request.author.as_deref().unwrap_or_default(),
            message: request.message.as_deref().unwrap_or_default(),
            created_by: &config.process.arguments().join(" "),
            reference,
            epoch: request.epoch,
        },
    );
    drop(frozen);
    Ok(committed?.to_string())
}

/// Writes the container's whole root filesystem as a tar archive.
///
/// # Errors
/// What the output refuses.
pub fn export(home: &Home, id: &ContainerId, output: &mut dyn Write) -> Result<()> {
    let config = ContainerConfig::read(home, id)?;
    let root = create::overlay(home, &config, &home.container(id))?.mount_for_reading()?;
    store::export::export(root.as_fd(), 0, output)
}

fn is_paused(state: &monitor::state::State) -> bool {
    state.status == monitor::state::Status::Paused
}

/// Writes the container's settings over those of its image.
fn describe(config: &ContainerConfig, document: &mut ConfigDocument) {
    let process = &config.process;
    let list = |words: &[String]| if words.is_empty() { Value::Null } else { json!(words) };
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    let volumes = config.mounts.iter().filter(|entry| entry.mount.source == MountSource::Anonymous);
    let settings = [
        ("Entrypoint", list(&process.entrypoint)),
        ("Cmd", list(&process.command)),
        ("Env", list(&process.environment)),
        ("User", text(&process.user)),
        ("WorkingDir", text(&process.working_directory)),
        ("Labels", if config.labels.is_empty() { Value::Null } else { json!(config.labels) }),
        ("StopSignal", if config.stop_signal == "SIGTERM" { Value::Null } else { text(&config.stop_signal) }),
        ("ExposedPorts", set_of(config.exposed_ports.iter())),
        ("Volumes", set_of(volumes.map(|entry| &entry.mount.target))),
    ];
    // Older builders left their container and its machine's name there: nothing of them is in the new layer.
    document.remove("container");
    document.remove("container_config");
    let target = document.config_mut();
    for field in ["Hostname", "Domainname", "Image"] {
        target.remove(field);
    }
    for (field, value) in settings {
        // What is not set is left out, as everybody writes it.
        if value.is_null() {
            target.remove(field);
        } else {
            target.insert(field.to_owned(), value);
        }
    }
}

/// A set as image configurations write it: names of empty objects.
fn set_of<'a>(names: impl Iterator<Item = &'a String>) -> Value {
    let set: BTreeMap<&String, Value> = names.map(|name| (name, json!({}))).collect();
    if set.is_empty() { Value::Null } else { json!(set) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigBase, ImageSource, merge};
    use crate::request::Request;

    #[test]
    fn a_containers_settings_become_the_images() {
        let request = Request {
            command: vec!["sh".into(), "-c".into(), "x".into()],
            environment: vec!["A=1".into()],
            ..Request::default()
        };
        let source = ImageSource { reference: "host:".into(), id: None, manifest: None, base: ConfigBase::Host };
        let config = merge(request, ContainerId::random(), source, None).unwrap();
        let mut document = ConfigDocument::empty();
        document.config_mut().insert("User".into(), json!("joe"));
        document.config_mut().insert("Hostname".into(), json!("a-build-machine"));
        document.set("container", "5f1e");
        describe(&config, &mut document);
        assert_eq!(document.json()["config"], json!({"Cmd": ["sh", "-c", "x"], "Env": ["A=1"]}));
        assert!(!document.json().contains_key("container"));
        assert!(!document.json().contains_key("Cmd"), "the document itself has no such field");
    }
}
