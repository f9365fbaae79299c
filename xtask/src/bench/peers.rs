//! The peers, as far as this machine has them: crun and runc on a bundle, podman and docker with stores of their own.
//!
//! dockerd is started here, with its own data directory, socket and pid file and without any network (so that the
//! machine's firewall stays as it is), and ended by its pid. Nothing of a system-wide engine is touched.

use super::stopwatch::{finish, output, silence};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What is installed, and how to call it.
pub(crate) struct Peers {
    directory: PathBuf,
    docker: OnceLock<Option<Docker>>,
}

/// An engine with Docker's command line and a store of its own.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    program: &'static str,
    options: Vec<String>,
    /// podman's configuration file.
    settings: Option<PathBuf>,
    /// Processes whose memory counts as the engine's besides the command itself.
    pub(crate) servers: Vec<u32>,
}

struct Docker {
    server: Mutex<Child>,
    socket: PathBuf,
}

impl Peers {
    /// Looks on the `PATH`; starts nothing yet.
    pub(crate) fn find(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), docker: OnceLock::new() }
    }

    /// The names of those that are not there.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let mut missing: Vec<_> =
            ["crun", "runc", "youki", "podman"].into_iter().filter(|name| !installed(name)).collect();
        if !installed("dockerd") || !installed("docker") {
            missing.push("docker");
        }
        missing
    }

    /// The low-level runtimes that are there.
    pub(crate) fn runtimes(&self) -> Vec<&'static str> {
        ["crun", "runc", "youki"].into_iter().filter(|name| installed(name)).collect()
    }

    /// The engines that are there; dockerd is started at the first call.
    pub(crate) fn engines(&self) -> Vec<Engine> {
        let mut engines = Vec::new();
        if installed("podman") {
            engines.push(self.podman());
        }
        let docker = self.docker.get_or_init(|| match Docker::start(&self.directory.join("docker")) {
            Ok(docker) => Some(docker),
            Err(error) if installed("dockerd") => {
                eprintln!("docker is left out: {error:#}");
                None
            }
            Err(_) => None,
        });
        if let Some(docker) = docker {
            engines.push(docker.engine());
        }
        engines
    }

    /// Ends what was started.
    pub(crate) fn stop(&self) {
        if let Some(Some(docker)) = self.docker.get() {
            docker.stop();
        }
        // podman keeps a mount on its storage.
        let storage = self.directory.join("podman/root/overlay");
        if storage.exists() {
            let _ = silence(Command::new("umount").arg("--lazy").arg(storage)).status();
        }
        // The engines leave their parent cgroups; an empty one is nobody's.
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            for name in ["docker", "libpod_parent"] {
                remove_empty(&controller.path().join(name));
            }
        }
    }

    fn podman(&self) -> Engine {
        let at = |name: &str| self.directory.join("podman").join(name).display().to_string();
        let options = [
            ("--root", at("root")),
            ("--runroot", at("run")),
            ("--tmpdir", at("tmp")),
            ("--storage-driver", "overlay".to_owned()),
            ("--cgroup-manager", "cgroupfs".to_owned()),
            ("--events-backend", "file".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let settings = self.directory.join("containers.conf");
        // podman raises limits beyond what a machine without CAP_SYS_RESOURCE allows, unless told which.
        let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        if let Err(error) = fs::write(&settings, limits) {
            eprintln!("podman's settings: {error}");
        }
        Engine { name: "podman", program: "podman", options, settings: Some(settings), servers: Vec::new() }
    }
}

impl Engine {
    /// The engine's command line with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.options).args(arguments);
        if let Some(settings) = &self.settings {
            command.env("CONTAINERS_CONF", settings);
        }
        command
    }

    /// Loads an archive; the name of its image as this engine shows it.
    pub(crate) fn load(&self, archive: &Path, name: &str) -> Result<String> {
        finish(silence(self.command(&["load", "-q", "-i"]).arg(archive)))?;
        Ok(self.local(name))
    }

    /// How this engine calls a local image.
    pub(crate) fn local(&self, name: &str) -> String {
        let prefix = if self.name == "podman" { "localhost/" } else { "" };
        format!("{prefix}{name}")
    }

    /// Removes every container.
    pub(crate) fn remove_all(&self) -> Result<()> {
        let ids = output(&mut self.command(&["ps", "-aq"]))?;
        if ids.is_empty() {
            return Ok(());
        }
        finish(silence(
            self.command(&["rm", "-f", "-t", "0"][..if self.name == "podman" { 4 } else { 2 }]).args(ids.lines()),
        ))
    }
}

impl Docker {
    fn start(directory: &Path) -> Result<Self> {
        if !installed("dockerd") || !installed("docker") {
            bail!("docker is not installed");
        }
        fs::create_dir_all(directory)?;
        let at = |name: &str| directory.join(name).display().to_string();
        let socket = PathBuf::from(format!("/run/skep-bench-docker-{}.sock", std::process::id()));
        let mut command = Command::new("dockerd");
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        command.args(["--host", &format!("unix://{}", socket.display()), "--bridge", "none", "--iptables=false"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(at("log"))?);
        let docker = Self { server: Mutex::new(command.spawn()?), socket };
        let start = Instant::now();
        while finish(silence(&mut docker.engine().command(&["info"]))).is_err() {
            if start.elapsed() > Duration::from_secs(30) || docker.server().try_wait()?.is_some() {
                docker.stop();
                let log = fs::read_to_string(at("log")).unwrap_or_default();
                bail!("dockerd does not answer: {}", log.lines().last().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(docker)
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engine(&self) -> Engine {
        let server = self.server().id();
        let options = vec!["--host".to_owned(), format!("unix://{}", self.socket.display())];
        let mut servers = vec![server];
        servers.extend(children_of(server));
        Engine { name: "docker", program: "docker", options, settings: None, servers }
    }

    fn stop(&self) {
        let mut server = self.server();
        if let Some(pid) = rustix::process::Pid::from_raw(server.id().cast_signed()) {
            // Already gone is fine.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if let Err(error) = server.wait() {
            eprintln!("dockerd: {error}");
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// A bundle for crun and runc: the image's tree as a read-only root and these arguments.
pub(crate) fn bundle(runtime: &str, directory: &Path, tree: &Path, arguments: &[&str]) -> Result<()> {
    fs::create_dir_all(directory)?;
    finish(silence(Command::new(runtime).arg("spec").current_dir(directory)))?;
    let path = directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = arguments.into();
    config["root"] = serde_json::json!({"path": tree, "readonly": true});
    fs::write(&path, config.to_string()).context("config.json")
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Removes a cgroup and those below it, as far as no process is in them.
fn remove_empty(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten().filter(|child| child.path().is_dir()) {
        remove_empty(&child.path());
    }
    let _ = fs::remove_dir(group);
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}
