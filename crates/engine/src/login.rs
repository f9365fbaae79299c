//! Accounts at registries: kept when the registry takes them, and forgotten.

use failure::{Error, Result};
use reference::Reference;
pub use registry::Kept;
use registry::{Access, Accounts, Credentials, Lookup as _, Registries, Secret};

use crate::registries::{self, Environment};

/// The registry that is meant when none is named.
pub const HUB: &str = "docker.io";

/// The registry of a server's name as people write it: nothing, `https://ghcr.io/`, `localhost:5000`.
///
/// # Errors
/// It is none.
pub fn host(server: &str) -> Result<String> {
    let rest = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let host = rest.split('/').next().unwrap_or_default();
    if matches!(host, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        return Ok(HUB.to_owned());
    }
    match Reference::parse(&format!("{host}/x/x")) {
        Ok(reference) if reference.host() == host => Ok(host.to_owned()),
        _ if !host.contains(['.', ':']) => {
            Reference::parse(&format!("{host}:443/x/x")).map(|_| host.to_owned()).map_err(|_| wrong(host))
        }
        _ => Err(wrong(host)),
    }
}

fn wrong(host: &str) -> Error {
    let shown: String = host.chars().take(80).collect();
    Error::invalid(format!("`{shown}` is not a registry; write HOST[:PORT]"))
}

/// An account as a person gives it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user.
    pub user: String,
    /// The password, or a token that stands for it.
    pub password: Secret,
}

/// Presents an account to a registry and keeps it.
///
/// # Errors
/// The registry refuses it, or it cannot be kept.
pub fn log_in(environment: &Environment, host: &str, account: Account) -> Result<Kept> {
    let credentials = Credentials::Password { user: account.user, password: account.password.reveal().to_owned() };
    present(environment, host, &credentials)?;
    accounts(environment).store(host, &credentials)
}

/// Presents the account that is kept for a registry already, if there is one: the user's name, and what came of it.
///
/// # Errors
/// The account cannot be read.
pub fn log_in_again(environment: &Environment, host: &str) -> Result<Option<(String, Result<()>)>> {
    let Some(credentials) = accounts(environment).find(host, "")? else { return Ok(None) };
    let user = match &credentials {
        Credentials::Password { user, .. } => user.clone(),
        Credentials::Identity(_) | Credentials::Bearer(_) => "<token>".to_owned(),
    };
    let outcome = present(environment, host, &credentials);
    Ok(Some((user, outcome)))
}

/// Forgets the account for a registry. False: there was none.
///
/// # Errors
/// It cannot be forgotten.
pub fn log_out(environment: &Environment, host: &str) -> Result<bool> {
    accounts(environment).erase(host)
}

/// Presents an account to the host itself, which is asked last: not to its mirrors.
fn present(environment: &Environment, host: &str, credentials: &Credentials) -> Result<()> {
    let settings = registries::settings(environment)?;
    // Any repository will do: only the host counts.
    let endpoint = settings.endpoints(&Reference::parse(&format!("{host}/any/repository"))?, Access::Pull)?.pop();
    let endpoint = endpoint.ok_or_else(|| Error::invalid(format!("no endpoint is configured for `{host}`")))?;
    Registries::new(settings).verify(&endpoint, credentials)
}

fn accounts(environment: &Environment) -> Accounts {
    registries::accounts(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_as_people_write_them() {
        for (server, expected) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("ghcr.io", "ghcr.io"),
            ("https://ghcr.io/v2/", "ghcr.io"),
            ("localhost:5000", "localhost:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("registry", "registry"),
        ] {
            assert_eq!(host(server).unwrap(), expected);
        }
        for wrong in ["a b", "user:password@ghcr.io", "..", "-x", "ftp://x"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
