//! Writes image archives byte by byte, so that tests may also write wrong ones.
//!
//! A [`Layer`] is a tar stream made of headers whose names and links are set raw: `..`, absolute names and sizes that
//! lie are possible. An [`Archive`] wraps layers as `docker save` does:
//!
//! ```text
//! manifest.json            [{"Config": "<hex>.json", "RepoTags": [...], "Layers": ["<hex>/layer.tar", ...]}]
//! <hex>.json               the image configuration with rootfs.diff_ids
//! <hex>/layer.tar          one per layer
//! ```

use serde_json::{Value, json};
use sha2::Digest;
use std::path::PathBuf;

/// A layer under construction.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    bytes: Vec<u8>,
}

impl Layer {
    /// No entries yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A directory with mode 0755.
    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(path, tar::EntryType::Directory, 0o755, None, &[])
    }

    /// A regular file with mode 0644.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, tar::EntryType::Regular, 0o644, None, content.as_ref())
    }

    /// An executable file.
    pub(crate) fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, tar::EntryType::Regular, 0o755, None, content.as_ref())
    }

    /// A symbolic link.
    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Symlink, 0o777, Some(target), &[])
    }

    /// A hard link.
    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Link, 0o644, Some(target), &[])
    }

    /// A character device.
    pub(crate) fn device(mut self, path: &str, major: u32, minor: u32) -> Self {
        let mut header = header(path, tar::EntryType::Char, 0o666, None, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        self.append(header, &[]);
        self
    }

    /// Any entry, with the header fields as given: names are not checked.
    pub(crate) fn entry(
        mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        link: Option<&str>,
        content: &[u8],
    ) -> Self {
        self.append(header(path, kind, mode, link, content.len() as u64), content);
        self
    }

    /// A header as the test made it, and whatever bytes it wants to have behind it.
    pub(crate) fn raw(mut self, header: tar::Header, content: &[u8]) -> Self {
        self.append(header, content);
        self
    }

    /// A PAX record before the next entry.
    pub(crate) fn pax(self, key: &str, value: &str) -> Self {
        let mut length = key.len() + value.len() + 3;
        while format!("{length} {key}={value}\n").len() != length {
            length = format!("{length} {key}={value}\n").len();
        }
        let record = format!("{length} {key}={value}\n");
        self.entry("PaxHeaders/entry", tar::EntryType::XHeader, 0o644, None, record.as_bytes())
    }

    /// A file of `size` zero bytes that takes no room in the archive (GNU sparse, one empty map).
    pub(crate) fn sparse_file(mut self, path: &str, size: u64) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(size);
        gnu.sparse[0].set_offset(size);
        gnu.sparse[0].set_length(0);
        header.set_cksum();
        self.append(header, &[]);
        self
    }

    /// The tar stream with its two closing blocks.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    fn append(&mut self, header: tar::Header, content: &[u8]) {
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}

/// A docker-archive under construction.
pub(crate) struct Archive {
    layers: Vec<Vec<u8>>,
    names: Vec<String>,
    config: Value,
    diff_ids: Option<Vec<String>>,
}

impl Archive {
    /// An image with this name and no layers.
    pub(crate) fn new(name: &str) -> Self {
        Self { layers: Vec::new(), names: vec![name.to_owned()], config: json!({}), diff_ids: None }
    }

    /// One more layer on top.
    pub(crate) fn layer(mut self, layer: &Layer) -> Self {
        self.layers.push(layer.bytes());
        self
    }

    /// The `config` object of the image: `Cmd`, `Env`, `User` ...
    pub(crate) fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Says these instead of the layers' true digests.
    pub(crate) fn diff_ids(mut self, diff_ids: Vec<String>) -> Self {
        self.diff_ids = Some(diff_ids);
        self
    }

    /// The archive.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let true_ids = || self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": self.config,
            "history": self.layers.iter().map(|_| json!({"created_by": "test"})).collect::<Vec<_>>(),
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids.clone().unwrap_or_else(true_ids)},
        });
        let config = config.to_string();
        let config_name = format!("{}.json", sha256(config.as_bytes()));
        let mut outer = Layer::new().file(&config_name, &config);
        let mut layer_names = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", sha256(layer));
            if !layer_names.contains(&name) {
                outer = outer.file(&name, layer);
            }
            layer_names.push(name);
        }
        let manifest = json!([{"Config": config_name, "RepoTags": self.names, "Layers": layer_names}]);
        outer.file("manifest.json", manifest.to_string()).bytes()
    }

    /// The archive as a file.
    pub(crate) fn write(&self, path: PathBuf) -> PathBuf {
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// The digest of some bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn header(path: &str, kind: tar::EntryType, mode: u32, link: Option<&str>, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    // Raw: the `tar` crate's own setters refuse the very names that hostile archives carry.
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    if let Some(link) = link {
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_cksum();
    header
}
