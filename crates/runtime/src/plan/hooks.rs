//! Where the hooks of a specification stand among the steps.
//!
//! Hooks that run before the root is entered are to see both the host's tree and the complete root at its path. So with
//! such hooks the root is attached at its path first, filled by descriptor, and entered afterwards. Without, it is
//! entered first: then no path of the container is ever looked up while the host's tree is there.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{Hook as Wanted, Hooks, Spec};

use super::action::{Action, Hook};
use super::{Request, paths};
use crate::hooks::{self, State};

/// The hooks of a plan: those that the parent runs, and the steps of the others.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    /// prestart and createRuntime, in that order.
    pub(crate) host: Vec<Wanted>,
    /// createContainer.
    pub(crate) before_root: Vec<Action>,
    /// startContainer.
    pub(crate) at_start: Vec<Action>,
    /// Where the root is attached, if any hook is to see it there.
    pub(crate) root_point: Option<CString>,
    /// What all of them read; its process and status are still missing.
    pub(crate) state: Option<State>,
}

impl Planned {
    /// Reads and checks them.
    pub(crate) fn read(request: &Request<'_>) -> Result<Self> {
        let Some(wanted) = request.spec.hooks() else { return Ok(Self::default()) };
        hooks::check(wanted)?;
        let mut planned = Self {
            host: host(wanted),
            before_root: actions("createContainer", wanted.create_container())?,
            at_start: actions("startContainer", wanted.start_container())?,
            ..Self::default()
        };
        if planned.host.is_empty() && planned.before_root.is_empty() && planned.at_start.is_empty() {
            return Ok(planned);
        }
        let bundle = request.bundle.ok_or_else(|| Error::unsupported("hooks need a bundle; leave them out"))?;
        planned.state = Some(state(request));
        if !planned.host.is_empty() || !planned.before_root.is_empty() {
            planned.root_point = Some(root_point(request.spec, bundle)?);
        }
        Ok(planned)
    }
}

#[allow(deprecated, reason = "prestart hooks are still in use")]
fn host(hooks: &Hooks) -> Vec<Wanted> {
    hooks.prestart().iter().chain(hooks.create_runtime()).flatten().cloned().collect()
}

fn actions(moment: &'static str, hooks: &Option<Vec<Wanted>>) -> Result<Vec<Action>> {
    hooks.iter().flatten().map(|hook| action(moment, hook)).collect()
}

fn action(moment: &'static str, hook: &Wanted) -> Result<Action> {
    let strings = |texts: &Option<Vec<String>>| -> Result<Vec<CString>> {
        texts.iter().flatten().map(|text| paths::c_string(text)).collect()
    };
    let path = CString::new(hook.path().as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("the path of a {moment} hook holds a zero byte")))?;
    let mut arguments = strings(hook.args())?;
    if arguments.is_empty() {
        arguments.push(path.clone());
    }
    let timeout = hook.timeout().and_then(|seconds| u32::try_from(seconds).ok());
    Ok(Action::RunHook(Hook { moment, path, arguments, environment: strings(hook.env())?, timeout }))
}

/// What is told of the container to those outside. Only one of a bundle has a bundle.
pub(super) fn state(request: &Request<'_>) -> State {
    State {
        oci_version: request.spec.version().clone(),
        id: request.id.to_string(),
        status: "creating",
        pid: 0,
        bundle: request.bundle.unwrap_or_else(|| Path::new("/")).to_owned(),
        annotations: request.spec.annotations().clone().unwrap_or_default(),
    }
}

/// The directory of the host that the specification names as the root, with no link in it.
fn root_point(spec: &Spec, bundle: &Path) -> Result<CString> {
    let root = spec.root().as_ref().ok_or_else(|| Error::invalid("the specification has no `root` part"))?;
    let path = bundle.join(root.path());
    let path = path.canonicalize().with_context(|| format!("cannot find the root `{}`", path.display()))?;
    if path == Path::new("/") {
        return Err(Error::unsupported("hooks before the start need a root other than `/`"));
    }
    CString::new(path.into_os_string().into_encoded_bytes())
        .map_err(|_| Error::invalid("the path of the root holds a zero byte"))
}
