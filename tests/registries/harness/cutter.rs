//! A proxy before a registry that logs every request and can cut what it passes on.
//!
//! It counts the bytes of blobs that went to the client. When a budget is spent, every connection that carries a blob is
//! closed, gracefully: the client gets all that was counted, so that what it asks for next can be held to the byte.
//! Then, as the cut says, blobs go on ([`Cut::Once`]) or all is refused until [`Cutter::heal`] ([`Cut::Outage`]).

use super::http::{Request, Server, answer, forward, head, read_head};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

/// What happens when the budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The connections end; the next ones are whole.
    Once,
    /// The connections end, and so does each new one before it is answered.
    Outage,
    /// The connections stand still until the proxy is healed.
    Stall,
}

/// What becomes of a request that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing: it arrives, and so does its answer.
    Neither,
    /// The registry never sees it.
    Request,
    /// The registry does as it says; the client never hears of it.
    Answer,
}

/// One request for which an answer went to the client.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "shown when an assertion prints the log")]
pub(crate) struct Passed {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) range: Option<String>,
    pub(crate) status: u16,
    /// Bytes of the body that went to the client.
    pub(crate) sent: u64,
    /// Whether it carried (a part of) a blob that counts.
    pub(crate) counts: bool,
}

/// The proxy.
pub(crate) struct Cutter {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Bytes of blobs until the cut, and what it is.
    budget: Option<(u64, Cut)>,
    /// It has happened, and goes on.
    broken: Option<Cut>,
    /// Cuts so far: a connection that was there when one happened ends.
    cuts: usize,
    counted: Vec<String>,
    /// Which writing requests from now on get lost, and how.
    losses: VecDeque<Loss>,
    log: Vec<Passed>,
}

/// What a connection may do with the next piece.
enum Turn {
    Send(usize),
    Wait,
    End,
}

impl Cutter {
    /// Passes everything on to the registry at `to`; only the blobs in `counted` are counted and cut.
    pub(crate) fn start(to: SocketAddr, counted: &[String]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request, socket| pass(request, socket, to, &shared));
        state.lock().unwrap().counted = counted.to_vec();
        Self { server, state }
    }

    /// The address, as it stands in names of images.
    pub(crate) fn host(&self) -> String {
        self.server.host()
    }

    /// Cuts after so many bytes of blobs from now.
    pub(crate) fn cut(&self, after: u64, how: Cut) {
        self.state.lock().unwrap().budget = Some((after, how));
    }

    /// Loses writing requests or their answers, in this order.
    pub(crate) fn lose(&self, losses: impl IntoIterator<Item = Loss>) {
        self.state.lock().unwrap().losses.extend(losses);
    }

    /// Whether the cut has come.
    pub(crate) fn is_cut(&self) -> bool {
        self.state.lock().unwrap().cuts > 0
    }

    /// From now on everything passes.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.budget, state.broken) = (None, None);
    }

    /// What passed since the start, or since the last call.
    pub(crate) fn take_log(&self) -> Vec<Passed> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

/// Bytes of blobs in a log.
pub(crate) fn blob_bytes(log: &[Passed]) -> u64 {
    log.iter().filter(|passed| passed.counts).map(|passed| passed.sent).sum()
}

fn pass(request: &Request, socket: &mut TcpStream, to: SocketAddr, state: &Mutex<State>) {
    let cuts = {
        let state = state.lock().unwrap();
        if state.broken.is_some() {
            return;
        }
        state.cuts
    };
    let writes = !matches!(request.method.as_str(), "GET" | "HEAD");
    let loss = if writes { state.lock().unwrap().losses.pop_front() } else { None };
    if loss == Some(Loss::Request) {
        return;
    }
    let Ok(mut upstream) = forward(request, to) else {
        return answer(request, socket, "502 Bad Gateway", &[], b"");
    };
    let Some((first, headers)) = read_head(&mut upstream) else { return };
    if loss == Some(Loss::Answer) {
        return;
    }
    let (_, status) = first.split_once(' ').unwrap_or_default();
    let code = status.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
    let kept = headers.iter().filter(|(name, _)| name != "connection");
    let kept: Vec<_> = kept.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let range = request.header("range").map(str::to_owned);
    let (method, target) = (request.method.clone(), request.target.clone());
    let (index, counts) = {
        let mut state = state.lock().unwrap();
        let counted = request.blob().is_some_and(|digest| state.counted.iter().any(|counted| counted == digest));
        let counts = counted && request.method == "GET" && matches!(code, 200 | 206);
        state.log.push(Passed { method, target, range, status: code, sent: 0, counts });
        (state.log.len() - 1, counts)
    };
    head(socket, status, &kept, None);
    let mut piece = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = upstream.read(&mut piece) else { return };
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            let turn = if counts { next_turn(state, cuts, rest.len()) } else { Turn::Send(rest.len()) };
            match turn {
                Turn::End => return,
                Turn::Wait => std::thread::sleep(std::time::Duration::from_millis(5)),
                Turn::Send(length) => {
                    if socket.write_all(&rest[..length]).is_err() {
                        return;
                    }
                    rest = &rest[length..];
                    // The log may have been taken since.
                    if let Some(passed) = state.lock().unwrap().log.get_mut(index) {
                        passed.sent += length as u64;
                    }
                }
            }
        }
    }
}

fn next_turn(state: &Mutex<State>, cuts: usize, wanted: usize) -> Turn {
    let mut state = state.lock().unwrap();
    match state.broken {
        Some(Cut::Stall) => return Turn::Wait,
        Some(_) => return Turn::End,
        None if state.cuts != cuts => return Turn::End,
        None => {}
    }
    let Some((left, how)) = state.budget else { return Turn::Send(wanted) };
    if left > 0 {
        let length = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        state.budget = Some((left - length as u64, how));
        return Turn::Send(length);
    }
    state.budget = None;
    state.cuts += 1;
    state.broken = (how != Cut::Once).then_some(how);
    if how == Cut::Stall { Turn::Wait } else { Turn::End }
}
