//! The process of the specification: whom it runs as, what it may, what it executes.

use std::ffi::CString;
use std::fmt;

use failure::{Error, Result};
use oci_spec::runtime::Process;
use rustix::thread::Gid;

use super::id_maps::IdMaps;
use super::paths;
use crate::capabilities::{self, Set};
use crate::nested;

/// What is searched when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Whom it runs as.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// None where groups cannot be set.
    pub(crate) groups: Option<Vec<Gid>>,
    pub(crate) bounding: Set,
    pub(crate) permitted: Set,
    pub(crate) effective: Set,
    pub(crate) inheritable: Set,
    pub(crate) ambient: Set,
    /// Kept for loading the filter.
    pub(crate) until_exec: u64,
    /// The user on the host.
    pub(crate) host_uid: u32,
    /// The group on the host.
    pub(crate) host_gid: u32,
}

/// What it executes.
#[derive(Debug)]
pub(crate) struct Program {
    /// As it was given.
    pub(crate) name: String,
    /// Paths to try, a zero behind each.
    pub(crate) candidates: Vec<u8>,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
}

impl Identity {
    /// Reads whom the process runs as. `maps` are those of its user namespace. Says what cannot be granted.
    pub(crate) fn read(
        process: &Process,
        maps: Option<&IdMaps>,
        filtered: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let user = process.user();
        let (uid, gid) = (user.uid(), user.gid());
        let outside =
            |what, id| Error::invalid(format!("the {what} id {id} is outside the ids that the container has"));
        let host_user = |id: u32| maps.map_or((id != u32::MAX).then_some(id), |maps| maps.host_user(id));
        let host_group = |id: u32| maps.map_or((id != u32::MAX).then_some(id), |maps| maps.host_group(id));
        let additional = user.additional_gids().as_deref().unwrap_or_default();
        let groups = additional
            .iter()
            .map(|id| host_group(*id).map(|_| Gid::from_raw(*id)).ok_or_else(|| outside("group", *id)));
        let no_new_privileges = process.no_new_privileges().unwrap_or(false);
        let mut identity = Self {
            uid,
            gid,
            groups: settable(groups.collect::<Result<_>>()?)?,
            bounding: Set::EMPTY,
            permitted: Set::EMPTY,
            effective: Set::EMPTY,
            inheritable: Set::EMPTY,
            ambient: Set::EMPTY,
            until_exec: if filtered && !no_new_privileges { CAP_SYS_ADMIN } else { 0 },
            host_uid: host_user(uid).ok_or_else(|| outside("user", uid))?,
            host_gid: host_group(gid).ok_or_else(|| outside("group", gid))?,
        };
        identity.read_capabilities(process, maps.is_some(), warnings)?;
        Ok(identity)
    }

    /// In a user namespace of its own a process has every capability over what is its own. Otherwise nobody can hand
    /// on what this process lacks.
    fn read_capabilities(&mut self, process: &Process, own: bool, warnings: &mut Vec<String>) -> Result<()> {
        let Some(wanted) = process.capabilities() else { return Ok(()) };
        let read = |set: &Option<oci_spec::runtime::Capabilities>| set.as_ref().map_or(Set::EMPTY, Set::from_oci);
        let bounding = read(wanted.bounding());
        let asked = bounding.union(read(wanted.permitted())).union(read(wanted.inheritable()));
        let limit = if own { Set::ALL } else { capabilities::bounding_among(asked)? };
        let lost = bounding.union(read(wanted.permitted())).difference(limit);
        if !lost.is_empty() {
            warnings.push(format!("the engine lacks {lost} and cannot grant it"));
        }
        self.bounding = bounding.intersection(limit);
        self.permitted = read(wanted.permitted()).intersection(limit);
        self.effective = read(wanted.effective()).intersection(self.permitted);
        self.inheritable = read(wanted.inheritable()).intersection(limit);
        self.ambient = read(wanted.ambient()).intersection(self.permitted).intersection(self.inheritable);
        let mut warn = |set: &str, wanted: &Option<_>, granted, needed: &str| {
            let lost = read(wanted).difference(granted);
            if !lost.is_empty() {
                warnings.push(format!("the {set} capabilities {lost} cannot be granted: they must be {needed}, too"));
            }
        };
        warn("effective", wanted.effective(), self.effective, "permitted");
        warn("ambient", wanted.ambient(), self.ambient, "permitted and inheritable");
        Ok(())
    }

    pub(crate) fn borrow(&self) -> init::step::Credentials<'_> {
        init::step::Credentials {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.as_deref(),
            bounding: self.bounding.bits(),
            permitted: self.permitted.bits(),
            effective: self.effective.bits(),
            inheritable: self.inheritable.bits(),
            ambient: self.ambient.bits(),
            until_exec: self.until_exec,
        }
    }
}

/// The groups, if they can be set at all.
fn settable(groups: Vec<Gid>) -> Result<Option<Vec<Gid>>> {
    match (nested::may_set_groups(), groups.is_empty()) {
        (true, _) => Ok(Some(groups)),
        (false, true) => Ok(None),
        (false, false) => Err(Error::unsupported(
            "additional groups cannot be set: the user namespace of this process denies it; leave out `additionalGids`",
        )),
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "user {} of group {}", self.uid, self.gid)?;
        for (index, group) in self.groups.iter().flatten().enumerate() {
            write!(formatter, "{}{group}", if index == 0 { " and groups " } else { ", " })?;
        }
        match self.bounding.is_empty() {
            true => write!(formatter, " without capabilities"),
            false => write!(formatter, " with at most {}", self.bounding),
        }
    }
}

impl Program {
    /// Reads what is executed.
    pub(crate) fn read(process: &Process) -> Result<Self> {
        let strings = |texts: &Option<Vec<String>>| -> Result<Vec<CString>> {
            texts.iter().flatten().map(|text| paths::c_string(text)).collect()
        };
        let name = process.args().iter().flatten().next().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Error::invalid("no command is given"))?;
        let environment = process.env().as_deref().unwrap_or_default();
        let path = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
        Ok(Self {
            candidates: candidates(name, path.unwrap_or(DEFAULT_PATH)),
            name: name.clone(),
            arguments: strings(process.args())?,
            environment: strings(process.env())?,
        })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy()).collect();
        write!(formatter, "`{}`", words.join(" "))
    }
}

/// Where the program may be: itself if it names a place, else in each directory of the path.
fn candidates(name: &str, path: &str) -> Vec<u8> {
    let mut found = Vec::new();
    let mut push = |parts: &[&str]| {
        parts.iter().for_each(|part| found.extend_from_slice(part.as_bytes()));
        found.push(0);
    };
    if name.contains('/') {
        push(&[name]);
    } else {
        for directory in path.split(':').filter(|directory| !directory.is_empty()) {
            push(&[directory, "/", name]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_looked_for_as_execvp_does() {
        assert_eq!(candidates("true", "/usr/bin::/bin"), b"/usr/bin/true\0/bin/true\0");
        assert_eq!(candidates("./true", "/bin"), b"./true\0");
        assert_eq!(candidates("true", ""), b"");
    }
}
