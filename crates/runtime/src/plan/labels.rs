//! Labels of security modules: the AppArmor profile and the SELinux label of the process, the SELinux label of its mounts.
//!
//! The process gives its own to the kernel, for its next exec, through the host's proc file system by descriptor: a write
//! to a path of the container could be led astray (CVE-2019-16884, CVE-2025-52881). A machine without the module cannot do
//! what is asked, and says so before anything is made.

use std::ffi::{CStr, CString};
use std::fs;

use failure::{Error, Result};
use oci_spec::runtime::{Linux, Process};

use super::action::Action;
use super::{open_proc, paths};

/// What stands for "no profile", with or without AppArmor.
const UNCONFINED: &str = "unconfined";
const OF_PROCESS: &CStr = c"self/attr/exec";
const OF_APPARMOR: &CStr = c"self/attr/apparmor/exec";

/// Which security modules take labels here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Modules {
    apparmor: bool,
    /// Kernels from 5.1 on have a file for each module, so that two can be there at once.
    apparmor_file: bool,
    selinux: bool,
}

impl Modules {
    /// Those of this machine; looks only if a label is given.
    pub(super) fn of_machine() -> Self {
        const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
        let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        let selinux = rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|found| found.f_type as u64 == SELINUX_MAGIC);
        Self {
            apparmor: enabled.is_ok_and(|text| text.starts_with('Y')),
            apparmor_file: fs::exists("/proc/self/attr/apparmor/exec").unwrap_or(false),
            selinux,
        }
    }
}

/// The steps that label the process.
pub(super) fn of_process(process: &Process, modules: impl Fn() -> Modules) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    if let Some(profile) = given(process.apparmor_profile()) {
        let modules = modules();
        match (modules.apparmor, profile) {
            (false, UNCONFINED) => {}
            (false, _) => return Err(missing("process.apparmorProfile", profile, "AppArmor")),
            (true, _) => {
                let file = if modules.apparmor_file { OF_APPARMOR } else { OF_PROCESS };
                actions.push(label(file, format!("exec {profile}"))?);
            }
        }
    }
    if let Some(wanted) = given(process.selinux_label()) {
        if !modules().selinux {
            return Err(missing("process.selinuxLabel", wanted, "SELinux"));
        }
        actions.push(label(OF_PROCESS, wanted.to_owned())?);
    }
    Ok(actions)
}

/// Refuses a label for mounts where nothing has labels, whether or not a mount would get it.
pub(super) fn check_mounts(linux: &Linux, modules: impl Fn() -> Modules) -> Result<()> {
    match given(linux.mount_label()) {
        Some(wanted) if !modules().selinux => Err(missing("linux.mountLabel", wanted, "SELinux")),
        _ => Ok(()),
    }
}

fn label(file: &CStr, value: String) -> Result<Action> {
    // The kernel reads up to a zero.
    let value = paths::c_string(&value)?;
    Ok(Action::SetLabel { proc: open_proc()?, file: CString::from(file), value })
}

fn given(label: &Option<String>) -> Option<&str> {
    label.as_deref().filter(|label| !label.is_empty())
}

fn missing(field: &str, label: &str, module: &str) -> Error {
    Error::unsupported(format!("`{field}` is `{label}`, but this machine does not have {module} enabled; leave it out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const BOTH: Modules = Modules { apparmor: true, apparmor_file: true, selinux: true };

    fn labeled(mut process: Value, modules: Modules) -> Result<Vec<(String, String)>> {
        process["user"] = json!({"uid": 0, "gid": 0});
        process["cwd"] = json!("/");
        let actions = of_process(&serde_json::from_value(process).unwrap(), || modules)?;
        let text = |text: &CStr| text.to_string_lossy().into_owned();
        Ok(actions
            .iter()
            .map(|action| match action {
                Action::SetLabel { file, value, .. } => (text(file), text(value)),
                other => panic!("{other:?}"),
            })
            .collect())
    }

    #[test]
    fn labels_need_their_module() {
        for (field, module) in [("apparmorProfile", "AppArmor"), ("selinuxLabel", "SELinux")] {
            let message = labeled(json!({field: "x"}), Modules::default()).unwrap_err().to_string();
            assert!(message.contains(field) && message.contains(module), "{message}");
        }
        assert!(labeled(json!({"apparmorProfile": "unconfined", "selinuxLabel": ""}), Modules::default()).is_ok());
    }

    #[test]
    fn labels_go_to_the_next_program() {
        let both = labeled(json!({"apparmorProfile": "p", "selinuxLabel": "u:r:t:s0"}), BOTH).unwrap();
        let expected = [("self/attr/apparmor/exec", "exec p"), ("self/attr/exec", "u:r:t:s0")];
        assert_eq!(both, expected.map(|(file, value)| (file.to_owned(), value.to_owned())));
    }

    #[test]
    fn mounts_are_labeled_where_files_have_labels() {
        let linux: Linux = serde_json::from_value(json!({"mountLabel": "u:r:t:s0"})).unwrap();
        assert!(check_mounts(&linux, || BOTH).is_ok());
        let message = check_mounts(&linux, Modules::default).unwrap_err().to_string();
        assert!(message.starts_with("`linux.mountLabel` is `u:r:t:s0`, but"), "{message}");
        assert!(check_mounts(&Linux::default(), Modules::default).is_ok());
    }
}
