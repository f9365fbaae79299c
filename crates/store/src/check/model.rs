//! What a layer's tree should be: the archive's entries, applied in memory by the unpacker's rules, without a file being
//! touched. Where an entry replaces another, is a whiteout or a hard link, the rules are those of `unpack`, one by one.
//!
//! Contents are compared as they stream by, and only the outcome is kept: with the inode, so that it goes when the entry
//! is replaced.

use std::collections::BTreeMap;

use failure::{Error, Result};

use crate::archive::{Entry, EntryKind, Time};
use crate::unpack::{Marker, is_taken, normalize, shown, split};

/// What a path should be.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A directory; without metadata, one that only lies on the way to something.
    Directory {
        /// What its entry says.
        metadata: Option<Metadata>,
        /// It hides what is below it in other layers.
        opaque: bool,
    },
    /// The mark of a name deleted below.
    Whiteout,
    /// One of the names of what has this number.
    Inode(usize),
}

/// Anything but a directory.
#[derive(Debug)]
pub(super) struct Inode {
    /// Its first path.
    path: Vec<u8>,
    /// What it is: never a hard link nor a directory.
    pub(super) kind: EntryKind,
    pub(super) size: u64,
    pub(super) metadata: Metadata,
    /// Whether the file at its first path has these bytes.
    pub(super) intact: bool,
    /// Its first path is another's now, so nobody has compared its bytes.
    pub(super) moved: bool,
}

/// What an entry says beside its kind.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Time,
    /// Sorted by name.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The whole tree.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<Vec<u8>, Node>,
    pub(super) inodes: Vec<Inode>,
    /// What the archive says of the tree's root.
    pub(super) root: Option<Metadata>,
}

impl Metadata {
    fn of(entry: &Entry) -> Self {
        let taken = entry.attributes.iter().filter(|(name, _)| is_taken(name));
        // The last value of a name is the one that is set.
        let attributes: BTreeMap<_, _> = taken.cloned().collect();
        let (mode, uid, gid) = (entry.mode & 0o7777, entry.uid, entry.gid);
        Self { mode, uid, gid, modified: entry.modified, attributes: attributes.into_iter().collect() }
    }
}

impl Model {
    /// Applies an entry. `content` compares the entry's bytes with the file at a path.
    pub(super) fn apply(&mut self, entry: &Entry, content: impl FnOnce(&[u8]) -> Result<bool>) -> Result<()> {
        let refused = |reason: &str| Error::invalid(format!("entry `{}`: {reason}", shown(&entry.path)));
        let path = normalize(&entry.path).map_err(refused)?;
        if path.is_empty() {
            self.root = Some(Metadata::of(entry));
            return Ok(());
        }
        let (directory, name) = split(&path);
        match Marker::of(name).map_err(refused)? {
            Marker::None => {}
            Marker::Bookkeeping => return Ok(()),
            Marker::Opaque => return self.opaque(directory),
            Marker::Whiteout(deleted) => {
                let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
                return self.whiteout([directory, separator, deleted].concat());
            }
        }
        self.way(directory)?;
        match &entry.kind {
            EntryKind::Directory => self.directory(path, entry),
            EntryKind::HardLink(target) => self.link(path, &normalize(target).map_err(refused)?)?,
            kind => {
                let intact = *kind != EntryKind::File || content(&path)?;
                self.clear(&path);
                self.nodes.insert(path.clone(), Node::Inode(self.inodes.len()));
                let (kind, metadata) = (kind.clone(), Metadata::of(entry));
                self.inodes.push(Inode { path, kind, size: entry.size, metadata, intact, moved: false });
            }
        }
        Ok(())
    }

    /// The directories on the way to something; one that was deleted below is a new one, which hides it.
    fn way(&mut self, directory: &[u8]) -> Result<()> {
        let ends = (0..directory.len()).filter(|at| directory[*at] == b'/').chain([directory.len()]);
        for end in ends.filter(|end| *end > 0) {
            let path = &directory[..end];
            match self.nodes.get(path) {
                Some(Node::Directory { .. }) => {}
                Some(Node::Inode(_)) => {
                    return Err(Error::invalid(format!("its path goes through `{}`, no directory", shown(path))));
                }
                before => {
                    let opaque = before.is_some();
                    self.nodes.insert(path.to_vec(), Node::Directory { metadata: None, opaque });
                }
            }
        }
        Ok(())
    }

    fn opaque(&mut self, directory: &[u8]) -> Result<()> {
        self.way(directory)?;
        if let Some(Node::Directory { opaque, .. }) = self.nodes.get_mut(directory) {
            *opaque = true;
        }
        Ok(())
    }

    fn whiteout(&mut self, target: Vec<u8>) -> Result<()> {
        self.way(split(&target).0)?;
        match self.nodes.get_mut(&target) {
            None => drop(self.nodes.insert(target, Node::Whiteout)),
            Some(Node::Directory { opaque, .. }) => *opaque = true,
            Some(_) => {}
        }
        Ok(())
    }

    fn directory(&mut self, path: Vec<u8>, entry: &Entry) {
        let metadata = Some(Metadata::of(entry));
        let opaque = match self.nodes.get(&path) {
            Some(Node::Directory { opaque, .. }) => *opaque,
            before => {
                let opaque = matches!(before, Some(Node::Whiteout));
                self.clear(&path);
                opaque
            }
        };
        self.nodes.insert(path, Node::Directory { metadata, opaque });
    }

    fn link(&mut self, path: Vec<u8>, target: &[u8]) -> Result<()> {
        let Some(node @ (Node::Inode(_) | Node::Whiteout)) = self.nodes.get(target).cloned() else {
            return Err(Error::invalid(format!("the target of `{}` is not in it", shown(&path))));
        };
        if path != target {
            self.clear(&path);
            self.nodes.insert(path, node);
        }
        Ok(())
    }

    /// Makes room at a path: whatever is there goes, with all below it.
    fn clear(&mut self, path: &[u8]) {
        let Some(before) = self.nodes.remove(path) else { return };
        self.forget(path, &before);
        if matches!(before, Node::Directory { .. }) {
            let (first, last) = ([path, b"/"].concat(), [path, b"0"].concat());
            let below: Vec<Vec<u8>> = self.nodes.range(first..last).map(|(path, _)| path.clone()).collect();
            for path in below {
                if let Some(node) = self.nodes.remove(&path) {
                    self.forget(&path, &node);
                }
            }
        }
    }

    fn forget(&mut self, path: &[u8], node: &Node) {
        if let Node::Inode(number) = node
            && self.inodes[*number].path == path
        {
            self.inodes[*number].moved = true;
        }
    }
}
