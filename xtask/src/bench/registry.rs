//! docker-registry on loopback, with a storage of its own, at a port that the kernel chooses.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A registry at work; it is ended when dropped.
pub(crate) struct Registry {
    /// As it stands in the names of images.
    pub(crate) address: String,
    directory: PathBuf,
    server: Mutex<Child>,
}

impl Registry {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("storage"))?;
        let configuration = serde_json::json!({
            "version": 0.1,
            "log": {"accesslog": {"disabled": true}, "level": "info"},
            "storage": {"filesystem": {"rootdirectory": directory.join("storage")}, "delete": {"enabled": true}},
            "http": {"addr": "127.0.0.1:0"},
        });
        // JSON is YAML.
        let file = directory.join("config.yml");
        fs::write(&file, configuration.to_string())?;
        let log = directory.join("log");
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("docker-registry: of Debian's package of that name")?;
        let mut registry = Self { address: String::new(), directory: directory.to_owned(), server: Mutex::new(server) };
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) {
            let text = fs::read_to_string(&log)?;
            let address = text.split("listening on ").nth(1).and_then(|rest| rest.split([',', '"', ' ']).next());
            if let Some(address) = address.filter(|address| address.contains(':')) {
                registry.address = address.to_owned();
                return Ok(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("docker-registry does not listen: {}", fs::read_to_string(&log)?.trim())
    }

    /// Forgets everything that was pushed. It keeps nothing in memory.
    pub(crate) fn empty(&self) -> Result<()> {
        let storage = self.directory.join("storage");
        fs::remove_dir_all(&storage)?;
        Ok(fs::create_dir_all(&storage)?)
    }

    /// Ends it, and removes what it stored.
    pub(crate) fn stop(self) {}
}

impl Drop for Registry {
    fn drop(&mut self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        // Already gone is fine.
        let _ = server.kill();
        let _ = server.wait();
        let _ = fs::remove_dir_all(self.directory.join("storage"));
    }
}
