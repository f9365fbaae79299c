//! What a directory tree is, as one digest: for trees that came by different tools, which must be the same.
//!
//! ```text
//! ./etc/passwd  file 644 0:0 size 41 sha256:…  [mtime]  xattr user.flower=…
//! ./bin/dir     -> ./bin/ls                     (a further name of what came before: a hard link)
//! ./lib         link 0:0 usr/lib
//! ./dev/null    character 666 0:0 1:3
//! ```
//! One line per name, sorted, in full: two trees that differ are shown by their first different lines. The mode and
//! time of the root itself are left away: images need not say them, and tools fill in what they like.

use crate::archive::sha256;
use rustix::fs::{FileType, Stat, lgetxattr, llistxattr, lstat};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A tree, read.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    lines: Vec<String>,
}

impl Tree {
    /// Reads the tree below a directory.
    #[track_caller]
    pub(crate) fn read(root: &Path) -> Self {
        let mut reader = Reader { first_names: HashMap::new(), lines: Vec::new() };
        reader.directory(root, ".");
        assert!(!reader.lines.is_empty(), "{} is empty", root.display());
        Self { lines: reader.lines }
    }

    /// The digest of all lines.
    pub(crate) fn digest(&self) -> String {
        sha256(self.lines.join("\n").as_bytes())
    }

    /// Fails with the lines that differ.
    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self, who: &str) {
        if self.digest() == other.digest() {
            return;
        }
        let only = |one: &Self, other: &Self, sign: &str| {
            let lines = one.lines.iter().filter(|line| !other.lines.contains(line)).take(12);
            lines.map(|line| format!("\n{sign} {line}")).collect::<String>()
        };
        panic!("the trees differ: {who}{}{}", only(self, other, "-"), only(other, self, "+"));
    }
}

struct Reader {
    /// Of files with several names, by device and inode.
    first_names: HashMap<(u64, u64), String>,
    lines: Vec<String>,
}

impl Reader {
    fn directory(&mut self, path: &Path, name: &str) {
        let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for entry in names {
            let below = format!("{name}/{}", entry.as_bytes().escape_ascii());
            self.entry(&path.join(&entry), &below);
        }
    }

    fn entry(&mut self, path: &Path, name: &str) {
        let status = lstat(path).unwrap();
        let kind = FileType::from_raw_mode(status.st_mode);
        if kind != FileType::Directory && status.st_nlink > 1 {
            let key = (status.st_dev, status.st_ino);
            if let Some(first) = self.first_names.get(&key) {
                return self.lines.push(format!("{name} -> {first}"));
            }
            self.first_names.insert(key, name.to_owned());
        }
        let (mode, owner) = (status.st_mode & 0o7777, format!("{}:{}", status.st_uid, status.st_gid));
        let what = match kind {
            FileType::Directory => format!("directory {mode:o} {owner}"),
            FileType::RegularFile => {
                let content = fs::read(path).unwrap();
                format!("file {mode:o} {owner} size {} sha256:{}", content.len(), sha256(&content))
            }
            FileType::Symlink => format!("link {owner} {}", fs::read_link(path).unwrap().display()),
            FileType::CharacterDevice => format!("character {mode:o} {owner} {}", device(&status)),
            FileType::BlockDevice => format!("block {mode:o} {owner} {}", device(&status)),
            FileType::Fifo => format!("fifo {mode:o} {owner}"),
            other => format!("{other:?} {mode:o} {owner}"),
        };
        // To the second. Two layers may both have touched a directory: which time it has is not the same with all tools.
        let time = if kind != FileType::Directory { format!(" time {}", status.st_mtime) } else { String::new() };
        self.lines.push(format!("{name} {what}{time}{}", attributes(path)));
        if kind == FileType::Directory {
            self.directory(path, name);
        }
    }
}

fn device(status: &Stat) -> String {
    format!("{}:{}", rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev))
}

/// All but those that are the file system's own business.
fn attributes(path: &Path) -> String {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let own = |name: &&[u8]| !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"security.selinux");
    let mut names: Vec<_> = names.filter(own).map(|name| CString::new(name).unwrap()).collect();
    names.sort();
    let value = |name: CString| {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(path, name.as_c_str(), value.as_mut_slice()).unwrap();
        format!(" xattr {}={}", name.to_string_lossy(), value[..length].escape_ascii())
    };
    names.into_iter().map(value).collect()
}
