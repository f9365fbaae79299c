//! Images for the trials: every kind of entry that a layer can hold, whiteouts, and layers too random to compress.
//!
//! ```text
//! 0  trees     modes, owners, xattrs, links, devices, long and odd names, times
//! 1  pruning   whiteouts, an opaque directory, a file that becomes a directory and one that was one
//! 2… fruit/N   a file that does not compress, one layer per number: images share those of equal number
//! ```

use crate::archive::{Archive, Layer};
use serde_json::json;
use tar::{EntryType, Header};

/// Bytes of the file in a layer of fruit.
pub(crate) const FRUIT: usize = 300_000;

/// `security.capability` of a program that may bind low ports: version 2, `cap_net_bind_service` permitted and effective.
const CAPABILITY: &str = "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// An image with the first two layers and these fruits.
pub(crate) fn image(name: &str, fruits: &[u64]) -> Archive {
    let config = json!({"Cmd": ["/bin/true"], "Env": ["PATH=/bin", "FLOWER=clover"], "Labels": {"orchard": name}});
    let archive = Archive::new(name).config(config).layer(&trees()).layer(&pruning());
    fruits.iter().fold(archive, |archive, fruit| archive.layer(&self::fruit(*fruit, FRUIT)))
}

/// A layer with one file that does not compress.
pub(crate) fn fruit(number: u64, size: usize) -> Layer {
    Layer::new().directory("fruit").file(&format!("fruit/{number}"), noise(number, size))
}

/// Bytes that do not compress, always the same for a number.
pub(crate) fn noise(number: u64, size: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn trees() -> Layer {
    let long = format!("home/{}/{}", "deep".repeat(30), "flower".repeat(20));
    let mut layer = Layer::new().directory("./");
    for name in ["bin", "dev", "etc", "home", "lib", "proc", "sys", "var", "var/cache", "var/lib", "var/replaced"] {
        layer = layer.directory(name);
    }
    layer
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        // What engines make for a container when the image has no such file.
        .file("etc/hostname", "orchard\n")
        .file("etc/hosts", "127.0.0.1 orchard\n")
        .file("etc/resolv.conf", "")
        .file("etc/gone", "removed by the next layer")
        .file("etc/becomes-a-directory", "for now")
        .file("etc/empty", "")
        .file("var/lib/hidden", "hidden by an opaque directory")
        .file("var/replaced/inside", "goes with its directory")
        .raw(entry("bin/su", EntryType::Regular, 0o4755, (0, 0), "", 4), b"suid")
        .raw(entry("bin/wall", EntryType::Regular, 0o2711, (0, 5), "", 4), b"sgid")
        .raw(entry("tmp", EntryType::Directory, 0o1777, (0, 0), "", 0), b"")
        .raw(entry("home/bee", EntryType::Directory, 0o700, (1000, 1000), "", 0), b"")
        .raw(entry("home/bee/notes", EntryType::Regular, 0o640, (1000, 2000), "", 5), b"notes")
        .raw(entry("home/bee/far", EntryType::Regular, 0o600, (65534, 60000), "", 3), b"far")
        .raw(entry("home/bee/link", EntryType::Symlink, 0o777, (1000, 1000), "notes", 0), b"")
        // With the owner and mode of its file: tools differ in whose they believe.
        .raw(entry("lib/notes", EntryType::Link, 0o640, (1000, 2000), "home/bee/notes", 0), b"")
        .symlink("lib/absolute", "/etc/passwd")
        .symlink("lib/dangling", "../no/where")
        .hard_link("lib/passwd", "etc/passwd")
        .file("lib/gr\u{fc}n", "a name with an umlaut")
        .file("lib/a name with spaces", "spaces")
        .device("dev/null", 1, 3)
        .raw(entry("var/pipe", EntryType::Fifo, 0o620, (0, 0), "", 0), b"")
        .pax("SCHILY.xattr.user.flower", "clover")
        .file("var/scented", "has an attribute")
        .pax("SCHILY.xattr.security.capability", CAPABILITY)
        .program("bin/capable", "may bind low ports")
        .pax("path", &format!("home/{}", "deep".repeat(30)))
        .directory("x")
        .pax("path", &long)
        .file("x", "a long name")
        .pax("mtime", "1600000000.25")
        .file("var/cache/old", "a time with a fraction")
}

fn pruning() -> Layer {
    let layer = Layer::new().directory("etc").file("etc/.wh.gone", "").directory("etc/becomes-a-directory");
    let layer = layer.file("etc/becomes-a-directory/inside", "now").directory("var").directory("var/lib");
    let layer = layer.file("var/lib/.wh..wh..opq", "").file("var/lib/new", "beside nothing");
    let layer = layer.file("var/replaced", "was a directory").file("etc/passwd", "bee:x:1:1::/:/bin/sh\n");
    layer.raw(entry("home/bee", EntryType::Directory, 0o711, (1000, 1000), "", 0), b"")
}

fn entry(path: &str, kind: EntryType, mode: u32, owner: (u64, u64), link: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_size(size);
    header.set_mtime(1_700_000_000);
    header.set_path(path).unwrap();
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    header
}
