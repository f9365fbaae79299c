//! `skep login` and `skep logout`: accounts at registries, in the file and with the words of Docker's.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::{Output, complain_plainly};
use crate::prompt;
use clap::Parser;
use engine::login::{self, Account, HUB, Kept};
use engine::registries::{Environment, Secret};
use failure::Kind;

pub(super) const LOGIN: Entry = Entry::new::<Login>(
    Group::System,
    &["login"],
    "[OPTIONS] [SERVER]",
    "Authenticate to a registry. Defaults to Docker Hub if no server is specified.",
);

pub(super) const LOGOUT: Entry = Entry::new::<Logout>(
    Group::System,
    &["logout"],
    "[SERVER]",
    "Log out from a registry. If no server is specified, the default is Docker Hub.",
);

/// What Docker calls Docker Hub where it speaks of an account.
const HUB_ADDRESS: &str = "https://index.docker.io/v1/";

#[derive(Debug, Parser)]
#[command(after_help = "The account is kept in $REGISTRY_AUTH_FILE, or $DOCKER_CONFIG/config.json, or \
                        ~/.docker/config.json, or by the credential helper that this file names.\n\n\
                        Example:\n  skep login -u me --password-stdin ghcr.io < token")]
struct Login {
    /// Username
    #[arg(short, long, value_name = "string")]
    username: Option<String>,
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "string")]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    #[arg(hide = true)]
    server: Option<String>,
}

#[derive(Debug, Parser)]
struct Logout {
    #[arg(hide = true)]
    server: Option<String>,
}

impl Invoke for Login {
    fn invoke(self, _context: &Context) -> Outcome {
        let environment = Context::environment();
        let host = login::host(self.server.as_deref().unwrap_or_default())?;
        if self.password.is_some() {
            complain_plainly("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            if self.password_stdin {
                return Err(Stop::Arguments("--password and --password-stdin are mutually exclusive".into()));
            }
        }
        let mut out = Output::new();
        let nothing_given = self.username.is_none() && self.password.is_none() && !self.password_stdin;
        if nothing_given && again(&environment, &host, &mut out)? {
            return out.done();
        }
        let account = self.account(&host, &mut out)?;
        if let Kept::Plain(path) = login::log_in(&environment, &host, account)? {
            complain_plainly(&format!("\nWARNING! Your credentials are stored unencrypted in '{}'.", path.display()));
            complain_plainly("Configure a credential helper to remove this warning. See");
            complain_plainly("https://docs.docker.com/go/credential-store/\n");
        }
        out.line("Login Succeeded")?;
        out.done()
    }
}

impl Login {
    fn account(self, host: &str, out: &mut Output) -> Outcome<Account> {
        if self.password_stdin {
            let user = self.username.filter(|user| !user.is_empty());
            let user = user.ok_or_else(|| Stop::Arguments("Must provide --username with --password-stdin".into()))?;
            return Ok(Account { user, password: prompt::all_of_stdin()? });
        }
        if self.username.is_some() && self.password.is_some() {
            return checked(self.username.unwrap_or_default(), Secret::new(self.password.unwrap_or_default()));
        }
        if !prompt::possible() {
            return Err(Stop::Arguments(
                "cannot perform an interactive login from a non-TTY device; use --username and --password-stdin".into(),
            ));
        }
        if host == HUB && self.username.is_none() {
            out.line("Log in with your Docker ID or email address to push and pull images from Docker Hub.")?;
        }
        out.flush()?;
        let user = match self.username {
            Some(user) => user,
            None => prompt::line("Username: ")?,
        };
        let password = match self.password {
            Some(password) => Secret::new(password),
            None => prompt::secret("Password: ")?,
        };
        checked(user, password)
    }
}

fn checked(user: String, password: Secret) -> Outcome<Account> {
    let missing = if user.is_empty() { "username" } else { "password" };
    if user.is_empty() || password.is_empty() {
        return Err(Stop::Arguments(format!("{missing} is required")));
    }
    if user.contains(':') {
        return Err(Stop::Arguments("a username has no colon".into()));
    }
    Ok(Account { user, password })
}

/// Tries the account that is kept already; true: it is still good.
fn again(environment: &Environment, host: &str, out: &mut Output) -> Outcome<bool> {
    let Some((user, outcome)) = login::log_in_again(environment, host)? else { return Ok(false) };
    out.line(&format!("Authenticating with existing credentials... [Username: {user}]"))?;
    match outcome {
        Ok(()) => out.line("Login Succeeded").map(|()| true),
        Err(error) if error.kind() == Kind::Denied && prompt::possible() => {
            out.line(&format!("Login did not succeed, error: {error}")).map(|()| false)
        }
        Err(error) => Err(Stop::Failed(error)),
    }
}

impl Invoke for Logout {
    fn invoke(self, _context: &Context) -> Outcome {
        let host = login::host(self.server.as_deref().unwrap_or_default())?;
        let shown = if host == HUB { HUB_ADDRESS } else { host.as_str() };
        let mut out = Output::new();
        match login::log_out(&Context::environment(), &host)? {
            true => out.line(&format!("Removing login credentials for {shown}"))?,
            false => out.line(&format!("Not logged in to {shown}"))?,
        }
        out.done()
    }
}
