//! Endpoints in order, and all of them again after a pause.
//!
//! Whoever said its last word (not found, denied, a lie) is not asked again. The others are, until one answers or patience
//! is over. Pauses grow, and last at least as long as an endpoint asked for (`Retry-After`). While bytes arrive the same endpoint
//! is asked on at once, and the counting starts anew, within a limit: a connection that is cut every few megabytes is slow and not
//! broken.

use std::thread;
use std::time::Duration;

use failure::{Error, Kind, Result};

use crate::endpoint::{Endpoint, Patience};
use crate::repository::Repository;
use crate::trouble::{Next, Trouble};

/// Times that one thing is gone on with after some of it arrived.
const MOST_PARTS: u32 = 200;

impl Repository {
    /// Asks endpoints in order until one gives the answer. A failure at one is no failure as long as another can answer.
    pub(crate) fn first<T>(
        &self,
        offers: impl Fn(&Endpoint) -> bool,
        mut ask: impl FnMut(&Endpoint) -> Result<T, Trouble>,
    ) -> Result<T> {
        let patience = self.registries.lookup.patience();
        let mut open: Vec<&Endpoint> = self.endpoints.iter().filter(|endpoint| offers(endpoint)).collect();
        let mut failures: Vec<(String, Error)> = Vec::new();
        let (mut attempt, mut parts) = (0, 0);
        while !open.is_empty() {
            let (mut again, mut wait) = (Vec::new(), Duration::ZERO);
            for endpoint in open {
                let trouble = loop {
                    match ask(endpoint) {
                        Ok(value) => return Ok(value),
                        // Who gave some of it is asked for more, before anybody else is.
                        Err(trouble) if trouble.progress && parts < MOST_PARTS && trouble.next == Next::Again(None) => {
                            (attempt, parts) = (0, parts + 1);
                        }
                        Err(trouble) => break trouble,
                    }
                };
                failures.retain(|(host, _)| *host != endpoint.host);
                match trouble.next {
                    Next::Nobody => return Err(trouble.error),
                    Next::Again(asked) if asked.is_none_or(|asked| asked <= patience.longest_pause) => {
                        wait = wait.max(asked.unwrap_or_default());
                        again.push(endpoint);
                    }
                    Next::Again(_) | Next::Elsewhere => {}
                }
                failures.push((endpoint.host.clone(), trouble.error));
            }
            open = again;
            attempt += 1;
            if attempt >= patience.attempts {
                break;
            }
            if !open.is_empty() {
                thread::sleep(pause(&patience, attempt).max(wait));
            }
        }
        Err(self.all_failed(failures))
    }

    /// The failure of the host itself, which is asked last, with those of its mirrors.
    fn all_failed(&self, mut failures: Vec<(String, Error)>) -> Error {
        let order = |host: &str| self.endpoints.iter().position(|endpoint| endpoint.host == host);
        failures.sort_by_key(|(host, _)| order(host));
        let Some((_, last)) = failures.pop() else {
            return Error::new(Kind::Unavailable, format!("{}: no endpoint offers this", self.name()));
        };
        if failures.is_empty() {
            return last;
        }
        let others: Vec<_> = failures.iter().map(|(_, error)| error.to_string()).collect();
        let message = format!("{last}; before that: {}", others.join("; "));
        // Mirrors have other names than what was asked for.
        let name = self.name();
        Error::new(last.kind(), if message.contains(&name) { message } else { format!("{name}: {message}") })
    }
}

/// The pause before another attempt; it doubles. Processes that were cut off together do not come back
/// together: each waits up to a quarter longer.
fn pause(patience: &Patience, attempt: u32) -> Duration {
    let pause = patience.pause * 2_u32.saturating_pow(attempt.saturating_sub(1));
    (pause + pause * (std::process::id() % 16) / 64).min(patience.longest_pause)
}
