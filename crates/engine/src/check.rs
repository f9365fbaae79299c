//! `system check`: the store's own proof ([`store::check`]), and the same for what the engine keeps beside it.
//!
//! ```text
//! containers/<id>      parses, has its layers, its name and its ids; nothing else lies there
//! names/, ids/         lead to containers that are there or being made
//! volumes/<name>       has its directory
//! cache/seccomp/       files
//! ```
//! What killed commands left is a leftover, as [`crate::recover`] has the table of them, and no damage. A container's own
//! files are never touched by a repair.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::str::FromStr as _;

use failure::Result;
use runtime::ContainerId;
pub use store::check::{Finding, Fix, Leftover, Repaired, Report};

use crate::config::ContainerConfig;
use crate::images::{InUse, in_use};
use crate::state::Lock;
use crate::{Home, files, ids, list, names, recover, state};

/// What of the root is the engine's.
const OWN: [&str; 5] = ["cache", "containers", "ids", "names", "volumes"];
/// What of a container's directory is known.
const OF_CONTAINER: [&str; 8] =
    ["config.json", "hostname", "hosts", "layer", "log", "resolv.conf", "state.json", "volumes"];
const REPAIR: &str = "`skep system check --repair`";

/// Looks at everything; `quick` reads records only.
///
/// # Errors
/// The system fails; what is wrong is a finding.
pub fn check(home: &Home, quick: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
    let mut own = Report::default();
    containers(home, &mut own);
    claims(home, &mut own);
    volumes(home, &mut own);
    cache(home, &mut own);
    let mut report = match in_use(home) {
        Ok(in_use) => {
            let options = store::check::Options { quick, foreign: &OWN };
            store::check::check(home.store()?, &options, || Ok(in_use), progress)?
        }
        // A container that cannot be read is a finding already; what it needs nobody knows.
        Err(_) => return Ok(own),
    };
    report.findings.append(&mut own.findings);
    report.leftovers.append(&mut own.leftovers);
    Ok(report)
}

/// Puts right what can be.
pub fn repair(home: &Home, report: &Report) -> Result<Vec<Repaired>> {
    for id in list::ids(home)? {
        claim_again(home, &id);
    }
    recover::sweep(home);
    for entry in recover::entries(&home.seccomp_cache()) {
        if entry.to_string_lossy().starts_with('.') {
            let _ = fs::remove_file(home.seccomp_cache().join(entry));
        }
    }
    let mut all: Vec<Repaired> = Vec::new();
    for finding in report.findings.iter().filter(|finding| finding.object.starts_with("container ")) {
        let gone = || finding_of(home, &finding.object).is_none_or(|now| now.problem != finding.problem);
        if finding.remedy == REPAIR {
            let outcome =
                if gone() { Ok("claimed again".to_owned()) } else { Err(failure::Error::conflict("it is still so")) };
            all.push(Repaired { object: finding.object.clone(), outcome });
        }
    }
    let held = RefCell::new(Vec::new());
    all.extend(store::check::repair(home.store()?, report, &|| settled(home, &held)));
    Ok(all)
}

/// What is in use, for somebody who exchanges layers: a container that is just being started counts as running, and none
/// of the others can start before `held` is dropped or the question is asked again.
fn settled(home: &Home, held: &RefCell<Vec<Lock>>) -> Result<InUse> {
    held.borrow_mut().clear();
    let mut in_use = InUse { resume_for: std::time::Duration::ZERO, ..in_use(home)? };
    let ids = list::ids(home)?;
    for user in in_use.containers.iter_mut().filter(|user| !user.running) {
        let Some(id) = ids.iter().find(|id| id.short() == user.container) else { continue };
        let lock = Lock::attempt(&home.container(id).join("layer"));
        let running = state::observe(home, id).is_ok_and(|(_, observed)| observed.is_running());
        match lock {
            Ok(Some(lock)) if !running => held.borrow_mut().push(lock),
            _ => user.running = true,
        }
    }
    Ok(in_use)
}

fn finding_of(home: &Home, object: &str) -> Option<Finding> {
    let mut report = Report::default();
    containers(home, &mut report);
    report.findings.into_iter().find(|finding| finding.object == object)
}

/// Gives a container back its name and ids where their claims are lost.
fn claim_again(home: &Home, id: &ContainerId) {
    let Ok(Some(_lock)) = Lock::attempt(&home.container(id).join("layer")) else { return };
    let Ok(config) = ContainerConfig::read(home, id) else { return };
    if names::owner(home, &config.name).is_ok_and(|owner| owner.is_none()) {
        let _ = names::claim_exactly(home, id, &config.name);
    }
    if let Some(range) = config.range {
        let _ = ids::claim_exactly(home, id, range);
    }
}

fn containers(home: &Home, report: &mut Report) {
    for entry in recover::entries(&home.containers()) {
        let name = entry.to_string_lossy().into_owned();
        let path = home.containers().join(&entry);
        if let Some(id) = name.strip_prefix(recover::UNFINISHED) {
            if let Ok(Some(_)) = Lock::attempt(&home.unfinished(id).join("layer")) {
                leave(report, format!("containers/{name}"));
            }
            continue;
        }
        match ContainerId::from_str(&name) {
            Ok(id) if path.is_dir() => container(home, &id, report),
            _ => stranger(report, &path),
        }
    }
}

fn container(home: &Home, id: &ContainerId, report: &mut Report) {
    let directory = home.container(id);
    let object = format!("container {id}");
    let remove = format!("remove it with `skep rm -f {}`", id.short());
    // One that is removed meanwhile has nothing to be found.
    let mut find = |problem: String, remedy: &str| {
        if directory.join("layer").exists() || directory.join("config.json").exists() {
            report.findings.push(finding(&object, problem, remedy));
        }
    };
    let config = match ContainerConfig::read(home, id) {
        Ok(config) => config,
        Err(error) => return find(error.to_string(), &remove),
    };
    match state::observe(home, id) {
        Err(error) => find(error.to_string(), &remove),
        Ok((state, _)) if state.status == monitor::state::Status::Removing => {
            return leave(report, format!("containers/{id}"));
        }
        Ok(_) => {}
    }
    for part in ["layer/upper", "layer/work"] {
        if !directory.join(part).is_dir() {
            find(format!("its `{part}` is missing, and with it what it wrote"), &remove);
        }
    }
    // While it is renamed or removed, claims come and go.
    let free = matches!(Lock::attempt(&directory.join("layer")), Ok(Some(_)));
    let claimed = |owner: Option<String>| owner.as_deref() == Some(id.as_ref());
    if free && directory.exists() && !names::owner(home, &config.name).is_ok_and(claimed) {
        find(format!("the name `{}` is not claimed for it", config.name), REPAIR);
    }
    if let Some(range) = config.range {
        let owner = fs::read_link(home.range(range)).ok().map(|owner| owner.to_string_lossy().into_owned());
        if free && directory.exists() && !claimed(owner) {
            find(format!("its user ids (range {range}) are not claimed for it"), REPAIR);
        }
    }
    for entry in recover::entries(&directory) {
        let name = entry.to_string_lossy();
        match OF_CONTAINER.contains(&&*name) {
            true => {}
            // A file that was being replaced.
            false if name.ends_with(".new") => leave(report, format!("containers/{id}/{name}")),
            false => stranger(report, &directory.join(&entry)),
        }
    }
}

/// Names and ids that are claimed for nobody.
fn claims(home: &Home, report: &mut Report) {
    for kind in ["names", "ids"] {
        for entry in recover::entries(&home.root().join(kind)) {
            let path = home.root().join(kind).join(&entry);
            match fs::read_link(&path) {
                Ok(owner) => {
                    if recover::is_stale(home, &owner.to_string_lossy()).unwrap_or(false) && path.is_symlink() {
                        leave(report, format!("{kind}/{}", entry.to_string_lossy()));
                    }
                }
                Err(_) if fs::symlink_metadata(&path).is_ok() => stranger(report, &path),
                Err(_) => {}
            }
        }
    }
}

fn volumes(home: &Home, report: &mut Report) {
    for entry in recover::entries(&home.volumes()) {
        let path = home.volumes().join(&entry);
        let name = entry.to_string_lossy();
        if names::validate(&name).is_err() || !path.is_dir() {
            stranger(report, &path);
        } else if !path.join("_data").is_dir() && path.exists() && fs::read_dir(&path).is_ok_and(|all| all.count() > 0)
        {
            let remedy = "move away what lies there; the next container that uses it makes it anew";
            report.findings.push(finding(&format!("volume {name}"), "its `_data` is missing".into(), remedy));
        }
    }
}

fn cache(home: &Home, report: &mut Report) {
    for entry in recover::entries(&home.root().join("cache")) {
        if entry != "seccomp" {
            stranger(report, &home.root().join("cache").join(entry));
        }
    }
    for entry in recover::entries(&home.seccomp_cache()) {
        let path = home.seccomp_cache().join(&entry);
        let Ok(status) = fs::symlink_metadata(&path) else { continue };
        match status.is_file() {
            true if entry.to_string_lossy().starts_with('.') && !files::is_new(&path) => {
                leave(report, format!("cache/seccomp/{}", entry.to_string_lossy()));
            }
            true => {}
            false => stranger(report, &path),
        }
    }
}

fn finding(object: &str, problem: String, remedy: &str) -> Finding {
    Finding { object: object.to_owned(), problem, remedy: remedy.to_owned(), fix: Fix::Nothing }
}

fn stranger(report: &mut Report, path: &Path) {
    let remedy = "move it away if it is yours, or delete it";
    report.findings.push(finding(&format!("file {}", path.display()), "is not part of the store".into(), remedy));
}

fn leave(report: &mut Report, object: String) {
    report.leftovers.push(Leftover { object, bytes: 0 });
}
