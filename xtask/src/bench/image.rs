//! Images for the measurements, written as docker-archives: a small one to start, a big one to load.
//!
//! ```text
//! manifest.json · <hex>.json · <n>/layer.tar ...      the order of `docker save`: layers first, manifest last
//! ```

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The tree that floor, crun and every engine start: busybox under the few names that the sections use.
pub(crate) fn small_tree(directory: &Path) -> Result<()> {
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(directory.join(name))?;
    }
    let busybox = Path::new("/bin/busybox");
    // floor follows no links: `true` is the program itself.
    for name in ["true", "sleep", "sh"] {
        fs::copy(busybox, directory.join("bin").join(name)).context("/bin/busybox: apt-get install busybox-static")?;
    }
    fs::write(directory.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(directory.join("etc/group"), "root:x:0:\n")?;
    Ok(())
}

/// The tree as an image of one layer.
pub(crate) fn small_archive(tree: &Path, path: &Path) -> Result<()> {
    let layer = path.with_extension("layer");
    let mut builder = tar::Builder::new(BufWriter::new(File::create(&layer)?));
    builder.append_dir_all(".", tree)?;
    builder.into_inner()?.flush()?;
    write_archive(path, "skep-bench-small:1", &[layer])
}

/// An image of `layers` layers with `size` bytes each: files of a few kilobytes to a few megabytes, as in a
/// distribution's image, a third of them incompressible.
pub(crate) fn big_archive(path: &Path, layers: usize, size: u64) -> Result<()> {
    let mut files = Vec::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..layers {
        let layer = path.with_extension(format!("layer{number}"));
        big_layer(&layer, number, size, &mut random)?;
        files.push(layer);
    }
    write_archive(path, "skep-bench-big:1", &files)
}

fn big_layer(path: &Path, number: usize, size: u64, random: &mut Random) -> Result<()> {
    let mut builder = tar::Builder::new(BufWriter::new(File::create(path)?));
    let mut written = 0;
    for file in 0.. {
        if written >= size {
            break;
        }
        // Mostly small, now and then a library of megabytes.
        let length = if random.next().is_multiple_of(50) { 1 << 21 } else { 1024 + random.next() % 30_000 };
        let mut header = tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o644);
        let name = format!("layer{number}/directory{}/file{file}", file / 100);
        builder.append_data(&mut header, name, random.content(length as usize).as_slice())?;
        written += length;
    }
    builder.into_inner()?.flush()?;
    Ok(())
}

/// So many images, each with a configuration of its own, over one layer.
pub(crate) fn many_images(path: &Path, count: usize) -> Result<()> {
    let layer = tar::Builder::new(Vec::new()).into_inner()?;
    let diff_id = format!("sha256:{}", hex(&Sha256::digest(&layer)));
    let mut outer = tar::Builder::new(BufWriter::new(File::create(path)?));
    append(&mut outer, "layer.tar", &layer)?;
    let mut manifest = Vec::new();
    for number in 0..count {
        let config = configuration(&["true", &number.to_string()], &[&diff_id]);
        let name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
        append(&mut outer, &name, config.as_bytes())?;
        let tag = format!("skep-bench-list-{number}:1");
        manifest.push(json!({"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}));
    }
    append(&mut outer, "manifest.json", json!(manifest).to_string().as_bytes())?;
    outer.into_inner()?.flush()?;
    Ok(())
}

fn configuration(command: &[&str], diff_ids: &[&str]) -> String {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"Env": ["PATH=/bin"], "Cmd": command});
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    json!({"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs}).to_string()
}

/// Wraps layer files (which it removes) into a docker-archive.
fn write_archive(path: &Path, name: &str, layers: &[PathBuf]) -> Result<()> {
    let mut outer = tar::Builder::new(BufWriter::new(File::create(path)?));
    let (mut diff_ids, mut names) = (Vec::new(), Vec::new());
    for layer in layers {
        let hex = digest_of(layer)?;
        let inside = format!("{hex}/layer.tar");
        outer.append_path_with_name(layer, &inside)?;
        diff_ids.push(format!("sha256:{hex}"));
        names.push(inside);
        fs::remove_file(layer)?;
    }
    let config = configuration(&["true"], &diff_ids.iter().map(String::as_str).collect::<Vec<_>>());
    let config_name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
    append(&mut outer, &config_name, config.as_bytes())?;
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]);
    append(&mut outer, "manifest.json", manifest.to_string().as_bytes())?;
    outer.into_inner()?.flush()?;
    Ok(())
}

fn append(outer: &mut tar::Builder<BufWriter<File>>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(outer.append_data(&mut header, name, bytes)?)
}

fn digest_of(path: &Path) -> Result<String> {
    Ok(hex(&Sha256::digest(fs::read(path)?)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A small generator (xorshift), so that every run loads the same bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn content(&mut self, length: usize) -> Vec<u8> {
        let text = !self.next().is_multiple_of(3);
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            let value = self.next();
            if text {
                bytes.extend_from_slice(b"bees and clover in the ");
                bytes.extend_from_slice((value % 1000).to_string().as_bytes());
            } else {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
        bytes.truncate(length);
        bytes
    }
}
